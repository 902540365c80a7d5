package executors_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/store/memory"
)

// What may befall a play beside the troubles of a call.
const (
	noTrouble trouble = "success"
	unseen    trouble = "applied, then timeout, and nothing can be read back"
)

// TestEveryActionTellsTheTruth: whatever befalls the call of a rule's action, it is made once at most, and what the engine says of it, on the
// run and on the incident, is what the system's own ledger says.
func TestEveryActionTellsTheTruth(t *testing.T) {
	t.Parallel()
	p, told := newPager(t), newTally(t)
	for _, name := range executors.Actions() {
		for tr := range fair {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				s, a := tried(t, name)
				c, err := a.Plan(t.Context(), s.Env())
				must(t, err)
				mode := rules.Auto
				if !c.Reversible || c.Lasts > 0 {
					mode = rules.Approve
				}
				play := newPlay(t, p, actionScript(t, name, s, mode), leaseIn(tr, examples[name].patience))
				known := true
				play.befalls(s, tr, &known)
				rec := play.fire(nil)
				if !known {
					t.Skipf("%s knows no such trouble", executors.System(name))
				}
				seen := play.see(rec, tr, s.Writes())
				for _, lie := range seen.lies() {
					t.Error(lie)
				}
				if t.Failed() {
					t.Logf("%s: %s\n%+v", rec.Run.Outcome, rec.Run.Detail, seen)
				}
				told.count(tr, rec.Run.Outcome)
			})
		}
	}
}

// actionScript is a rule that does the example of a kind while the pulse is sick.
func actionScript(t *testing.T, name string, s stand, mode rules.Mode) script {
	t.Helper()
	ex, env := examples[name], s.Env()
	if ex.configure != nil {
		ex.params = ex.configure(s)
	}
	out := script{
		target: env.Target, clients: env.Connections, mode: mode, when: "pulse.sick", kind: name, params: ex.params, gather: maps.Clone(ex.gather),
	}
	if out.gather == nil {
		out.gather = map[string]string{}
	}
	out.gather["pulse"] = newPulse(t, s)
	return out
}

// leaseIn is such that a call which is never answered is called off soon, and any other has all the time it needs.
func leaseIn(tr trouble, needs time.Duration) time.Duration {
	if slices.Contains([]trouble{hangs, lateAnswer, unseen}, tr) {
		return 2 * max(2*patience, needs) // half of it is the longest call
	}
	return time.Minute
}

// befalls lets the call meet a trouble once all is planned; known becomes false when the system knows no such trouble.
func (p *play) befalls(s stand, tr trouble, known *bool) {
	switch tr {
	case noTrouble:
	case unseen:
		p.calling = func() { *known = s.Befall(lateAnswer, false) }
		p.looking = func() { s.Befall(denied, true) }
	default:
		p.calling = func() { *known = s.Befall(tr, false) }
	}
}

// see puts together what there is to judge when a play is over.
func (p *play) see(rec memory.Record, tr trouble, applied int) sight {
	s := sight{
		trouble: tr, applied: applied, outcome: rec.Run.Outcome, notes: p.notes(), called: p.called(),
		resolved: p.pager.Incident(p.incident).Status == "resolved",
	}
	for _, m := range rec.Messages {
		if m.State != remediation.MessageSent {
			s.untold = append(s.untold, fmt.Sprintf("%s: %s %s", m.Kind, m.State, m.Error))
		}
	}
	for _, e := range rec.Entries {
		if e.Kind == remediation.EntryAsked {
			s.asked++
		}
	}
	for _, step := range rec.Steps {
		if step.Answer != remediation.NoAnswer {
			s.calls++
		}
	}
	return s
}

// tally counts how the plays ended.
type tally struct {
	mu    sync.Mutex
	plays map[string]int
}

func newTally(t *testing.T) *tally {
	out := &tally{plays: map[string]int{}}
	t.Cleanup(func() {
		for _, key := range slices.Sorted(maps.Keys(out.plays)) {
			t.Logf("%4d %s", out.plays[key], key)
		}
	})
	return out
}

func (c *tally) count(tr trouble, o remediation.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plays[fmt.Sprintf("%s: %s", tr, o)]++
}
