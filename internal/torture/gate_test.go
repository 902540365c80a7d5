package torture

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// gate is one real server with every kind of source and nothing behind it, to be hit from outside.
type gate struct {
	t       *testing.T
	dir     string
	base    string
	args    []string
	rows    database
	process *process
	set     *rules.Set
	client  *http.Client
}

// gateRules are those of a gate beside its sources: alerts named Down concern a target, and lead to a run that only looks.
const gateRules = `
targets:
  api: {health: "http://127.0.0.1:1/health", control: "http://127.0.0.1:1/control"}
rules:
  - name: look-on
    match: [alertname="Down"]
    target: {from: service}
    mode: observe
`

// gateKey is the secret of every source of a gate.
const gateKey = "a-secret-of-every-source-at-the-gate"

// newGate makes a gate on a database; more is what the rules say beside.
func newGate(t *testing.T, dir string, dsn string, rows database, more string) *gate {
	t.Helper()
	port := freePort(t)
	g := &gate{t: t, dir: dir, rows: rows, base: fmt.Sprintf("http://127.0.0.1:%d", port), client: &http.Client{Timeout: sendPatience}}
	path := filepath.Join(dir, "rules.yaml")
	g.args = []string{
		"serve", "--rules", path, "--db", dsn, "--socket", filepath.Join(dir, "s"), "--web.listen-address", fmt.Sprintf("127.0.0.1:%d", port),
	}
	for name, value := range map[string]string{"secret": gateKey, "token": "a-token-of-pagerduty"} {
		succeed(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600))
	}
	text := "version: 1\n" + more + "connections: {pagerduty: {endpoint: \"http://127.0.0.1:1\", insecure: true, token_file: " +
		filepath.Join(dir, "token") + ", from: bot@example.com}}\nsources:\n" + g.sources()
	var err error
	g.set, err = rules.Load(path, []byte(text), rules.Options{}) // the sources, to sign as their senders do
	succeed(t, err)
	succeed(t, os.WriteFile(path, []byte(text+gateRules), 0o600))
	g.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", g.process.said())
		}
		g.process.kill()
	})
	return g
}

// parameters are those of kinds that are not made of a single secret; SECRET is the path of its file.
var parameters = map[string]string{
	"generic": `labels: {alertname: payload.alertname, service: payload.?service, severity: payload.severity, id: payload.id}, ` +
		`firing: 'payload.state == "open"', hmac: {header: X-Signature, secret_file: SECRET}`,
}

// sources declares every kind of source, under the kind's name. A new kind joins by itself where a secret is all that it needs.
func (g *gate) sources() string {
	var text strings.Builder
	for _, kind := range sources.Kinds() {
		own, ok := parameters[kind]
		if !ok {
			own = firstSecret(kind) + "_file: SECRET"
		}
		fmt.Fprintf(&text, "  %s: {%s}\n", kind, strings.ReplaceAll(own, "SECRET", filepath.Join(g.dir, "secret")))
	}
	return text.String()
}

// start starts the server and waits until it is ready.
func (g *gate) start() {
	g.t.Helper()
	var err error
	g.process, err = start(launch{program: program(g.t), args: g.args})
	succeed(g.t, err)
	succeed(g.t, eventually(g.t.Context(), "the server is ready", startWithin, func() (bool, error) {
		if g.process.gone() {
			return false, errors.New(g.process.said())
		}
		resp, err := g.client.Get(g.base + "/-/ready")
		if err != nil {
			return false, nil
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	}))
}

// request is one signed delivery, that can be sent again as it was.
type request struct {
	source string
	signed sources.Request
}

// reply is what came back for a request.
type reply struct {
	code  int
	retry string
	body  string
}

func (g *gate) send(r request) (reply, error) { return sendTo(g.client, g.base, r) }

func sendTo(client *http.Client, base string, r request) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, base+"/v1/webhooks/"+r.source+"?"+r.signed.Query.Encode(), bytes.NewReader(r.signed.Body))
	if err != nil {
		return reply{}, err
	}
	for name, values := range r.signed.Header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return reply{code: resp.StatusCode, retry: resp.Header.Get("Retry-After"), body: string(body)}, errors.Join(err, resp.Body.Close())
}

// count counts rows.
func (g *gate) count(query string, args ...any) (n int) {
	g.t.Helper()
	db, err := g.rows.open()
	succeed(g.t, err)
	defer func() { _ = db.Close() }()
	succeed(g.t, countOf(g.t.Context(), db, &n, query, args...))
	return n
}

func countOf(ctx context.Context, db *sql.DB, n *int, query string, args ...any) error {
	return db.QueryRowContext(ctx, query, args...).Scan(n)
}

// series is how many series /metrics shows.
func (g *gate) series() int {
	g.t.Helper()
	resp, err := g.client.Get(g.base + "/metrics")
	succeed(g.t, err)
	text, err := io.ReadAll(resp.Body)
	succeed(g.t, errors.Join(err, resp.Body.Close()))
	n := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// reload puts the rules file in force again.
func (g *gate) reload() {
	g.t.Helper()
	overSocket := &http.Client{Timeout: sendPatience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.dir, "s"))
	}}}
	resp, err := overSocket.Post("http://socket/-/reload", "", nil)
	succeed(g.t, err)
	succeed(g.t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("reload was answered %s", resp.Status)
	}
}

// players are the sources of a gate that can play their senders.
func (g *gate) players() []string {
	var names []string
	for name, s := range g.set.Sources {
		if _, ok := s.(sources.Sender); ok || name == alertmanagerSource || name == pagerDutySource {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// firing is a signed delivery by which a sender tells of an alert of that id.
func (g *gate) firing(source, id string) request {
	g.t.Helper()
	at := time.Now().UTC()
	labels := map[string]string{"alertname": "Down", "service": "api", "severity": "critical", "id": id}
	sender, ok := g.set.Sources[source].(sources.Sender)
	if !ok {
		return byHand(source, id, labels, at)
	}
	sample := sources.Sample{ID: id, Status: "firing", At: at, Began: at, Labels: labels, Summary: "made up"}
	body, err := sender.Sample(sample)
	if err != nil { // not every sender has a place for every label
		sample.Labels = map[string]string{"alertname": labels["alertname"], "severity": labels["severity"]}
		body, err = sender.Sample(sample)
	}
	succeed(g.t, err)
	r := request{source: source, signed: sources.Request{Header: http.Header{}, Query: map[string][]string{}, Body: body}}
	succeed(g.t, sender.Sign(&r.signed))
	return r
}

// byHand plays the two senders that the torture knows itself.
func byHand(source, id string, labels map[string]string, at time.Time) request {
	r := request{source: source, signed: sources.Request{Header: http.Header{"Content-Type": {"application/json"}}}}
	if source == pagerDutySource {
		r.signed.Body = pdBody(id, "incident.triggered", "Q"+id, at, at)
	} else {
		r.signed.Body = amBody(id, amAlert{Status: "firing", StartsAt: at, Labels: labels, Annotations: map[string]string{}})
	}
	return r.with(gateKey)
}

// with proves the request with a secret, for the two senders that the torture knows itself.
func (r request) with(key string) request {
	if r.signed.Header = r.signed.Header.Clone(); r.signed.Header == nil {
		r.signed.Header = http.Header{}
	}
	if r.source == pagerDutySource {
		r.signed.Header.Set("X-PagerDuty-Signature", "v1="+sign(key, r.signed.Body))
	} else {
		r.signed.Header.Set("Authorization", "Bearer "+key)
	}
	return r
}
