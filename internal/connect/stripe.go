package connect

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	systemStripe   = "stripe"
	stripeEndpoint = "https://api.stripe.com"
	// stripeVersion names the shape of the answers, whatever the account's default is. What is read of them has had it since 2019.
	stripeVersion = "2025-04-30.basil"
	// maxStripeBody holds a page of a hundred events, each with the object it tells of.
	maxStripeBody = 16 << 20
	// restrictedKey begins the keys that can do only what was ticked for them; a whole account's begin with sk_.
	restrictedKey = "rk_"
)

// StripeConfig is the connection `stripe`.
type StripeConfig struct {
	// Endpoint is the base URL; empty means https://api.stripe.com.
	Endpoint string `yaml:"endpoint"`
	// Key is a restricted key (rk_…) that may read webhook endpoints, events, payment intents and charges. A key of the whole account
	// is refused: nothing here changes anything in Stripe.
	Key Secret `yaml:"key" rules:"required"`
	// Timeout of one call; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows an http: endpoint.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemStripe,
		Doc:  "A Stripe account: webhooks and payments are read, nothing is changed and no amount is told.",
		New:  func() Config { return &StripeConfig{} },
	})
}

// Check implements Config.
func (c *StripeConfig) Check() error {
	_, err := NewStripe(*c)
	return err
}

// Open implements Config.
func (c *StripeConfig) Open(context.Context) (io.Closer, error) { return NewStripe(*c) }

// Stripe is one account. Safe for concurrent use.
type Stripe struct{ *REST }

// NewStripe checks the configuration. It reads no secret and calls nothing.
func NewStripe(c StripeConfig) (*Stripe, error) {
	if c.Key.IsZero() {
		return nil, errors.New("stripe: key is not set")
	}
	if c.Endpoint == "" {
		c.Endpoint = stripeEndpoint
	}
	rest, err := NewREST(RESTConfig{
		System: systemStripe, Endpoint: c.Endpoint, Timeout: c.Timeout, MaxBody: maxStripeBody, Insecure: c.Insecure, Authorize: restricted(c.Key),
	})
	if err != nil {
		return nil, err
	}
	return &Stripe{REST: rest}, nil
}

// restricted authorizes with a restricted key and with no other.
func restricted(key Secret) func(context.Context, *http.Request) ([]Value, error) {
	return func(_ context.Context, req *http.Request) ([]Value, error) {
		value, err := key.Read()
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(value.Reveal(), restrictedKey) {
			return nil, &SecretError{Secret: key, Err: errors.New("it is no restricted key, which begins with " + restrictedKey)}
		}
		req.Header.Set("Authorization", "Bearer "+value.Reveal())
		req.Header.Set("Stripe-Version", stripeVersion)
		return []Value{value}, nil
	}
}
