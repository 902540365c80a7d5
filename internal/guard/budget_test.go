package guard_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func TestBudgets(t *testing.T) {
	t.Parallel()
	hour, day := time.Hour, 24*time.Hour
	two := []guard.Window{{Most: 2, Per: hour}, {Most: 3, Per: day}}
	rule, target, fleet := guard.Limits{Rule: two}, guard.Limits{Target: two}, guard.Limits{Fleet: two}
	past := func(acts ...guard.Act) func(*guard.Snapshot) { return func(s *guard.Snapshot) { s.Acts = acts } }
	own := guard.Act{Run: "r1", Rule: "cure", Target: "web", At: noon}
	judge(t, guard.BudgetExhausted, map[string]example{
		"one of two":                      {limits: rule, snapshot: past(act("cure", "web", 1))},
		"two of two":                      {limits: rule, snapshot: past(act("cure", "web", 1), act("cure", "web", hour-1)), refuses: true},
		"the second is just out":          {limits: rule, snapshot: past(act("cure", "web", 1), act("cure", "web", hour))},
		"three in a day":                  {limits: rule, snapshot: past(act("cure", "a", hour), act("cure", "b", 2*hour), act("cure", "c", day-1)), refuses: true},
		"the third of a day is out":       {limits: rule, snapshot: past(act("cure", "a", hour), act("cure", "b", 2*hour), act("cure", "c", day))},
		"another rule's are not its":      {limits: rule, snapshot: past(act("soothe", "api", 1), act("soothe", "api", 1))},
		"the target's by any rule":        {limits: target, snapshot: past(act("soothe", "api", 1), act("cure", "api", 1)), refuses: true},
		"another target's are not its":    {limits: target, snapshot: past(act("cure", "web", 1), act("cure", "web", 1))},
		"the fleet's are anybody's":       {limits: fleet, snapshot: past(act("a", "b", 1), act("c", "d", 1)), refuses: true},
		"acts in the future count":        {limits: fleet, snapshot: past(act("a", "b", -hour), act("c", "d", -day)), refuses: true},
		"its own earlier acts count":      {limits: rule, snapshot: past(own, own), refuses: true},
		"none allowed":                    {limits: guard.Limits{Rule: []guard.Window{{Per: hour}}}, refuses: true},
		"a window that says nothing":      {limits: guard.Limits{Target: []guard.Window{{}}}, refuses: true},
		"no windows, as for a rung again": {snapshot: past(own, own, own)},
		"later rungs count": {limits: rule, snapshot: func(s *guard.Snapshot) {
			s.FirstAct, s.Acts = false, []guard.Act{own, own}
		}, refuses: true},
		"what people approved counts": {limits: rule, snapshot: func(s *guard.Snapshot) {
			s.Auto, s.Acts = false, []guard.Act{own, own}
		}, refuses: true},
	})
}

func someWindows(t *rapid.T, what string) []guard.Window {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) guard.Window {
		return guard.Window{Most: rapid.IntRange(0, 4).Draw(t, "most"), Per: minutes(rapid.IntRange(0, 90).Draw(t, "per"))}
	}), 0, 3).Draw(t, what)
}

// modelBudget sorts the acts of each budget by age: a window is full when the act that fills it is younger than the window is long.
func modelBudget(l guard.Limits, s guard.Snapshot) bool {
	full := func(windows []guard.Window, key func(guard.Act) string, value string) bool {
		var ages []int
		for _, a := range s.Acts {
			if key(a) == value {
				ages = append(ages, since(s.Now)-since(a.At))
			}
		}
		slices.Sort(ages)
		return slices.ContainsFunc(windows, func(w guard.Window) bool {
			return w.Most == 0 || len(ages) >= w.Most && ages[w.Most-1] < int(w.Per/time.Minute)
		})
	}
	return full(l.Rule, func(a guard.Act) string { return a.Rule }, s.Rule) ||
		full(l.Target, func(a guard.Act) string { return a.Target }, s.Target) ||
		full(l.Fleet, func(guard.Act) string { return "" }, "")
}

func TestBudgetProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		l := guard.Limits{Rule: someWindows(t, "rule"), Target: someWindows(t, "target"), Fleet: someWindows(t, "fleet")}
		t.Repeat(map[string]func(*rapid.T){
			"act": w.act, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Acts = w.acts
				agrees(t, guard.Shared(l, s), modelBudget(l, s), guard.BudgetExhausted)
			},
		})
	})
}

// A budget's owner, who acts whenever the guard lets it, has at no time done more than any window allows, whatever minute one begins at.
func TestBudgetIsNeverOverspentProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, l := &scene{}, guard.Limits{Fleet: someWindows(t, "fleet")}
		t.Repeat(map[string]func(*rapid.T){
			"act": func(t *rapid.T) {
				s := w.ask(t)
				if s.Acts = w.acts; guard.Shared(l, s) == nil {
					w.act(t)
				}
			},
			"later": func(t *rapid.T) { w.now += rapid.IntRange(0, 30).Draw(t, "minutes") },
			"": func(t *rapid.T) {
				for _, window := range l.Fleet {
					for _, first := range w.acts {
						done := 0
						for _, a := range w.acts {
							if after := since(a.At) - since(first.At); after >= 0 && minutes(after) < window.Per {
								done++
							}
						}
						if done > window.Most {
							t.Fatalf("%d acts within %s, and %d are allowed", done, window.Per, window.Most)
						}
					}
				}
			},
		})
	})
}
