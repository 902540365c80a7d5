package remediation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// The messages of a question, and of one that was answered well.
var (
	toldAsked    = []remediation.MessageKind{remediation.Escalate, remediation.Note}
	toldApproved = append(toldAsked[:2:2], toldFixed...)
)

// asked plays an alert until its run waits for an answer.
func (w *world) asked() remediation.Run {
	w.t.Helper()
	return w.until(w.fire(down(api)), func(r remediation.Run) bool { return r.Phase == remediation.PhaseAsk && r.State == remediation.Waiting }).Run
}

// answer gives the run the answer to the plan with that digest.
func (w *world) answer(run remediation.Run, digest string, yes bool) error {
	return w.store.Answer(context.Background(), remediation.Approval{
		Run: run.ID, Digest: digest, Actor: "ann", Reason: "because", Approved: yes, At: w.now(),
	})
}

// heard visits a run that has its answer.
func (w *world) heard(run remediation.Run) {
	w.t.Helper()
	must(w.t, w.engine.Advance(w.t.Context(), remediation.Hint{Run: run.ID, Version: run.Version}))
}

// The reason of a no is told in one line, whatever is in it.
func TestReasonOfANoIsOneLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve"))
	run := w.asked()
	must(t, w.store.Answer(t.Context(), remediation.Approval{
		Run: run.ID, Digest: run.Asked, Actor: "ann", Reason: "no\n- forged\u202e\x1b[31m", At: w.now(),
	}))
	w.heard(run)
	if got := w.finish(run.ID).Run.Detail; !strings.HasSuffix(got, "ann said no: no - forged[31m") {
		t.Errorf("it is told as %q", got)
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(w *world)
		yes       bool
		want      end
	}{
		"yes": {yes: true, want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldApproved}},
		"yes, long after the event": {
			yes: true, meanwhile: func(w *world) { w.advance(14 * time.Minute) },
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldApproved},
		},
		"yes, and the one who answers has acknowledged": {
			yes: true, meanwhile: func(w *world) { w.hold(down(api), false) },
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldApproved},
		},
		"no": {want: end{Outcome: remediation.RefusedRun, Reason: string(guard.Denied), Messages: append(toldAsked[:2:2], remediation.Note)}},
		"yes, to another plan": {
			yes: true, meanwhile: func(w *world) { w.scene(api).set("worse") },
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.PlanChanged), Messages: append(toldAsked[:2:2], remediation.Note)},
		},
		"yes, and paused since": {
			yes: true, meanwhile: func(w *world) { w.pause(guard.Fleet, "") },
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.Paused), Messages: append(toldAsked[:2:2], remediation.Note)},
		},
		"yes, and resolved since": {
			yes: true, meanwhile: func(w *world) { w.resolve(down(api)) },
			want: end{Outcome: remediation.ResolvedItself, Reason: string(guard.NotFiring), Messages: append(toldAsked[:2:2], remediation.Note)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "mode: approve"))
			run := w.asked()
			if n := w.scene(api).made("apply"); n != 0 {
				t.Fatalf("%d calls before an answer", n)
			}
			if c.meanwhile != nil {
				c.meanwhile(w)
			}
			must(t, w.answer(run, run.Asked, c.yes))
			w.heard(run)
			w.expect(w.finish(run.ID), c.want)
			if err := w.answer(run, run.Asked, true); !errors.Is(err, remediation.ErrStaleHint) {
				t.Errorf("an answer was taken twice: %v", err)
			}
		})
	}
}

func TestApprovalIsOfThePlanThatWasShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve"))
	run := w.asked()
	if err := w.answer(run, "0123456789abcdef", true); !errors.Is(err, remediation.ErrStaleHint) {
		t.Errorf("an answer to another plan: %v", err)
	}
	w.advance(15 * time.Minute)
	w.heard(run)
	v := w.finish(run.ID)
	if v.Run.Reason != guard.ApprovalExpired || !v.Run.Escalated {
		t.Errorf("it expired as %s, escalated %t", v.Run.Reason, v.Run.Escalated)
	}
}

// The version of the target is no part of what was approved: the platform moves it by itself.
func TestApprovalOutlivesAVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve"))
	run := w.asked()
	w.scene(api).set("bad")
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	w.expect(w.finish(run.ID), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldApproved})
}

// Each rung needs its own answer.
func TestApprovalIsOfOneRung(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"))
	run := w.asked()
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	next := w.until(run.ID, inPhase(remediation.PhaseAsk)).Run
	if next.Asked == run.Asked || next.Approved != "" {
		t.Fatalf("the second rung asks with %q after %q", next.Asked, run.Asked)
	}
	must(t, w.answer(next, next.Asked, true))
	w.heard(next)
	if v := w.finish(run.ID); v.Run.Outcome != remediation.Fixed {
		t.Errorf("ended %s: %s", v.Run.Outcome, v.Run.Detail)
	}
}

func TestAnIrreversibleActNeedsAnApproval(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]end{
		"auto":    {Outcome: remediation.RefusedRun, Reason: string(guard.NeedsApproval), Messages: toldOnly},
		"approve": {Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldApproved},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "mode: "+mode))
			w.scene(api).hooks.change = irreversible
			if mode == "auto" {
				w.expect(w.play(down(api)), want)
				return
			}
			run := w.asked()
			must(t, w.answer(run, run.Asked, true))
			w.heard(run)
			w.expect(w.finish(run.ID), want)
		})
	}
}

// Whoever approves a plan knows how old the event is; that makes no other rule young again.
func TestApprovalIsOfTheRuleThatAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("short", "guard: {max_age: 5m}"), rule("cure", "mode: approve", "do: [{fake.act: {to: better}}]"))
	w.scene(api).cured["better"] = true
	got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{down(api)}, OccurredAt: w.now().Add(-4 * time.Minute)})
	w.advance(2 * time.Minute) // too old for the first by now
	run := w.until(got.Runs[0].Run, inPhase(remediation.PhaseAsk)).Run
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	if v := w.finish(run.ID); v.Run.Outcome != remediation.Fixed || v.Run.Rule != "cure" {
		t.Errorf("ended %s by rule %s: %s\n%s", v.Run.Outcome, v.Run.Rule, v.Run.Detail, story(v))
	}
}
