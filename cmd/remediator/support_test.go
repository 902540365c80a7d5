package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	playbook "github.com/mixillo/remediator"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
)

// programName is how tests start the program itself: the test binary under this name is the program (see TestMain).
const programName = "remediator"

// TestMain lets the test binary be the program where it is called by its name. The tests wait for worlds far more than they compute,
// so that more of them than there are processors run side by side.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != programName {
		widen(sideBySide)
	}
	testscript.Main(m, map[string]func(){programName: main})
}

// widen raises the number of parallel tests unless the command line says one.
func widen(parallel int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", fmt.Sprint(parallel))
	}
}

// houseConfig says what a house is built of; the zero value is the shipped rules at the tests' speed with no service yet.
type houseConfig struct {
	rules    string
	speed    float64
	adapt    func(overlay map[string]any)
	services []sandbox.Service
}

// shiftPatience is how long one thing may take on a machine that has much else to do.
const shiftPatience = 90 * time.Second

// house is the real server with the real clients on a world of its own.
type house struct {
	*stage
	socket string
	rules  string // path of the rules file
	log    *logBook
}

func newHouse(t *testing.T, c houseConfig) *house {
	t.Helper()
	if c.speed == 0 {
		c.speed = worldSpeed
	}
	world, err := sandbox.Start(sandbox.Config{Speed: c.speed, Seed: 7, Caller: programName})
	succeed(t, err)
	h := &house{stage: &stage{out: io.Discard, dir: shortDir(t), began: time.Now(), speed: c.speed, patience: shiftPatience, world: world}, log: &logBook{}}
	t.Cleanup(func() { _ = world.Close() })
	succeed(t, h.surroundings())
	for _, s := range c.services {
		succeed(t, world.AddService(s))
	}
	h.raiseOn(t, c)
	t.Cleanup(func() {
		_ = shutdown(h.server)
		_ = h.app.close()
		if t.Failed() {
			t.Logf("the server's log:\n%s", h.log)
		}
	})
	return h
}

// raiseOn starts the server on the world, on TCP and on its socket.
func (h *house) raiseOn(t *testing.T, c houseConfig) {
	t.Helper()
	text := c.rules
	if text == "" {
		text = string(playbook.Playbook)
	}
	h.rules = filepath.Join(h.dir, defaultRules)
	succeed(t, os.WriteFile(h.rules, []byte(text), 0o600))
	var err error
	h.app, err = newApp(t.Context(), appConfig{
		Rules: h.rules, Options: rules.Options{Speed: c.speed, Overlay: h.adapted(t, c.adapt), Addresses: h.addresses()}, DSN: "sqlite:" + filepath.Join(h.dir, "r.db"),
		Lease: 15 * time.Second, Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	succeed(t, err)
	succeed(t, h.serve(context.WithoutCancel(t.Context())))
	h.socket = filepath.Join(h.dir, "s")
	l, err := edge.ListenSocket(t.Context(), h.socket)
	succeed(t, err)
	go func() { _ = h.server.Serve(l) }()
}

// adapted is the demo's overlay of the shipped rules, changed as a test needs it.
func (h *house) adapted(t *testing.T, adapt func(map[string]any)) []byte {
	t.Helper()
	shipped, err := rules.Load(defaultRules, playbook.Playbook, rules.Options{})
	succeed(t, err)
	text, err := h.overlay(shipped)
	succeed(t, err)
	if adapt == nil {
		return text
	}
	overlay := map[string]any{}
	succeed(t, json.Unmarshal(text, &overlay))
	adapt(overlay)
	text, err = json.Marshal(overlay)
	succeed(t, err)
	return text
}

// call is a verb of the command line over the server's socket: what it printed, and its error.
func (h *house) call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs(append(args, "--socket", h.socket))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// metric is the value of a series as /metrics shows it, such as `remediator_pinned_targets`.
func (h *house) metric(t *testing.T, series string) string {
	t.Helper()
	_, _, body := send(t, newRequest(t, nethttp.MethodGet, h.url+"/metrics", nil))
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), series+" "); ok {
			return value
		}
	}
	return "absent"
}

// run is the newest run of an incident on a target once it is done and told.
func (h *house) run(t *testing.T, target, incident string) edge.RunView {
	t.Helper()
	var view edge.RunView
	h.await(t, "a run for incident "+incident+" on "+target+" is done and told", func() bool {
		v, ok := h.runOf(t.Context(), target, incident)
		view = v
		return ok && v.Run.State == remediation.Done && allTold(v.Messages)
	})
	return view
}

// await polls a condition.
func (h *house) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	awaitWithin(t, 90*time.Second, what, holds)
}

func awaitWithin(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", within, what)
		}
		time.Sleep(pollEvery)
	}
}

// updates are the changes of a service in the ledger that are not a human's.
func (h *house) updates(service string) []sandbox.Entry {
	return slices.DeleteFunc(h.world.Ledger(), func(e sandbox.Entry) bool {
		return e.System != "cloud_run" || e.Verb != "update_service" || e.Resource != service || e.By == sandbox.Human
	})
}

// posts counts the ledger's entries of a system and verb on a resource.
func (h *house) posts(system, verb, resource string) int {
	n := 0
	for _, e := range h.world.Ledger() {
		if e.System == system && e.Verb == verb && e.Resource == resource {
			n++
		}
	}
	return n
}

// allRuns lists every run, newest first.
func (s *stage) allRuns(t *testing.T) []remediation.Run {
	t.Helper()
	all, err := (&api{app: s.app}).Runs(t.Context(), edge.RunFilter{Limit: 500})
	succeed(t, err)
	return all
}

// events counts the stored events by their state.
func (h *house) events(t *testing.T) map[string]int {
	t.Helper()
	status, err := (&api{app: h.app}).Status(t.Context())
	succeed(t, err)
	return status.Counts.Events
}

// stop waits for the visits under way and closes the store, as the end of serve does.
func (h *house) stop(t *testing.T) {
	t.Helper()
	succeed(t, h.app.close())
}

// logBook keeps the server's log for a test that fails.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r-")
	succeed(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	succeed(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func newRequest(t *testing.T, method, url string, body io.Reader) *nethttp.Request {
	t.Helper()
	req, err := nethttp.NewRequestWithContext(t.Context(), method, url, body)
	succeed(t, err)
	return req
}

// send makes the request and reads the answer.
func send(t *testing.T, req *nethttp.Request) (int, nethttp.Header, string) {
	t.Helper()
	resp, err := nethttp.DefaultClient.Do(req)
	succeed(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	succeed(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

// need skips a test whose Debian program is missing, unless nothing may be left out.
func need(t *testing.T, program, debian string) string {
	t.Helper()
	path := "/usr/bin/" + program
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("REQUIRE_ALL") != "" {
		t.Fatalf("%s (Debian package %s) is missing, and REQUIRE_ALL is set", path, debian)
	}
	t.Skipf("%s is missing: install the Debian package %s", path, debian)
	return ""
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless what was got is what was wished.
func want[T comparable](t *testing.T, what string, got, wish T) {
	t.Helper()
	if got != wish {
		t.Errorf("%s: got %v, want %v", what, got, wish)
	}
}
