package guard_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// wide are limits that nothing in these tests reaches.
func wide() guard.Limits {
	w := []guard.Window{{Most: 100, Per: time.Hour}}
	return guard.Limits{Rule: w, Target: w, Fleet: w, Cooldown: 30 * time.Minute}
}

func snapshot() guard.Snapshot {
	return guard.Snapshot{Now: noon, Run: "r1", Rule: "cure", Target: "api", FirstAct: true}
}

func act(rule, target string, ago time.Duration) guard.Act {
	return guard.Act{Run: "r0", Rule: rule, Target: target, At: noon.Add(-ago)}
}

func acts(a ...guard.Act) []guard.Act { return a }

type sharedCase struct {
	limits   func(*guard.Limits)
	snapshot func(*guard.Snapshot)
	want     guard.Reason
}

func pauses(p ...guard.Pause) func(*guard.Snapshot) {
	return func(s *guard.Snapshot) { s.Pauses = p }
}

func past(a ...guard.Act) func(*guard.Snapshot) { return func(s *guard.Snapshot) { s.Acts = a } }

func pauseCases() map[string]sharedCase {
	return map[string]sharedCase{
		"nothing in the way":       {},
		"the fleet is paused":      {snapshot: pauses(guard.Pause{Scope: guard.Fleet}), want: guard.Paused},
		"the target is paused":     {snapshot: pauses(guard.Pause{Scope: guard.Target, Name: "api"}), want: guard.Paused},
		"the rule is paused":       {snapshot: pauses(guard.Pause{Scope: guard.Rule, Name: "cure"}), want: guard.Paused},
		"another target":           {snapshot: pauses(guard.Pause{Scope: guard.Target, Name: "web"})},
		"another rule":             {snapshot: pauses(guard.Pause{Scope: guard.Rule, Name: "other"})},
		"a target called cure":     {snapshot: pauses(guard.Pause{Scope: guard.Target, Name: "cure"})},
		"an unknown scope":         {snapshot: pauses(guard.Pause{Scope: "galaxy", Name: "x"}), want: guard.Paused},
		"until now is over":        {snapshot: pauses(guard.Pause{Scope: guard.Fleet, Until: noon})},
		"until a moment from now":  {snapshot: pauses(guard.Pause{Scope: guard.Fleet, Until: noon.Add(1)}), want: guard.Paused},
		"one is over, one is not":  {snapshot: pauses(guard.Pause{Scope: guard.Fleet, Until: noon}, guard.Pause{Scope: guard.Rule, Name: "cure"}), want: guard.Paused},
		"another holds the target": {snapshot: func(s *guard.Snapshot) { s.LockedBy = "r0" }, want: guard.TargetBusy},
		"it holds it itself":       {snapshot: func(s *guard.Snapshot) { s.LockedBy = "r1" }},
		"the breaker is open":      {snapshot: func(s *guard.Snapshot) { s.Breaker = "3 in a row" }, want: guard.BreakerOpen},
	}
}

func cooldownCases() map[string]sharedCase {
	return map[string]sharedCase{
		"in the cooldown":            {snapshot: past(act("other", "api", 30*time.Minute-1)), want: guard.Cooldown},
		"the cooldown is just over":  {snapshot: past(act("other", "api", 30*time.Minute))},
		"another target's act":       {snapshot: past(act("cure", "web", time.Second))},
		"its own act":                {snapshot: past(guard.Act{Run: "r1", Rule: "cure", Target: "api", At: noon})},
		"a later rung":               {snapshot: func(s *guard.Snapshot) { s.FirstAct, s.Acts = false, acts(act("cure", "api", time.Second)) }},
		"no cooldown":                {limits: func(l *guard.Limits) { l.Cooldown = 0 }, snapshot: past(act("cure", "api", time.Second))},
		"an act in the future":       {snapshot: past(act("cure", "api", -time.Hour)), want: guard.Cooldown},
		"a cooldown of a short time": {limits: func(l *guard.Limits) { l.Cooldown = time.Second }, snapshot: past(act("cure", "api", time.Second))},
	}
}

func budgetCases() map[string]sharedCase {
	two := []guard.Window{{Most: 2, Per: time.Hour}, {Most: 3, Per: 24 * time.Hour}}
	rule := func(l *guard.Limits) { l.Rule, l.Cooldown = two, 0 }
	target := func(l *guard.Limits) { l.Target, l.Cooldown = two, 0 }
	fleet := func(l *guard.Limits) { l.Fleet, l.Cooldown = two, 0 }
	hour, day := time.Hour, 24*time.Hour
	return map[string]sharedCase{
		"one of two":                    {limits: rule, snapshot: past(act("cure", "web", 1))},
		"two of two":                    {limits: rule, snapshot: past(act("cure", "web", 1), act("cure", "web", hour-1)), want: guard.BudgetExhausted},
		"the second is just out":        {limits: rule, snapshot: past(act("cure", "web", 1), act("cure", "web", hour))},
		"three in a day":                {limits: rule, snapshot: past(act("cure", "a", hour), act("cure", "b", 2*hour), act("cure", "c", day-1)), want: guard.BudgetExhausted},
		"the third of a day is out":     {limits: rule, snapshot: past(act("cure", "a", hour), act("cure", "b", 2*hour), act("cure", "c", day))},
		"another rule's are not its":    {limits: rule, snapshot: past(act("other", "api", 1), act("other", "api", 1))},
		"the target's by any rule":      {limits: target, snapshot: past(act("other", "api", 1), act("cure", "api", 1)), want: guard.BudgetExhausted},
		"another target's are not its":  {limits: target, snapshot: past(act("cure", "web", 1), act("cure", "web", 1))},
		"the fleet's are anybody's":     {limits: fleet, snapshot: past(act("a", "b", 1), act("c", "d", 1)), want: guard.BudgetExhausted},
		"acts in the future count":      {limits: fleet, snapshot: past(act("a", "b", -hour), act("c", "d", -day)), want: guard.BudgetExhausted},
		"its own earlier acts do count": {limits: rule, snapshot: past(guard.Act{Run: "r1", Rule: "cure", At: noon}, guard.Act{Run: "r1", Rule: "cure", At: noon}), want: guard.BudgetExhausted},
		"none allowed":                  {limits: func(l *guard.Limits) { l.Rule = []guard.Window{{Per: hour}} }, want: guard.BudgetExhausted},
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	for _, cases := range []map[string]sharedCase{pauseCases(), cooldownCases(), budgetCases()} {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l, s := wide(), snapshot()
				if c.limits != nil {
					c.limits(&l)
				}
				if c.snapshot != nil {
					c.snapshot(&s)
				}
				got := guard.Shared(l, s)
				if got == nil && c.want != "" || got != nil && got.Reason != c.want {
					t.Errorf("got %v, want %q", got, c.want)
				}
				if got != nil && got.Detail == "" {
					t.Error("a refusal without a sentence")
				}
			})
		}
	}
}

// The zero Limits have no window: only pause, lock and breaker are judged, as for the same rung tried again.
func TestSharedWithoutLimits(t *testing.T) {
	t.Parallel()
	s := snapshot()
	s.Acts = acts(act("cure", "api", 0), act("cure", "api", 0))
	if got := guard.Shared(guard.Limits{}, s); got != nil {
		t.Errorf("refused: %v", got)
	}
	s.LockedBy = "r0"
	if got := guard.Shared(guard.Limits{}, s); got == nil || got.Reason != guard.TargetBusy {
		t.Errorf("got %v, want target_busy", got)
	}
}

func TestSharedSaysWho(t *testing.T) {
	t.Parallel()
	s := snapshot()
	s.Pauses = []guard.Pause{{Scope: guard.Target, Name: "api", Actor: "ann", Reason: "a migration runs", Since: noon}}
	got := guard.Shared(wide(), s)
	for _, word := range []string{"ann", "target api", "a migration runs", "2026-03-01T12:00:00Z"} {
		if got == nil || !strings.Contains(got.Error(), word) {
			t.Errorf("%v does not say %q", got, word)
		}
	}
}

func names(t *rapid.T, what string) string {
	return rapid.SampledFrom([]string{"api", "web", "cure", "other", ""}).Draw(t, what)
}

func someTime(t *rapid.T, what string) time.Time {
	return noon.Add(time.Duration(rapid.IntRange(-26*60, 60).Draw(t, what)) * time.Minute)
}

func somePause(t *rapid.T) guard.Pause {
	p := guard.Pause{Scope: guard.Scope(rapid.SampledFrom([]string{"fleet", "target", "rule", "?"}).Draw(t, "scope")), Name: names(t, "name")}
	if rapid.Bool().Draw(t, "ends") {
		p.Until = someTime(t, "until")
	}
	return p
}

func someAct(t *rapid.T) guard.Act {
	return guard.Act{Run: rapid.SampledFrom([]string{"r0", "r1"}).Draw(t, "run"), Rule: names(t, "rule"), Target: names(t, "target"), At: someTime(t, "at")}
}

func someLimits(t *rapid.T) guard.Limits {
	windows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) guard.Window {
		return guard.Window{Most: rapid.IntRange(1, 4).Draw(t, "most"), Per: time.Duration(rapid.IntRange(1, 48).Draw(t, "hours")) * time.Hour}
	}), 0, 2)
	return guard.Limits{
		Rule: windows.Draw(t, "by rule"), Target: windows.Draw(t, "by target"), Fleet: windows.Draw(t, "by fleet"),
		Cooldown: time.Duration(rapid.IntRange(0, 60).Draw(t, "cooldown")) * time.Minute,
	}
}

func someSnapshot(t *rapid.T) guard.Snapshot {
	s := snapshot()
	s.FirstAct = rapid.Bool().Draw(t, "first")
	s.Pauses = rapid.SliceOfN(rapid.Custom(somePause), 0, 2).Draw(t, "pauses")
	s.Acts = rapid.SliceOfN(rapid.Custom(someAct), 0, 5).Draw(t, "acts")
	s.LockedBy = rapid.SampledFrom([]string{"", "", "r1", "r0"}).Draw(t, "locked by")
	return s
}

// Whatever is added to what is in the way, it never removes a refusal.
func TestMoreInTheWayNeverAllowsMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, s := someLimits(t), someSnapshot(t)
		before := guard.Shared(l, s)
		more := s
		switch rapid.IntRange(0, 3).Draw(t, "what is added") {
		case 0:
			more.Pauses = append([]guard.Pause{somePause(t)}, s.Pauses...)
		case 1:
			more.Acts = append([]guard.Act{someAct(t)}, s.Acts...)
		case 2:
			more.LockedBy = "r0"
		default:
			more.Breaker = "open"
		}
		if after := guard.Shared(l, more); before != nil && after == nil {
			t.Fatalf("refused %v before, and not after more was in the way", before)
		}
	})
}

// The way is free exactly when no guard by itself would refuse: none hides behind another.
func TestSharedIsTheSumOfItsGuards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, s := someLimits(t), someSnapshot(t)
		free := s.LockedBy != "r0"
		for _, p := range s.Pauses {
			free = free && !p.Holds(s.Rule, s.Target, s.Now)
		}
		for _, a := range s.Acts {
			waits := s.FirstAct && a.Target == s.Target && a.Run != s.Run && s.Now.Sub(a.At) < l.Cooldown
			free = free && !waits
		}
		for _, w := range l.Fleet {
			free = free && guard.Spent(s.Acts, func(guard.Act) bool { return true }, s.Now, w.Per) < w.Most
		}
		for _, w := range l.Rule {
			free = free && guard.Spent(s.Acts, func(a guard.Act) bool { return a.Rule == s.Rule }, s.Now, w.Per) < w.Most
		}
		for _, w := range l.Target {
			free = free && guard.Spent(s.Acts, func(a guard.Act) bool { return a.Target == s.Target }, s.Now, w.Per) < w.Most
		}
		if got := guard.Shared(l, s); (got == nil) != free {
			t.Fatalf("got %v, want free %t", got, free)
		}
	})
}

// Time alone only frees a window: what is allowed now is allowed later, if nothing more happens.
func TestWaitingNeverRefuses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, s := someLimits(t), someSnapshot(t)
		before := guard.Shared(l, s)
		s.Now = s.Now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "minutes")) * time.Minute)
		if after := guard.Shared(l, s); before == nil && after != nil {
			t.Fatalf("free before, and %v later", after)
		}
	})
}

func TestReasons(t *testing.T) {
	t.Parallel()
	passing := map[guard.Reason]bool{
		guard.Paused: true, guard.TargetBusy: true, guard.Cooldown: true, guard.Storm: true, guard.UnknownFacts: true,
		guard.Reconciling: true, guard.SystemDown: true, guard.Conflicting: true, guard.StaleFacts: true, guard.Settling: true,
		guard.Frozen: true, guard.Held: true, guard.RulesDiffer: true,
	}
	lasting := []guard.Reason{
		guard.BudgetExhausted, guard.BreakerOpen, guard.Stale, guard.NotFiring, guard.UnknownTarget, guard.HumanHand, guard.SplitTraffic,
		guard.AlreadyPinned, guard.NoDestination, guard.NoCause, guard.Migrations, guard.OutOfBounds, guard.NothingToDo,
		guard.NeedsApproval, guard.PlanChanged, guard.RulesChanged, guard.GuardFailed, guard.AwaitsRelease, guard.Oscillation,
		guard.TooWide, guard.Itself, guard.Denied, guard.ApprovalExpired,
	}
	seen := map[guard.Reason]bool{}
	for _, r := range guard.Reasons() {
		if seen[r] {
			t.Errorf("%s is listed twice", r)
		}
		seen[r] = true
		if r.Passing() != passing[r] {
			t.Errorf("%s: passing %t", r, r.Passing())
		}
	}
	for _, r := range lasting {
		if !seen[r] {
			t.Errorf("%s is not listed", r)
		}
	}
	if len(seen) != len(passing)+len(lasting) {
		t.Errorf("%d reasons are listed, and %d are judged here: say whether the new one passes", len(seen), len(passing)+len(lasting))
	}
}
