package remediation

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
)

// apply makes the call that the intent names. A run that comes back to an intent without a result only looks: whether the call was made
// cannot be known from here.
func (v *visit) apply(ctx context.Context) {
	if !v.fresh {
		v.lookAgain("the intent was recorded before a restart; whether the call was made has to be read back")
		return
	}
	v.fresh = false
	action, ok := v.action()
	if !ok {
		v.drop(guard.Refuse(guard.RulesChanged, "the action %s is gone", v.step().Kind))
		return
	}
	if !v.mayCall(ctx) {
		return
	}
	failpoint.Here("apply.before")
	receipt, err := v.call(ctx, action)
	failpoint.Here("apply.after")
	v.answered(receipt, err)
}

// mayCall asks once more right before a call that is no way back: a process that stood still since the intent may have lost the run, its
// plan may be old, somebody may have pressed the stop button, and the alert may be over. What needs no answer from elsewhere comes last:
// reading the button may take long.
func (v *visit) mayCall(ctx context.Context) bool {
	if !v.run.MayAffect() {
		v.drop(guard.Refuse(guard.GuardFailed, "a drill makes no call"))
		return false
	}
	var stop *guard.Refusal
	if !v.wayBack() {
		stop = v.interrupted(ctx)
	}
	if v.leaseLeft() <= 0 {
		v.left = fmt.Errorf("the lease of run %s ended before its call: %w", v.run.ID, ErrFenced)
		return false
	}
	if v.wayBack() {
		return true
	}
	if stop != nil {
		v.drop(stop)
		return false
	}
	if refusal := guard.Fresh(v.basis, guard.Freshness{Plan: planTTL, Facts: factsTTL}, v.set.Hash, v.e.Now()); refusal != nil && v.run.ByRule() {
		v.discard(refusal)
		return false
	}
	return true
}

// interrupted reads what may have been said since the intent, and looks whether a freeze has begun: the store may have taken long to keep the
// intent. A stop button that cannot be read counts as pressed; its file is looked for last, after the answer of the store.
func (v *visit) interrupted(ctx context.Context) *guard.Refusal {
	snapshot, err := v.e.Runs.Snapshot(ctx, v.query())
	if err != nil {
		return guard.Refuse(guard.GuardFailed, "the stop button could not be read: %s", err)
	}
	snapshot.Now, snapshot.Pauses = v.e.Now(), append(snapshot.Pauses, v.e.pressed()...)
	limits := guard.Limits{Freezes: v.limits().Freezes}
	if v.inParts() { // neither the end of an alert nor a freeze leaves a change half made
		snapshot.EndedAt, limits = time.Time{}, guard.Limits{}
	}
	return guard.Interrupts(limits, snapshot)
}

// discard drops an act that was not made because its plan is too old, and plans again.
func (v *visit) discard(r *guard.Refusal) {
	v.step().Detail = r.Error()
	v.endStep(StepDropped)
	v.journal(EntryApplied, "the call was not made, and is planned again: "+r.Error())
	v.planAgain(r)
}

// planAgain goes back to the decision, unless that has been tried often enough.
func (v *visit) planAgain(r *guard.Refusal) {
	if v.run.Attempt >= maxAttempts {
		v.refuse(r)
		return
	}
	v.decideAgain()
}

// decideAgain goes back to the decision. A further part of a change was decided with the first: the part before says again what comes next.
func (v *visit) decideAgain() {
	before := v.partBefore()
	v.run.Phase, v.run.Tries = PhaseDecide, 0
	switch {
	case before >= 0:
		v.run.Step, v.run.Phase = before, PhaseObserve
	case v.run.Ends():
		v.expireLater("the last call had no effect")
	case v.run.Origin == ByFollowUp:
		v.backToCalm()
	}
}

// rungTimeout is how long the rule lets one call of its rung take; 0 where it says nothing, such as of another run's act that is taken back.
func (v *visit) rungTimeout(kind string) time.Duration {
	if !v.run.ByRule() || v.run.Rung >= len(v.bound.Actions) || v.bound.Actions[v.run.Rung].Kind != kind {
		return 0
	}
	return v.bound.Actions[v.run.Rung].Timeout
}

func (v *visit) call(ctx context.Context, action executors.Action) (executors.Receipt, error) {
	step := v.step()
	bounded, cancel := v.bounded(ctx, v.rungTimeout(step.Kind))
	defer cancel()
	defer v.catchUp()
	began := time.Now()
	var receipt executors.Receipt
	err := v.e.Systems.Do(executors.System(step.Kind), v.wayBack(), func() (err error) {
		receipt, err = action.Apply(bounded, v.env(), step.Change, step.Operation)
		return err
	})
	v.e.Metrics.step(step.Kind, result(err), time.Since(began))
	if v.run.Step == 0 && v.run.Origin == ByAlert {
		v.e.Metrics.firstAction(v.e.Now().Sub(v.run.CreatedAt))
	}
	return receipt, err
}
