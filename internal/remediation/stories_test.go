package remediation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// other is another outage of the same target.
func other(target string) alert.Alert {
	a := down(target)
	a.Labels["check"], a.Episode, a.IncidentKey = "another", "another-"+target, "another-key-"+target
	return a
}

func (w *world) acts() []guard.Act {
	w.t.Helper()
	acts, err := w.store.Acts(context.Background(), noon.Add(-time.Hour))
	must(w.t, err)
	return acts
}

func (w *world) pause(scope guard.Scope, name string) {
	w.t.Helper()
	must(w.t, w.store.Pause(context.Background(), guard.Pause{Scope: scope, Name: name, Actor: "ann", Reason: "drill", Since: w.now()}))
}

func (w *world) breakers() []remediation.BreakerRow {
	w.t.Helper()
	rows, err := w.store.Breakers(context.Background())
	must(w.t, err)
	return rows
}

func TestNeedsHumanLatchesTheBreaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "guard: {cooldown: 0s, probe_after: 1h}"))
	s := w.scene(api)
	s.hooks.apply, s.hooks.observe = failing(1, true, errTimeout), always(executors.Unclear, "who knows")
	w.expect(w.play(down(api)), end{Outcome: remediation.NeedsHuman, Steps: oneUnclear, Messages: toldNotFixed})
	s.hooks = hooks{}
	w.advance(3 * time.Hour)
	again := down(api)
	again.Episode, again.StartsAt, again.IncidentKey = "next", w.now(), "next"
	v := w.play(again)
	if s.set("bad"); v.Run.Outcome == remediation.NoOutcome {
		again.Episode, again.IncidentKey = "third", "third"
		v = w.play(again)
	}
	w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(guard.BreakerOpen), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}})
	if n := s.made("apply"); n != 1 {
		t.Errorf("%d calls, want the first alone", n)
	}
}

func TestBreakerOpensByFailuresAndOneProbeClosesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "guard: {cooldown: 0s, failures: 2, probe_after: 30m, per_hour: 20, target_per_hour: 20}"))
	s := w.scene(api)
	play := func(i int) store.RunView {
		s.set("bad")
		a := down(api)
		a.Episode, a.IncidentKey, a.StartsAt = fmt.Sprint("e", i), fmt.Sprint("k", i), w.now()
		return w.play(a)
	}
	s.cured = map[string]bool{}
	for i := range 2 {
		w.expect(play(i), end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed})
	}
	w.expect(play(2), end{Outcome: remediation.RefusedRun, Reason: string(guard.BreakerOpen), Messages: toldOnly})
	w.advance(31 * time.Minute)
	s.cured = map[string]bool{"good": true}
	w.expect(play(3), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	for _, row := range w.breakers() {
		if row.Open {
			t.Errorf("the breaker is open after a verified cure: %+v", row)
		}
	}
}

func TestSystemBreaker(t *testing.T) {
	t.Parallel()
	open := func(w *world) {
		for range 5 {
			_ = w.systems.Do("fake", false, func() error { return errTimeout })
		}
	}
	t.Run("open before the plan", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"))
		open(w)
		w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(guard.SystemDown), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}})
		if w.scene(api).made("plan")+w.scene(api).made("apply") != 0 {
			t.Error("the system was called")
		}
	})
	t.Run("open before the call", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"))
		w.racing.before = func(remediation.Commit) { open(w) }
		w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(guard.SystemDown), Steps: oneDropped, Messages: toldNotFixed})
		if w.scene(api).made("apply") != 0 {
			t.Error("the system was called")
		}
	})
	t.Run("the way back is not blocked", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure", "do: [{fake.back: {to: other}}]"))
		w.scene(api).hooks.undo = func() error { open(w); return nil }
		v := w.play(down(api))
		if v.Run.Outcome != remediation.Undone {
			t.Errorf("ended %s: %s", v.Run.Outcome, story(v))
		}
	})
}

func TestDebits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   string
		acts int
	}{
		"each rung is debited, and the second skips the cooldown": {"do: [{fake.act: {to: other}}, {fake.act: {to: good}}]", 2},
		"the second part of one change is not":                    {"do: [{fake.two: {to: half, then: good}}]", 1},
		"the way back is":                                         {"do: [{fake.back: {to: other}}]", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", c.do))
			v := w.play(down(api))
			if len(v.Steps) != 2 || len(w.acts()) != c.acts {
				t.Errorf("%d steps and %d debits, want 2 and %d", len(v.Steps), len(w.acts()), c.acts)
			}
			if v.Steps[0].Operation == v.Steps[1].Operation {
				t.Errorf("two calls left the same operation id %s", v.Steps[0].Operation)
			}
			intents := 0
			for _, e := range v.Entries {
				if e.Kind == remediation.EntryIntent {
					intents++
				}
			}
			if intents != 2 {
				t.Errorf("%d intents in the journal, want one before each call", intents)
			}
		})
	}
}

func TestTargetBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "guard: {cooldown: 0s}", "if: health.value > 0.5"))
	one := w.fire(down(api))
	w.until(one, inPhase(remediation.PhaseVerify))
	v := w.play(other(api))
	w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(guard.TargetBusy), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}})
	w.expect(w.finish(one), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	w.advance(6 * time.Minute)
	w.expect(w.play(other(api)), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed}) // it was a passing refusal
}

func TestRefusedUnderTheLock(t *testing.T) {
	t.Parallel()
	const free = "guard: {cooldown: 0s, per_hour: 9, target_per_hour: 9, fleet_per_hour: 9}"
	theirs := func(target string) func(w *world) { return func(w *world) { w.play(other(target)) } }
	for name, c := range map[string]struct {
		guard  string
		before func(w *world)
		reason guard.Reason
	}{
		"fleet paused":       {free, func(w *world) { w.pause(guard.Fleet, "") }, guard.Paused},
		"target paused":      {free, func(w *world) { w.pause(guard.Target, api) }, guard.Paused},
		"rule paused":        {free, func(w *world) { w.pause(guard.Rule, "cure") }, guard.Paused},
		"other paused":       {free, func(w *world) { w.pause(guard.Target, web) }, ""},
		"cooldown":           {"guard: {cooldown: 30m}", theirs(api), guard.Cooldown},
		"cooldown of web":    {"guard: {cooldown: 30m}", theirs(web), ""},
		"budget of rule":     {"guard: {cooldown: 0s, per_hour: 1}", theirs(web), guard.BudgetExhausted},
		"budget of target":   {"guard: {cooldown: 0s, target_per_hour: 1}", theirs(api), guard.BudgetExhausted},
		"target's of web":    {"guard: {cooldown: 0s, target_per_hour: 1}", theirs(web), ""},
		"budget of fleet":    {"guard: {cooldown: 0s, fleet_per_hour: 1}", theirs(web), guard.BudgetExhausted},
		"target taken":       {free, func(w *world) { w.until(w.fire(other(api)), inPhase(remediation.PhaseVerify)) }, guard.TargetBusy},
		"nothing in the way": {free, func(*world) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("look", "mode: observe"), rule("cure", c.guard, "if: health.value > 0.5"), rule("next"))
			id := w.fire(down(api))
			var before store.RunView
			w.racing.before = func(remediation.Commit) { before = w.view(id); c.before(w) }
			v := w.finish(id)
			if c.reason == "" {
				if v.Run.Outcome == remediation.RefusedRun {
					t.Errorf("refused what should be let through: %s", v.Run.Detail)
				}
				return
			}
			w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(c.reason), Messages: toldOnly, Rulings: verdicts{
				"look": remediation.Chosen, "cure": remediation.Refused, "next": remediation.Shadowed,
			}})
			if before.Run.Reason != "" || v.Run.Acted {
				t.Errorf("it was not refused under the lock: before %+v", before.Run)
			}
			if said(v, remediation.EntryIntent, "") {
				t.Errorf("the journal tells of an intent that was refused:\n%s", story(v))
			}
			if note := v.Messages[0].Text; !strings.Contains(note, "What was done\n- nothing\n") {
				t.Errorf("the note tells of an act that was refused:\n%s", note)
			}
		})
	}
}

func TestPausedIsAPassingRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.pause(guard.Target, api)
	w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(guard.Paused), Messages: toldOnly})
	if _, err := w.store.Resume(context.Background(), guard.Target, api); err != nil {
		t.Fatal(err)
	}
	w.expect(w.play(down(api)), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
}

func TestEscalateAfterCallsOnceWhileVerifyGoesOn(t *testing.T) {
	t.Parallel()
	for to, messages := range map[string][]remediation.MessageKind{
		"good":  {remediation.Acknowledge, remediation.Escalate, remediation.Note, remediation.Resolve},
		"other": {remediation.Acknowledge, remediation.Escalate, remediation.Note},
	} {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.act: {to: "+to+"}}]", "verify: {if: health.ok, hold: 6m, within: 20m, every: 30s}", "escalate: {after: 2m}"))
			id := w.fire(down(api))
			w.until(id, func(r remediation.Run) bool { return r.Escalated })
			if at := w.now().Sub(noon); at < 2*time.Minute || at > 2*time.Minute+30*time.Second {
				t.Errorf("a human was called after %s, want 2m", at)
			}
			if got := endOf(w.finish(id)).Messages; !cmp.Equal(messages, got) {
				t.Errorf("told %v, want %v", got, messages)
			}
		})
	}
}

func TestStaleHintsDoNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	id := w.fire(down(api))
	first := remediation.Hint{Run: id, Version: 0, Epoch: 1}
	w.finish(id)
	before := w.view(id)
	for _, hint := range []remediation.Hint{first, {Run: id, Version: before.Run.Version}, {Run: id, Version: 99}} {
		if err := w.engine.Advance(t.Context(), hint); !errors.Is(err, remediation.ErrStaleHint) {
			t.Errorf("hint %+v: %v, want it stale", hint, err)
		}
	}
	if diff := cmp.Diff(before, w.view(id)); diff != "" {
		t.Errorf("a stale hint changed the run:\n%s", diff)
	}
}
