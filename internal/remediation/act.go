package remediation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
)

// step is the act in progress.
func (v *visit) step() *Step { return &v.steps[v.run.Step] }

// action finds the code of the act in progress.
func (v *visit) action() (executors.Action, bool) {
	for _, a := range v.bound.Actions {
		if a.Kind == v.step().Kind {
			return a.Action, true
		}
	}
	kind, ok := executors.LookupAction(v.step().Kind)
	if !ok {
		return nil, false
	}
	return kind.New(), true
}

// answered sorts the system's answer: accepted and ambiguous calls are read back, a lost precondition is looked at, a sure "no" ends the rung.
func (v *visit) answered(receipt executors.Receipt, err error) {
	step := v.step()
	switch {
	case err == nil:
		step.State, step.Answer, step.Receipt = StepAccepted, Taken, receipt
		v.journal(EntryApplied, "the system accepted: "+step.Change.Summary)
	case errors.Is(err, breaker.ErrOpen):
		v.drop(guard.Refuse(guard.SystemDown, "%s", err))
		return
	case asRefusal(err) != nil:
		v.drop(asRefusal(err))
		return
	case connect.IsThrottled(err):
		v.throttled(err)
		return
	case connect.IsConflict(err):
		step.Answer, step.Detail = Conflict, err.Error()
		v.journal(EntryApplied, "the precondition was lost: "+err.Error())
	case connect.IsAmbiguous(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		step.Answer, step.Detail = Ambiguous, err.Error()
		v.journal(EntryApplied, "the call may or may not have taken effect: "+err.Error())
	default:
		v.rejected(err)
		return
	}
	v.out.Steps = append(v.out.Steps, *step)
	v.run.Phase = PhaseObserve
}

// throttled: the system has no time for the call now, and did nothing.
func (v *visit) throttled(err error) {
	v.step().Answer, v.step().Detail = Rejected, err.Error()
	v.endStep(StepDropped)
	v.journal(EntryApplied, "the system is too busy for the call, nothing was changed: "+err.Error())
	switch {
	case v.run.Undoing:
		v.undoAgain()
	case v.run.Attempt >= maxAttempts:
		v.refuse(guard.Refuse(guard.SystemDown, "%s", err))
	default:
		v.decideAgain()
	}
	pause := v.e.scale(throttleWait)
	longer := v.run.State == Waiting && !v.run.WakeAt.Before(v.out.Now.Add(pause)) // else the time is that of an earlier wait
	if v.run.State != Done && !longer {
		v.wait(pause)
	}
}

// rejected ends an act that the system has refused to make.
func (v *visit) rejected(err error) {
	step := v.step()
	step.Answer, step.Detail = Rejected, err.Error()
	v.endStep(StepFailed)
	why := "the system rejected the call, nothing was changed: "
	if v.touched() {
		why = "the system rejected the last call (it changed nothing; what was done before it stands): "
	}
	v.journal(EntryApplied, why+err.Error())
	v.rungFailed(NotFixed, why+err.Error())
}

func (v *visit) lookAgain(why string) {
	v.journal(EntryApplied, why)
	v.run.State, v.run.Phase = Running, PhaseObserve
}

func (v *visit) endStep(state StepState) {
	step := v.step()
	step.State, step.EndedAt = state, v.out.Now
	v.out.Steps = append(v.out.Steps, *step)
}

// drop ends an act that was certainly not made. A follow-up tries it again when that may pass.
func (v *visit) drop(r *guard.Refusal) {
	v.step().Detail = r.Error()
	v.endStep(StepDropped)
	if v.run.Origin == ByFollowUp && triedAgain(r) {
		v.journal(EntryApplied, "the call was not made, and is tried again: "+r.Error())
		v.backToWait(r.Error())
		return
	}
	v.refuse(r)
}

// observe reads back what became of the act in progress.
func (v *visit) observe(ctx context.Context) {
	v.run.State = Running
	o, err := v.readBack(ctx)
	switch {
	case err != nil && v.run.Ends(): // until it can be read again: see expire
		v.out.Unlock = !v.out.Now.Before(v.run.Until) // no call is on its way for so long: others may act meanwhile
		v.later("reading back: " + err.Error())
		return
	case err != nil:
		v.unclear("reading back: " + err.Error())
		return
	}
	switch o.Progress {
	case executors.Applied:
		v.applied(o)
	case executors.Pending:
		v.pending(o)
	case executors.NotApplied:
		v.notApplied(o)
	case executors.Failed:
		v.step().Detail = o.Detail
		v.endStep(StepFailed)
		v.journal(EntryObserved, "the system gave up: "+o.Detail)
		v.rungFailed(NotFixed, "the change failed in the system: "+o.Detail)
	case executors.Foreign:
		v.foreign(o)
	default:
		v.unclear(o.Detail)
	}
}

func (v *visit) readBack(ctx context.Context) (executors.Observation, error) {
	action, ok := v.action()
	if !ok {
		return executors.Observation{Progress: executors.Unclear, Detail: "the action is gone"}, nil
	}
	if err := v.keep(ctx); err != nil {
		return executors.Observation{}, err
	}
	bounded, cancel := v.bounded(ctx, 0)
	defer cancel()
	step := v.step()
	defer v.catchUp()
	failpoint.Here("observe.before")
	defer failpoint.Here("observe.after")
	return action.Observe(bounded, v.env(), step.Change, step.Operation, step.Receipt)
}

func (v *visit) applied(o executors.Observation) {
	step := v.step()
	step.ReadBack = o.State
	v.endStep(StepApplied)
	v.journal(EntryObserved, "read back as done: "+step.Change.Summary)
	v.debts(step.Change)
	if o.Next != nil {
		v.begin(*o.Next, &Intent{Query: v.query(), Exempt: true})
		v.journal(EntryIntent, o.Next.Summary)
		return
	}
	if v.goOn() {
		return
	}
	v.run.AppliedAt, v.run.Tries, v.run.HeldFrom, v.run.Sampled = v.out.Now, 0, time.Time{}, ""
	v.run.SampledAt = time.Time{}
	switch {
	case v.run.Undoing && v.nextRung(v.run.Detail+"; it was taken back"):
	case v.run.Undoing:
		v.finish(Undone, v.run.Detail)
	case !v.run.ByRule():
		v.finish(Undone, "done and read back: "+step.Change.Summary)
	case v.rule == nil || v.rule.Verify == nil:
		v.finish(Inconclusive, "done, and the rule has no way to verify that it helped")
	default:
		v.run.Phase, v.run.Until = PhaseVerify, v.out.Now.Add(v.rule.Verify.Within)
	}
}

// debts records what a change leaves to be settled, or settles it when the change takes such a thing back.
func (v *visit) debts(c executors.Change) {
	switch {
	case c.Settles != "":
		v.out.Debts = append(v.out.Debts, Debt{Target: c.Target, Kind: c.Settles, Run: v.run.ID, SettledAt: v.out.Now})
	case c.Debt != "":
		v.out.Debts = append(v.out.Debts, Debt{Target: c.Target, Kind: c.Debt, Run: v.run.ID, Detail: c.Summary, Since: v.out.Now})
	}
}

// pending waits for a change that the system shows under way: whatever it had answered, it has the call. One that shows it no more was not
// lost, but taken back.
func (v *visit) pending(o executors.Observation) {
	v.run.Tries = 0
	if step := v.step(); o.Progress == executors.Pending && step.Answer != Taken {
		step.Answer = Taken
		v.out.Steps = append(v.out.Steps, *step)
	}
	if !v.out.Now.Before(v.run.Until) {
		v.step().Detail = o.Detail
		v.endStep(StepUnclear)
		v.needsHuman("the change did not complete in time: " + o.Detail)
		return
	}
	v.wait(v.e.scale(observeEvery))
}

// notApplied plans again with fresh facts, unless the system had accepted the call and only does not show it yet.
func (v *visit) notApplied(o executors.Observation) {
	step := v.step()
	if step.Answer == Taken {
		v.pending(o)
		return
	}
	if step.Answer != Conflict && v.mayArrive(step) {
		return
	}
	step.Detail = first(step.Detail, o.Detail)
	v.endStep(StepDropped)
	v.journal(EntryObserved, "read back: the call had no effect")
	if v.run.Undoing {
		v.undoAgain()
		return
	}
	v.planAgain(guard.Refuse(guard.PlanChanged, "the target kept changing: %d plans in a row lost their precondition", v.run.Attempt))
}

// mayArrive waits for a call that nobody has answered: it counts as lost only when it has left no trace for a while.
func (v *visit) mayArrive(step *Step) bool {
	if step.MissedAt.IsZero() {
		step.MissedAt = v.out.Now
		v.out.Steps = append(v.out.Steps, *step)
	}
	left := step.MissedAt.Add(v.e.scale(lateWait)).Sub(v.out.Now)
	if left <= 0 {
		return false
	}
	v.wait(left)
	return true
}

// undoAgain plans the way back anew: the platform touches versions by itself.
func (v *visit) undoAgain() {
	tries := 0
	for _, s := range slices.Backward(v.steps) {
		if !s.Undo { // what is taken back: an earlier rung's way back does not count
			break
		}
		tries++
	}
	if tries >= maxAttempts {
		v.finish(NotFixed, v.run.Detail+"; taking the change back had no effect")
		return
	}
	v.run.Phase, v.run.Tries = PhaseUndo, 0
}

// backToCalm lets a follow-up wait again, up to the end of its own time.
func (v *visit) backToCalm() {
	v.run.Phase, v.run.Attempt = PhaseCalm, 0
	if after, ok := v.afterward(); ok && after.Within > 0 {
		v.run.Until = v.run.CreatedAt.Add(after.Within) // the act's own deadline had taken its place
	}
}

// backToWait lets a follow-up wait for its next try.
func (v *visit) backToWait(why string) {
	if v.run.Ends() {
		v.expireLater(why)
		return
	}
	v.backToCalm()
	v.wait(v.e.scale(regatherEvery))
}

// foreign ends the run: somebody else has changed the target. Whether our call came first decides what can be said.
func (v *visit) foreign(o executors.Observation) {
	step := v.step()
	step.ReadBack, step.Detail = o.State, o.Detail
	v.journal(EntryObserved, "somebody else changed the target: "+o.Detail)
	switch step.Answer {
	case Conflict:
		v.endStep(StepDropped)
		v.refuse(guard.Refuse(guard.HumanHand, "%s", o.Detail))
	case Taken:
		v.endStep(StepUnclear)
		v.finish(Inconclusive, "somebody else changed the target after our call: "+o.Detail)
	default:
		v.endStep(StepUnclear)
		v.needsHuman("our call may have taken effect, and somebody else has changed the target since: " + o.Detail)
	}
}

func (v *visit) unclear(detail string) {
	v.run.Tries++
	if v.run.Tries >= maxUnclear && !v.out.Now.Before(v.run.Until) {
		v.step().Detail = detail
		v.endStep(StepUnclear)
		v.needsHuman("it cannot be told whether the change took effect: " + detail)
		return
	}
	v.wait(v.e.scale(observeEvery << min(v.run.Tries, 4)))
}

func (v *visit) needsHuman(detail string) { v.finish(NeedsHuman, detail) }
