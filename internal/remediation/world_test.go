package remediation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

const lease = 15 * time.Second

// noon is when every story begins.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// head is what every rules file of these tests begins with; %[1]s is the world's name.
const head = `version: 1
sources:
  am: {kind: fake, world: %[1]s}
  pd: {kind: fake, world: %[1]s}
connections:
  pagerduty: {token_env: T, from: bot@example.com}
  google_cloud: {project: p, region: r}
  chat: {kind: slack, token_env: T}
targets:
  api: {fake: {world: %[1]s}}
  web: {fake: {world: %[1]s}}
  mail: {fake: {world: %[1]s}}
rules:
`

// rule writes a rule: what is given replaces the usual part of that key, "-key" drops it.
func rule(name string, parts ...string) string {
	keys := []string{"match", "target", "mode", "gather", "if", "unknown", "by_hand", "do", "hold", "verify", "guard", "tell", "escalate", "afterwards"}
	text := map[string]string{
		"match": `[alertname="Down"]`, "target": "{from: service}", "mode": "auto", "gather": "{health: {look.probe: {of: x}}}",
		"if": `"!health.ok"`, "do": "[{fake.act: {to: good}}]", "verify": `{if: health.ok, hold: 1m, within: 5m, every: 10s}`,
		"tell": "{pagerduty: {resolve_when: fixed}}", "escalate": "{after: 12h}",
	}
	for _, part := range parts {
		if key, dropped := strings.CutPrefix(part, "-"); dropped {
			delete(text, key)
			continue
		}
		key, value, _ := strings.Cut(part, ": ")
		text[key] = value
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n", name)
	for _, key := range keys {
		if text[key] != "" {
			fmt.Fprintf(&b, "    %s: %s\n", key, text[key])
		}
	}
	return b.String()
}

// world is an engine on a real store with a clock that moves only when the test or a wait says so.
type world struct {
	t        *testing.T
	name     string
	path     string
	clock    atomic.Int64
	ids      int
	book     *book
	store    *store.Store
	racing   *racing
	engine   *remediation.Engine
	registry *prometheus.Registry
	metrics  *remediation.Metrics
	systems  *remediation.Systems
	events   []string
}

// racing lets something happen around a commit.
type racing struct {
	remediation.Runs
	before    func(remediation.Commit) // once, before the next intent is committed
	after     func(remediation.Commit) // each time something was committed
	dieBefore int                      // the commit, from 1, before which the process dies
	dieAfter  int
	commits   int
	blind     error  // what the snapshot of the shared guards ends in
	slow      func() // once, while the next one is read
}

func (r *racing) Snapshot(ctx context.Context, q remediation.SnapshotQuery) (guard.Snapshot, error) {
	if r.blind != nil {
		return guard.Snapshot{}, r.blind
	}
	if slow := r.slow; slow != nil {
		r.slow = nil
		slow()
	}
	return r.Runs.Snapshot(ctx, q)
}

// death is what a killed process ends with.
type death struct{}

func (r *racing) Commit(ctx context.Context, c remediation.Commit) error {
	if before := r.before; before != nil && c.Intent != nil {
		r.before = nil
		before(c)
	}
	r.commits++
	if r.commits == r.dieBefore {
		panic(death{})
	}
	err := r.Runs.Commit(ctx, c)
	if r.after != nil && err == nil {
		r.after(c)
	}
	if r.commits == r.dieAfter {
		panic(death{})
	}
	return err
}

type book struct {
	current *rules.Set
	all     map[string]*rules.Set
}

func (b *book) Current() *rules.Set { return b.current }

func (b *book) ByHash(_ context.Context, hash string) (*rules.Set, error) {
	set, ok := b.all[hash]
	if !ok {
		return nil, fmt.Errorf("rules %s: %w", hash, remediation.ErrNotFound)
	}
	return set, nil
}

var worlds atomic.Int64

// emptyDatabase is a database with its tables made, so that not every world has to make them.
var emptyDatabase = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "remediation")
	if err != nil {
		return nil
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "remediator.db")
	s, err := store.Open(context.Background(), store.Config{DSN: "sqlite:" + path, Owner: "us"})
	if err != nil || s.Close() != nil {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return b
})

// newWorld opens a world in which api and web are in state bad and get well in state good.
func newWorld(t *testing.T, ruleTexts ...string) *world {
	t.Helper()
	w := &world{t: t, name: fmt.Sprintf("w%d", worlds.Add(1)), path: filepath.Join(t.TempDir(), "remediator.db"), book: &book{all: map[string]*rules.Set{}}}
	must(t, os.WriteFile(w.path, emptyDatabase(), 0o600))
	w.clock.Store(noon.UnixMicro())
	for _, target := range []string{api, web, mail} {
		s := &scene{state: "bad", cured: map[string]bool{"good": true}, marks: map[string]string{}}
		scenes.Store(w.name+"/"+target, s)
	}
	w.load(ruleTexts...)
	w.registry = prometheus.NewRegistry()
	w.metrics = remediation.NewMetrics(w.registry)
	w.systems = remediation.NewSystems(w.metrics, 1)
	w.start("us")
	t.Cleanup(func() {
		if !t.Failed() {
			w.conserved()
		}
		must(t, w.store.Close())
	})
	return w
}

// load puts rules in force.
func (w *world) load(ruleTexts ...string) {
	w.t.Helper()
	text := fmt.Sprintf(head, w.name) + strings.Join(ruleTexts, "")
	set, err := rules.Load("rules.yaml", []byte(text), rules.Options{Speed: 1})
	if err != nil {
		w.t.Fatalf("loading the rules: %v\n%s", err, text)
	}
	w.book.current, w.book.all[set.Hash] = set, set
}

// start opens the store and makes an engine, as a process of that name does.
func (w *world) start(owner string) {
	w.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	w.store, err = store.Open(context.Background(), store.Config{DSN: "sqlite:" + w.path, Owner: owner, Lease: lease, Now: w.now, Log: quiet})
	must(w.t, err)
	w.racing = &racing{Runs: w.store}
	w.engine = remediation.New(remediation.Config{
		Rules: w.book, Intake: w.store, Runs: w.racing, Feeds: w.store, Connections: func() connect.Set { return connect.Set{} }, Metrics: w.metrics,
		Systems: w.systems, Log: quiet, Owner: owner, Lease: lease, Speed: 1, Now: w.now,
		NewID: func() string { w.ids++; return fmt.Sprintf("id-%04d", w.ids) },
	})
}

// restart is what a new process finds after the former one was killed.
func (w *world) restart() {
	w.t.Helper()
	must(w.t, w.store.Close())
	w.start("the next of us")
}

func (w *world) now() time.Time          { return time.UnixMicro(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Microseconds()) }
func (w *world) scene(name string) *scene {
	s, _ := scenes.Load(w.name + "/" + name)
	return s.(*scene)
}

// down is the usual alert.
func down(target string) alert.Alert {
	return alert.Alert{
		Source: "am", Status: alert.Firing, Labels: map[string]string{"alertname": "Down", "service": target, "severity": "critical"},
		Annotations: map[string]string{"summary": target + " is down"}, StartsAt: noon.Add(-time.Minute), Episode: "episode-" + target,
		IncidentKey: "key-" + target,
	}
}

// deliver hands a delivery to the engine as its source would.
func (w *world) deliver(source string, d sources.Delivery) remediation.Accepted {
	w.t.Helper()
	body, err := json.Marshal(d)
	must(w.t, err)
	got, err := w.engine.Accept(w.t.Context(), remediation.Inbound{Source: source, Request: sources.Request{Header: http.Header{}, Body: body}, ReceivedAt: w.now()})
	must(w.t, err)
	w.events = append(w.events, got.Event)
	return got
}

// fire delivers a firing alert and gives the id of the run it makes.
func (w *world) fire(a alert.Alert) string {
	w.t.Helper()
	got := w.deliver(a.Source, sources.Delivery{Alerts: []alert.Alert{a}, OccurredAt: w.now()})
	if len(got.Runs) != 1 {
		w.t.Fatalf("want one run of the alert, got %+v", got)
	}
	return got.Runs[0].Run
}

// resolve delivers the end of a firing.
func (w *world) resolve(a alert.Alert) {
	w.t.Helper()
	a.Status, a.EndsAt = alert.Resolved, w.now()
	w.deliver(a.Source, sources.Delivery{Alerts: []alert.Alert{a}, OccurredAt: w.now()})
}

func (w *world) view(id string) store.RunView {
	w.t.Helper()
	v, err := w.store.Run(context.Background(), id)
	must(w.t, err)
	return v
}

// visit waits until the run is due and advances it.
func (w *world) visit(id string) error {
	w.t.Helper()
	run := w.view(id).Run
	if wait := run.WakeAt.Sub(w.now()); run.State == remediation.Waiting && wait > 0 {
		w.advance(wait)
	}
	return w.engine.Advance(w.t.Context(), remediation.Hint{Run: id, Version: run.Version, Epoch: run.Epoch})
}

// until visits the run until a condition on it holds.
func (w *world) until(id string, holds func(remediation.Run) bool) store.RunView {
	w.t.Helper()
	for range 1000 {
		v := w.view(id)
		if holds(v.Run) {
			return v
		}
		if err := w.visit(id); !errors.Is(err, remediation.ErrFenced) { // the clock may have passed the lease: the next visit goes on
			must(w.t, err)
		}
	}
	w.t.Fatalf("the run goes on for ever: %+v", w.view(id).Run)
	return store.RunView{}
}

func isDone(r remediation.Run) bool { return r.State == remediation.Done }

func inPhase(p remediation.Phase) func(remediation.Run) bool {
	return func(r remediation.Run) bool { return r.Phase == p }
}

// finish visits the run until it is done.
func (w *world) finish(id string) store.RunView {
	w.t.Helper()
	return w.until(id, isDone)
}

// play fires the alert and finishes its run.
func (w *world) play(a alert.Alert) store.RunView {
	w.t.Helper()
	return w.finish(w.fire(a))
}

// followUp finds the run that a run has left behind.
func (w *world) followUp(parent string) string {
	w.t.Helper()
	runs, err := w.store.ListRuns(context.Background(), store.Filter{})
	must(w.t, err)
	for _, r := range runs {
		if r.Parent == parent {
			return r.ID
		}
	}
	w.t.Fatalf("run %s has no follow-up", parent)
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errTimeout = errors.New("no answer in time") // nothing is known about it, so it is ambiguous
