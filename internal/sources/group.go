package sources

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// groupFormat is one of the bodies that have the shape of Alertmanager's, whose alerts come in groups. Its version tells it from the others.
type groupFormat struct {
	sender  string
	version string
	others  string // whose body has another version
}

// alertGroup is what decides of such a body (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).
type alertGroup struct {
	Version         string         `json:"version"`
	GroupKey        string         `json:"groupKey"`
	Status          alert.Status   `json:"status"`
	TruncatedAlerts uint64         `json:"truncatedAlerts"`
	Alerts          []groupedAlert `json:"alerts"`
}

type groupedAlert struct {
	Status       alert.Status      `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	// The links of Grafana's alerts; Alertmanager has none.
	SilenceURL   string `json:"silenceURL,omitempty"`
	DashboardURL string `json:"dashboardURL,omitempty"`
	PanelURL     string `json:"panelURL,omitempty"`
}

// read reads one group. It may be firing and hold resolved alerts all the same, so that each alert's own status counts. A repeat
// has the same body as the first notification and no id: its alerts have the same episodes.
func (f groupFormat) read(source string, body []byte) (Delivery, error) {
	var group alertGroup
	if err := decodeStrict(body, &group); err != nil {
		return Delivery{}, err
	}
	if err := f.check(group); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Type: string(group.Status), Alerts: make([]alert.Alert, 0, len(group.Alerts))}
	var wrong []string
	for i, one := range group.Alerts {
		if err := one.check(); err != nil { // one that cannot be read must not take the others of its group with it
			wrong = append(wrong, fmt.Sprintf("alert %d of the group: %s", i+1, err))
			continue
		}
		d.Alerts = append(d.Alerts, one.alert(source, group.GroupKey))
	}
	if len(d.Alerts) == 0 {
		return Delivery{}, errors.New(wrong[0])
	}
	d.Warning = f.warning(group, wrong)
	return d, nil
}

// warning tells what of the group is not seen here.
func (f groupFormat) warning(g alertGroup, wrong []string) string {
	var all []string
	if g.TruncatedAlerts > 0 {
		all = append(all, fmt.Sprintf("%s left out %d alerts of the group (max_alerts)", f.sender, g.TruncatedAlerts))
	}
	if len(wrong) > 0 {
		all = append(all, fmt.Sprintf("%d of %d alerts cannot be read: %s", len(wrong), len(g.Alerts), wrong[0]))
	}
	return strings.Join(all, "; ")
}

func (f groupFormat) check(g alertGroup) error {
	switch {
	case g.Version != f.version:
		return fmt.Errorf("the body's version is %q, not %s's %q: %s or a custom payload is not read here", clip(g.Version), f.sender, f.version, f.others)
	case g.GroupKey == "":
		return errors.New("the group has no groupKey")
	case len(g.Alerts) == 0:
		return errors.New("the group holds no alerts")
	default:
		return checkStatus(g.Status)
	}
}

func (one groupedAlert) check() error {
	if one.StartsAt.IsZero() {
		return errors.New("it has no startsAt")
	}
	return errors.Join(checkStatus(one.Status), checkLabels(one.Labels))
}

func checkStatus(s alert.Status) error {
	if s != alert.Firing && s != alert.Resolved {
		return fmt.Errorf("its status is %q, neither firing nor resolved", clip(string(s)))
	}
	return nil
}

// alert computes the fingerprint. Alertmanager's own in the body is equal or wrong; Grafana's is that of labels which it does not send.
// Alertmanager's API tells times in milliseconds and its webhook in nanoseconds: the episode must be the same by both.
func (one groupedAlert) alert(source, groupKey string) alert.Alert {
	startsAt := one.StartsAt.UTC().Truncate(time.Millisecond)
	return alert.Alert{
		Source:        source,
		Status:        one.Status,
		Labels:        one.Labels,
		Annotations:   one.annotations(),
		StartsAt:      startsAt,
		EndsAt:        one.EndsAt.UTC(),
		Link:          webLink(one.GeneratorURL),
		Episode:       alert.Episode(alert.Fingerprint(one.Labels), startsAt),
		IncidentKey:   alert.GroupIncidentKey(groupKey),
		SelfResolving: true,
	}
}

// annotations adds the links that are safe to show, where the alert has no annotation of the name.
func (one groupedAlert) annotations() map[string]string {
	links := map[string]string{"silence_url": one.SilenceURL, "dashboard_url": one.DashboardURL, "panel_url": one.PanelURL}
	notes := one.Annotations
	for name, link := range links {
		if _, taken := notes[name]; taken || webLink(link) == "" {
			continue
		}
		if notes == nil {
			notes = map[string]string{}
		}
		notes[name] = link
	}
	return notes
}

// webLink keeps a link that is safe to show as one: others, such as javascript:, come from outside too.
func webLink(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return text
}
