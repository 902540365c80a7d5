package sources

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "alertmanager",
		Doc: "Prometheus Alertmanager's webhook_config, body version 4. Alertmanager does not sign: it proves itself by a bearer token " +
			"or a password. Each alert of a group is judged by itself.",
		New: newAlertmanager,
	})
}

// Alertmanager receives the webhooks of a Prometheus Alertmanager. At least one of its two proofs is configured; either suffices.
type Alertmanager struct {
	// BearerToken is what Alertmanager sends by http_config.authorization: at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is what Alertmanager sends by http_config.basic_auth.
	BasicAuth BasicAuth `yaml:"basic_auth"`
	// URL is where Alertmanager itself is asked, just before a call, whether an alert still fires and nobody has silenced it: its base
	// URL, with its route prefix. Without it Alertmanager is not asked.
	URL string `yaml:"url"`
	// APIToken is a bearer token that we send to URL, where something before it asks for one.
	APIToken connect.Secret `yaml:"api_token"`
	// APIBasicAuth is a user and password that we send to URL instead of a token.
	APIBasicAuth BasicAuth `yaml:"api_basic_auth"`
	// Insecure allows an http: URL.
	Insecure bool `yaml:"insecure"`
	// Poll finds the alerts whose webhook never came, by asking at URL. Without it Alertmanager is not polled.
	Poll *AlertmanagerPoll `yaml:"poll"`
	// Watchdog is an alert that always fires: when it stays away, people are told that the feed is silent.
	Watchdog *Watchdog `yaml:"watchdog"`

	name  string
	asked func() (*connect.Alertmanager, error)

	mu      sync.Mutex
	missing map[Sighting]bool // guarded by mu: known to go on, and not listed by the last poll
}

func newAlertmanager(name string) Source {
	a := &Alertmanager{name: name}
	a.asked = sync.OnceValues(a.open)
	return a
}

// Validate refuses a source without a proof, and unreadable or short secrets.
func (a *Alertmanager) Validate() error {
	if err := a.Check(); err != nil {
		return err
	}
	return errors.Join(a.authorization().validate(), a.validateAPI())
}

// Check implements sources.Check.
func (a *Alertmanager) Check() error {
	if a.authorization().isZero() {
		return errors.New("bearer_token or basic_auth is needed: without one anybody could send alerts")
	}
	return errors.Join(a.checkAPI(), a.checkPoll(), a.Watchdog.check())
}

// Authenticate judges the Authorization header alone; the body is not signed.
func (a *Alertmanager) Authenticate(r Request) error { return a.authorization().judge(r.Header) }

func (a *Alertmanager) authorization() authorization {
	return authorization{bearer: a.BearerToken, basic: a.BasicAuth}
}

// alertmanagerBody is what decides of Alertmanager's webhook body
// (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).
type alertmanagerBody struct {
	Version         string              `json:"version"`
	GroupKey        string              `json:"groupKey"`
	Status          alert.Status        `json:"status"`
	TruncatedAlerts uint64              `json:"truncatedAlerts"`
	Alerts          []alertmanagerAlert `json:"alerts"`
}

type alertmanagerAlert struct {
	Status       alert.Status      `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// Parse reads one group. It may be firing and hold resolved alerts all the same, so that each alert's own status counts. A repeat
// has the same body as the first notification and no id: its alerts have the same episodes.
func (a *Alertmanager) Parse(body []byte, _ time.Time) (Delivery, error) {
	var group alertmanagerBody
	if err := decodeStrict(body, &group); err != nil {
		return Delivery{}, err
	}
	if err := group.check(); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Type: string(group.Status), Alerts: make([]alert.Alert, 0, len(group.Alerts))}
	var wrong []string
	for i, one := range group.Alerts {
		if err := one.check(); err != nil { // one that cannot be read must not take the others of its group with it
			wrong = append(wrong, fmt.Sprintf("alert %d of the group: %s", i+1, err))
			continue
		}
		d.Alerts = append(d.Alerts, a.alert(one, group.GroupKey))
	}
	if len(d.Alerts) == 0 {
		return Delivery{}, errors.New(wrong[0])
	}
	d.Warning = group.warning(wrong)
	return d, nil
}

// warning tells what of the group is not seen here.
func (g alertmanagerBody) warning(wrong []string) string {
	var all []string
	if g.TruncatedAlerts > 0 {
		all = append(all, fmt.Sprintf("Alertmanager left out %d alerts of the group (max_alerts)", g.TruncatedAlerts))
	}
	if len(wrong) > 0 {
		all = append(all, fmt.Sprintf("%d of %d alerts cannot be read: %s", len(wrong), len(g.Alerts), wrong[0]))
	}
	return strings.Join(all, "; ")
}

func (g alertmanagerBody) check() error {
	switch {
	case g.Version != "4":
		return fmt.Errorf("the body's version is %q, not Alertmanager's \"4\": Grafana's or a custom payload is not read here", clip(g.Version))
	case g.GroupKey == "":
		return errors.New("the group has no groupKey")
	case len(g.Alerts) == 0:
		return errors.New("the group holds no alerts")
	default:
		return checkStatus(g.Status)
	}
}

func (one alertmanagerAlert) check() error {
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

// alert computes the fingerprint: the one in the body is equal or wrong. Alertmanager's API tells times in milliseconds and its webhook in
// nanoseconds: the episode must be the same by both.
func (a *Alertmanager) alert(one alertmanagerAlert, groupKey string) alert.Alert {
	startsAt := one.StartsAt.UTC().Truncate(time.Millisecond)
	return alert.Alert{
		Source:        a.name,
		Status:        one.Status,
		Labels:        one.Labels,
		Annotations:   one.Annotations,
		StartsAt:      startsAt,
		EndsAt:        one.EndsAt.UTC(),
		Link:          webLink(one.GeneratorURL),
		Episode:       alert.Episode(alert.Fingerprint(one.Labels), startsAt),
		IncidentKey:   alert.GroupIncidentKey(groupKey),
		SelfResolving: true,
	}
}

// webLink keeps a link that is safe to show as one: others, such as javascript:, come from outside too.
func webLink(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return text
}
