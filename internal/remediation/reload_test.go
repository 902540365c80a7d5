package remediation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

func TestReload(t *testing.T) {
	t.Parallel()
	t.Run("before the intent it is judged again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("old"), rule("kept"))
		id := w.fire(down(api))
		w.load(rule("kept", "if: health.ok"), rule("heal"), rule("last"))
		w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{
			"old": remediation.Refused, "kept": remediation.IfFalse, "heal": remediation.Chosen, "last": remediation.Shadowed,
		}})
	})
	t.Run("no rule is left", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("old"))
		id := w.fire(down(api))
		w.load(rule("else", `match: [alertname="Else"]`))
		w.expect(w.finish(id), end{Outcome: remediation.RefusedRun, Reason: string(guard.RulesChanged), Rulings: verdicts{"old": remediation.Refused}})
	})
	t.Run("between two tries to get facts", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("old"))
		w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
			if n == 1 {
				w.load(rule("new"))
				return []string{"ok"}, nil
			}
			return nil, nil
		}
		w.expect(w.play(down(api)), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{
			"old": remediation.Refused, "new": remediation.Chosen,
		}})
	})
	t.Run("after the intent the run keeps its own rules", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		w.load(rule("else", `match: [alertname="Else"]`))
		w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{"cure": remediation.Chosen}})
	})
	t.Run("after the intent it starts no new rung", func(t *testing.T) {
		t.Parallel()
		ladder := "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"
		w := newWorld(t, rule("cure", ladder))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		w.load(rule("cure", ladder), rule("more", "if: health.ok"))
		w.expect(w.finish(id), end{Outcome: remediation.NotFixed, Reason: string(guard.RulesChanged), Steps: oneApplied, Messages: toldNotFixed,
			Rulings: verdicts{"cure": remediation.Chosen}})
	})
}

func TestTheEndOfTheAlert(t *testing.T) {
	t.Parallel()
	t.Run("before the act", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"), rule("next"))
		id := w.fire(down(api))
		w.resolve(down(api))
		w.advance(lease + time.Second)
		w.expect(w.finish(id), end{Outcome: remediation.ResolvedItself, Reason: string(guard.NotFiring), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused, "next": remediation.Refused}})
		if calls := w.scene(api).calls; len(calls) != 0 {
			t.Errorf("somebody was asked: %v", calls)
		}
	})
	t.Run("between two rungs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		w.resolve(down(api))
		w.expect(w.finish(id), end{Outcome: remediation.Inconclusive, Reason: string(guard.NotFiring), Steps: oneApplied, Messages: toldNotFixed, Rulings: verdicts{"cure": remediation.Chosen}})
	})
	t.Run("is no proof: verify still decides", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}]"))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		w.resolve(down(api))
		w.expect(w.finish(id), end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed})
	})
	for ended, messages := range map[bool][]remediation.MessageKind{true: toldFixed, false: toldFixed[:2]} {
		t.Run(fmt.Sprintf("a sender that resolves by itself, resolved %t", ended), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			a := down(api)
			a.SelfResolving = true
			id := w.fire(a)
			w.until(id, inPhase(remediation.PhaseVerify))
			if ended {
				w.resolve(a)
			}
			w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: messages})
		})
	}
}

// A person who resolves an incident says nothing of anybody's health: what is under way goes on and is verified as before, no new rung is
// begun, nothing is begun at all, and the incident is left to its sender.
func TestAPersonsResolveIsNoHealth(t *testing.T) {
	t.Parallel()
	word := func(w *world, by string) {
		a := down(api)
		a.Status, a.EndsAt, a.EndedBy, a.SelfResolving = alert.Resolved, w.now(), by, true
		w.deliver("am", sources.Delivery{Alerts: []alert.Alert{a}, OccurredAt: w.now()})
	}
	const byAlert = `verify: {if: 'alert.status == "resolved" || health.ok', hold: 1m, within: 5m, every: 10s}`
	firing := down(api)
	firing.SelfResolving = true
	verifying := func(t *testing.T, by string, parts ...string) (*world, store.RunView) {
		w := newWorld(t, rule("cure", parts...))
		id := w.fire(firing)
		w.until(id, inPhase(remediation.PhaseVerify))
		word(w, by)
		return w, w.finish(id)
	}
	for by, want := range map[string]remediation.Outcome{"": remediation.Fixed, "Ann": remediation.NotFixed} {
		if _, v := verifying(t, by, byAlert, "do: [{fake.act: {to: other}}]"); v.Run.Outcome != want {
			t.Errorf("ended by %q: %s, want %s: %s", by, v.Run.Outcome, want, v.Run.Detail)
		}
	}
	w, v := verifying(t, "Ann", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]")
	if v.Run.Outcome != remediation.Inconclusive || w.scene(api).made("apply") != 1 {
		t.Errorf("between two rungs: %s after %d calls: %s", v.Run.Outcome, w.scene(api).made("apply"), v.Run.Detail)
	}
	w, v = verifying(t, "Ann")
	w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed[:2]}) // and nothing resolves
	follow := w.followUp(v.Run.ID)
	must(t, w.visit(follow))
	if told := w.told(follow); len(told) != 0 {
		t.Errorf("the follow-up told %v on a person's word", told)
	}
	w = newWorld(t, rule("cure"))
	id := w.fire(firing)
	word(w, "Ann")
	v = w.finish(id)
	if w.scene(api).made("apply") != 0 || v.Run.Outcome != remediation.ResolvedItself || !strings.Contains(v.Run.Detail, "Ann resolved the incident at") {
		t.Errorf("before the act: %s, %q", v.Run.Outcome, v.Run.Detail)
	}
}

// The last word on whether it still fires is under the lock.
func TestResolvedJustBeforeTheIntent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"))
	id := w.fire(down(api))
	w.racing.before = func(remediation.Commit) { w.resolve(down(api)) }
	w.expect(w.finish(id), end{Outcome: remediation.ResolvedItself, Reason: string(guard.NotFiring), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused, "next": remediation.Refused}})
	if n := w.scene(api).made("apply"); n != 0 {
		t.Errorf("%d calls on an alert that had resolved", n)
	}
}

// A sender that resolves by itself would open the incident again: it is resolved once the sender has said so, and else left.
func TestResolveWaitsForTheSender(t *testing.T) {
	t.Parallel()
	for says, want := range map[bool][]remediation.MessageKind{true: {remediation.Resolve}, false: nil} {
		t.Run(fmt.Sprint(says), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "verify: {if: health.ok, within: 5m, every: 10s}"))
			a := down(api)
			a.SelfResolving = true
			v := w.play(a)
			w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed[:2]})
			follow := w.followUp(v.Run.ID)
			must(t, w.visit(follow))
			if says {
				w.resolve(a)
			} else {
				w.advance(23 * time.Hour)
			}
			if got := endOf(w.until(follow, isDone)).Messages; !cmp.Equal(got, want) {
				t.Errorf("told %v, want %v", got, want)
			}
		})
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	id := w.fire(down(api))
	w.advance(11 * time.Minute)
	w.expect(w.finish(id), end{Outcome: remediation.RefusedRun, Reason: string(guard.Stale), Messages: toldOnly, Rulings: verdicts{"cure": remediation.StaleEvent}})
}

// Rules that are reloaded during a plan have the run judged again; when that breaks off, no verdict is left open.
func TestAReloadAndThenAPanicLeaveNoVerdictOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"))
	plans := 0
	w.scene(api).hooks.plan = func() error {
		if plans++; plans > 1 {
			panic("the plan broke off")
		}
		w.load(rule("cure"), rule("next"), rule("last"))
		return nil
	}
	w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(guard.GuardFailed), Messages: toldOnly,
		Rulings: verdicts{"cure": remediation.Refused, "next": remediation.Refused}})
}
