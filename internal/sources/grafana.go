package sources

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "grafana",
		Doc: "Grafana Alerting's webhook contact point, body version 1. Grafana signs from version 12 on, or proves itself by a bearer token or " +
			"a password. Each alert of a group is judged by itself.",
		New: func(name string) Source { return &Grafana{name: name} },
	})
}

// The defaults of Grafana's parameters, and the most that Tolerance may be.
const (
	grafanaSignature = "X-Grafana-Alerting-Signature"
	defaultTolerance = 5 * time.Minute
	mostTolerance    = time.Hour
)

// Grafana receives the webhooks of Grafana Alerting. At least one of its proofs is configured; any suffices.
type Grafana struct {
	// SigningSecret is the secret of the contact point's HMAC signature: at least 24 bytes. Several are accepted, for rotation.
	SigningSecret []connect.Secret `yaml:"signing_secret"`
	// SignatureHeader is where the signature is; empty means X-Grafana-Alerting-Signature, Grafana's own default.
	SignatureHeader string `yaml:"signature_header"`
	// TimestampHeader is where Grafana writes when it signed, where the contact point names such a header. The time is signed too: with it
	// a delivery cannot be sent again later. Without it a repeat is told by its alerts' episodes alone.
	TimestampHeader string `yaml:"timestamp_header"`
	// Tolerance is how far that time may be from ours, either way; 0 means 5m, and more than 1h is refused.
	Tolerance time.Duration `yaml:"tolerance"`
	// BearerToken is what Grafana sends as its authorization header: at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is what Grafana sends as its user and password.
	BasicAuth BasicAuth `yaml:"basic_auth"`

	name string
}

// Validate refuses a source without a proof, and unreadable or short secrets.
func (g *Grafana) Validate() error {
	if err := g.Check(); err != nil {
		return err
	}
	return errors.Join(validateSecrets("signing_secret", g.SigningSecret, minKeyBytes), g.authorization().validate())
}

// Check implements sources.Check.
func (g *Grafana) Check() error {
	signs := len(g.SigningSecret) > 0
	switch {
	case !signs && (g.SignatureHeader != "" || g.TimestampHeader != ""):
		return errors.New("signature_header and timestamp_header are about signing_secret, which is not set")
	case g.Tolerance != 0 && g.TimestampHeader == "":
		return errors.New("tolerance is about timestamp_header, which is not set")
	case g.Tolerance < 0 || g.Tolerance > mostTolerance:
		return fmt.Errorf("tolerance must be between 0s and %s", mostTolerance)
	case !signs && g.authorization().isZero():
		return errors.New("signing_secret, bearer_token or basic_auth is needed: without one anybody could send alerts")
	}
	for field, name := range map[string]string{"signature_header": g.SignatureHeader, "timestamp_header": g.TimestampHeader} {
		if name == "" {
			continue
		}
		if err := connect.CheckHeader(name); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	return nil
}

func (g *Grafana) authorization() authorization {
	return authorization{bearer: g.BearerToken, basic: g.BasicAuth}
}

func (g *Grafana) signatureHeader() string {
	if g.SignatureHeader == "" {
		return grafanaSignature
	}
	return g.SignatureHeader
}

func (g *Grafana) tolerance() time.Duration {
	if g.Tolerance == 0 {
		return defaultTolerance
	}
	return g.Tolerance
}

// Authenticate judges the signature (https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/#hmac-signature)
// and the Authorization header, whichever the request has.
func (g *Grafana) Authenticate(r Request) error {
	var given []func() error
	if len(g.SigningSecret) > 0 && len(r.Header.Values(g.signatureHeader())) > 0 {
		given = append(given, func() error { return g.judgeSignature(r) })
	}
	if !g.authorization().isZero() && len(r.Header.Values("Authorization")) > 0 {
		given = append(given, func() error { return g.authorization().judge(r.Header) })
	}
	return anyProof(given...)
}

func (g *Grafana) judgeSignature(r Request) error {
	given := r.Header.Values(g.signatureHeader())
	if len(given) != 1 {
		return fmt.Errorf("%w: %d signatures instead of one", ErrUnauthenticated, len(given))
	}
	signed := r.Body
	if g.TimestampHeader != "" {
		at, err := g.signedAt(r)
		if err != nil {
			return err
		}
		signed = stamped(at, r.Body)
	}
	err := anySecret(g.SigningSecret, minKeyBytes, func(secret connect.Value) bool { return anySignature(given, signature(secret, signed)) })
	if err != nil {
		return fmt.Errorf("judging the signature: %w", err)
	}
	return nil
}

// stamped is what is signed where the time is signed too. The time is written as Grafana does, so that it has one spelling.
func stamped(at time.Time, body []byte) []byte {
	return append([]byte(strconv.FormatInt(at.Unix(), 10)+":"), body...)
}

// signedAt reads the time that the signature covers, and refuses one that is not now.
func (g *Grafana) signedAt(r Request) (time.Time, error) {
	given := r.Header.Values(g.TimestampHeader)
	if len(given) != 1 {
		return time.Time{}, fmt.Errorf("%w: %d headers %s instead of one", ErrUnauthenticated, len(given), g.TimestampHeader)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(given[0]), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: the header %s holds no time in seconds since 1970", ErrUnauthenticated, g.TimestampHeader)
	}
	at := time.Unix(seconds, 0)
	if age := time.Since(at); age > g.tolerance() || age < -g.tolerance() {
		return time.Time{}, fmt.Errorf("%w: it was signed more than %s before or after now", ErrUnauthenticated, g.tolerance())
	}
	return at, nil
}

// Parse reads one group of body version 1. That a rule's data source fails or has no data is an alert too, DatasourceError or
// DatasourceNoData with the rule's labels: which of them mean something is for the rules to say.
func (g *Grafana) Parse(body []byte, _ time.Time) (Delivery, error) {
	return groupFormat{sender: "Grafana", version: "1", others: "Alertmanager's"}.read(g.name, body)
}
