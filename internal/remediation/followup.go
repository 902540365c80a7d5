package remediation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// followUps makes the runs that a fixed run leaves behind: putting bounds back when it is calm, reminding of what it left pinned.
func (v *visit) followUps() {
	if v.rule == nil || !v.run.ByRule() {
		return
	}
	v.awaitEnd()
	for i, after := range v.rule.Afterwards {
		var acts []Step // newest first: that is the order in which they can be taken back
		for _, step := range slices.Backward(v.steps) {
			if step.State == StepApplied && !step.Undo && concerns(after, step) {
				acts = append(acts, step)
			}
		}
		if len(acts) > 0 {
			v.out.Spawn = append(v.out.Spawn, v.followUp(i, after, acts))
		}
	}
}

func concerns(after rules.Afterward, step Step) bool {
	if after.Kind == rules.Remind {
		return step.Change.Debt == after.Of
	}
	return step.Kind == "cloud_run.scale" && step.Change.Reversible
}

func (v *visit) followUp(i int, after rules.Afterward, acts []Step) Run {
	phase, within := PhaseCalm, after.Within
	if after.Kind == rules.Remind {
		phase, within = PhaseRemind, 0
	}
	run := v.child(phase, v.out.Now.Add(min(after.Every, v.e.scale(lookEvery))))
	run.Of, run.Behind, run.Rung = &acts[0], acts[1:], i
	if within > 0 {
		run.Until = v.out.Now.Add(within)
	}
	return run
}

// child is a follow-up of the run, which wakes at a time.
func (v *visit) child(phase Phase, wake time.Time) Run {
	return Run{
		ID: v.e.NewID(), Origin: ByFollowUp, Parent: v.run.ID, Event: v.run.Event, Alert: v.run.Alert, Target: v.run.Target,
		Rule: v.run.Rule, Mode: v.run.Mode, RulesHash: v.run.RulesHash,
		State: Waiting, Phase: phase, WakeAt: wake, CreatedAt: v.out.Now, UpdatedAt: v.out.Now,
	}
}

func (v *visit) afterward() (rules.Afterward, bool) {
	if v.rule == nil || v.run.Of == nil || v.run.Rung >= len(v.rule.Afterwards) {
		return rules.Afterward{}, false
	}
	return v.rule.Afterwards[v.run.Rung], true
}

// calm waits until the rule's condition of calm has held for its time, then takes the change back.
func (v *visit) calm(ctx context.Context) {
	v.run.State = Running
	after, ok := v.afterward()
	if !ok {
		v.finish(Observed, "the rule that scaled is gone; the bounds stay as they are")
		return
	}
	v.facts = rules.Facts{}
	v.gather(ctx, v.rule.NeedsCalm(v.run.Rung), time.Time{})
	j := v.bound.Calm(v.run.Rung, v.signal(), v.facts)
	v.out.Now = v.e.Now()
	switch {
	case !j.Known || !j.Holds:
		v.run.HeldFrom = time.Time{}
	case v.gap(after.Every) || v.run.HeldFrom.IsZero():
		v.run.HeldFrom = v.out.Now
	}
	held := j.Holds && v.out.Now.Sub(v.run.HeldFrom) >= after.Hold
	switch {
	case held:
		v.scaleBack(ctx, after)
	case v.overdue():
		v.notCalm(after)
	default:
		v.wait(after.Every)
	}
}

// overdue reports whether a follow-up has had its time.
func (v *visit) overdue() bool { return !v.run.Until.IsZero() && !v.out.Now.Before(v.run.Until) }

// notCalm ends a follow-up that had no more time. What it took back before stays so.
func (v *visit) notCalm(after rules.Afterward) {
	detail := fmt.Sprintf("it did not stay calm for %s; the bounds stay as they are", after.Hold)
	if s := v.adrift(); s != nil {
		v.needsHuman(adriftWords(*s) + "; " + detail)
		return
	}
	if v.touched() {
		v.finish(Undone, "taken back in part: "+detail)
		return
	}
	v.finish(Observed, detail)
}

// scaleBack takes the change back if the target still is as it left it. A passing refusal is tried again at the next look.
func (v *visit) scaleBack(ctx context.Context, after rules.Afterward) {
	change, err := v.planUndo(ctx, v.run.Of)
	if refusal := asRefusal(err); refusal != nil && !refusal.Reason.Passing() {
		v.refuse(refusal)
		return
	}
	if err != nil {
		v.wait(after.Every)
		return
	}
	intent := v.backIntent()
	if refusal := v.preview(ctx, intent); refusal != nil {
		if refusal.Reason.Passing() || triedAgain(refusal) && !v.overdue() {
			v.wait(after.Every)
			return
		}
		v.refuse(refusal)
		return
	}
	v.begin(change, intent)
	v.journal(EntryIntent, change.Summary)
	v.run.Acted, v.run.DecidedAt = true, v.out.Now
}

// backIntent is what taking a change back asks of the shared guards. A call that was debited and had no effect is not debited again.
func (v *visit) backIntent() *Intent {
	if n := len(v.steps); n > 0 && v.steps[n-1].State == StepDropped {
		return &Intent{Query: v.query(), Limits: guard.Limits{Freezes: v.limits().Freezes}}
	}
	limits := v.limits()
	limits.Cooldown = 0
	return &Intent{Query: v.query(), Limits: limits, Act: guardAct(v)}
}

// triedAgain tells the refusals after which a follow-up goes on, within its own time.
func triedAgain(r *guard.Refusal) bool {
	return r.Reason.Passing() || r.Reason == guard.BudgetExhausted || r.Reason == guard.GuardFailed
}

// goOn turns to the act before the one that was taken back; false when there is none.
func (v *visit) goOn() bool {
	if v.run.Origin != ByFollowUp || len(v.run.Behind) == 0 {
		return false
	}
	v.run.Of, v.run.Behind = &v.run.Behind[0], v.run.Behind[1:]
	v.run.HeldFrom = time.Time{} // calm has to hold anew with fewer
	v.backToCalm()
	v.wait(0)
	return true
}

// lookEvery is how often a reminder looks whether a new deploy has no effect because of the debt, in real time.
const lookEvery = 5 * time.Minute

// remind tells people again of what an act left, until it is settled, and at once when a new deploy has no effect because of it. The
// action that settles such a debt tells how it stands: a restart or a change under way settle nothing.
func (v *visit) remind(ctx context.Context) {
	v.run.State = Running
	after, ok := v.afterward()
	if !ok {
		v.finish(Observed, "the rule that reminded is gone")
		return
	}
	kind, known := executors.Settling(after.Of)
	if !known {
		v.finish(Observed, "no action settles "+after.Of)
		return
	}
	debt, err := v.debtState(ctx, kind)
	if err == nil && debt.Settled {
		v.out.Debts = append(v.out.Debts, Debt{Target: v.run.Target, Kind: after.Of, Run: v.run.Parent, SettledAt: v.out.Now})
		v.end(Observed, "the debt is settled: "+debt.Detail)
		return
	}
	if err == nil {
		v.tellDebt(after, debt)
	}
	v.wait(min(after.Every, v.e.scale(lookEvery)))
}

// debtState asks how a debt stands. An action that cannot say it by itself plans: it refuses when there is nothing to do.
func (v *visit) debtState(ctx context.Context, kind executors.ActionKind) (executors.DebtState, error) {
	bounded, cancel := v.bounded(ctx, 0)
	defer cancel()
	defer v.catchUp()
	action := kind.New()
	if debtor, ok := action.(executors.Debtor); ok {
		return debtor.Debt(bounded, v.env())
	}
	_, err := action.Plan(bounded, v.env())
	refusal := asRefusal(err)
	if refusal == nil {
		return executors.DebtState{}, err
	}
	return executors.DebtState{Settled: refusal.Reason == guard.NothingToDo, Detail: refusal.Detail}, nil
}

// tellDebt says at once what a debt newly keeps from having an effect, and reminds when it is time.
func (v *visit) tellDebt(after rules.Afterward, debt executors.DebtState) {
	if debt.Idle != v.run.Sampled {
		v.run.Sampled = debt.Idle
		v.out.Debts = append(v.out.Debts, Debt{Target: v.run.Target, Kind: after.Of, Run: v.run.Parent, Idle: debt.Idle})
		if debt.Idle != "" {
			v.journal(EntryObserved, "a new deploy has no effect: "+debt.Idle)
			v.tellIdle(after.Of, debt.Idle)
		}
	}
	if v.run.SampledAt.IsZero() {
		v.run.SampledAt = v.run.CreatedAt
	}
	if v.out.Now.Sub(v.run.SampledAt) >= after.Every {
		v.run.SampledAt = v.out.Now
		v.tellReminder(after.Of, v.out.Now.Sub(v.run.CreatedAt))
	}
}

// awaitEnd leaves a follow-up that resolves the incident once the sender says that the alert has ended: before, it would open it again.
func (v *visit) awaitEnd() {
	tell := v.rule.Tell.PagerDuty
	if v.run.Outcome != Fixed || tell == nil || tell.ResolveWhen != rules.ResolveFixed || v.mayResolve() {
		return
	}
	run := v.child(PhaseAwait, v.out.Now.Add(v.e.scale(awaitEvery)))
	run.Detail, run.EventAt, run.Until = v.run.Detail, v.out.Now, v.out.Now.Add(v.e.scale(awaitWithin))
	v.out.Spawn = append(v.out.Spawn, run)
}

// Waits of the follow-up that resolves an incident, in real time.
const (
	awaitEvery  = 2 * time.Minute
	awaitWithin = 24 * time.Hour
)

func (v *visit) await() {
	switch {
	case v.episode.over():
		v.tell(PagerDuty, Resolve, v.run.Detail)
		v.end(Observed, "the alert resolved after run "+v.run.Parent+" had fixed it")
	case !v.out.Now.Before(v.run.Until):
		v.end(Observed, "the alert did not resolve; the incident is left as it is")
	default:
		v.wait(v.e.scale(awaitEvery))
	}
}

func guardAct(v *visit) guard.Act {
	return guard.Act{Run: v.run.ID, Rule: v.run.Rule, Target: v.run.Target, At: v.out.Now, Ends: v.run.Ends()}
}
