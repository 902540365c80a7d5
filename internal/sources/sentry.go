package sources

import (
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "sentry",
		Doc: "Sentry's webhooks of an integration: issue alerts, metric alerts, issues and errors. Each is signed with the integration's client " +
			"secret.",
		New: func(name string) Source { return &Sentry{name: name} },
	})
}

// Sentry receives the webhooks of one Sentry integration.
type Sentry struct {
	// ClientSecret is the integration's: at least 24 bytes. Several are accepted, for rotation.
	ClientSecret []connect.Secret `yaml:"client_secret"`

	name string
}

// Validate refuses a source without a secret, and unreadable or short secrets.
func (s *Sentry) Validate() error {
	return errors.Join(s.Check(), validateSecrets("client_secret", s.ClientSecret, minKeyBytes))
}

// Check implements sources.Check.
func (s *Sentry) Check() error {
	if len(s.ClientSecret) == 0 {
		return errors.New("client_secret is needed: without it anybody could send alerts")
	}
	return nil
}

const sentrySignature = "Sentry-Hook-Signature"

// Authenticate checks Sentry-Hook-Signature, the HMAC-SHA256 of the body in small hex
// (https://docs.sentry.io/organization/integrations/integration-platform/webhooks/#verifying-the-signature). It covers the body alone, so that no
// other header is looked at: what a hook is about is told by its body, and its age by the times there. Both Sentry-Hook-Resource and
// Sentry-Hook-Timestamp can be anybody's.
func (s *Sentry) Authenticate(r Request) error {
	given := r.Header.Values(sentrySignature)
	if len(given) != 1 {
		return fmt.Errorf("%w: %d headers %s instead of one", ErrUnauthenticated, len(given), sentrySignature)
	}
	err := anySecret(s.ClientSecret, minKeyBytes, func(secret connect.Value) bool { return anySignature(given, signature(secret, r.Body)) })
	if err != nil {
		return fmt.Errorf("judging the signature: %w", err)
	}
	return nil
}

// sentryBody is what decides of a hook. Which of the objects its data hold tells what it is about.
type sentryBody struct {
	Action looseText   `json:"action"`
	Data   *sentryData `json:"data"`
}

type sentryData struct {
	Event         *sentryEvent  `json:"event"` // of an issue alert
	Error         *sentryEvent  `json:"error"`
	Issue         *sentryIssue  `json:"issue"`
	MetricAlert   *sentryMetric `json:"metric_alert"`
	Installation  *struct{}     `json:"installation"`
	TriggeredRule looseText     `json:"triggered_rule"`
	IssueAlert    *struct {
		Title looseText `json:"title"`
	} `json:"issue_alert"`
	DescriptionText  looseText `json:"description_text"`
	DescriptionTitle looseText `json:"description_title"`
	WebURL           looseText `json:"web_url"`
}

// about names what a hook is about as Sentry does, "" for anything else.
func (d sentryData) about() (string, error) {
	var found []string
	for _, one := range []struct {
		name  string
		there bool
	}{
		{"event_alert", d.Event != nil}, {"error", d.Error != nil}, {"issue", d.Issue != nil},
		{"metric_alert", d.MetricAlert != nil}, {"installation", d.Installation != nil},
	} {
		if one.there {
			found = append(found, one.name)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("the body is about several things at once: %s", found)
	}
}

// Parse reads one hook.
func (s *Sentry) Parse(body []byte, _ time.Time) (Delivery, error) {
	var read sentryBody
	if err := decodeStrict(body, &read); err != nil {
		return Delivery{}, err
	}
	if read.Action == "" || read.Data == nil {
		return Delivery{}, errors.New("the body has no action or no data")
	}
	about, err := read.Data.about()
	if err != nil {
		return Delivery{}, err
	}
	d := Delivery{Type: about + "." + clip(string(read.Action))}
	switch about {
	case "event_alert":
		d, err = s.issueAlert(d, *read.Data)
	case "error":
		d, err = s.errorEvent(d, *read.Data)
	case "metric_alert":
		d, err = s.metricAlert(d, string(read.Action), *read.Data)
	case "issue":
		d, err = s.issue(d, string(read.Action), *read.Data.Issue)
	case "installation":
		d.Ignored = "Sentry tells that the integration was installed or removed"
	default:
		d.Type = "other" + d.Type
		d.Ignored = fmt.Sprintf("a hook of Sentry with the action %q is about nothing that begins or ends an alert", clip(string(read.Action)))
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("%s: %w", about, err)
	}
	return d, nil
}
