package connect

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"
)

const (
	systemSentry   = "sentry"
	sentryEndpoint = "https://sentry.io"
	// maxSentryBody holds a page of a hundred issues with their statistics.
	maxSentryBody = 8 << 20
)

// SentryConfig is the connection `sentry`.
type SentryConfig struct {
	// Endpoint is the base URL; empty means https://sentry.io. An organization that Sentry keeps in another region has that region's, such
	// as https://de.sentry.io.
	Endpoint string `yaml:"endpoint"`
	// Organization is the organization's slug.
	Organization string `yaml:"organization" rules:"required"`
	// Token is an auth token with the scope event:read, and no other.
	Token Secret `yaml:"token" rules:"required"`
	// Timeout of one call; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows an http: endpoint.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemSentry,
		Doc:  "An organization in Sentry: its issues are read, nothing is changed.",
		New:  func() Config { return &SentryConfig{} },
	})
}

// Check implements Config.
func (c *SentryConfig) Check() error {
	_, err := NewSentry(*c)
	return err
}

// Open implements Config.
func (c *SentryConfig) Open(context.Context) (io.Closer, error) { return NewSentry(*c) }

// Sentry is one organization. Safe for concurrent use.
type Sentry struct {
	*REST
	Organization string // its slug, which is safe in a path
}

var sentrySlug = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// NewSentry checks the configuration. It reads no secret and calls nothing.
func NewSentry(c SentryConfig) (*Sentry, error) {
	switch {
	case !sentrySlug.MatchString(c.Organization):
		return nil, fmt.Errorf("sentry: organization: %.80q is no slug", c.Organization)
	case c.Token.IsZero():
		return nil, fmt.Errorf("sentry: token is not set")
	case c.Endpoint == "":
		c.Endpoint = sentryEndpoint
	}
	rest, err := NewREST(RESTConfig{
		System: systemSentry, Endpoint: c.Endpoint, Timeout: c.Timeout, MaxBody: maxSentryBody, Insecure: c.Insecure, Authorize: Bearer(c.Token),
	})
	if err != nil {
		return nil, err
	}
	return &Sentry{REST: rest, Organization: c.Organization}, nil
}
