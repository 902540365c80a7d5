package sources

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "opsgenie",
		Doc: "Opsgenie's webhook integration. Opsgenie does not sign: it proves itself by a custom header, a bearer token or a password. " +
			"An acknowledgement by a person holds the alert.",
		New: func(name string) Source { return &Opsgenie{name: name} },
	})
}

// Opsgenie receives what Opsgenie's webhook integration sends of alerts. At least one of its proofs is configured; any suffices.
//
// The labels are the alert's details that are texts, which the integration sends where "Add Alert Details to Payload" is chosen; its tags such
// as env:prod, which never stand for alertname or severity; its entity; and, where the details have none, the message as alertname and the
// priority as severity (P1 to P5: critical, error, warning, info, info).
type Opsgenie struct {
	// TokenHeader is one of the integration's custom headers.
	TokenHeader TokenHeader `yaml:"token_header"`
	// BearerToken is sent by a custom header Authorization: Bearer; at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is a user and password, as in https://USER:PASSWORD@HOST.
	BasicAuth BasicAuth `yaml:"basic_auth"`

	name string
}

// Validate refuses what Check refuses, and unreadable or short secrets.
func (s *Opsgenie) Validate() error { return errors.Join(s.Check(), s.proofs().validate()) }

// Check implements sources.Check.
func (s *Opsgenie) Check() error { return s.proofs().check("token_header, bearer_token or basic_auth") }

// Authenticate takes any of the configured proofs.
func (s *Opsgenie) Authenticate(r Request) error { return s.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (s *Opsgenie) AuthenticateEarly(r Request) error { return s.proofs().judgeEarly(r) }

// Sign implements Sender.
func (s *Opsgenie) Sign(r *Request) error { return s.proofs().sign(r) }

func (s *Opsgenie) proofs() proofs {
	return proofs{s.TokenHeader, authorization{bearer: s.BearerToken, basic: s.BasicAuth}}
}

// opsgenieBody is what decides of a body
// (https://support.atlassian.com/opsgenie/docs/opsgenie-edge-connector-alert-action-data/).
type opsgenieBody struct {
	Action string        `json:"action"`
	Alert  opsgenieAlert `json:"alert"`
}

type opsgenieAlert struct {
	ID          string         `json:"alertId"`
	Alias       string         `json:"alias"`
	Message     string         `json:"message"`
	Description string         `json:"description"`
	Entity      string         `json:"entity"`
	Tags        []string       `json:"tags"`
	Details     map[string]any `json:"details"`
	Priority    any            `json:"priority"`  // P3, or 3
	CreatedAt   int64          `json:"createdAt"` // unix milliseconds
	UpdatedAt   int64          `json:"updatedAt"` // unix nanoseconds, of the action
	Username    string         `json:"username"`  // of who acted
	UserID      string         `json:"userId"`
}

// Actions of a body that concern us.
const (
	opsgenieCreate        = "Create"
	opsgenieAcknowledge   = "Acknowledge"
	opsgenieUnacknowledge = "UnAcknowledge"
	opsgenieClose         = "Close"
	opsgenieDelete        = "Delete"
)

func (b opsgenieBody) check() error {
	const most = 512
	switch a := b.Alert; {
	case b.Action == "":
		return errors.New("the body has no action")
	case a.ID == "" || max(len(a.ID), len(a.Alias)) > most:
		return errors.New("the alert has no alertId, or a very long id")
	case a.CreatedAt <= 0 || a.UpdatedAt < 0:
		return errors.New("the alert has no createdAt")
	default:
		return nil
	}
}

// at is when the action was, by Opsgenie's clock; zero where it does not say.
func (b opsgenieBody) at() time.Time {
	switch {
	case b.Alert.UpdatedAt > 0:
		return time.Unix(0, b.Alert.UpdatedAt).UTC()
	case b.Action == opsgenieCreate:
		return b.Alert.began()
	default:
		return time.Time{}
	}
}

// person is who acted, "" for an integration, which has no id.
func (a opsgenieAlert) person() string {
	if a.UserID == "" {
		return ""
	}
	return clip(cmp.Or(a.Username, a.UserID))
}

func (a opsgenieAlert) began() time.Time { return time.UnixMilli(a.CreatedAt).UTC() }

// Parse reads one action. An alert that is created fires; one that is closed or deleted has ended, and by a person's word nothing is known of
// anybody's health. What else is done to it concerns no rule.
func (s *Opsgenie) Parse(body []byte, received time.Time) (Delivery, error) {
	var b opsgenieBody
	if err := decodeStrict(body, &b); err != nil {
		return Delivery{}, err
	}
	if err := b.check(); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Type: b.Action, OccurredAt: b.at()}
	if b.Alert.UpdatedAt > 0 {
		d.DedupKey = fmt.Sprintf("%s/%s@%d", b.Alert.ID, b.Action, b.Alert.UpdatedAt)
	}
	switch b.Action {
	case opsgenieCreate:
		return s.fires(d, b.Alert)
	case opsgenieClose, opsgenieDelete:
		d.Alerts = []alert.Alert{s.ended(d, b.Alert)}
		d.Holds = b.holds(received)
	case opsgenieAcknowledge, opsgenieUnacknowledge:
		if d.Holds = b.holds(received); len(d.Holds) == 0 {
			d.Ignored = "no person acknowledged the alert"
		}
	default:
		d.Ignored = fmt.Sprintf("the action %q neither begins nor ends an alert", clip(b.Action))
	}
	return d, nil
}

func (s *Opsgenie) fires(d Delivery, in opsgenieAlert) (Delivery, error) {
	a := s.alert(in)
	a.Labels = in.labels()
	if a.Labels["alertname"] == "" {
		return Delivery{}, errors.New("the alert has neither a message nor a detail alertname")
	}
	if err := checkLabels(a.Labels); err != nil {
		return Delivery{}, err
	}
	d.Alerts = []alert.Alert{a}
	return d, nil
}

// ended has no labels: the action may have come without the alert's details, and its end is known by the alert's id.
func (s *Opsgenie) ended(d Delivery, in opsgenieAlert) alert.Alert {
	a := s.alert(in)
	a.Status, a.EndsAt, a.EndedBy, a.Labels = alert.Resolved, d.OccurredAt, in.person(), map[string]string{}
	return a
}

// alert has the alias as its incident's key: it is what Opsgenie tells repeats by, and Alertmanager's notifier gives it the key that it
// gives PagerDuty.
func (s *Opsgenie) alert(in opsgenieAlert) alert.Alert {
	notes := map[string]string{}
	setLabel(notes, "summary", strings.TrimSpace(in.Message))
	setLabel(notes, "description", in.Description)
	return alert.Alert{
		Source: s.name, Status: alert.Firing, Annotations: notes, StartsAt: in.began(), Episode: in.ID, IncidentKey: in.key(),
	}
}

func (a opsgenieAlert) key() string { return cmp.Or(a.Alias, a.ID) }

func (a opsgenieAlert) labels() map[string]string {
	labels := tagLabels(a.Tags)
	delete(labels, "alertname")
	delete(labels, "severity")
	if a.Entity != "" {
		labels["entity"] = a.Entity
	}
	maps.Copy(labels, textsOf(a.Details))
	if labels["alertname"] == "" {
		setLabel(labels, "alertname", strings.TrimSpace(a.Message))
	}
	if labels["severity"] == "" {
		setLabel(labels, "severity", severityOfPriority(a.priority()))
	}
	return labels
}

func (a opsgenieAlert) priority() string {
	switch p := a.Priority.(type) {
	case string:
		return p
	case float64:
		return fmt.Sprintf("P%.0f", p)
	default:
		return ""
	}
}

// textsOf are the values that are texts and not empty.
func textsOf(fields map[string]any) map[string]string {
	texts := make(map[string]string, len(fields))
	for name, value := range fields {
		if text, ok := value.(string); ok && text != "" && name != "" {
			texts[name] = text
		}
	}
	return texts
}

// holds reads in whose hand the action leaves the alert. Only a person's acknowledgement counts, who has an id; an integration's has none.
func (b opsgenieBody) holds(received time.Time) []Hold {
	h := Hold{IncidentKey: b.Alert.key(), At: b.at(), Lifted: b.Action != opsgenieAcknowledge}
	if h.At.IsZero() {
		h.At = received.UTC()
	}
	if h.Lifted {
		return []Hold{h}
	}
	if h.By = b.Alert.person(); h.By == "" {
		return nil
	}
	h.ByID = b.Alert.UserID
	return []Hold{h}
}
