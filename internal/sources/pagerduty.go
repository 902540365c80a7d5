package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "pagerduty",
		Doc: "PagerDuty's webhooks, version 3, signed over the raw body. They carry no labels: the alerts of the incident are looked up " +
			"and mapped to labels.",
		New: newPagerDuty,
	})
}

// PagerDuty receives the webhooks of a PagerDuty subscription.
type PagerDuty struct {
	// SigningSecret is the subscription's secret: at least 24 bytes. Several are accepted, for rotation.
	SigningSecret []connect.Secret `yaml:"signing_secret"`
	// ClientCertificate, where it is given, is asked for besides the signature: PagerDuty shows one for webhooks.pagerduty.com
	// (https://v2.developer.pagerduty.com/docs/webhooks-mutual-tls), but for every customer's webhooks, so that it cannot stand for the signature.
	ClientCertificate *ClientCertificate `yaml:"client_certificate"`
	// Labels is a CEL expression that gives the labels of one PagerDuty alert: a map of strings or, when it stands for several
	// alerts, a list of such maps. It sees alert (id, alert_key, severity, summary, status, created_at), details (what the sender
	// put into custom_details), incident (id, number, title, service_id, service, urgency, priority) and the function
	// alertmanager_labels(details.firing, details.num_firing). Without it Alertmanager's default details are understood, and any
	// other alert gets its summary as alertname. The alert's severity is added where the labels have none.
	Labels string `yaml:"labels"`
	// Connection names the connection that looks alerts up. Default: pagerduty.
	Connection string `yaml:"connection"`
	// Poll finds the incidents whose webhook never came. Without it PagerDuty is not polled.
	Poll *PagerDutyPoll `yaml:"poll"`

	name    string
	mapping func() (*labelMapping, error)

	mu   sync.Mutex
	self string // guarded by mu
}

func newPagerDuty(name string) Source {
	p := &PagerDuty{Connection: "pagerduty", name: name}
	p.mapping = sync.OnceValues(func() (*labelMapping, error) { return compileMapping(p.Labels) })
	return p
}

// Validate refuses what Check refuses, and unreadable or short secrets.
func (p *PagerDuty) Validate() error {
	return errors.Join(p.Check(), validateSecrets("signing_secret", p.SigningSecret, minKeyBytes))
}

// Check implements sources.Check: a place of a secret and a connection are named, and the labels expression compiles.
func (p *PagerDuty) Check() error {
	var wrong []error
	if len(p.SigningSecret) == 0 {
		wrong = append(wrong, errors.New("signing_secret is needed: without it anybody could send alerts"))
	}
	if p.ClientCertificate != nil {
		wrong = append(wrong, p.ClientCertificate.check())
	}
	if p.Connection == "" {
		wrong = append(wrong, errors.New("connection must name a connection"))
	}
	if p.Labels != "" {
		_, err := p.mapping()
		wrong = append(wrong, err)
	}
	return errors.Join(append(wrong, p.checkPoll())...)
}

// maxSignatures bounds the signatures of one delivery: PagerDuty sends one for each active secret of the subscription.
const maxSignatures = 16

// Authenticate checks X-PagerDuty-Signature (https://developer.pagerduty.com/docs/verifying-webhook-signatures): any of its v1
// signatures, made with any of the secrets, is enough. No time is signed: a replay is found by DedupKey.
func (p *PagerDuty) Authenticate(r Request) error {
	given, err := p.presented(r)
	if err != nil {
		return err
	}
	err = anySecret(p.SigningSecret, minKeyBytes, func(secret connect.Value) bool {
		return anySignature(given, signature(secret, r.Body))
	})
	if err != nil {
		return fmt.Errorf("judging the signature: %w", err)
	}
	return nil
}

// AuthenticateEarly implements Early: what the signatures are worth takes the body.
func (p *PagerDuty) AuthenticateEarly(r Request) error {
	_, err := p.presented(r)
	return err
}

// presented are the signatures of a request that has the certificate which is asked for, if one is.
func (p *PagerDuty) presented(r Request) ([]string, error) {
	if p.ClientCertificate != nil {
		if err := p.ClientCertificate.judge(r); err != nil {
			return nil, err
		}
	}
	given, err := signatures(r.Header.Values("X-PagerDuty-Signature"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return given, nil
}

// signatures lists the v1 signatures of the header; other versions are skipped.
func signatures(header []string) ([]string, error) {
	all := strings.Split(strings.Join(header, ","), ",")
	if len(all) > maxSignatures {
		return nil, fmt.Errorf("more than %d signatures", maxSignatures)
	}
	var v1 []string
	for _, one := range all {
		if mac, ok := strings.CutPrefix(strings.Trim(one, " \t"), "v1="); ok {
			v1 = append(v1, mac)
		}
	}
	if len(v1) == 0 {
		return nil, errors.New("no v1 signature in X-PagerDuty-Signature")
	}
	return v1, nil
}

// The event types that say something about an alert.
const (
	incidentTriggered = "incident.triggered"
	incidentReopened  = "incident.reopened"
	incidentResolved  = "incident.resolved"
)

// pagerDutyBody is what decides of a webhook's body (https://developer.pagerduty.com/docs/webhooks-overview).
type pagerDutyBody struct {
	Event pagerDutyEvent `json:"event"`
}

type pagerDutyEvent struct {
	ID         string              `json:"id"`
	EventType  string              `json:"event_type"`
	OccurredAt time.Time           `json:"occurred_at"`
	Agent      *pagerDutyReference `json:"agent"`
	Data       json.RawMessage     `json:"data"`
}

type pagerDutyReference struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Summary string `json:"summary"`
}

func (e pagerDutyEvent) check() error {
	const maxID = 256
	switch {
	case e.ID == "" || len(e.ID) > maxID:
		return errors.New("the event has no id or a very long one")
	case e.EventType == "":
		return errors.New("the event has no event_type")
	case e.OccurredAt.IsZero():
		return errors.New("the event has no occurred_at")
	default:
		return nil
	}
}

// Parse reads one event. Only a triggered, reopened or resolved incident concerns an alert, and only an acknowledgement and its end are a
// person's word; all others are ignored, with a reason.
func (p *PagerDuty) Parse(body []byte, _ time.Time) (Delivery, error) {
	var read pagerDutyBody
	if err := decodeStrict(body, &read); err != nil {
		return Delivery{}, err
	}
	event := read.Event
	if err := event.check(); err != nil {
		return Delivery{}, err
	}
	d := Delivery{DedupKey: event.ID, Type: event.EventType, OccurredAt: event.OccurredAt.UTC()}
	if event.Agent != nil {
		d.Agent = event.Agent.ID
	}
	switch event.EventType {
	case incidentTriggered, incidentReopened, incidentResolved:
		return p.incident(d, event)
	case pageyPing:
		d.Ignored = "PagerDuty's test of the subscription"
	default:
		if handled(event.EventType) {
			return p.handling(d, event)
		}
		d.Ignored = fmt.Sprintf("an event of type %q neither begins nor ends an alert", clip(event.EventType))
	}
	return d, nil
}

func (p *PagerDuty) incident(d Delivery, event pagerDutyEvent) (Delivery, error) {
	in, err := event.incident()
	if err != nil {
		return Delivery{}, err
	}
	stub := p.stub(d, in)
	if d.Type == incidentResolved && !stub.Merged && event.Agent.isUser() {
		stub.EndedBy = event.Agent.name()
	}
	d.Alerts, d.Holds = []alert.Alert{stub}, in.holds(event)
	d.Incomplete = d.Type != incidentResolved
	return d, nil
}

// handling reads an event that is about who has the incident in hand.
func (p *PagerDuty) handling(d Delivery, event pagerDutyEvent) (Delivery, error) {
	in, err := event.incident()
	if err != nil {
		return Delivery{}, err
	}
	if d.Holds = in.holds(event); len(d.Holds) == 0 {
		d.Ignored = fmt.Sprintf("no person's acknowledgement begins or ends with this event of type %q", clip(event.EventType))
	}
	return d, nil
}

func (e pagerDutyEvent) incident() (pagerDutyIncident, error) {
	var in pagerDutyIncident
	if err := decodeStrict(e.Data, &in); err != nil {
		return in, fmt.Errorf("the incident of the event: %w", err)
	}
	if err := in.check(); err != nil {
		return in, fmt.Errorf("the incident of the event: %w", err)
	}
	return in, nil
}

type pagerDutyIncident struct {
	ID            string              `json:"id"`
	Type          string              `json:"type"`
	HTMLURL       string              `json:"html_url"`
	Status        string              `json:"status"`
	Number        int64               `json:"number"`
	Key           *string             `json:"incident_key"`
	CreatedAt     time.Time           `json:"created_at"`
	ReopenedAt    *time.Time          `json:"reopened_at"`
	Title         string              `json:"title"`
	Service       *pagerDutyReference `json:"service"`
	Priority      *pagerDutyReference `json:"priority"`
	Urgency       string              `json:"urgency"`
	ResolveReason *struct {
		Type     string             `json:"type"`
		Incident pagerDutyReference `json:"incident"`
	} `json:"resolve_reason"`
}

// incidentID keeps an id that becomes part of a request's path harmless.
var incidentID = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

func (in pagerDutyIncident) check() error {
	switch {
	case in.Type != "incident":
		return fmt.Errorf("its type is %q, not \"incident\"", clip(in.Type))
	case !incidentID.MatchString(in.ID):
		return fmt.Errorf("its id %q is not one of PagerDuty's", clip(in.ID))
	case in.CreatedAt.IsZero():
		return errors.New("it has no created_at")
	default:
		return nil
	}
}
