package guard_test

import (
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
)

// daily begins each day at an hour of UTC.
type daily int

func (d daily) Next(after time.Time) time.Time {
	at := time.Date(after.Year(), after.Month(), after.Day(), int(d), 0, 0, 0, time.UTC)
	if !at.After(after) {
		at = at.AddDate(0, 0, 1)
	}
	return at
}

func TestFreezeHoldsFromItsBeginToItsEnd(t *testing.T) {
	t.Parallel()
	window := guard.Freeze{Name: "backup", Schedule: daily(12), For: 2 * time.Hour}
	span := guard.Freeze{Name: "launch", From: noon, Until: noon.Add(2 * time.Hour)}
	for after, want := range map[time.Duration]bool{-1: false, 0: true, time.Hour: true, 2*time.Hour - 1: true, 2 * time.Hour: false, 5 * time.Hour: false} {
		for _, f := range []guard.Freeze{window, span} {
			if got := f.Holds("api", noon.Add(after)); got != want {
				t.Errorf("%s, %s after noon: it holds: %t, want %t", f.Name, after, got, want)
			}
		}
	}
	span.Targets = []string{"web"}
	if span.Holds("api", noon) || !span.Holds("web", noon) {
		t.Error("it holds another target than its own")
	}
	s := snapshot()
	if got := guard.Shared(guard.Limits{Freezes: []guard.Freeze{window}}, s); got == nil || got.Reason != guard.Frozen || !got.Reason.Passing() {
		t.Errorf("in the window a run is told %v", got)
	}
}

func TestSettlingIsWaitedFor(t *testing.T) {
	t.Parallel()
	limits := guard.Limits{Settle: 5 * time.Minute}
	for name, c := range map[string]struct {
		alter func(*guard.Snapshot)
		want  guard.Reason
	}{
		"just before":    {func(*guard.Snapshot) {}, guard.Settling},
		"it has settled": {func(s *guard.Snapshot) { s.Now = s.Now.Add(1) }, ""},
		"another target": {func(s *guard.Snapshot) { s.Target = "web" }, ""},
		"a later rung":   {func(s *guard.Snapshot) { s.FirstAct = false }, ""},
		"its own act":    {func(s *guard.Snapshot) { s.Run = "r0" }, ""},
	} {
		s := snapshot()
		s.Acts = []guard.Act{act("other", "api", 5*time.Minute-1)}
		c.alter(&s)
		if got := guard.Shared(limits, s); got == nil && c.want != "" || got != nil && got.Reason != c.want {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}

func TestReplicasThatDifferWait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules guard.Agreement
		want  guard.Reason
	}{
		"alone":                         {guard.Agreement{Own: "a"}, ""},
		"all alike":                     {guard.Agreement{Own: "a", Live: []string{"a"}}, ""},
		"another one differs":           {guard.Agreement{Own: "a", Live: []string{"a", "b"}}, guard.RulesDiffer},
		"ours are declared current":     {guard.Agreement{Own: "a", Live: []string{"a", "b"}, Current: "a"}, ""},
		"theirs are declared current":   {guard.Agreement{Own: "a", Live: []string{"a", "b"}, Current: "b"}, guard.RulesDiffer},
		"alike, others were once":       {guard.Agreement{Own: "a", Live: []string{"a"}, Current: "b"}, ""},
		"our own are not known":         {guard.Agreement{Live: []string{"a", "b"}}, guard.RulesDiffer},
		"all others differ, none of us": {guard.Agreement{Own: "a", Live: []string{"b"}}, guard.RulesDiffer},
	} {
		s := snapshot()
		s.Rules = c.rules
		for _, got := range []*guard.Refusal{guard.Shared(guard.Limits{}, s), guard.Waits(s)} {
			if got == nil && c.want != "" || got != nil && got.Reason != c.want {
				t.Errorf("%s: got %v, want %q", name, got, c.want)
			}
		}
	}
}

func TestACallRestsOnWhatIsFresh(t *testing.T) {
	t.Parallel()
	fresh := guard.Freshness{Plan: time.Minute, Facts: 2 * time.Minute}
	for name, c := range map[string]struct {
		plan guard.Plan
		want guard.Reason
	}{
		"just in time":       {guard.Plan{At: noon.Add(-time.Minute), Facts: noon.Add(-2 * time.Minute), Rules: "a"}, ""},
		"resting on no fact": {guard.Plan{At: noon, Rules: "a"}, ""},
		"an old plan":        {guard.Plan{At: noon.Add(-time.Minute - 1), Facts: noon, Rules: "a"}, guard.PlanChanged},
		"old facts":          {guard.Plan{At: noon, Facts: noon.Add(-2*time.Minute - 1), Rules: "a"}, guard.StaleFacts},
		"former rules":       {guard.Plan{At: noon, Facts: noon, Rules: "b"}, guard.RulesChanged},
	} {
		if got := guard.Fresh(c.plan, fresh, "a", noon); got == nil && c.want != "" || got != nil && got.Reason != c.want {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}
