package connect

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
)

// systemHTTP is the name of the connection kind of any other HTTP API.
const systemHTTP = "http"

// APIConfig is a connection of kind `http`: an HTTP API of any make, and how we prove ourselves to it. Every secret stands here, so that
// none can be sent to another address than the one it was given for.
type APIConfig struct {
	// Endpoint is the base URL. Only what is below it is asked.
	Endpoint string `yaml:"endpoint"`
	// Token is sent as a bearer token; exclusive with username.
	Token Secret `yaml:"token"`
	// Username of HTTP's basic authentication.
	Username string `yaml:"username"`
	// Password of HTTP's basic authentication.
	Password Secret `yaml:"password"`
	// Headers are sent with every call; they are no secrets.
	Headers map[string]string `yaml:"headers"`
	// SecretHeaders are sent with every call: the name of a header, and where its value is kept.
	SecretHeaders map[string]Secret `yaml:"secret_headers"`
	// Secrets are those that probes and actions name: the password of a login, the key of a signature.
	Secrets map[string]Secret `yaml:"secrets"`
	// Timeout of one call of an action; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows an http: endpoint.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemHTTP,
		Doc:  "An HTTP API of any make, with the credentials that belong to its address.",
		New:  func() Config { return &APIConfig{} },
	})
}

// Check implements Config.
func (c *APIConfig) Check() error {
	if _, err := parseEndpoint(c.Endpoint, c.Insecure); err != nil {
		return err
	}
	switch {
	case !c.Token.IsZero() && c.Username != "":
		return errors.New("a token and a username exclude each other")
	case (c.Username == "") != c.Password.IsZero():
		return errors.New("a username needs a password, and a password a username")
	}
	for name := range c.Headers {
		if err := CheckHeader(name); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
	}
	for name, secret := range c.SecretHeaders {
		if err := errors.Join(CheckHeader(name), place(secret)); err != nil {
			return fmt.Errorf("secret_headers: %w", err)
		}
	}
	for name, secret := range c.Secrets {
		if err := place(secret); err != nil {
			return fmt.Errorf("secrets: %s: %w", name, err)
		}
	}
	return nil
}

func place(s Secret) error {
	if (s.File == "") == (s.Env == "") {
		return errors.New("either file or env must be given")
	}
	return nil
}

// ours are the headers that this program sets, or that decide where a request goes and how long it is.
var ours = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Host", "Idempotency-Key", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// CheckHeader refuses what is no name of a header that a rules file may set. It is pure.
func CheckHeader(name string) error {
	plain := strings.TrimFunc(name, func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	})
	switch {
	case name == "" || plain != "":
		return fmt.Errorf("%.40q is no name of a header", name)
	case slices.Contains(ours, textproto.CanonicalMIMEHeaderKey(name)):
		return fmt.Errorf("the header %s cannot be set by hand", name)
	}
	return nil
}

// Open implements Config.
func (c *APIConfig) Open(context.Context) (io.Closer, error) { return NewAPI(*c) }

// API is one HTTP API. Its calls are those of REST. Safe for concurrent use.
type API struct {
	*REST
	cfg APIConfig
}

// NewAPI checks the configuration. It reads no secret and calls nothing.
func NewAPI(c APIConfig) (*API, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", systemHTTP, err)
	}
	a := &API{cfg: c}
	rest, err := NewREST(RESTConfig{
		System: systemHTTP, Endpoint: c.Endpoint, Timeout: c.Timeout, Insecure: c.Insecure,
		Authorize: func(_ context.Context, req *http.Request) ([]Value, error) { return a.Authorize(req) },
	})
	if err != nil {
		return nil, err
	}
	a.REST = rest
	return a, nil
}

// Below gives the address of a path, such as "/v1/flags?limit=1". It refuses what could lead out of the endpoint.
func (a *API) Below(path string) (*url.URL, error) { return below(a.base, path) }

// CheckPath refuses what can be no path below an endpoint. It is pure.
func CheckPath(path string) error {
	_, err := below(&url.URL{Scheme: "https", Host: "localhost"}, path)
	return err
}

func below(base *url.URL, path string) (*url.URL, error) {
	u, err := url.Parse(path)
	switch {
	case err != nil || !strings.HasPrefix(path, "/") || u.IsAbs() || u.Host != "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%.80q is no path: it begins with / and names no host", path)
	case strings.Contains(u.Path, `\`) || strings.Contains(u.Path, "//") || slices.ContainsFunc(strings.Split(u.Path, "/"), dots):
		return nil, fmt.Errorf("%.80q is no plain path: it may lead elsewhere", path)
	}
	full := *base
	full.Path = strings.TrimSuffix(base.Path, "/") + u.Path
	full.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + u.EscapedPath()
	full.RawQuery = u.Query().Encode()
	return &full, nil
}

func dots(part string) bool { return part == "." || part == ".." }

// covers reports whether an address is below the endpoint.
func (a *API) covers(u *url.URL) bool {
	root := strings.TrimSuffix(a.base.Path, "/") + "/"
	return u.Scheme == a.base.Scheme && hostPort(u) == hostPort(a.base) && strings.HasPrefix(u.Path+"/", root) &&
		!slices.ContainsFunc(strings.Split(u.Path, "/"), dots)
}

// Authorize adds the credentials, read now, to a request, and gives them for redaction. It refuses an address that is not below the
// endpoint: they belong to nobody else.
func (a *API) Authorize(req *http.Request) ([]Value, error) {
	if !a.covers(req.URL) {
		return nil, fmt.Errorf("%w: the credentials for %s are not sent to %s", ErrHostRefused, a.base.Host, req.URL.Host)
	}
	for name, value := range a.cfg.Headers {
		req.Header.Set(name, value)
	}
	var secrets []Value
	for _, name := range slices.Sorted(maps.Keys(a.cfg.SecretHeaders)) {
		value, err := a.cfg.SecretHeaders[name].Read()
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, value)
		req.Header.Set(name, value.Reveal())
	}
	return a.prove(req, secrets)
}

func (a *API) prove(req *http.Request, secrets []Value) ([]Value, error) {
	switch {
	case !a.cfg.Token.IsZero():
		token, err := a.cfg.Token.Read()
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		return append(secrets, token), err
	case a.cfg.Username != "":
		password, err := a.cfg.Password.Read()
		req.SetBasicAuth(a.cfg.Username, password.Reveal())
		encoded := base64.StdEncoding.EncodeToString([]byte(a.cfg.Username + ":" + password.Reveal()))
		return append(secrets, password, Value(encoded)), err
	default:
		return secrets, nil
	}
}

// Secret reads one of the connection's named secrets now.
func (a *API) Secret(name string) (Value, error) {
	secret, ok := a.cfg.Secrets[name]
	if !ok {
		return "", &SecretError{Err: fmt.Errorf("the connection declares none called %.40q", name)}
	}
	return secret.Read()
}
