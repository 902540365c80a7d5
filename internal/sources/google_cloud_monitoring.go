package sources

import (
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "google_cloud_monitoring",
		Doc: "Google Cloud Monitoring's incidents, body version 1.2, from a webhook channel or by Pub/Sub's push. A webhook channel does not sign: " +
			"it proves itself by a password or by a token in the URL. Pub/Sub proves itself by a token that Google signs.",
		New: newGoogleCloudMonitoring,
	})
}

// GoogleCloudMonitoring receives the incidents of Google Cloud Monitoring. At least one of its proofs is configured; any suffices.
type GoogleCloudMonitoring struct {
	// BasicAuth is what a channel of type webhook_basicauth sends.
	BasicAuth BasicAuth `yaml:"basic_auth"`
	// Token is what a channel of type webhook_tokenauth has in its URL, as ?auth_token=: at least 24 bytes. Several are accepted, for
	// rotation. What stands before remediator may write URLs into its log; a password is not written there.
	Token []connect.Secret `yaml:"token"`
	// PubSub is what a push subscription with authentication sends.
	PubSub PubSubAuth `yaml:"pubsub"`

	name   string
	tokens func() (*connect.GoogleTokens, error)
}

// PubSubAuth is who a push subscription of Pub/Sub proves to be, by an OpenID Connect token that Google signs. Google's keys are kept: no
// delivery waits for them, and one that comes before they are here is answered 503, so that Pub/Sub sends it again.
type PubSubAuth struct {
	// Audience is the subscription's; where none was given there, Pub/Sub takes the push endpoint's URL.
	Audience string `yaml:"audience"`
	// ServiceAccount is the e-mail address of the one that the subscription pushes as.
	ServiceAccount string `yaml:"service_account"`
	// KeysURL is where a stand-in for Google has its keys, as a JWK set.
	KeysURL string `yaml:"keys_url"`
	// Insecure allows an http: address there.
	Insecure bool `yaml:"insecure"`
}

func (p PubSubAuth) open() (*connect.GoogleTokens, error) {
	return connect.NewGoogleTokens(connect.GoogleTokensConfig{
		Audience: p.Audience, Email: p.ServiceAccount, KeysURL: p.KeysURL, Insecure: p.Insecure,
	})
}

func newGoogleCloudMonitoring(name string) Source {
	g := &GoogleCloudMonitoring{name: name}
	g.tokens = sync.OnceValues(func() (*connect.GoogleTokens, error) { return g.PubSub.open() })
	return g
}

// Validate refuses a source without a proof, and unreadable or short secrets.
func (g *GoogleCloudMonitoring) Validate() error {
	return errors.Join(g.Check(), g.proofs().validate())
}

// Check implements sources.Check.
func (g *GoogleCloudMonitoring) Check() error {
	return g.proofs().check("basic_auth, token or pubsub")
}

// Authenticate takes the password, the token of the URL or the token of Pub/Sub, whichever is configured; the body is not signed.
func (g *GoogleCloudMonitoring) Authenticate(r Request) error { return g.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (g *GoogleCloudMonitoring) AuthenticateEarly(r Request) error { return g.proofs().judgeEarly(r) }

// Sign implements Sender: by the password, else by the first token of the URL.
func (g *GoogleCloudMonitoring) Sign(r *Request) error { return g.proofs().sign(r) }

func (g *GoogleCloudMonitoring) proofs() proofs {
	return proofs{authorization{basic: g.BasicAuth}, urlToken(g.Token), pubSubPush{g.PubSub, g.tokens}}
}

// tokenParameter is the name that Google's own forms give to the token of the URL.
const tokenParameter = "auth_token"

// urlToken is the proof by a secret in the URL.
type urlToken []connect.Secret

func (t urlToken) isZero() bool    { return len(t) == 0 }
func (t urlToken) check() error    { return nil }
func (t urlToken) validate() error { return validateSecrets("token", t, minKeyBytes) }
func (t urlToken) signs() bool     { return false }

func (t urlToken) judge(r Request) error {
	given := r.Query[tokenParameter]
	if len(given) != 1 {
		return fmt.Errorf("%w: %d parameters %s in the URL instead of one", ErrUnauthenticated, len(given), tokenParameter)
	}
	if err := anySecret(t, minKeyBytes, func(v connect.Value) bool { return sameText(given[0], v.Reveal()) }); err != nil {
		return fmt.Errorf("judging the URL's %s: %w", tokenParameter, err)
	}
	return nil
}

func (t urlToken) sign(r *Request) error {
	token, err := readSecret(t[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("signing with the token of the URL: %w", err)
	}
	if r.Query == nil {
		r.Query = url.Values{}
	}
	r.Query.Set(tokenParameter, token.Reveal())
	return nil
}

// pubSubPush is the proof by a token that Google signs for a push subscription.
type pubSubPush struct {
	PubSubAuth
	tokens func() (*connect.GoogleTokens, error)
}

func (p pubSubPush) isZero() bool { return p.PubSubAuth == PubSubAuth{} }

func (p pubSubPush) check() error {
	if _, err := p.tokens(); err != nil {
		return fmt.Errorf("pubsub: %w", err)
	}
	return nil
}

func (p pubSubPush) validate() error { return nil }

func (p pubSubPush) signs() bool { return false }

func (p pubSubPush) judge(r Request) error {
	scheme, token, err := credentials(r.Header)
	switch {
	case err != nil:
		return err
	case scheme != "bearer":
		return fmt.Errorf("%w: the Authorization header holds no token of Pub/Sub", ErrUnauthenticated)
	}
	tokens, err := p.tokens()
	if err != nil {
		return fmt.Errorf("%w: pubsub: %w", ErrUnavailable, err)
	}
	switch err := tokens.Verify(token); {
	case errors.Is(err, connect.ErrKeysUnavailable):
		return fmt.Errorf("%w: judging Pub/Sub's token: %w", ErrUnavailable, err)
	case err != nil:
		return fmt.Errorf("%w: judging Pub/Sub's token: %w", ErrUnauthenticated, err)
	default:
		return nil
	}
}

func (p pubSubPush) sign(*Request) error {
	return errors.New("only Google signs for pubsub")
}
