package guard_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// models are those of all guards that runs share, by the reason that each refuses with.
var models = map[guard.Reason]func(guard.Limits, guard.Snapshot) bool{
	guard.Paused: modelPause, guard.RulesDiffer: modelAgreement, guard.Frozen: modelFreeze, guard.NotFiring: modelEnded, guard.Held: modelHeld,
	guard.TargetBusy: modelLocked, guard.AwaitsRelease: modelLatched, guard.BreakerOpen: modelOpened, guard.Storm: modelStorm,
	guard.Settling: modelSettle, guard.Cooldown: modelCooldown, guard.Oscillation: modelOscillation, guard.BudgetExhausted: modelBudget,
}

func someLimits(t *rapid.T) guard.Limits {
	wait := func(what string) time.Duration { return minutes(rapid.IntRange(0, 60).Draw(t, what)) }
	return guard.Limits{
		Rule: someWindows(t, "rule"), Target: someWindows(t, "target"), Fleet: someWindows(t, "fleet"),
		Cooldown: wait("cooldown"), Settle: wait("settle"), Inverse: wait("inverse"), Storm: someStorm(t),
		Freezes: rapid.SliceOfN(rapid.Custom(someFreeze), 0, 2).Draw(t, "freezes"),
	}
}

// rarely draws a value in one of four cases, the zero value in the others: a snapshot in which everything is in the way shows little.
func rarely[T any](t *rapid.T, what string, draw func() T) (v T) {
	if rapid.IntRange(0, 3).Draw(t, what+"?") == 0 {
		v = draw()
	}
	return v
}

func someSnapshot(t *rapid.T) guard.Snapshot {
	s := (&scene{now: rapid.IntRange(-60, 60).Draw(t, "now")}).ask(t)
	ago := func() int { return rapid.IntRange(-100, 70).Draw(t, "at") }
	s.Acts = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) guard.Act { return someAct(t, ago()) }), 0, 4).Draw(t, "acts")
	s.Wants = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) guard.Want {
		return guard.Want{Target: of(targetNames).Draw(t, "target"), At: minute(ago())}
	}), 0, 4).Draw(t, "wants")
	s.Pauses = rarely(t, "pauses", func() []guard.Pause { return []guard.Pause{somePause(t, ago()), somePause(t, ago())} })
	s.EndedAt = rarely(t, "ended", func() time.Time { return minute(ago()) })
	s.Released = rarely(t, "released", func() time.Time { return minute(ago()) })
	s.HeldBy = rarely(t, "held", func() string { return "ann" })
	s.LockedBy = rarely(t, "locked", func() string { return of(runNames).Draw(t, "by") })
	s.Breaker = rarely(t, "breaker", func() string { return "open" })
	s.Latch = rarely(t, "latch", func() *guard.Latch { return &guard.Latch{Kind: "kind", Run: of(runNames).Draw(t, "by"), At: s.Now} })
	s.Rules = rarely(t, "rules", func() guard.Agreement {
		return guard.Agreement{Own: someHash(t, "own"), Current: someHash(t, "current"), Live: []string{someHash(t, "live"), someHash(t, "live")}}
	})
	s.Act.From, s.Act.To = someChange(t)
	return s
}

// against are the guards whose models refuse.
func against(l guard.Limits, s guard.Snapshot) map[guard.Reason]bool {
	reasons := map[guard.Reason]bool{}
	for reason, refuses := range models {
		if refuses(l, s) {
			reasons[reason] = true
		}
	}
	return reasons
}

// The way is free exactly when no guard by itself would refuse, and the answer is that of one that does: none hides behind another.
func TestSharedIsTheConjunctionProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, s := someLimits(t), someSnapshot(t)
		no, reasons := guard.Shared(l, s), against(l, s)
		if no == nil && len(reasons) > 0 || no != nil && !reasons[no.Reason] {
			t.Fatalf("it says %v, and the models %v", no, slices.Sorted(maps.Keys(reasons)))
		}
	})
}

// What waits for a human's word is told apart from all else that is in the way.
func TestWaitsProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := someSnapshot(t)
		no, pressed, differ := guard.Waits(s), modelPause(guard.Limits{}, s), modelAgreement(guard.Limits{}, s)
		if (no != nil) != (pressed || differ) || no != nil && !no.Reason.Parks() {
			t.Fatalf("it says %v; paused: %t, rules that differ: %t", no, pressed, differ)
		}
	})
}

// The zero Limits limit nothing; what stands in the way does so still.
func TestSharedWithoutLimits(t *testing.T) {
	t.Parallel()
	s := snapshot()
	s.Acts = []guard.Act{act("cure", "api", 0), act("cure", "api", 0)}
	s.Wants = []guard.Want{{Target: "web", At: noon}, {Target: "db", At: noon}}
	if no := guard.Shared(guard.Limits{}, s); no != nil {
		t.Errorf("refused: %v", no)
	}
	s.LockedBy = "r0"
	if no := guard.Shared(guard.Limits{}, s); no == nil || no.Reason != guard.TargetBusy {
		t.Errorf("%v, want target_busy", no)
	}
}

// question is what the guards are asked.
type question struct {
	guard.Limits
	guard.Snapshot
}

// caution is what makes a question no easier to say yes to: something more in the way, something less known, something stricter.
var caution = map[string]func(*rapid.T, *question){
	"a pause more": func(t *rapid.T, q *question) { q.Pauses = insert(t, q.Pauses, somePause(t, 0)) },
	"an act more": func(t *rapid.T, q *question) {
		q.Acts = insert(t, q.Acts, someAct(t, rapid.IntRange(-100, 70).Draw(t, "at")))
	},
	"an act twice": func(t *rapid.T, q *question) { q.Acts = twice(t, q.Acts) },
	"a want more": func(t *rapid.T, q *question) {
		q.Wants = insert(t, q.Wants, guard.Want{Target: of(targetNames).Draw(t, "of"), At: q.Now})
	},
	"a freeze more":            func(t *rapid.T, q *question) { q.Freezes = insert(t, q.Freezes, someFreeze(t)) },
	"a window more":            func(t *rapid.T, q *question) { q.Limits.Target = append(someWindows(t, "more"), q.Limits.Target...) },
	"a replica more":           func(t *rapid.T, q *question) { q.Rules.Live = insert(t, q.Rules.Live, someHash(t, "live")) },
	"a hold":                   func(_ *rapid.T, q *question) { q.HeldBy = "bob" },
	"a lock":                   func(_ *rapid.T, q *question) { q.LockedBy = "another" },
	"a latch":                  func(_ *rapid.T, q *question) { q.Latch = &guard.Latch{Kind: "kind", Run: "another"} },
	"an open breaker":          func(_ *rapid.T, q *question) { q.Breaker = "open" },
	"the alert has ended":      func(_ *rapid.T, q *question) { q.EndedAt = q.Now },
	"nobody approved":          func(_ *rapid.T, q *question) { q.Auto = true },
	"the first act":            func(_ *rapid.T, q *question) { q.FirstAct = true },
	"no release":               func(_ *rapid.T, q *question) { q.Released = time.Time{} },
	"nothing declared current": func(_ *rapid.T, q *question) { q.Rules.Current = "" },
	"own rules unknown":        func(_ *rapid.T, q *question) { q.Rules.Own = "" },
	"pauses without an end": func(_ *rapid.T, q *question) {
		q.Pauses = each(q.Pauses, func(p *guard.Pause) { p.Until = time.Time{} })
	},
	"pauses without a name":   func(_ *rapid.T, q *question) { q.Pauses = each(q.Pauses, func(p *guard.Pause) { p.Name = "" }) },
	"pauses without a scope":  func(_ *rapid.T, q *question) { q.Pauses = each(q.Pauses, func(p *guard.Pause) { p.Scope = "" }) },
	"freezes without targets": func(_ *rapid.T, q *question) { q.Freezes = each(q.Freezes, func(f *guard.Freeze) { f.Targets = nil }) },
	"freezes without times": func(_ *rapid.T, q *question) {
		q.Freezes = each(q.Freezes, func(f *guard.Freeze) { f.Schedule, f.From, f.Until = nil, time.Time{}, time.Time{} })
	},
	"a latch without a run": func(_ *rapid.T, q *question) {
		if q.Latch != nil {
			q.Latch = &guard.Latch{}
		}
	},
	"smaller budgets": func(_ *rapid.T, q *question) {
		q.Fleet = each(q.Fleet, func(w *guard.Window) { w.Most = max(0, w.Most-1) })
	},
	"longer budgets": func(_ *rapid.T, q *question) {
		q.Limits.Rule = each(q.Limits.Rule, func(w *guard.Window) { w.Per += time.Minute })
	},
	"longer waits": func(_ *rapid.T, q *question) {
		q.Cooldown, q.Settle, q.Inverse, q.Storm.Within = q.Cooldown+time.Minute, q.Settle+time.Minute, q.Inverse+time.Minute, q.Storm.Within+time.Minute
	},
	"a smaller storm": func(_ *rapid.T, q *question) { q.Storm.Targets = max(min(1, q.Storm.Targets), q.Storm.Targets-1) },
	"longer freezes": func(_ *rapid.T, q *question) {
		q.Freezes = each(q.Freezes, func(f *guard.Freeze) { f.For += time.Minute })
	},
	"younger acts": func(_ *rapid.T, q *question) {
		q.Acts = each(q.Acts, func(a *guard.Act) { a.At = a.At.Add(time.Minute) })
	},
	"younger wants": func(_ *rapid.T, q *question) {
		q.Wants = each(q.Wants, func(w *guard.Want) { w.At = w.At.Add(time.Minute) })
	},
}

// sameness is what makes no difference at all.
var sameness = map[string]func(*rapid.T, *question){
	"a pause twice":   func(t *rapid.T, q *question) { q.Pauses = twice(t, q.Pauses) },
	"a want twice":    func(t *rapid.T, q *question) { q.Wants = twice(t, q.Wants) },
	"a freeze twice":  func(t *rapid.T, q *question) { q.Freezes = twice(t, q.Freezes) },
	"a replica twice": func(t *rapid.T, q *question) { q.Rules.Live = twice(t, q.Rules.Live) },
	"a window twice":  func(t *rapid.T, q *question) { q.Limits.Rule = twice(t, q.Limits.Rule) },
	"other orders": func(t *rapid.T, q *question) {
		q.Pauses, q.Acts, q.Wants = shuffled(t, q.Pauses), shuffled(t, q.Acts), shuffled(t, q.Wants)
		q.Freezes, q.Rules.Live = shuffled(t, q.Freezes), shuffled(t, q.Rules.Live)
		q.Limits.Rule, q.Limits.Target, q.Fleet = shuffled(t, q.Limits.Rule), shuffled(t, q.Limits.Target), shuffled(t, q.Fleet)
	},
	"older wants of the same": func(_ *rapid.T, q *question) {
		for _, w := range slices.Clone(q.Wants) {
			q.Wants = append(q.Wants, guard.Want{Target: w.Target, At: w.At.Add(-time.Minute)})
		}
	},
	"its own want": func(_ *rapid.T, q *question) {
		q.Wants = append(slices.Clone(q.Wants), guard.Want{Target: q.Snapshot.Target, At: q.Now})
	},
	"pauses that are over": func(_ *rapid.T, q *question) {
		q.Pauses = append(slices.Clone(q.Pauses), guard.Pause{Scope: guard.Fleet, Until: q.Now})
	},
	"when pauses were pressed": func(_ *rapid.T, q *question) {
		q.Pauses = each(q.Pauses, func(p *guard.Pause) { p.Since = time.Time{} })
	},
	"empty for nothing": func(_ *rapid.T, q *question) {
		q.Pauses, q.Acts, q.Wants = append([]guard.Pause{}, q.Pauses...), append([]guard.Act{}, q.Acts...), append([]guard.Want{}, q.Wants...)
		q.Act.From, q.Act.To = filled(q.Act.From), filled(q.Act.To)
	},
}

func insert[T any](t *rapid.T, list []T, v T) []T {
	return slices.Insert(slices.Clone(list), rapid.IntRange(0, len(list)).Draw(t, "where"), v)
}

func twice[T any](t *rapid.T, list []T) []T {
	if len(list) == 0 {
		return list
	}
	return insert(t, list, list[rapid.IntRange(0, len(list)-1).Draw(t, "which")])
}

func shuffled[T any](t *rapid.T, list []T) []T {
	if len(list) == 0 {
		return list
	}
	return rapid.Permutation(list).Draw(t, "order")
}

func each[T any](list []T, change func(*T)) []T {
	list = slices.Clone(list)
	for i := range list {
		change(&list[i])
	}
	return list
}

func filled(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// What is in the way, what is not known and what is stricter never turn a refusal into an allowance. Two things do, and are left out: to
// forget that something happened at all (an act, a pause, a resolved alert), which no guard can know; and a change that is not planned
// yet, which is judged again when it is.
func TestCautionNeverAllowsMoreProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := question{someLimits(t), someSnapshot(t)}
		before := guard.Shared(q.Limits, q.Snapshot)
		name := of(slices.Sorted(maps.Keys(caution))).Draw(t, "caution")
		caution[name](t, &q)
		if after := guard.Shared(q.Limits, q.Snapshot); before != nil && after == nil {
			t.Fatalf("%s: refused %v before, and not after", name, before)
		}
	})
}

// What is said twice, in another order, or is over makes no difference.
func TestSamenessProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := question{someLimits(t), someSnapshot(t)}
		before := guard.Shared(q.Limits, q.Snapshot)
		name := of(slices.Sorted(maps.Keys(sameness))).Draw(t, "sameness")
		sameness[name](t, &q)
		after := guard.Shared(q.Limits, q.Snapshot)
		if (before == nil) != (after == nil) || before != nil && before.Reason != after.Reason {
			t.Fatalf("%s: %v before, and %v after", name, before, after)
		}
	})
}

// Time alone only frees, freezes apart: what is allowed now is allowed later, if nothing more happens. So a clock that goes back only
// refuses.
func TestWaitingNeverRefusesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, s := someLimits(t), someSnapshot(t)
		l.Freezes = nil
		before := guard.Shared(l, s)
		s.Now = s.Now.Add(minutes(rapid.IntRange(0, 300).Draw(t, "minutes")))
		if after := guard.Shared(l, s); before == nil && after != nil {
			t.Fatalf("free before, and %v later", after)
		}
	})
}

// With one guard that refuses in each of the places, the answer is always a refusal: no guard lifts another's.
func TestEachGuardRefusesAlone(t *testing.T) {
	t.Parallel()
	l := guard.Limits{
		Rule: []guard.Window{{Most: 1, Per: time.Hour}}, Cooldown: time.Minute, Settle: time.Minute, Inverse: time.Hour, Storm: guard.StormLimit{Targets: 2, Within: time.Hour},
	}
	if no := guard.Shared(l, snapshot()); no != nil {
		t.Fatalf("with nothing in the way: %v", no)
	}
	for reason, happens := range map[guard.Reason]func(*question){
		guard.Paused:        func(q *question) { q.Pauses = []guard.Pause{{Scope: guard.Fleet}} },
		guard.RulesDiffer:   func(q *question) { q.Rules = guard.Agreement{Own: "a", Live: []string{"b"}} },
		guard.Frozen:        func(q *question) { q.Freezes = []guard.Freeze{{}} },
		guard.NotFiring:     func(q *question) { q.EndedAt = noon },
		guard.Held:          func(q *question) { q.HeldBy = "ann" },
		guard.TargetBusy:    func(q *question) { q.LockedBy = "r0" },
		guard.AwaitsRelease: func(q *question) { q.Latch = &guard.Latch{Run: "r0"} },
		guard.BreakerOpen:   func(q *question) { q.Breaker = "open" },
		guard.Storm:         func(q *question) { q.Wants = []guard.Want{{Target: "web", At: noon}} },
		guard.Settling:      func(q *question) { q.Cooldown, q.Acts = 0, []guard.Act{act("soothe", "api", 1)} },
		guard.Cooldown:      func(q *question) { q.Settle, q.Acts = 0, []guard.Act{act("soothe", "api", 1)} },
		guard.Oscillation: func(q *question) {
			q.Acts = []guard.Act{changing(time.Minute, state{"x": "a"}, state{"x": "b"})}
			q.Act.From, q.Act.To = state{"x": "b"}, state{"x": "a"}
		},
		guard.BudgetExhausted: func(q *question) { q.Acts = []guard.Act{act("cure", "web", 1)} },
	} {
		q := question{l, snapshot()}
		happens(&q)
		no := guard.Shared(q.Limits, q.Snapshot)
		if no == nil || no.Reason != reason {
			t.Errorf("%v, want %s", no, reason)
		}
		if got := fmt.Sprint(slices.Sorted(maps.Keys(against(q.Limits, q.Snapshot)))); got != fmt.Sprintf("[%s]", reason) {
			t.Errorf("the models say %s, want %s alone", got, reason)
		}
	}
	if len(models) != 13 {
		t.Errorf("%d models: is there one for each guard?", len(models))
	}
}
