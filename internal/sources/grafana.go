package sources

import (
	"cmp"
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
	return errors.Join(g.Check(), g.proofs().validate())
}

// Check implements sources.Check.
func (g *Grafana) Check() error {
	return g.proofs().check("signing_secret, bearer_token or basic_auth")
}

// Authenticate takes the signature or the Authorization header, whichever is configured.
func (g *Grafana) Authenticate(r Request) error { return g.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (g *Grafana) AuthenticateEarly(r Request) error { return g.proofs().judgeEarly(r) }

// Sign implements Sender: by the first signing secret, else by the first bearer token, else by the password.
func (g *Grafana) Sign(r *Request) error { return g.proofs().sign(r) }

func (g *Grafana) proofs() proofs {
	return proofs{(*grafanaSigning)(g), authorization{bearer: g.BearerToken, basic: g.BasicAuth}}
}

// grafanaSigning is the proof by Grafana's signature
// (https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/#hmac-signature).
type grafanaSigning Grafana

func (g *grafanaSigning) isZero() bool {
	return len(g.SigningSecret) == 0 && g.SignatureHeader == "" && g.TimestampHeader == "" && g.Tolerance == 0
}

func (g *grafanaSigning) check() error {
	switch {
	case len(g.SigningSecret) == 0:
		return errors.New("signature_header, timestamp_header and tolerance are about signing_secret, which is not set")
	case g.Tolerance != 0 && g.TimestampHeader == "":
		return errors.New("tolerance is about timestamp_header, which is not set")
	case g.Tolerance < 0 || g.Tolerance > mostTolerance:
		return fmt.Errorf("tolerance must be between 0s and %s", mostTolerance)
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

func (g *grafanaSigning) validate() error {
	return validateSecrets("signing_secret", g.SigningSecret, minKeyBytes)
}

func (g *grafanaSigning) signs() bool { return true }

func (g *grafanaSigning) header() string { return cmp.Or(g.SignatureHeader, grafanaSignature) }

func (g *grafanaSigning) tolerance() time.Duration { return cmp.Or(g.Tolerance, defaultTolerance) }

func (g *grafanaSigning) judge(r Request) error {
	given, err := onlyHeader(r.Header, g.header())
	if err != nil {
		return err
	}
	signed := r.Body
	if g.TimestampHeader != "" {
		at, err := g.signedAt(r)
		if err != nil {
			return err
		}
		signed = stamped(at, r.Body)
	}
	err = anySecret(g.SigningSecret, minKeyBytes, func(secret connect.Value) bool {
		return anySignature([]string{given}, signature(secret, signed))
	})
	if err != nil {
		return fmt.Errorf("judging the signature: %w", err)
	}
	return nil
}

// sign signs with the first secret. A time that is signed is now.
func (g *grafanaSigning) sign(r *Request) error {
	secret, err := readSecret(g.SigningSecret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("signing with the signing secret: %w", err)
	}
	signed := r.Body
	if g.TimestampHeader != "" {
		now := time.Now()
		header(r).Set(g.TimestampHeader, strconv.FormatInt(now.Unix(), 10))
		signed = stamped(now, r.Body)
	}
	header(r).Set(g.header(), signature(secret, signed))
	return nil
}

// stamped is what is signed where the time is signed too. The time is written as Grafana does, so that it has one spelling.
func stamped(at time.Time, body []byte) []byte {
	return append([]byte(strconv.FormatInt(at.Unix(), 10)+":"), body...)
}

// signedAt reads the time that the signature covers, and refuses one that is not now.
func (g *grafanaSigning) signedAt(r Request) (time.Time, error) {
	given, err := onlyHeader(r.Header, g.TimestampHeader)
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(given), 10, 64)
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
