package remediation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// Those who wait long never hide those who wait no more, however many they are.
func TestManyParkedRunsHideNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.pause(guard.Target, web)
	w.pause(guard.Target, api)
	for i := range 501 {
		a := down(web)
		a.Episode, a.IncidentKey = fmt.Sprint("episode ", i), fmt.Sprint("key ", i)
		w.expect(w.play(a), refused(guard.Paused))
	}
	w.expect(w.play(down(api)), refused(guard.Paused))
	_, err := w.store.Resume(context.Background(), guard.Target, api)
	must(t, err)
	before := w.runs()
	must(t, w.engine.Rejudge(t.Context()))
	fresh := w.runs()
	if len(fresh) != len(before)+1 {
		t.Fatalf("%d runs are judged again, want that of %s", len(fresh)-len(before), api)
	}
	w.expect(w.finish(fresh[0]), fixed)
}

// A scale-back that was stopped, or found its system's breaker open, right before its call is no lost scale-back.
func TestAStoppedScaleBackGoesOn(t *testing.T) {
	t.Parallel()
	w, _, follow := scaleBack(t, "do: [{cloud_run.scale: {to: good}}]")
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil {
			w.pause(guard.Target, api)
		}
	}
	w.until(follow, func(r remediation.Run) bool { return w.now().Sub(noon) > time.Hour })
	if n := w.scene(api).made("apply"); n != 1 {
		t.Fatalf("%d calls while paused", n)
	}
	w.racing.after = nil
	_, err := w.store.Resume(context.Background(), guard.Target, api)
	must(t, err)
	v := w.finish(follow)
	if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.Undone || state != "bad" {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
	if n := len(w.acts()); n != 2 {
		t.Errorf("%d debits for one act and one way back", n)
	}
}

// A busy system costs a scale-back no budget: what had no effect is debited once.
func TestAThrottledScaleBackIsDebitedOnce(t *testing.T) {
	t.Parallel()
	w, _, follow := scaleBack(t, "do: [{cloud_run.scale: {to: good}}]")
	w.scene(api).hooks.apply = func(n int) (bool, error) {
		if n < 6 {
			return false, status.Error(codes.ResourceExhausted, "quota")
		}
		return true, nil
	}
	v := w.finish(follow)
	if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.Undone || state != "bad" {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
	if n := len(w.acts()); n != 2 {
		t.Errorf("%d debits for one act and one way back", n)
	}
}

// A change of several parts that is stopped between them is neither done nor of no help.
func TestStoppedBetweenTwoParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.two: {to: half, then: good}}]"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil && c.Intent.Exempt {
			w.pause(guard.Fleet, "")
		}
	}
	v := w.play(down(api))
	if v.Run.Outcome != remediation.Inconclusive || !strings.Contains(v.Run.Detail, "made in part") || w.scene(api).made("apply") != 1 {
		t.Errorf("ended %s: %s\n%s", v.Run.Outcome, v.Run.Detail, story(v))
	}
}

// Nobody is called for a run that is seen to be fixed at the very look that would be too late.
func TestFixedAtTheLastMomentCallsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "escalate: {after: 1m}"))
	w.expect(w.play(down(api)), fixed)
}

// An alert that ends between intent and call is not acted on any more.
func TestEndedBetweenIntentAndCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil {
			w.resolve(down(api))
		}
	}
	v := w.play(down(api))
	if v.Run.Outcome != remediation.ResolvedItself || w.scene(api).made("apply") != 0 {
		t.Errorf("ended %s\n%s", v.Run.Outcome, story(v))
	}
}

// A change of several parts that was begun is completed although the alert ends between them.
func TestEndedBetweenTwoParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.two: {to: half, then: good}}]"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil && c.Intent.Exempt {
			w.resolve(down(api))
		}
	}
	v := w.play(down(api))
	if state, _ := w.scene(api).now(); state != "good" || v.Run.Outcome != remediation.Fixed {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
}

// So is one whose further part has to be tried again.
func TestEndedBetweenTwoTriesOfAPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.two: {to: half, then: good}}]"))
	w.scene(api).hooks.apply = func(n int) (bool, error) {
		if n != 2 { // the second part
			return true, nil
		}
		w.resolve(down(api))
		return false, status.Error(codes.ResourceExhausted, "quota")
	}
	v := w.play(down(api))
	if state, _ := w.scene(api).now(); state != "good" || v.Run.Outcome != remediation.Fixed {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
}

// A freeze that begins between two tries of a rung holds the second.
func TestAFreezeBeginsBetweenTwoTries(t *testing.T) {
	t.Parallel()
	begins := noon.Add(10 * time.Second)
	w := newWorld(t, rule("cure"), fmt.Sprintf("freezes:\n  - {name: launch, reason: a launch, from: %s, until: %s}\n",
		begins.Format(time.RFC3339), begins.Add(time.Hour).Format(time.RFC3339)))
	w.scene(api).hooks.apply = failing(1, false, status.Error(codes.ResourceExhausted, "quota"))
	v := w.play(down(api))
	if v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.Frozen || w.scene(api).made("apply") != 1 || len(v.Steps) != 1 {
		t.Errorf("ended %s %s after %d calls\n%s", v.Run.Outcome, v.Run.Reason, w.scene(api).made("apply"), story(v))
	}
}

// So is one that begins between an intent and its call, such as while the store takes long to keep the intent.
func TestAFreezeBeginsBeforeTheCall(t *testing.T) {
	t.Parallel()
	begins := noon.Add(10 * time.Second)
	w := newWorld(t, rule("cure"), fmt.Sprintf("freezes:\n  - {name: launch, reason: a launch, from: %s, until: %s}\n",
		begins.Format(time.RFC3339), begins.Add(time.Hour).Format(time.RFC3339)))
	w.racing.before = func(remediation.Commit) { w.advance(10 * time.Second) }
	v := w.play(down(api))
	if v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.Frozen || w.scene(api).made("apply") != 0 {
		t.Errorf("ended %s %s after %d calls\n%s", v.Run.Outcome, v.Run.Reason, w.scene(api).made("apply"), story(v))
	}
}

// A freeze that begins between the parts of a change leaves it no more half made than the end of its alert does.
func TestAFreezeBeginsBetweenTwoParts(t *testing.T) {
	t.Parallel()
	begins := noon.Add(10 * time.Second)
	w := newWorld(t, rule("cure", "do: [{fake.two: {to: half, then: good}}]"), fmt.Sprintf("freezes:\n  - {name: launch, reason: a launch, from: %s, until: %s}\n",
		begins.Format(time.RFC3339), begins.Add(time.Hour).Format(time.RFC3339)))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil && c.Intent.Exempt {
			w.advance(10 * time.Second)
		}
	}
	v := w.play(down(api))
	if state, _ := w.scene(api).now(); state != "good" || v.Run.Outcome != remediation.Fixed {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
}

// Reading the stop button may take long: the lease is judged after it.
func TestSlowButton(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil {
			w.racing.after, w.racing.slow = nil, func() { w.advance(lease) }
		}
	}
	v := w.play(down(api))
	w.expect(v, end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed})
	if n := w.scene(api).made("apply"); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// A human takes a while to approve the next rung: on a target that has become well meanwhile it is not tried.
func TestWellBeforeTheNextRungIsApproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve", "do: [{fake.act: {to: other}}, {fake.act: {to: better}}]"))
	run := w.asked()
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	run = w.until(run.ID, func(r remediation.Run) bool {
		return r.Rung == 1 && r.Phase == remediation.PhaseAsk && r.State == remediation.Waiting
	}).Run
	w.advance(5 * time.Minute)
	w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) { f.OK = true; return nil, nil }
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	v := w.finish(run.ID)
	if v.Run.Outcome != remediation.Inconclusive || w.scene(api).made("apply") != 1 {
		t.Errorf("ended %s after %d calls\n%s", v.Run.Outcome, w.scene(api).made("apply"), story(v))
	}
}

// A budget that allows no scale-back within its time ends it, and people are told.
func TestAScaleBackWithoutABudgetEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("grow", "do: [{cloud_run.scale: {to: good}}]", "guard: {target_per_hour: 99, target_per_day: 1}",
		"afterwards: [{scale_back: {if: health.value < 0.5, hold: 10m, every: 1m, within: 2h}}]"))
	w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) { f.Value = 0; return nil, nil }
	parent := w.play(down(api))
	v := w.finish(w.followUp(parent.Run.ID))
	if v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.BudgetExhausted || len(v.Messages) == 0 {
		t.Errorf("ended %s %s, told %d\n%s", v.Run.Outcome, v.Run.Reason, len(v.Messages), story(v))
	}
	if since := w.now().Sub(noon); since < 2*time.Hour || since > 3*time.Hour {
		t.Errorf("ended after %s", since)
	}
}

// What somebody has changed is not changed by the next rung either, also where no sample has seen the hand.
func TestAHandBeforeTheNextRung(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		blind   bool // the reads while it is verified tell nothing
		unclear int  // looks before the next rung that tell nothing
		outcome remediation.Outcome
		reason  guard.Reason
	}{
		"seen before the rung":  {true, 0, remediation.Inconclusive, ""},
		"seen at the next look": {true, 1, remediation.Inconclusive, ""},
		"never to be told":      {true, 99, remediation.NotFixed, guard.UnknownFacts},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"))
			looks := 0
			w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
				verified := w.now().Sub(noon) >= 5*time.Minute
				if verified {
					looks++
				}
				if n > 1 && (!verified || looks <= 1+c.unclear) {
					return executors.Observation{Progress: executors.Unclear}, nil
				}
				return o, nil
			}
			id := w.fire(down(api))
			w.until(id, func(remediation.Run) bool { return w.now().Sub(noon) > 4*time.Minute })
			w.scene(api).set("theirs")
			v := w.finish(id)
			if state, _ := w.scene(api).now(); state != "theirs" || v.Run.Outcome != c.outcome || v.Run.Reason != c.reason {
				t.Errorf("ended %s %s with the target %s\n%s", v.Run.Outcome, v.Run.Reason, state, story(v))
			}
		})
	}
}

// A hand that comes while the next rung is planned is seen too, also where the rung before had no effect; one that came before it, likewise.
func TestAHandWhileTheNextRungIsPlanned(t *testing.T) {
	t.Parallel()
	for name, gaveUp := range map[string]bool{"after a rung without effect": true, "after one that did not help": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"))
			if gaveUp {
				w.scene(api).hooks.apply = func(n int) (bool, error) { return n > 1, nil }
				w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
					if n == 1 {
						o.Progress = executors.Failed
					}
					return o, nil
				}
			}
			plans := 0
			w.scene(api).hooks.plan = func() error {
				if plans++; plans == 2 {
					w.scene(api).set("theirs")
				}
				return nil
			}
			v := w.play(down(api))
			if state, _ := w.scene(api).now(); state != "theirs" || v.Run.Outcome != remediation.Inconclusive || plans != 2 {
				t.Errorf("ended %s with the target %s after %d plans\n%s", v.Run.Outcome, state, plans, story(v))
			}
		})
	}
}

// A call that was seen under way was made: when the system shows it no more, somebody has taken it back, and it is not made again.
func TestACallSeenUnderWayIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.scene(api).hooks.apply = failing(1, false, errTimeout)
	w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
		if n <= 2 {
			o.Progress = executors.Pending
		}
		return o, nil
	}
	v := w.play(down(api))
	if n := w.scene(api).made("apply"); n != 1 || v.Run.Outcome != remediation.NeedsHuman {
		t.Errorf("ended %s after %d calls\n%s", v.Run.Outcome, n, story(v))
	}
}

// A scale-back whose call may still arrive does not say that the bounds stay.
func TestAScaleBackMayArriveAfterItsTime(t *testing.T) {
	t.Parallel()
	w, _, follow := scaleBack(t, "do: [{cloud_run.scale: {to: good}}]")
	w.scene(api).hooks.apply = func(n int) (bool, error) {
		w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) { f.Value = 1; return nil, nil } // it is calm no more
		return false, errTimeout
	}
	if v := w.finish(follow); v.Run.Outcome != remediation.NeedsHuman || !strings.Contains(v.Run.Detail, "may still arrive") {
		t.Errorf("ended %s: %s\n%s", v.Run.Outcome, v.Run.Detail, story(v))
	}
}
