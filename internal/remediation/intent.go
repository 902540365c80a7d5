package remediation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// plan asks the rung's action what it would do and lets the guards judge it.
func (v *visit) plan(ctx context.Context) {
	if v.run.Rung >= len(v.bound.Actions) {
		v.finish(NotFixed, "every rung was tried")
		return
	}
	a := v.bound.Actions[v.run.Rung]
	v.prepare(ctx, a.Kind, a.Action)
}

// asLeft reports whether the target is as the rung before left it, or found it: a human's hand wins, also where no sample has seen it. It is asked
// after the plan, so that what changes later breaks the plan's precondition. Where it cannot be read, it is asked again, but for a rung that had
// no effect: its system may be what is down, and the next rung another's.
func (v *visit) asLeft(ctx context.Context) bool {
	if v.wayBack() || v.run.Rung == 0 || v.run.Attempt > 0 {
		return true
	}
	o, err := v.readBack(ctx)
	if v.step().State != StepApplied && (err != nil || o.Progress != executors.Foreign) {
		return true
	}
	switch {
	case err != nil:
		v.lackFacts(lacking(err), "reading whether the target is as the rung before left it: "+err.Error())
		return false
	case o.Progress == executors.Unclear:
		v.lackFacts(guard.UnknownFacts, "whether the target is as the rung before left it cannot be told: "+o.Detail)
		return false
	case o.Progress == executors.Foreign || o.Progress == executors.NotApplied:
		v.journal(EntryObserved, "somebody else changed the target: "+o.Detail)
		v.finish(Inconclusive, "somebody else changed the target before the next rung: "+o.Detail)
		return false
	default:
		return true
	}
}

// prepare asks the shared guards before anything is planned, so that a refusal costs no call; they are asked again with the intent.
func (v *visit) prepare(ctx context.Context, kind string, action executors.Action) {
	v.want()
	intent := v.intent(kind)
	if refusal := v.preview(ctx, intent); refusal != nil {
		v.refuseOrWait(refusal)
		return
	}
	change, err := v.planned(ctx, kind, action)
	if refusal := asRefusal(err); refusal != nil {
		v.refuse(refusal)
		return
	}
	if err != nil {
		v.lackFacts(lacking(err), "planning "+kind+": "+err.Error())
		return
	}
	v.journal(EntryPlanned, change.Summary)
	if refusal := cmp.Or(guard.Reaches(v.reach(change)), v.changedMeanwhile(change)); refusal != nil {
		v.refuse(refusal)
		return
	}
	if !v.run.MayAffect() {
		v.pretend(change)
		return
	}
	if !v.asLeft(ctx) || v.asks(change) || !v.reread(ctx, change) {
		return
	}
	v.intend(change, intent)
	v.basis.Facts = v.oldest
}

// changedMeanwhile refuses to try a rung again that had no effect, on a target which is not as it was: a human's hand wins, and it is at
// work there. A version that moves by itself changes nothing that people set.
func (v *visit) changedMeanwhile(c executors.Change) *guard.Refusal {
	if v.wayBack() || v.run.Attempt == 0 || v.step().Kind != c.Kind || maps.Equal(v.step().Change.Before, c.Before) {
		return nil
	}
	return guard.Refuse(guard.HumanHand, "somebody else changed target %s between two tries", c.Target)
}

// refuseOrWait gives a hold the time to turn out to be our own acknowledgement, where it is not known yet who we are.
func (v *visit) refuseOrWait(r *guard.Refusal) {
	if r.Reason == guard.Held && !v.e.knowsSelves(v.set) {
		v.lackFacts(r.Reason, r.Detail)
		return
	}
	v.refuse(r)
}

// want notes, for the storm guard, that a run wants to act on its target.
func (v *visit) want() {
	if v.run.ByRule() && !v.run.Acted {
		v.out.Want = &guard.Want{Target: v.run.Target, At: v.out.Now}
	}
}

// reach is what a planned change touches.
func (v *visit) reach(c executors.Change) guard.Reach {
	r := guard.Reach{
		Target: v.run.Target, Changes: c.Target, Selects: c.Selects, Networks: c.Networks, Lasts: c.Lasts,
		Reversible: c.Reversible, // what is made for a time is taken back by a follow-up: see expiries
		Auto:       v.auto() && v.run.Mode != string(rules.Approve), Protected: slices.Concat(v.set.Protected, v.e.Protected),
	}
	env := v.env()
	if section, ok := env.Target.Systems[executors.System(c.Kind)].(executors.Identified); ok {
		r.Identity = section.Identity(env.Connections)
	}
	return r
}

// auto tells acts that no human has approved or asked for, and that take nothing back.
func (v *visit) auto() bool { return v.run.ForAlert() && !v.run.Undoing && v.run.Approved == "" }

func (v *visit) planned(ctx context.Context, kind string, action executors.Action) (executors.Change, error) {
	if err := v.keep(ctx); err != nil {
		return executors.Change{}, err
	}
	bounded, cancel := v.bounded(ctx, v.rungTimeout(kind))
	defer cancel()
	defer v.catchUp()
	var change executors.Change
	failpoint.Here("plan.before")
	defer failpoint.Here("plan.after")
	err := v.behindBreaker(executors.System(kind), v.wayBack(), func() (err error) {
		change, err = action.Plan(bounded, v.env())
		return err
	})
	return change, err
}

// wayBack tells acts that take something back: no breaker, budget or pause stands in their way.
func (v *visit) wayBack() bool { return v.run.Undoing || v.run.Action != "" || v.run.Ends() }

// intent is what the act in question asks of the shared guards. The same rung tried again is neither debited nor counted again; a freeze
// that has begun meanwhile holds it all the same.
func (v *visit) intent(kind string) *Intent {
	intent := &Intent{Query: v.query(), Exempt: v.wayBack()}
	intent.Query.Act.Kind = kind
	if known, ok := executors.LookupAction(kind); ok {
		intent.Query.Once = known.Once && !intent.Exempt
	}
	intent.Limits = guard.Limits{Freezes: v.limits().Freezes}
	if v.run.Attempt == 0 {
		intent.Act, intent.Limits = guardAct(v), v.limits()
	}
	return intent
}

// intend records the act that is about to be made: lock, debit and shared guards go with it in one transaction.
func (v *visit) intend(change executors.Change, intent *Intent) {
	if !v.wayBack() && !v.run.Acted && v.run.RulesHash != v.e.Rules.Current().Hash {
		v.journal(EntryRefused, "the rules were reloaded meanwhile; the run is judged again")
		v.run.State, v.run.Phase = Running, PhaseDecide
		v.out.Rulings = nil
		v.undecide()
		return
	}
	v.begin(change, intent)
	v.journal(EntryIntent, change.Summary)
	if !v.run.Acted {
		v.run.Acted, v.run.DecidedAt, v.run.Looks = true, v.out.Now, len(v.run.Seen)
	}
	v.acknowledge(change)
}

// begin makes the step of an act the one in progress.
func (v *visit) begin(change executors.Change, intent *Intent) {
	v.run.Attempt++
	v.run.Step = len(v.steps)
	step := Step{
		Run: v.run.ID, Seq: v.run.Step, Kind: change.Kind, State: StepIntent, Undo: v.run.Undoing, Change: change, StartedAt: v.out.Now,
		Operation: fmt.Sprintf("%s-%d-%d", v.run.ID, v.run.Step, v.run.Attempt),
	}
	v.steps = append(v.steps, step)
	v.out.Steps = append(v.out.Steps, step)
	v.out.Intent = intent
	intent.Query.Now = v.out.Now
	intent.Query.Act = guardAct(v)
	intent.Query.Act.Kind = change.Kind
	intent.Query.Act.From, intent.Query.Act.To = guard.Changed(change.Before, change.After)
	if intent.Act.Run != "" {
		intent.Act = intent.Query.Act
	}
	v.run.State, v.run.Phase, v.run.Tries = Running, PhaseApply, 0
	v.run.Until = v.out.Now.Add(v.e.scale(observeWithin))
	v.fresh, v.basis = true, guard.Plan{At: change.PlannedAt, Rules: v.set.Hash}
}

func (v *visit) query() SnapshotQuery {
	q := SnapshotQuery{Now: v.out.Now, Run: v.run.ID, Rule: v.run.Rule, Target: v.run.Target, First: !v.run.Acted && v.run.ByRule(),
		MustFire: v.run.ForAlert() && !v.run.Undoing, Auto: v.auto(), RulesHash: v.e.Rules.Current().Hash, Pauses: v.e.pressed()}
	if v.rule != nil {
		q.Breaker = v.rule.Breaker
	}
	return q
}

// limits of the run: follow-ups skip the cooldown, and still count.
func (v *visit) limits() guard.Limits {
	if v.rule == nil {
		return guard.Limits{}
	}
	return v.rule.Limits
}

// preview asks the shared guards on a snapshot, so that a refusal costs no transaction. An unreadable snapshot refuses.
func (v *visit) preview(ctx context.Context, intent *Intent) *guard.Refusal {
	if intent.Exempt {
		return nil
	}
	snapshot, err := v.e.Runs.Snapshot(ctx, intent.Query)
	if err != nil {
		return guard.Refuse(guard.GuardFailed, "the shared guards could not be read: %s", err)
	}
	return guard.Shared(intent.Limits, snapshot)
}

// wouldDo plans a rule in observe mode and says what it would do.
func (v *visit) wouldDo(ctx context.Context) string {
	if len(v.bound.Actions) == 0 {
		return "it would only call a human"
	}
	v.gatherRest(ctx)
	a := v.bound.Actions[0]
	change, err := v.planned(ctx, a.Kind, a.Action)
	if err != nil {
		return "it would not act: " + err.Error()
	}
	v.would(change)
	return "it would " + change.Summary
}

func asRefusal(err error) *guard.Refusal {
	var r *guard.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case asRefusal(err) != nil:
		return "refused"
	default:
		return "error"
	}
}
