package guard_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// minute is a moment, counted from noon; minutes is a length. The properties live on whole minutes, so that boundaries meet often.
func minute(n int) time.Time      { return noon.Add(time.Duration(n) * time.Minute) }
func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// since counts the minutes from noon to a moment.
func since(at time.Time) int { return int(at.Sub(noon) / time.Minute) }

var (
	ruleNames   = []string{"cure", "soothe"}
	targetNames = []string{"api", "web", "db"}
	runNames    = []string{"r0", "r1", "r2"}
)

func of(names []string) *rapid.Generator[string] { return rapid.SampledFrom(names) }

// snapshot has nothing in the way of run r1 of rule cure on target api.
func snapshot() guard.Snapshot {
	return guard.Snapshot{Now: noon, Run: "r1", Rule: "cure", Target: "api", FirstAct: true, Auto: true}
}

// act is another run's.
func act(rule, target string, ago time.Duration) guard.Act {
	return guard.Act{Run: "r0", Rule: rule, Target: target, At: noon.Add(-ago)}
}

// example is one case of a guard that is judged alone: what it is given, and what it says.
type example struct {
	limits   guard.Limits
	snapshot func(*guard.Snapshot)
	refuses  bool
}

// judge runs the examples of a guard.
func judge(t *testing.T, reason guard.Reason, examples map[string]example) {
	t.Helper()
	for name, e := range examples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := snapshot()
			if e.snapshot != nil {
				e.snapshot(&s)
			}
			no := guard.Shared(e.limits, s)
			if (no != nil) != e.refuses || no != nil && (no.Reason != reason || no.Detail == "") {
				t.Errorf("%v, want a refusal: %t", no, e.refuses)
			}
		})
	}
}

// scene is what happened by now. Its methods are the events of a schedule.
type scene struct {
	now      int
	acts     []guard.Act
	pauses   []guard.Pause
	wants    []guard.Want
	released int // when a storm was ended
	heldBy   string
	lockedBy string
	breaker  string
	latch    *guard.Latch
	ended    *int
	rules    guard.Agreement
}

// clock lets time pass. Clocks also go back.
func (s *scene) clock(t *rapid.T) { s.now += rapid.IntRange(-15, 45).Draw(t, "minutes") }

func (s *scene) act(t *rapid.T) { s.acts = append(s.acts, someAct(t, s.now)) }

func (s *scene) want(t *rapid.T) {
	s.wants = append(s.wants, guard.Want{Target: of(targetNames).Draw(t, "target"), At: minute(s.now)})
}

// ask gives the snapshot of a run's act now, with what the guard in question needs taken from the scene.
func (s *scene) ask(t *rapid.T) guard.Snapshot {
	return guard.Snapshot{
		Now: minute(s.now), Run: of(runNames).Draw(t, "run"), Rule: of(ruleNames).Draw(t, "rule"), Target: of(targetNames).Draw(t, "target"),
		FirstAct: rapid.Bool().Draw(t, "first"), Auto: rapid.Bool().Draw(t, "auto"),
	}
}

func someAct(t *rapid.T, now int) guard.Act {
	a := guard.Act{
		Run: of(runNames).Draw(t, "run"), Rule: of(ruleNames).Draw(t, "rule"), Target: of(targetNames).Draw(t, "target"), At: minute(now), Kind: "kind",
	}
	a.From, a.To = someChange(t)
	return a
}

// someChange is of one or two keys with few values, so that one is often the inverse of another.
func someChange(t *rapid.T) (from, to map[string]string) {
	state := func(what string) map[string]string {
		return rapid.MapOfN(of([]string{"serving", "image"}), of([]string{"a", "b", "c"}), 0, 2).Draw(t, what)
	}
	return guard.Changed(state("before"), state("after"))
}

// agrees fails when the guard and its model differ, or when the refusal is not the guard's.
func agrees(t *rapid.T, no *guard.Refusal, model bool, reason guard.Reason) {
	t.Helper()
	switch {
	case (no != nil) != model:
		t.Fatalf("the guard says %v, and the model refuses: %t", no, model)
	case no != nil && (no.Reason != reason || no.Detail == ""):
		t.Fatalf("it refuses with %v, want %s and a sentence", no, reason)
	}
}
