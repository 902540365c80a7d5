// Package web asks HTTP addresses how they are, and calls HTTP APIs. Only the hosts that the rules file names are reached, credentials go
// only to the connection they belong to, and probes offer no method with an effect.
package web

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "http.get",
		Doc:  "Asks an HTTP address, several times if need be, and tells whether what is behind it is sick.",
		New:  func() executors.Probe { return &get{} },
		Fact: Fact{},
	})
}

const (
	defaultTries   = 3
	mostTries      = 20
	defaultTimeout = 3 * time.Second
	defaultPause   = time.Second
	maxBody        = 64 << 10
	userAgent      = "remediator"
	// mostTime is how long all tries together may take: a target that hangs has to be found sick before the asking is called off.
	mostTime = 12 * time.Second
)

// get asks until an answer is not sick, or the tries are used up.
type get struct {
	// URL to ask; default: the target's health check.
	URL string `yaml:"url"`
	// Method is GET, the default, or HEAD.
	Method string `yaml:"method"`
	// Tries is how many failures in a row make it sick; default 3.
	Tries int `yaml:"tries"`
	// Timeout of one try, body included; default 3s.
	Timeout time.Duration `yaml:"timeout"`
	// Every is the pause between tries; default 1s.
	Every time.Duration `yaml:"every"`
	// Connection is one of kind http whose credentials are sent; the address must be below its endpoint. Default: none are sent.
	Connection string `yaml:"connection"`
	// Control is a URL that answers even while the target is down: without an answer from it either, the failure may be our network's
	// and nothing is known. Default: the target's.
	Control string `yaml:"control"`
}

// Fact is what http.get finds.
type Fact struct {
	// URL is the address that was asked, without query.
	URL string `cel:"url"`
	// Status of the last try; 0 when there was no answer.
	Status int64 `cel:"status"`
	// Sick says that all tries failed: no answer, a timeout, a refused connection, or a status of 500 and above.
	Sick bool `cel:"sick"`
	// OK says that the last try was answered with a status from 200 to 299.
	OK bool `cel:"ok"`
	// Latency of the last try.
	Latency time.Duration `cel:"latency"`
	// LatencyMS is Latency in milliseconds.
	LatencyMS int64 `cel:"latency_ms"`
	// JSON is the answer's JSON object; empty when it is none.
	JSON map[string]any `cel:"json"`
	// TLSExpiresIn is how long the server's certificate is still valid; unknown without TLS.
	TLSExpiresIn time.Duration `cel:"tls_expires_in"`
	// Tries is how many were made.
	Tries int64 `cel:"tries"`
	// Failed is how many of them failed.
	Failed int64 `cel:"failed"`
	// Error says why the last try failed.
	Error string `cel:"error"`
	// OurFault says that the last try failed on our side of the network (a name that does not resolve, a certificate that we do not trust):
	// it says nothing about what was asked.
	OurFault bool `cel:"our_fault"`
	// ControlAnswered says that the control address was asked because all tries failed, and answered.
	ControlAnswered bool `cel:"control_answered"`
}

// IsSick lets a run tell whether things got worse after an act.
func (f *Fact) IsSick() bool { return f.Sick }

// HealthCheck implements executors.HealthFact.
func (f *Fact) HealthCheck() executors.HealthCheck {
	return executors.HealthCheck{Address: f.URL, Failed: f.Failed, Sick: f.Sick, OurFault: f.OurFault, Control: f.ControlAnswered}
}

// Connects implements executors.Connecting.
func (p *get) Connects() (name, kind string) { return p.Connection, connectionKind }

// Validate tells in plain words what is wrong with the parameters.
func (p *get) Validate(t executors.Target) error {
	switch {
	case p.Method != "" && p.Method != http.MethodGet && p.Method != http.MethodHead:
		return errors.New("method must be GET or HEAD")
	case p.Tries < 0 || p.Tries > mostTries:
		return fmt.Errorf("tries must be between 1 and %d", mostTries)
	case p.Timeout < 0 || p.Every < 0:
		return errors.New("timeout and every must not be negative")
	case p.longest() > mostTime:
		return fmt.Errorf("all tries together may take %s: make tries, timeout or every smaller, so that it stays under %s", p.longest(), mostTime)
	case p.URL == "" && t.Health == "":
		return errors.New("url must be given, or the target must have a health address")
	}
	for _, raw := range []string{p.address(t), p.control(t)} {
		if _, err := parse(raw); raw != "" && err != nil {
			return err
		}
	}
	return nil
}

// longest is how long the tries take when every one of them hangs.
func (p *get) longest() time.Duration {
	tries := time.Duration(cmp.Or(p.Tries, defaultTries))
	return tries*cmp.Or(p.Timeout, defaultTimeout) + (tries-1)*cmp.Or(p.Every, defaultPause)
}

func (p *get) address(t executors.Target) string { return cmp.Or(p.URL, t.Health) }

func (p *get) control(t executors.Target) string { return cmp.Or(p.Control, t.Control) }

func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("an address must begin with http:// or https:// and name a host")
	}
	if u.User != nil {
		return nil, errors.New("an address must not hold a user or password: it would be kept with the rules")
	}
	return u, nil
}

// Ask implements executors.Probe.
func (p *get) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	u, err := parse(p.address(env.Target))
	if err != nil {
		return executors.Answer{}, err
	}
	authorize, err := p.authorizer(env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, err := p.try(ctx, env, u, authorize)
	if err != nil {
		return executors.Answer{}, fmt.Errorf("asking %s: %w", shown(u), err)
	}
	answer := executors.Answer{Fact: &fact, Summary: fact.summary(cmp.Or(p.Method, http.MethodGet) + " " + shown(u))}
	if fact.TLSExpiresIn == 0 {
		answer.Unknown = append(answer.Unknown, "tls_expires_in")
	}
	switch blame := blames(ctx, env, fact.Sick, fact.OurFault, p.control(env.Target)); blame {
	case theirs:
	case theirsByControl:
		fact.ControlAnswered = true
	default:
		answer.Unknown = append(answer.Unknown, "status", "sick", "ok")
		answer.Summary += "; " + string(blame)
	}
	return answer, ctx.Err()
}

// authorizer adds credentials to a request and gives them for redaction.
type authorizer func(*http.Request) ([]connect.Value, error)

func (p *get) authorizer(env executors.Env) (authorizer, error) {
	if p.Connection == "" {
		return func(*http.Request) ([]connect.Value, error) { return nil, nil }, nil
	}
	api, err := connect.Get[*connect.API](env.Connections, p.Connection)
	if err != nil {
		return nil, err
	}
	return api.Authorize, nil
}

// blame says whose a failure is: theirs, or in words for notes why that cannot be told.
type blame string

const (
	theirs          blame = ""
	theirsByControl blame = "the control address answers"
	ourOwn          blame = "that is a failure on our side, so nothing is known"
	perhapsOurs     blame = "the control address does not answer either, so the failure may be ours"
)

// blames asks the control address, "" if there is none, where something is sick. Any answer will do.
func blames(ctx context.Context, env executors.Env, sick, our bool, control string) blame {
	switch {
	case our:
		return ourOwn
	case !sick || control == "":
		return theirs
	}
	u, err := parse(control)
	if err != nil {
		return perhapsOurs
	}
	none, _ := (&get{}).authorizer(env)
	if (&get{}).once(ctx, env, newClient(u, defaultTimeout), u, none).Status == 0 {
		return perhapsOurs
	}
	return theirsByControl
}

// try asks until one answer is not sick. An error means that the asking was called off, not that the address failed.
func (p *get) try(ctx context.Context, env executors.Env, u *url.URL, authorize authorizer) (Fact, error) {
	client := newClient(u, cmp.Or(p.Timeout, defaultTimeout))
	tries := int64(cmp.Or(p.Tries, defaultTries))
	var last Fact
	for n := int64(1); ; n++ {
		failed := last.Failed
		last = p.once(ctx, env, client, u, authorize)
		if ctx.Err() != nil {
			return Fact{}, ctx.Err()
		}
		last.Tries, last.Failed = n, failed
		if last.Error == "" {
			return last, nil
		}
		last.Failed++
		if n == tries {
			last.Sick = true
			return last, nil
		}
		if err := pause(ctx, cmp.Or(p.Every, env.Scale(defaultPause))); err != nil {
			return Fact{}, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// newClient reaches the one host, on a fresh connection each time, and shows a redirect elsewhere instead of following it.
func newClient(u *url.URL, timeout time.Duration) *http.Client {
	c := connect.NewHTTPClient(connect.HTTPConfig{
		Hosts: []string{u.Host}, Timeout: timeout, MaxBody: maxBody, Insecure: u.Scheme == "http", FreshConnections: true,
	})
	within := c.CheckRedirect
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if within != nil && within(req, via) != nil {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return c
}

// once makes a single try. Error is set if it failed.
func (p *get) once(ctx context.Context, env executors.Env, client *http.Client, u *url.URL, authorize authorizer) Fact {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(p.Method, http.MethodGet), u.String(), nil)
	if err != nil {
		return Fact{URL: shown(u), JSON: map[string]any{}, Error: "the address cannot be asked", OurFault: true}
	}
	secrets, err := authorize(req)
	if err != nil {
		return Fact{URL: shown(u), JSON: map[string]any{}, Error: err.Error(), OurFault: true}
	}
	req.Header.Set("User-Agent", userAgent)
	began := time.Now()
	status, body, expires, err := exchange(client, req)
	fact := Fact{URL: shown(u), JSON: object(body, secrets), Latency: time.Since(began)}
	fact.LatencyMS = fact.Latency.Milliseconds()
	if !expires.IsZero() {
		fact.TLSExpiresIn = expires.Sub(env.Now)
	}
	if err != nil {
		fact.Error, fact.OurFault = reason(err), ours(err)
		return fact
	}
	fact.Status, fact.OK = int64(status), status >= 200 && status < 300
	if status >= 500 {
		fact.Error = fmt.Sprintf("status %d", status)
	}
	return fact
}

// exchange reads one answer. A body beyond the limit is an answer whose body is not looked at.
func exchange(client *http.Client, req *http.Request) (status int, body []byte, expires time.Time, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, time.Time{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		expires = resp.TLS.PeerCertificates[0].NotAfter
	}
	body, err = io.ReadAll(resp.Body)
	if errors.Is(err, connect.ErrBodyTooLarge) {
		return resp.StatusCode, nil, expires, nil
	}
	return resp.StatusCode, body, expires, err
}

// object decodes a JSON object without the secrets it may echo; anything else is an empty one.
func object(body []byte, secrets []connect.Value) map[string]any {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return map[string]any{}
	}
	clean, _ := without(m, secrets).(map[string]any)
	return clean
}

// ours reports failures that say nothing about the target: our transport's refusal, a name that does not resolve, a certificate that we do
// not trust. A timeout, a refused or broken connection are the target's.
func ours(err error) bool {
	var (
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.Is(err, connect.ErrHostRefused) || errors.As(err, &name) || errors.As(err, &authority) ||
		errors.As(err, &host) || errors.As(err, &invalid)
}

// reason is the cause of a failed exchange without the address, which may hold what is not for notes.
func reason(err error) string {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}

// shown is an address as people may see it: without user, query and fragment.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (f Fact) summary(asked string) string {
	times := "once"
	if f.Tries > 1 {
		times = fmt.Sprintf("%d times", f.Tries)
	}
	switch {
	case f.Sick && f.Status > 0:
		return fmt.Sprintf("%s answered %d, failing %s", asked, f.Status, times)
	case f.Sick:
		return fmt.Sprintf("%s gave no answer, failing %s: %s", asked, times, strings.TrimSpace(f.Error))
	case f.Failed > 0:
		return fmt.Sprintf("%s answered %d in %d ms, after failing %d of %d times", asked, f.Status, f.LatencyMS, f.Failed, f.Tries)
	default:
		return fmt.Sprintf("%s answered %d in %d ms", asked, f.Status, f.LatencyMS)
	}
}
