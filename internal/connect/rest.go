package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// RESTConfig says how the JSON API of a system is reached.
type RESTConfig struct {
	System   string // the name under which errors tell of it: "sentry"
	Endpoint string // base URL
	// Hosts may be reached beside the endpoint's own.
	Hosts    []string
	Timeout  time.Duration // of one call; 0 means 10 s
	MaxBody  int64         // bytes of an answer; 0 means 1 MiB
	Insecure bool          // allows http: endpoints
	// Authorize adds a credential, read anew for each call, and gives the secrets that no error may show. Nil: the API needs none.
	Authorize func(context.Context, *http.Request) ([]Value, error)
}

// REST calls the JSON API of one system. Every failed call is a *CallError or a *RateLimited and shows no secret. Nothing is retried here.
// Safe for concurrent use.
type REST struct {
	cfg    RESTConfig
	base   *url.URL
	client *http.Client
	still  *http.Client // follows no redirect: what it leads to would be another call, and its answer none to ours
}

// NewREST checks the endpoint. It reads no secret and calls nothing.
func NewREST(c RESTConfig) (*REST, error) {
	base, err := parseEndpoint(c.Endpoint, c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.System, err)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	client := NewHTTPClient(HTTPConfig{
		Hosts: append([]string{hostPort(base)}, c.Hosts...), Timeout: c.Timeout, MaxBody: c.MaxBody, Insecure: c.Insecure,
	})
	still := *client
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &REST{cfg: c, base: base, client: client, still: &still}, nil
}

// Close closes idle connections.
func (r *REST) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

// Request is one call of a JSON API.
type Request struct {
	Doing  string // for errors: "listing the issues of shop"
	Method string // "" is GET
	Path   string // below the endpoint; every part that is data goes through url.PathEscape first
	Query  url.Values
	Header http.Header // beside those of JSON and of the credential; an Accept here goes before JSON's own
	Body   any         // encoded as JSON, or url.Values as a form; nil sends none
	// Mutates says that the call may take effect: without a clear refusal its failure is ambiguous, and a redirect is one.
	Mutates bool
	// Answered, unless it is nil, is set to the header of a good answer: some APIs page by it.
	Answered *http.Header
}

// Do makes the call and decodes the answer into out, unless that is nil; a *[]byte is given the body as it is. An answer that cannot be read
// is a failure too: a call that mutates may then have taken effect.
func (r *REST) Do(ctx context.Context, q Request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	req, secrets, err := r.prepare(ctx, q)
	if err != nil {
		return &CallError{System: r.cfg.System, Doing: q.Doing, Err: err}
	}
	client := r.client
	if q.Mutates {
		client = r.still
	}
	x := &exchange{client: client, call: call{system: r.cfg.System, doing: q.Doing, mutates: q.Mutates}}
	if err := r.send(x, req, out, secrets); err != nil {
		return x.fail(ctx, err, secrets...)
	}
	if q.Answered != nil {
		*q.Answered = x.header
	}
	return nil
}

func (r *REST) prepare(ctx context.Context, q Request) (*http.Request, []Value, error) {
	body, kind, err := encodeBody(q.Body)
	if err != nil {
		return nil, nil, err
	}
	target, err := r.base.Parse(strings.TrimSuffix(r.base.Path, "/") + q.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("the path is none: %w", err)
	}
	target.RawQuery = q.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, q.Method, target.String(), body)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	for name, values := range q.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if r.cfg.Authorize == nil {
		return req, nil, nil
	}
	secrets, err := r.cfg.Authorize(ctx, req)
	return req, secrets, err
}

func encodeBody(body any) (io.Reader, string, error) {
	switch b := body.(type) {
	case nil:
		return nil, "", nil
	case url.Values:
		return strings.NewReader(b.Encode()), "application/x-www-form-urlencoded", nil
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, "", fmt.Errorf("encoding the body: %w", err)
		}
		return bytes.NewReader(text), "application/json", nil
	}
}

func (r *REST) send(x *exchange, req *http.Request, out any, secrets []Value) error {
	resp, err := x.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case resp.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("the answer is %s: %s", resp.Status, Line(hide(string(body), secrets...), gistMost))
	case out == nil || len(body) == 0 && resp.StatusCode != http.StatusOK: // 201, 202 or 204 with nothing more to say
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = body
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the answer is not the JSON that was expected: %w", err)
	}
	return nil
}

// gistMost bounds how much of a refusal an error tells, in characters.
const gistMost = 300

// Bearer authorizes calls with a token, read anew for each.
func Bearer(token Secret) func(context.Context, *http.Request) ([]Value, error) {
	return func(_ context.Context, req *http.Request) ([]Value, error) {
		value, err := token.Read()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+value.Reveal())
		return []Value{value}, nil
	}
}

// IsNotFound reports whether a system answered that what was asked for does not exist.
func IsNotFound(err error) bool {
	var failed *CallError
	return errors.As(err, &failed) && failed.Status == http.StatusNotFound
}
