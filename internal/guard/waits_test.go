package guard_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func waitExamples(limits, short guard.Limits) map[string]example {
	past := func(acts ...guard.Act) func(*guard.Snapshot) { return func(s *guard.Snapshot) { s.Acts = acts } }
	return map[string]example{
		"no act":                {limits: limits},
		"within the wait":       {limits: limits, snapshot: past(act("soothe", "api", 30*time.Minute-1)), refuses: true},
		"the wait is just over": {limits: limits, snapshot: past(act("soothe", "api", 30*time.Minute))},
		"an old act and a new":  {limits: limits, snapshot: past(act("cure", "api", time.Hour), act("cure", "api", 1)), refuses: true},
		"another target's act":  {limits: limits, snapshot: past(act("cure", "web", 1))},
		"its own act":           {limits: limits, snapshot: past(guard.Act{Run: "r1", Rule: "cure", Target: "api", At: noon})},
		"a later rung": {limits: limits, snapshot: func(s *guard.Snapshot) {
			s.FirstAct, s.Acts = false, []guard.Act{act("cure", "api", 1)}
		}},
		"what people approved waits too": {limits: limits, snapshot: func(s *guard.Snapshot) {
			s.Auto, s.Acts = false, []guard.Act{act("cure", "api", 1)}
		}, refuses: true},
		"no wait":              {snapshot: past(act("cure", "api", 0))},
		"an act in the future": {limits: limits, snapshot: past(act("cure", "api", -time.Hour)), refuses: true},
		"a short wait":         {limits: short, snapshot: past(act("cure", "api", time.Second))},
	}
}

func TestCooldown(t *testing.T) {
	t.Parallel()
	judge(t, guard.Cooldown, waitExamples(guard.Limits{Cooldown: 30 * time.Minute}, guard.Limits{Cooldown: time.Second}))
}

func TestSettle(t *testing.T) {
	t.Parallel()
	judge(t, guard.Settling, waitExamples(guard.Limits{Settle: 30 * time.Minute}, guard.Limits{Settle: time.Second}))
}

// modelWait looks for the newest act of another run on the target, and asks it alone.
func modelWait(s guard.Snapshot, wait time.Duration) bool {
	newest := -1 << 30
	for _, a := range s.Acts {
		if a.Target == s.Target && a.Run != s.Run {
			newest = max(newest, since(a.At))
		}
	}
	return s.FirstAct && wait > 0 && newest+int(wait/time.Minute) > since(s.Now)
}

func modelCooldown(l guard.Limits, s guard.Snapshot) bool { return modelWait(s, l.Cooldown) }
func modelSettle(l guard.Limits, s guard.Snapshot) bool   { return modelWait(s, l.Settle) }

func waitProperty(t *testing.T, reason guard.Reason, model func(guard.Limits, guard.Snapshot) bool, limit func(time.Duration) guard.Limits) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, l := &scene{}, limit(minutes(rapid.IntRange(0, 90).Draw(t, "wait")))
		t.Repeat(map[string]func(*rapid.T){
			"act": w.act, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Acts = w.acts
				agrees(t, guard.Shared(l, s), model(l, s), reason)
			},
		})
	})
}

func TestCooldownProperty(t *testing.T) {
	waitProperty(t, guard.Cooldown, modelCooldown, func(d time.Duration) guard.Limits { return guard.Limits{Cooldown: d} })
}

func TestSettleProperty(t *testing.T) {
	waitProperty(t, guard.Settling, modelSettle, func(d time.Duration) guard.Limits { return guard.Limits{Settle: d} })
}
