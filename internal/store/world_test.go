package store_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

const (
	owner = "us"
	lease = 15 * time.Second
)

// noon is when everything happens, by the clock the store is given.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// subject is what the contract is about: any store of the heart with the hands that pause and release.
type subject interface {
	remediation.Intake
	remediation.Runs
	remediation.Outbox
	remediation.Feeds
	records
	standing
	Pause(ctx context.Context, p guard.Pause) error
	Resume(ctx context.Context, scope guard.Scope, name string) (int, error)
	Pauses(ctx context.Context) ([]guard.Pause, error)
	Release(ctx context.Context, rule, target string) (int, error)
}

// world is a subject with a clock and a way to close and open it again.
type world struct {
	subject
	t      *testing.T
	clock  *clock
	reopen func()
}

type clock struct{ us atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

func newClock() *clock {
	c := &clock{}
	c.us.Store(noon.UnixMicro())
	return c
}

// sqliteWorld is the contract's subject on a fresh SQLite file.
func sqliteWorld(t *testing.T) *world {
	return newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "remediator.db"))
}

func newWorld(t *testing.T, dsn string) *world {
	w := &world{t: t, clock: newClock()}
	s := open(t, store.Config{DSN: dsn, Now: w.clock.now})
	w.subject = s
	w.reopen = func() {
		must(t, s.Close())
		s = open(t, store.Config{DSN: dsn, Now: w.clock.now})
		w.subject = s
	}
	return w
}

func open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	if c.DSN == "" {
		c.DSN = "sqlite:" + filepath.Join(t.TempDir(), "remediator.db")
	}
	if c.Owner == "" {
		c.Owner = owner
	}
	if c.Lease == 0 {
		c.Lease = lease
	}
	c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var ids atomic.Int64

// newID gives ids that sort by age, as UUIDv7 do.
func newID() string { return fmt.Sprintf("id-%08d", ids.Add(1)) }

func newEvent() remediation.Event {
	return remediation.Event{
		ID: newID(), Source: "alertmanager", ReceivedAt: noon, OccurredAt: noon, State: remediation.EventMatched,
		RulesHash: "hash", Body: []byte(`{"alerts":[]}`),
	}
}

func firing(episode string) alert.Alert {
	return alert.Alert{
		Source: "alertmanager", Status: alert.Firing, Labels: map[string]string{"alertname": "Down"}, StartsAt: noon.Add(-time.Minute),
		Episode: episode,
	}
}

func proposal(a alert.Alert, target string) remediation.Proposal {
	run := remediation.Run{
		ID: newID(), Origin: remediation.ByAlert, Alert: a, Target: target, Rules: []string{"restart"}, RulesHash: "hash",
		State: remediation.Running, Phase: remediation.PhaseDecide, CreatedAt: noon, UpdatedAt: noon,
	}
	return remediation.Proposal{Run: run, Rulings: []remediation.Ruling{
		{Rule: "restart", Target: target, Mode: "auto", Verdict: remediation.Candidate},
	}}
}

// propose accepts an event that asks for one run.
func (w *world) propose(a alert.Alert, target string) remediation.Accepted {
	w.t.Helper()
	p := proposal(a, target)
	p.Run.CreatedAt, p.Run.UpdatedAt = w.clock.now(), w.clock.now()
	got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Proposals: []remediation.Proposal{p}})
	must(w.t, err)
	return got
}

// born accepts an event and claims the run it makes.
func (w *world) born(a alert.Alert, target string) remediation.Run {
	w.t.Helper()
	got := w.propose(a, target)
	if len(got.Runs) != 1 {
		w.t.Fatalf("want one run, got %+v", got)
	}
	c, err := w.claim(got.Runs[0])
	must(w.t, err)
	return c.Run
}

func (w *world) claim(h remediation.Hint) (remediation.Claimed, error) {
	return w.Claim(w.t.Context(), remediation.Claim{Hint: h, Owner: owner, Now: w.clock.now(), Lease: lease})
}

// commit commits the run as it is and raises its version, as the engine does.
func (w *world) commit(run *remediation.Run, change func(*remediation.Commit)) error {
	c := remediation.Commit{Now: w.clock.now(), Run: *run, Lease: w.clock.now().Add(lease)}
	if change != nil {
		change(&c)
	}
	err := w.Commit(w.t.Context(), c)
	if err == nil {
		*run = c.Run
		run.Version++
	}
	return err
}

// end finishes the run with an outcome.
func (w *world) end(run *remediation.Run, outcome remediation.Outcome, reason guard.Reason) {
	w.t.Helper()
	must(w.t, w.commit(run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Phase, c.Run.Outcome, c.Run.Reason = remediation.Done, remediation.PhaseDone, outcome, reason
		c.Unlock = true
	}))
}

// intent asks for an act of the rule on the run's target.
func (w *world) intent(run remediation.Run, rule string, limits guard.Limits) *remediation.Intent {
	now := w.clock.now()
	return &remediation.Intent{
		Query:  remediation.SnapshotQuery{Now: now, Run: run.ID, Rule: rule, Target: run.Target, First: !run.Acted},
		Limits: limits,
		Act:    guard.Act{Run: run.ID, Rule: rule, Target: run.Target, At: now},
	}
}

// act commits an intent.
func (w *world) act(run *remediation.Run, rule string, limits guard.Limits) error {
	return w.commit(run, func(c *remediation.Commit) {
		c.Intent = w.intent(*run, rule, limits)
		c.Run.Rule, c.Run.Acted, c.Run.Phase = rule, true, remediation.PhaseApply
		c.Steps = []remediation.Step{{Run: run.ID, Seq: run.Step, Kind: "restart", State: remediation.StepIntent}}
	})
}

// recorder is a Worker that tells what it was asked.
type recorder struct {
	mu     sync.Mutex
	calls  []string
	answer func(call string) error
}

func (r *recorder) note(call string) error {
	r.mu.Lock()
	r.calls = append(r.calls, call)
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		return answer(call)
	}
	return nil
}

func (r *recorder) Advance(_ context.Context, h remediation.Hint) error {
	return r.note(fmt.Sprintf("advance %s@%d", h.Run, h.Version))
}

func (*recorder) Rejudge(context.Context) error { return nil }

func (r *recorder) Match(_ context.Context, event string) error { return r.note("match " + event) }

func (r *recorder) Deliver(_ context.Context, l remediation.Lane) error {
	return r.note(fmt.Sprintf("deliver %s %s", l.Run, l.Channel))
}

func (r *recorder) count(call string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if c == call {
			n++
		}
	}
	return n
}

// eventually waits for a condition, and fails when it does not come true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// counter reads a counter of the store.
func counter(t *testing.T, g prometheus.Gatherer, name, kind string) float64 {
	t.Helper()
	families, err := g.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == kind {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s of kind %s", name, kind)
	return 0
}
