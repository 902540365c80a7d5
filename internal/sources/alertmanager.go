package sources

import (
	"errors"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "alertmanager",
		Doc: "Prometheus Alertmanager's webhook_config, body version 4. Alertmanager does not sign: it proves itself by a bearer token, " +
			"a password or a client certificate. Each alert of a group is judged by itself.",
		New: newAlertmanager,
	})
}

// Alertmanager receives the webhooks of a Prometheus Alertmanager. At least one of its proofs is configured; any suffices.
type Alertmanager struct {
	// BearerToken is what Alertmanager sends by http_config.authorization: at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is what Alertmanager sends by http_config.basic_auth.
	BasicAuth BasicAuth `yaml:"basic_auth"`
	// ClientCertificate is what Alertmanager shows by http_config.tls_config.
	ClientCertificate ClientCertificate `yaml:"client_certificate"`
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
	return errors.Join(a.proofs().validate(), a.validateAPI())
}

// Check implements sources.Check.
func (a *Alertmanager) Check() error {
	if err := a.proofs().check("bearer_token, basic_auth or client_certificate"); err != nil {
		return err
	}
	return errors.Join(a.checkAPI(), a.checkPoll(), a.Watchdog.check())
}

// Authenticate judges the Authorization header and the client certificate; the body is not signed.
func (a *Alertmanager) Authenticate(r Request) error { return a.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (a *Alertmanager) AuthenticateEarly(r Request) error { return a.proofs().judgeEarly(r) }

func (a *Alertmanager) proofs() proofs {
	return proofs{authorization{bearer: a.BearerToken, basic: a.BasicAuth}, a.ClientCertificate}
}

// Parse reads one group of body version 4.
func (a *Alertmanager) Parse(body []byte, _ time.Time) (Delivery, error) {
	return groupFormat{sender: "Alertmanager", version: "4", others: "Grafana's"}.read(a.name, body)
}
