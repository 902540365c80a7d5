package remediation_test

import (
	"context"
	"errors"
	"testing"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// byHand lets ann start a rule on the api, and plays its run.
func (w *world) byHand(name string) store.RunView {
	w.t.Helper()
	got, err := w.engine.Start(w.t.Context(), remediation.ByPerson{Rule: name, Target: api, Actor: "ann", Reason: "it hangs again"})
	must(w.t, err)
	if len(got.Runs) != 1 {
		w.t.Fatalf("%d runs", len(got.Runs))
	}
	w.events = append(w.events, got.Event)
	return w.finish(got.Runs[0].Run)
}

// A rule that somebody starts by hand meets every guard that an alert's run meets, needs no alert, and pages nobody.
func TestStartedByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule  string
		given func(*world)
		want  end
		calls int
	}{
		"fixed":    {rule: rule("cure"), want: end{Outcome: remediation.Fixed, Steps: oneApplied}, calls: 1},
		"observed": {rule: rule("cure", "mode: observe"), want: end{Outcome: remediation.Observed}},
		"nothing is wrong": {rule: rule("cure"), given: func(w *world) {
			w.scene(api).state = "good"
		}, want: end{}},
		"paused":   {rule: rule("cure"), given: func(w *world) { w.pause(guard.Target, api) }, want: end{Outcome: remediation.RefusedRun, Reason: string(guard.Paused)}},
		"cooldown": {rule: rule("cure"), given: func(w *world) { w.play(down(api)); w.scene(api).state = "bad" }, want: end{Outcome: remediation.RefusedRun, Reason: string(guard.Cooldown)}, calls: 1},
		"does not help": {rule: rule("cure", "do: [{fake.act: {to: worse}}]"), want: end{Outcome: remediation.NotFixed, Steps: oneApplied},
			calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.rule)
			if c.given != nil {
				c.given(w)
			}
			v := w.byHand("cure")
			w.expect(v, c.want)
			if n := w.scene(api).made("apply"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			if v.Run.Origin != remediation.ByHand || v.Run.Actor != "ann" || v.Run.Note != "it hangs again" || v.Run.Parks() {
				t.Errorf("the run is %s, by %q for %q, and waits %t", v.Run.Origin, v.Run.Actor, v.Run.Note, v.Run.Parks())
			}
		})
	}
}

// What a person started counts as an act: in budgets, in the cooldown, and for the breaker.
func TestStartedByHandCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.expect(w.byHand("cure"), end{Outcome: remediation.Fixed, Steps: oneApplied})
	w.scene(api).state = "bad"
	w.expect(w.play(down(api)), refused(guard.Cooldown))
}

// Only what the rules declare together can be started.
func TestStartedByHandUndeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "target: web"))
	for _, p := range []remediation.ByPerson{{Rule: "none", Target: web}, {Rule: "cure", Target: api}, {Rule: "cure", Target: "none"}} {
		if _, err := w.engine.Start(context.Background(), p); !errors.Is(err, remediation.ErrNotFound) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// A reload that drops the rule, or changes it, before the run has begun counts.
func TestStartedByHandAndReloaded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after []string
		want  end
	}{
		"dropped": {[]string{rule("other")}, end{Outcome: remediation.RefusedRun, Reason: string(guard.RulesChanged)}},
		"changed": {[]string{rule("cure", "mode: observe")}, end{Outcome: remediation.Observed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			got, err := w.engine.Start(t.Context(), remediation.ByPerson{Rule: "cure", Target: api, Actor: "ann", Reason: "x"})
			must(t, err)
			w.load(c.after...)
			w.expect(w.finish(got.Runs[0].Run), c.want)
		})
	}
}
