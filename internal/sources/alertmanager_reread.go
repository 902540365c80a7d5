package sources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// somebody stands for the maker of a silence who gave no name.
const somebody = "a silence in Alertmanager"

// maxSilences bounds how many silences of one alert are asked for by whom they were made.
const maxSilences = 3

// checkAPI refuses what could not be asked; without a url nothing is.
func (a *Alertmanager) checkAPI() error {
	if a.URL == "" {
		if !a.APIToken.IsZero() || !a.APIBasicAuth.isZero() || a.Insecure {
			return errors.New("api_token, api_basic_auth and insecure are about url, which is not set")
		}
		return nil
	}
	_, err := a.open()
	return err
}

// validateAPI refuses an unreadable secret. It may be short: it is not we who are protected by it.
func (a *Alertmanager) validateAPI() error {
	var wrong []error
	for field, secret := range map[string]connect.Secret{"api_token": a.APIToken, "api_basic_auth: password": a.APIBasicAuth.Password} {
		if secret.IsZero() {
			continue
		}
		if _, err := secret.Read(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", field, err))
		}
	}
	return errors.Join(wrong...)
}

func (a *Alertmanager) open() (*connect.Alertmanager, error) {
	client, err := connect.NewAlertmanager(connect.AlertmanagerConfig{
		Endpoint: a.URL, Token: a.APIToken, Username: a.APIBasicAuth.Username, Password: a.APIBasicAuth.Password, Insecure: a.Insecure,
	})
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return client, nil
}

// Reread asks Alertmanager for the alert by all its labels. A silence is a person's word that the alert is in hand. An alert that another
// one inhibits does not fire for anybody: what is to be mended is elsewhere.
func (a *Alertmanager) Reread(ctx context.Context, _ connect.Set, of alert.Alert) (Standing, error) {
	if a.URL == "" {
		return Standing{Detail: "Alertmanager cannot be asked: the source has no url"}, nil
	}
	client, err := a.asked()
	if err != nil {
		return Standing{}, fmt.Errorf("asking Alertmanager how the alert stands: %w", err)
	}
	listed, found, err := client.Alert(ctx, of.Labels)
	switch {
	case err != nil:
		return Standing{}, fmt.Errorf("asking Alertmanager how the alert stands: %w", err)
	case !found:
		return Standing{Known: true, Detail: "Alertmanager does not list it any more"}, nil
	case len(listed.InhibitedBy) > 0:
		return Standing{Known: true, Detail: "another alert inhibits it in Alertmanager"}, nil
	}
	return Standing{
		Known: true, Firing: true, AcknowledgedBy: silencers(ctx, client, listed.SilencedBy), Detail: anew(listed.StartsAt, of.StartsAt),
	}, nil
}

// anew tells of an alert that ended and came back: its labels fire, and a delivery of the new firing is on its way.
func anew(listed, known time.Time) string {
	if listed.After(known) {
		return "it fires anew since " + listed.UTC().Format(time.RFC3339)
	}
	return ""
}

// silencers names who made the silences. That there is one is enough: a name that cannot be had is left out.
func silencers(ctx context.Context, client *connect.Alertmanager, ids []string) string {
	var names []string
	for _, id := range ids[:min(len(ids), maxSilences)] {
		name, err := client.Silencer(ctx, id)
		if name = clip(strings.TrimSpace(name)); err != nil || name == "" {
			name = somebody
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
