package sources

import (
	"errors"
	"fmt"
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
	if err := g.Check(); err != nil {
		return err
	}
	return errors.Join(g.authorization().validate(), validateSecrets("token", g.Token, minKeyBytes))
}

// Check implements sources.Check.
func (g *GoogleCloudMonitoring) Check() error {
	if g.PubSub != (PubSubAuth{}) {
		if _, err := g.PubSub.open(); err != nil {
			return fmt.Errorf("pubsub: %w", err)
		}
		return nil
	}
	if g.authorization().isZero() && len(g.Token) == 0 {
		return errors.New("basic_auth, token or pubsub is needed: without one anybody could send alerts")
	}
	return nil
}

func (g *GoogleCloudMonitoring) authorization() authorization {
	return authorization{basic: g.BasicAuth}
}

// tokenParameter is the name that Google's own forms give to the token of the URL.
const tokenParameter = "auth_token"

// Authenticate judges the token of the URL and the Authorization header, whichever the request has; the body is not signed.
func (g *GoogleCloudMonitoring) Authenticate(r Request) error {
	var given []func() error
	if len(g.Token) > 0 && r.Query.Has(tokenParameter) {
		given = append(given, func() error { return g.judgeToken(r.Query[tokenParameter]) })
	}
	scheme, token, err := credentials(r.Header)
	switch {
	case err != nil && len(r.Header.Values("Authorization")) > 0:
		return err
	case scheme == "basic" && !g.BasicAuth.isZero():
		given = append(given, func() error { return g.authorization().judge(r.Header) })
	case scheme == "bearer" && g.PubSub != (PubSubAuth{}):
		given = append(given, func() error { return g.judgePubSub(token) })
	}
	return anyProof(given...)
}

func (g *GoogleCloudMonitoring) judgeToken(given []string) error {
	if len(given) != 1 {
		return fmt.Errorf("%w: the URL has more than one %s", ErrUnauthenticated, tokenParameter)
	}
	if err := anySecret(g.Token, minKeyBytes, func(v connect.Value) bool { return sameText(given[0], v.Reveal()) }); err != nil {
		return fmt.Errorf("judging the URL's %s: %w", tokenParameter, err)
	}
	return nil
}

func (g *GoogleCloudMonitoring) judgePubSub(token string) error {
	tokens, err := g.tokens()
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
