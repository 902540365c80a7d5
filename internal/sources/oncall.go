package sources

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "oncall",
		Doc: "Grafana OnCall's outgoing webhooks with their whole payload. OnCall does not sign: it proves itself by a custom header, a " +
			"bearer token or a password. An acknowledgement by a person, or a silence, holds the alert group.",
		New: func(name string) Source { return &OnCall{name: name} },
	})
}

// OnCall receives the outgoing webhooks of Grafana OnCall, and of Grafana IRM, with "Forward whole payload". At least one of its proofs is
// configured; any suffices.
//
// An alert group is one alert. Its labels are those of its first alert (`labels` of the payload, or what all alerts of an Alertmanager's or
// Grafana's group share, `commonLabels`), then OnCall's own labels and, where none of them is alertname, the group's title as that.
type OnCall struct {
	// TokenHeader is one of the webhook's headers, or its authorization header without a scheme.
	TokenHeader TokenHeader `yaml:"token_header"`
	// BearerToken is the webhook's authorization header, Bearer and the token; at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is the webhook's user and password.
	BasicAuth BasicAuth `yaml:"basic_auth"`

	name string
}

// Validate refuses what Check refuses, and unreadable or short secrets.
func (s *OnCall) Validate() error { return errors.Join(s.Check(), s.proofs().validate()) }

// Check implements sources.Check.
func (s *OnCall) Check() error { return s.proofs().check("token_header, bearer_token or basic_auth") }

// Authenticate takes any of the configured proofs.
func (s *OnCall) Authenticate(r Request) error { return s.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (s *OnCall) AuthenticateEarly(r Request) error { return s.proofs().judgeEarly(r) }

// Sign implements Sender.
func (s *OnCall) Sign(r *Request) error { return s.proofs().sign(r) }

func (s *OnCall) proofs() proofs {
	return proofs{s.TokenHeader, authorization{bearer: s.BearerToken, basic: s.BasicAuth}}
}

// onCallBody is what decides of a payload (https://grafana.com/docs/oncall/latest/configure/outgoing-webhooks/).
type onCallBody struct {
	Event struct {
		Type string     `json:"type"`
		Time *time.Time `json:"time"` // not of every type
	} `json:"event"`
	User    *onCallUser `json:"user"` // nobody where no person caused it
	Group   onCallGroup `json:"alert_group"`
	Payload any         `json:"alert_payload"` // what the group's first alert came with
}

type onCallUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
}

// person is who caused the event, "" where nobody did.
func (b onCallBody) person() string {
	if b.User == nil || b.User.ID == "" {
		return ""
	}
	return clip(cmp.Or(b.User.Username, b.User.ID))
}

type onCallGroup struct {
	ID         string         `json:"id"`
	State      string         `json:"state"`
	CreatedAt  time.Time      `json:"created_at"`
	Title      string         `json:"title"`
	Labels     map[string]any `json:"labels"`
	Permalinks map[string]any `json:"permalinks"`
}

// The types of events that concern us.
const (
	onCallCreated       = "alert group created"
	onCallEscalation    = "escalation"
	onCallAcknowledge   = "acknowledge"
	onCallUnacknowledge = "unacknowledge"
	onCallSilence       = "silence"
	onCallUnsilence     = "unsilence"
	onCallResolve       = "resolve"
	onCallUnresolve     = "unresolve"
)

func (b onCallBody) check() error {
	const most = 256
	switch {
	case b.Event.Type == "":
		return errors.New("the event has no type: the webhook has to forward the whole payload")
	case b.Group.ID == "" || len(b.Group.ID) > most:
		return errors.New("the alert group has no id, or a very long one")
	case b.Group.CreatedAt.IsZero():
		return errors.New("the alert group has no created_at")
	default:
		return nil
	}
}

// Parse reads one event. A group fires when it is created, at each step of its escalation that calls us, and anew when a person takes its end
// back; whoever resolves it ends it, and by a person's word nothing is known of anybody's health.
func (s *OnCall) Parse(body []byte, received time.Time) (Delivery, error) {
	var b onCallBody
	if err := decodeStrict(body, &b); err != nil {
		return Delivery{}, err
	}
	if err := b.check(); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Type: b.Event.Type}
	at := received.UTC()
	if b.Event.Time != nil && !b.Event.Time.IsZero() {
		at = b.Event.Time.UTC()
		d.OccurredAt, d.DedupKey = at, fmt.Sprintf("%s/%s@%d", b.Group.ID, d.Type, at.UnixMicro())
	}
	switch b.Event.Type {
	case onCallCreated, onCallEscalation, onCallUnresolve:
		return s.fires(d, b, at)
	case onCallResolve:
		a := s.alert(b)
		a.Status, a.EndsAt, a.EndedBy, a.Labels = alert.Resolved, at, b.person(), map[string]string{}
		d.Alerts, d.Holds = []alert.Alert{a}, b.holds(at)
	case onCallAcknowledge, onCallUnacknowledge, onCallSilence, onCallUnsilence:
		if d.Holds = b.holds(at); len(d.Holds) == 0 {
			d.Ignored = "no person's hand begins or ends with this event"
		}
	default:
		d.Ignored = fmt.Sprintf("an event of type %q neither begins nor ends an alert", clip(b.Event.Type))
	}
	return d, nil
}

func (s *OnCall) fires(d Delivery, b onCallBody, at time.Time) (Delivery, error) {
	if b.Group.State == "resolved" {
		d.Ignored = "the alert group is resolved already"
		return d, nil
	}
	a := s.alert(b)
	if d.Type == onCallUnresolve {
		a.StartsAt, a.Episode = at, alert.Episode(b.Group.ID, at)
	}
	a.Labels = b.labels()
	if a.Labels["alertname"] == "" {
		return Delivery{}, errors.New("the alert group has neither a title nor a label alertname")
	}
	if err := checkLabels(a.Labels); err != nil {
		return Delivery{}, err
	}
	d.Alerts = []alert.Alert{a}
	return d, nil
}

func (s *OnCall) alert(b onCallBody) alert.Alert {
	notes := map[string]string{}
	setLabel(notes, "summary", strings.TrimSpace(b.Group.Title))
	web, _ := b.Group.Permalinks["web"].(string)
	return alert.Alert{
		Source: s.name, Status: alert.Firing, Annotations: notes, StartsAt: b.Group.CreatedAt.UTC(), Link: webLink(web),
		Episode: b.Group.ID, IncidentKey: b.key(),
	}
}

// key is the one that Alertmanager and Grafana open their PagerDuty incident by, where the group is one of theirs: so an acknowledgement in
// OnCall also holds what their own webhook tells of.
func (b onCallBody) key() string {
	if groupKey, _ := b.payload()["groupKey"].(string); groupKey != "" {
		return alert.GroupIncidentKey(groupKey)
	}
	return "oncall/" + b.Group.ID
}

func (b onCallBody) payload() map[string]any {
	fields, _ := b.Payload.(map[string]any)
	return fields
}

func (b onCallBody) labels() map[string]string {
	labels := textsOf(b.Group.Labels)
	first, isMap := b.payload()["labels"].(map[string]any)
	if !isMap {
		first, _ = b.payload()["commonLabels"].(map[string]any)
	}
	for name, value := range textsOf(first) {
		labels[name] = value
	}
	if labels["alertname"] == "" {
		setLabel(labels, "alertname", strings.TrimSpace(b.Group.Title))
	}
	return labels
}

// holds reads in whose hand the event leaves the group. Only a person's word begins a hold; the end of a silence does not end the
// acknowledgement that it made way for, nor the other way round.
func (b onCallBody) holds(at time.Time) []Hold {
	h := Hold{IncidentKey: b.key(), At: at}
	switch b.Event.Type {
	case onCallAcknowledge, onCallSilence:
		if h.By = b.person(); h.By == "" {
			return nil
		}
		h.ByID = b.User.ID
	default:
		if b.Group.State == "acknowledged" || b.Group.State == "silenced" {
			return nil
		}
		h.Lifted = true
	}
	return []Hold{h}
}
