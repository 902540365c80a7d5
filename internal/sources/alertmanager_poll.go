package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// AlertmanagerPoll says which alerts of an Alertmanager are ours to find: those of the groups of one receiver.
type AlertmanagerPoll struct {
	PollTimes `yaml:",inline"`
	// Receiver is the name of the receiver whose webhook leads here.
	Receiver string `yaml:"receiver"`
	// Route is what stands before the last colon of the groupKey in the receiver's webhooks, such as {} or {}/{team="payments"}. Alertmanager
	// does not tell it when it is asked. With it an alert that was found has the incident key of its group; without it, or where several routes
	// lead to the receiver, it has one of its own: it joins its own webhook all the same, and not what PagerDuty tells of the group.
	Route string `yaml:"route"`
}

const (
	// alertmanagerAfter leaves an alert to its notification: group_wait is half a minute by default.
	alertmanagerAfter = 2 * time.Minute
	// settled is how long an Alertmanager has to run until an alert that it does not list has ended: after a start it knows only those that
	// Prometheus has sent anew.
	settled = 10 * time.Minute
	// maxMissing bounds what is remembered of alerts that were missing.
	maxMissing = 10_000
)

func (a *Alertmanager) checkPoll() error {
	if a.Poll == nil {
		return nil
	}
	wrong := []error{a.Poll.check()}
	if a.URL == "" {
		wrong = append(wrong, &ParameterError{Path: []string{"poll"}, Err: errors.New("needs url, the address at which Alertmanager is asked")})
	}
	if a.Poll.Receiver == "" {
		wrong = append(wrong, &ParameterError{Path: []string{"poll"}, Err: errors.New("must name the receiver whose webhook comes here: every alert of the Alertmanager would be taken")})
	}
	if r := a.Poll.Route; r != "" && !strings.HasPrefix(r, "{") {
		wrong = append(wrong, &ParameterError{Path: []string{"poll", "route"}, Err: errors.New(`must be what stands before the last colon of groupKey, such as "{}"`)})
	}
	return errors.Join(wrong...)
}

// Polling implements Poll.
func (a *Alertmanager) Polling() Polling {
	if a.Poll == nil {
		return Polling{}
	}
	return a.Poll.polling()
}

// Watch implements Watched.
func (a *Alertmanager) Watch() *Watchdog { return a.Watchdog }

// Missed finds alerts of the receiver's groups that are not known, and ends of known ones that Alertmanager does not list any more. What a
// silence, another alert or a mute time holds back is not taken, and has not ended.
func (a *Alertmanager) Missed(ctx context.Context, _ connect.Set, q Question) ([]Found, error) {
	client, err := a.asked()
	if err != nil {
		return nil, fmt.Errorf("polling Alertmanager: %w", err)
	}
	started, err := client.Started(ctx)
	if err != nil {
		return nil, fmt.Errorf("polling Alertmanager: %w", err)
	}
	groups, err := client.Groups(ctx, a.Poll.Receiver)
	if err != nil {
		return nil, fmt.Errorf("polling Alertmanager: %w", err)
	}
	found, listed := a.amongGroups(groups, q)
	if q.Now.Sub(started) < settled {
		return found, nil
	}
	ended, err := a.ended(ctx, client, q, listed)
	if err != nil {
		return found, fmt.Errorf("polling Alertmanager: %w", err)
	}
	return append(found, ended...), nil
}

// ended gives the ends of what is gone for good: an alert that goes to another receiver now fires as before.
func (a *Alertmanager) ended(ctx context.Context, client *connect.Alertmanager, q Question, listed map[string]bool) ([]Found, error) {
	gone := a.gone(q, listed)
	if len(gone) == 0 {
		return nil, nil
	}
	elsewhere, err := client.Labels(ctx)
	if err != nil {
		return nil, err
	}
	fires := make(map[string]bool, len(elsewhere))
	for _, labels := range elsewhere {
		fires[alert.Fingerprint(labels)] = true
	}
	var found []Found
	for _, s := range gone {
		if !fires[s.Subject] {
			found = append(found, a.over(s, q.Now))
		}
	}
	return found, nil
}

// amongGroups makes one delivery of what began at one time in one group, so that each is as old as it is.
func (a *Alertmanager) amongGroups(groups []connect.AlertGroup, q Question) (found []Found, listed map[string]bool) {
	known := map[string]bool{}
	for _, s := range q.Known {
		known[alert.Episode(s.Subject, s.Began)] = true
	}
	listed = map[string]bool{}
	for _, g := range groups {
		fresh := map[time.Time][]connect.GroupedAlert{}
		for _, one := range g.Alerts {
			subject := alert.Fingerprint(one.Labels)
			listed[subject] = true
			one.StartsAt = one.StartsAt.UTC().Truncate(time.Millisecond)
			episode := alert.Episode(subject, one.StartsAt)
			if one.Notified && !known[episode] && a.Poll.takes(one.StartsAt, q.Now, alertmanagerAfter) && checkLabels(one.Labels) == nil {
				known[episode] = true
				fresh[one.StartsAt] = append(fresh[one.StartsAt], one)
			}
		}
		for _, began := range slices.SortedFunc(maps.Keys(fresh), time.Time.Compare) {
			found = append(found, a.begun(g, began, fresh[began]))
		}
	}
	return found, listed
}

func (a *Alertmanager) begun(g connect.AlertGroup, began time.Time, alerts []connect.GroupedAlert) Found {
	slices.SortFunc(alerts, func(x, y connect.GroupedAlert) int {
		return strings.Compare(alert.Fingerprint(x.Labels), alert.Fingerprint(y.Labels))
	})
	d := Delivery{Type: PolledType, OccurredAt: began}
	hash := sha256.New()
	for _, one := range alerts {
		sig := groupedAlert{
			Status: alert.Firing, Labels: one.Labels, Annotations: one.Annotations, StartsAt: one.StartsAt, GeneratorURL: one.GeneratorURL,
		}.alert(a.name, a.groupKey(g))
		d.Alerts = append(d.Alerts, sig)
		_, _ = fmt.Fprintln(hash, sig.Episode)
	}
	d.DedupKey = PolledType + ":begun:" + hex.EncodeToString(hash.Sum(nil))
	return Found{Delivery: d, Body: polledBody(map[string]any{"polled_group": g.Labels, "receiver": g.Receiver, "alerts": alerts})}
}

// groupKey is that of the group's notifications, where the rules file tells their route; else one that nobody else uses.
func (a *Alertmanager) groupKey(g connect.AlertGroup) string {
	if a.Poll.Route != "" {
		return a.Poll.Route + ":" + labelText(g.Labels)
	}
	return "polled by " + a.name + "/" + g.Receiver + ":" + labelText(g.Labels)
}

// labelText writes labels as Alertmanager does in a groupKey (prometheus/common model.LabelSet.String).
func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// gone gives the alerts that were missing in the last two polls.
func (a *Alertmanager) gone(q Question, listed map[string]bool) []Sighting {
	a.mu.Lock()
	defer a.mu.Unlock()
	missing := map[Sighting]bool{}
	var gone []Sighting
	for _, s := range q.open(listed) {
		s.Held = time.Time{}
		if !a.missing[s] && len(missing) < maxMissing {
			missing[s] = true
			continue
		}
		if a.missing[s] {
			gone = append(gone, s)
		}
	}
	a.missing = missing
	return gone
}

// over is the end of an alert of which only the fingerprint is known, which is what ends its runs. It ended before the poll asked; Alertmanager
// does not say when.
func (a *Alertmanager) over(s Sighting, at time.Time) Found {
	episode := alert.Episode(s.Subject, s.Began)
	d := Delivery{DedupKey: PolledType + ":over:" + episode, Type: PolledType, OccurredAt: at.UTC(), Alerts: []alert.Alert{{
		Source: a.name, Status: alert.Resolved, Labels: map[string]string{}, StartsAt: s.Began, EndsAt: at.UTC(), Episode: episode, SelfResolving: true,
	}}}
	return Found{Delivery: d, Body: polledBody(map[string]any{"not_listed": s.Subject, "began": s.Began, "asked": at.UTC()})}
}

func polledBody(read any) []byte {
	body, err := json.Marshal(read)
	if err != nil { // texts and times of this century
		return []byte(err.Error())
	}
	return body
}
