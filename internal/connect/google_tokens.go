package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	googleKeys = "https://www.googleapis.com/oauth2/v3/certs"
	// maxToken is several times what Google's tokens have, in bytes.
	maxToken = 8 << 10
	// tokenSkew is how far Google's clock may be ahead of ours.
	tokenSkew = time.Minute
)

// ErrTokenRefused is returned, wrapped with a reason, for a token that proves nothing. The reason holds nothing of the token.
var ErrTokenRefused = errors.New("token refused")

// ErrKeysUnavailable is returned, wrapped, while a token cannot be judged because Google's keys are not here.
var ErrKeysUnavailable = errors.New("Google's keys cannot be had now")

// GoogleTokensConfig says which tokens prove something.
type GoogleTokensConfig struct {
	Audience string // whom a token is made for
	Email    string // the service account that it speaks for
	KeysURL  string // Google's keys as a JWK set; empty means https://www.googleapis.com/oauth2/v3/certs
	Insecure bool   // allows an http: address
}

// GoogleTokens verifies the OpenID Connect tokens by which Google's services prove who calls, as Pub/Sub's push does
// (https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions). Safe for concurrent use.
type GoogleTokens struct {
	cfg  GoogleTokensConfig
	keys *keyRing
}

// NewGoogleTokens checks the configuration. It calls nothing.
func NewGoogleTokens(c GoogleTokensConfig) (*GoogleTokens, error) {
	switch {
	case c.Audience == "":
		return nil, errors.New("audience is missing: a token made for anybody else would do")
	case c.Email == "":
		return nil, errors.New("service_account is missing: every service account of Google's would do")
	case c.KeysURL == "" && c.Insecure:
		return nil, errors.New("insecure is about keys_url, which is not set")
	case c.KeysURL == "":
		c.KeysURL = googleKeys
	}
	at, err := parseEndpoint(c.KeysURL, c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("keys_url: %w", err)
	}
	return &GoogleTokens{cfg: c, keys: newKeyRing(at, c.Insecure)}, nil
}

func newKeyRing(at *url.URL, insecure bool) *keyRing {
	client := NewHTTPClient(HTTPConfig{Hosts: []string{hostPort(at)}, MaxBody: maxKeys, Insecure: insecure})
	return &keyRing{get: func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, at.String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		return client.Do(req)
	}}
}

// googleClaims are those that decide.
type googleClaims struct {
	jwt.Claims
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
}

// Verify judges a token. It never waits for the network: keys that are missing are fetched behind it, and ErrKeysUnavailable says so until
// they are here. What can be refused without a key is refused first, so that nobody makes us fetch with a token that would not do anyway.
func (g *GoogleTokens) Verify(token string) error {
	if len(token) > maxToken {
		return refusedToken("it is longer than %d bytes", maxToken)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 {
		return refusedToken("it is no JSON web token signed with RS256")
	}
	var claims googleClaims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return refusedToken("its claims cannot be read")
	}
	if err := g.judge(claims, time.Now()); err != nil {
		return err
	}
	key, err := g.keys.find(parsed.Headers[0].KeyID)
	if err != nil {
		return err
	}
	if err := parsed.Claims(key); err != nil {
		return refusedToken("its signature is not Google's")
	}
	return nil
}

func refusedToken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTokenRefused, fmt.Sprintf(format, args...))
}

func (g *GoogleTokens) judge(c googleClaims, now time.Time) error {
	switch {
	case c.Issuer != "https://accounts.google.com" && c.Issuer != "accounts.google.com":
		return refusedToken("Google has not issued it")
	case len(c.Audience) != 1 || c.Audience[0] != g.cfg.Audience:
		return refusedToken("it is made for another audience")
	case c.Email != g.cfg.Email:
		return refusedToken("it speaks for another account")
	case !c.EmailVerified:
		return refusedToken("its account is not verified")
	case c.Expiry == nil || !now.Before(c.Expiry.Time()):
		return refusedToken("it has expired")
	case c.IssuedAt == nil || c.IssuedAt.Time().After(now.Add(tokenSkew)) || c.NotBefore.Time().After(now.Add(tokenSkew)):
		return refusedToken("it is not valid yet")
	default:
		return nil
	}
}
