package executors_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/sandbox"
)

// stand is what a kind is tried on: a system's stand-in and our environment in it.
type stand interface {
	Env() executors.Env // as of now
	// Writes counts the changes that the system has made for us.
	Writes() int
	// Befall lets the next call that changes something meet a trouble, and with reads the next calls that read something. False: the
	// system knows no such trouble.
	Befall(t trouble, reads bool) bool
}

// trouble is what may befall a call.
type trouble string

// The last three take effect, or may have.
const (
	denied      trouble = "permission denied"
	notFound    trouble = "not found"
	quota       trouble = "quota"
	conflict    trouble = "conflict"
	hangs       trouble = "timeout"
	lateAnswer  trouble = "applied, then timeout"
	garbageBack trouble = "garbage reply"
)

// due is what has to be known after a call that met a trouble.
type due struct {
	ambiguous, conflict, throttled bool
	writes                         int
	observed                       []executors.Progress
}

var dues = map[trouble]due{
	denied:      {observed: []executors.Progress{executors.NotApplied}},
	notFound:    {observed: []executors.Progress{executors.NotApplied}},
	quota:       {throttled: true, observed: []executors.Progress{executors.NotApplied}},
	conflict:    {conflict: true, observed: []executors.Progress{executors.NotApplied, executors.Foreign}},
	hangs:       {ambiguous: true, observed: []executors.Progress{executors.NotApplied, executors.Pending, executors.Unclear}},
	lateAnswer:  {ambiguous: true, writes: 1, observed: []executors.Progress{executors.Applied, executors.Pending, executors.Unclear}},
	garbageBack: {ambiguous: true, writes: 1, observed: []executors.Progress{executors.Applied, executors.Pending, executors.Unclear}},
}

// patience of a call that meets a trouble.
const patience = 500 * time.Millisecond

// TestEveryActionInTrouble: whatever befalls the call, what is known of it afterwards is true, and it is not made a second time.
func TestEveryActionInTrouble(t *testing.T) {
	t.Parallel()
	for _, name := range executors.Actions() {
		for tr, d := range dues {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				s, a := tried(t, name)
				c, err := a.Plan(t.Context(), s.Env())
				must(t, err)
				c = stored(t, c)
				if !s.Befall(tr, false) {
					t.Skipf("%s knows no such trouble", executors.System(name))
				}
				ctx, cancel := context.WithTimeout(t.Context(), max(patience, examples[name].patience))
				defer cancel()
				_, err = a.Apply(ctx, s.Env(), c, "r1-0-1")
				if err == nil || connect.IsAmbiguous(err) != d.ambiguous || connect.IsConflict(err) != d.conflict || connect.IsThrottled(err) != d.throttled {
					t.Errorf("ambiguous %t, conflict %t, throttled %t: %v", connect.IsAmbiguous(err), connect.IsConflict(err), connect.IsThrottled(err), err)
				}
				o, err := a.Observe(t.Context(), s.Env(), c, "r1-0-1", executors.Receipt{})
				must(t, err)
				want(t, o, d.observed...)
				if n := s.Writes(); n != d.writes {
					t.Errorf("%d writes, want %d", n, d.writes)
				}
			})
		}
	}
}

// TestEveryProbeInTrouble: a probe whose calls fail knows nothing, or says what it does not know.
func TestEveryProbeInTrouble(t *testing.T) {
	t.Parallel()
	for _, name := range executors.Probes() {
		for _, tr := range []trouble{denied, notFound, quota, hangs, garbageBack} {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				s, p := asked(t, name)
				if !s.Befall(tr, true) {
					t.Skipf("%s knows no such trouble", executors.System(name))
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				answer, err := p.Ask(ctx, s.Env())
				if tells := questions[name].tells; tells != nil {
					tells(t, tr, answer, err)
				} else if err == nil && len(answer.Unknown) == 0 {
					t.Errorf("all is known: %+v", answer.Fact)
				}
				if n := s.Writes(); n != 0 {
					t.Errorf("a probe wrote %d times", n)
				}
			})
		}
	}
}

// tried gives a kind of action in a world of its own.
func tried(t *testing.T, name string) (stand, executors.Action) {
	t.Helper()
	ex, ok := examples[name]
	if !ok {
		t.Fatalf("no example for %s: every kind of action is tried here", name)
	}
	if ex.stand == nil { // Cloud Run
		f := newFixture(t)
		return f, f.action(name)
	}
	s := ex.stand(t)
	if ex.configure != nil {
		ex.params = ex.configure(s)
	}
	kind, _ := executors.LookupAction(name)
	return s, configured(t, kind.New(), ex.params, s.Env().Target)
}

// asked gives a kind of probe in a world of its own.
func asked(t *testing.T, name string) (stand, executors.Probe) {
	t.Helper()
	q, ok := questions[name]
	if !ok {
		t.Fatalf("no question for %s: every kind of probe is tried here", name)
	}
	var s stand
	if q.stand != nil {
		s = q.stand(t)
	} else {
		s = newFixture(t)
	}
	kind, _ := executors.LookupProbe(name)
	params := q.params
	if f, fills := s.(interface{ fill(string) string }); fills { // a question that names the stand's address
		params = f.fill(params)
	}
	return s, configured(t, kind.New(), params, s.Env().Target)
}

// The world of Cloud Run is a stand.

func (f *fixture) Env() executors.Env {
	f.env.Now = time.Now()
	return f.env
}

func (f *fixture) Writes() int { return f.writes() }

// callsOf is how many calls of one visit a trouble lasts for at most.
const callsOf = 20

// runErrors are how Google's APIs tell of troubles.
var runErrors = map[trouble]codes.Code{
	denied: codes.PermissionDenied, notFound: codes.NotFound, quota: codes.ResourceExhausted, hangs: codes.Unavailable,
	lateAnswer: codes.DeadlineExceeded, garbageBack: codes.Internal,
}

func (f *fixture) Befall(t trouble, reads bool) bool {
	code, delay := runErrors[t], time.Duration(0)
	if t == hangs {
		delay = 2 * patience
	}
	switch {
	case reads:
		f.FailCalls(sandbox.CallFault{Code: code, Delay: delay, Count: callsOf})
	case t == conflict:
		must(f.T, f.BumpEtagBeforeNextUpdate(service))
	case slices.Contains([]trouble{lateAnswer, garbageBack}, t):
		must(f.T, f.ApplyThenFail(service, code))
	default:
		f.FailCalls(sandbox.CallFault{Method: "UpdateService", Code: code, Delay: delay})
	}
	return true
}

// thereAndBackOn: the change is made once, as it was promised, and can be taken back where it says so; nobody goes on who was called off.
func thereAndBackOn(t *testing.T, name string) {
	t.Helper()
	s, a := tried(t, name)
	c, err := a.Plan(t.Context(), s.Env())
	must(t, err)
	c = stored(t, c)
	complete(t, c)
	calledOffOn(t, s, a, c)
	want(t, observedOn(t, s, a, c, "r1-0-1", executors.Receipt{}), executors.NotApplied)
	want(t, carriedOut(t, s, a, c, "r1-0-1"), executors.Applied)
	if n := s.Writes(); n != 1 {
		t.Errorf("%d writes for one change", n)
	}
	if !c.Reversible {
		return
	}
	back, err := a.Undo(t.Context(), s.Env(), c)
	must(t, err)
	back = stored(t, back)
	complete(t, back)
	inverse(t, c, back)
	want(t, carriedOut(t, s, a, back, "r1-1-1"), executors.Applied)
	if _, err := a.Undo(t.Context(), s.Env(), c); err == nil {
		t.Error("a change that was undone can be undone again")
	}
}

func calledOffOn(t *testing.T, s stand, a executors.Action, c executors.Change) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, planned := a.Plan(ctx, s.Env())
	_, applied := a.Apply(ctx, s.Env(), c, "r1-0-0")
	for what, err := range map[string]error{"Plan": planned, "Apply": applied} {
		if err == nil {
			t.Errorf("%s went on after it was called off", what)
		}
	}
	if n := s.Writes(); n != 0 {
		t.Errorf("%d writes after being called off", n)
	}
}

func observedOn(t *testing.T, s stand, a executors.Action, c executors.Change, id string, r executors.Receipt) executors.Observation {
	t.Helper()
	o, err := a.Observe(t.Context(), s.Env(), c, id, r)
	must(t, err)
	return o
}

// carriedOut applies a change and observes it until it is no longer under way.
func carriedOut(t *testing.T, s stand, a executors.Action, c executors.Change, id string) executors.Observation {
	t.Helper()
	r, err := a.Apply(t.Context(), s.Env(), c, id)
	must(t, err)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if o := observedOn(t, s, a, c, id, r); o.Progress != executors.Pending || time.Now().After(deadline) {
			return o
		}
	}
}
