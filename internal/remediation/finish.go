package remediation

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
)

// journal appends a record to the run's chain, in the same transaction as what it tells of.
func (v *visit) journal(kind, text string) {
	v.out.Entries = append(v.out.Entries, v.run.record(v.out.Now, kind, text))
}

// ruling sets the verdict of the bound rule on the run's event.
func (v *visit) ruling(verdict Verdict, detail string) { v.setRuling(v.rule.Name, verdict, detail) }

// setRuling sets the verdict of a candidate on the run's event; one that this visit gave before is replaced.
func (v *visit) setRuling(name string, verdict Verdict, detail string) {
	r := Ruling{
		Event: v.run.Event, Seq: v.place(name), Run: v.run.ID, Rule: name, Target: v.run.Target, Verdict: verdict, Detail: detail,
	}
	if rule, ok := v.set.Rule(name); ok {
		r.Mode = string(rule.Mode)
	}
	if i := slices.IndexFunc(v.out.Rulings, func(old Ruling) bool { return old.Rule == name }); i >= 0 {
		v.out.Rulings[i] = r
		return
	}
	v.out.Rulings = append(v.out.Rulings, r)
}

// place is where the ruling of a candidate stands among those of the event; one that came with a reload gets the next free place.
func (v *visit) place(name string) int {
	if at, ok := v.run.Places[name]; ok {
		return at
	}
	v.run.Places = maps.Clone(v.run.Places)
	if v.run.Places == nil {
		v.run.Places = map[string]int{}
	}
	return placeIn(v.run.Places, name)
}

// placeIn gives a rule's place, or the next free one, which it takes.
func placeIn(places map[string]int, name string) int {
	if at, ok := places[name]; ok {
		return at
	}
	last := -1
	for _, at := range places {
		last = max(last, at)
	}
	places[name] = last + 1
	return last + 1
}

// ruleAll gives every candidate the same verdict.
func (v *visit) ruleAll(verdict Verdict, detail string) {
	for _, name := range v.run.Rules {
		v.setRuling(name, verdict, detail)
	}
}

// refuseOpen refuses the candidates that this visit has not judged; what is known of the others stays.
func (v *visit) refuseOpen(detail string) {
	for _, name := range v.run.Rules {
		judged := slices.ContainsFunc(v.out.Rulings, func(r Ruling) bool { return r.Rule == name && r.Verdict != Undecided })
		if !judged {
			v.setRuling(name, Refused, detail)
		}
	}
}

func (v *visit) detailOf(rule string) string {
	for _, r := range v.out.Rulings {
		if r.Rule == rule {
			return r.Detail
		}
	}
	return ""
}

// refuse ends the run by a guard's word. Nothing was touched, unless an earlier rung acted: then that rung's result stands.
func (v *visit) refuse(r *guard.Refusal) {
	v.run.Reason = r.Reason
	v.journal(EntryRefused, r.Error())
	if r.Reason == guard.Storm {
		v.callStorm(r)
	}
	if r.Reason == guard.NotFiring {
		v.resolvedMeanwhile(r)
		return
	}
	if v.run.Ends() {
		v.leave(r)
		return
	}
	if v.run.Rule == "" {
		v.refuseOpen(r.Error())
	} else if !v.run.Acted && v.rule != nil {
		v.ruling(Refused, r.Error())
	}
	if v.run.Undoing {
		v.finish(NotFixed, v.run.Detail+"; taking the change back was refused: "+r.Error())
		return
	}
	if v.touched() && v.run.Origin == ByFollowUp {
		v.finish(Undone, "taken back in part; the rest was refused: "+r.Error())
		return
	}
	if v.allUndone() {
		v.finish(Undone, "what was done did not help and was taken back, and the next rung was refused: "+r.Error())
		return
	}
	if v.inParts() {
		v.finish(Inconclusive, "the change was made in part, and the rest of it was refused: "+r.Error())
		return
	}
	if v.touched() {
		v.finish(NotFixed, "what was done did not help, and the next rung was refused: "+r.Error())
		return
	}
	if s := v.adrift(); s != nil {
		v.needsHuman(adriftWords(*s) + "; the run was refused: " + r.Error())
		return
	}
	v.finish(RefusedRun, r.Error())
}

// inParts reports whether the act in progress is a further part of a change whose part before took effect.
func (v *visit) inParts() bool { return v.partBefore() >= 0 }

// partBefore is the place of the step with whose change the act in progress goes on, over tries that had no effect; -1 when it is no further
// part. A rung has made as many steps as its attempts.
func (v *visit) partBefore() int {
	for i := v.run.Step - 1; i >= 0 && i > v.run.Step-v.run.Attempt; i-- {
		switch v.steps[i].State {
		case StepDropped:
		case StepApplied:
			return i
		default:
			return -1
		}
	}
	return -1
}

// adrift finds a call that was never answered and left no trace: nothing proves that it will not arrive yet. A later call that the system
// took, or refused for its version, proves it.
func (v *visit) adrift() *Step {
	for i := range slices.Backward(v.steps) {
		switch s := &v.steps[i]; {
		case s.Answer == Conflict || s.Answer == Taken:
			return nil
		case s.State == StepDropped && !s.MissedAt.IsZero():
			return s
		}
	}
	return nil
}

func adriftWords(s Step) string {
	return fmt.Sprintf("a call was never answered, had left no trace at %s, and may still arrive", clock(s.EndedAt))
}

// resolvedMeanwhile ends a run whose alert resolved before it acted, or between two rungs.
func (v *visit) resolvedMeanwhile(r *guard.Refusal) {
	if v.touched() {
		v.finish(Inconclusive, "the alert resolved before the next rung was tried; what was done so far was not seen to help")
		return
	}
	v.ruleAll(Refused, r.Error())
	if s := v.adrift(); s != nil {
		v.needsHuman(adriftWords(*s) + "; " + r.Detail)
		return
	}
	v.finish(ResolvedItself, r.Detail)
}

// allUndone reports whether every act of the run that took effect was taken back.
func (v *visit) allUndone() bool {
	standing, back := 0, 0
	for _, s := range v.steps {
		switch {
		case s.State != StepApplied:
		case s.Undo:
			back++
		default:
			standing++
		}
	}
	return back > 0 && back >= standing
}

// touched reports whether any act of the run has had an effect.
func (v *visit) touched() bool {
	for _, s := range v.steps {
		if s.State == StepApplied || s.State == StepAccepted || s.State == StepUnclear || s.State == StepFailed && s.Answer != Rejected {
			return true
		}
	}
	return false
}

// commitRefusal stores the refusal that the shared guards gave under the lock. Nothing of the refused commit was stored: the run goes back
// to where it was, keeps what it has found, and ends.
func (v *visit) commitRefusal(ctx context.Context, r *guard.Refusal) error {
	refused, now := v.out, v.run
	v.run = v.start
	v.run.Rules, v.run.Places, v.run.RulesHash, v.run.Rule, v.run.Mode, v.run.Seen = now.Rules, now.Places, now.RulesHash, now.Rule, now.Mode, now.Seen
	v.steps = v.steps[:len(v.steps)-1]
	v.out = Commit{Now: v.e.Now(), Rulings: refused.Rulings, Want: refused.Want}
	for _, e := range refused.Entries {
		if e.Kind != EntryIntent {
			v.journal(e.Kind, e.Text)
		}
	}
	switch {
	case v.run.Phase == PhaseExpire && triedAgain(r):
		v.expireLater(r.Error())
		return v.commit(ctx)
	case v.run.Phase == PhaseCalm && triedAgain(r):
		v.wait(v.e.scale(regatherEvery))
		return v.commit(ctx)
	}
	v.refuse(r)
	return v.commit(ctx)
}

// finish ends the run with an outcome, tells it, and feeds the breaker.
func (v *visit) finish(outcome Outcome, detail string) {
	v.run.Outcome, v.run.Detail = outcome, detail
	v.journal(EntryOutcome, string(outcome)+": "+detail)
	v.out.Effect = effect(v.run, v.touched())
	if v.rule != nil {
		v.out.Breaker = v.rule.Breaker
	}
	switch outcome {
	case Fixed, NotFixed, Inconclusive: // what was done stands
		v.followUps()
	default:
	}
	v.expiries()
	v.tellOutcome()
	v.close()
}

// end closes a run that has no outcome: no rule was chosen.
func (v *visit) end(outcome Outcome, detail string) {
	v.run.Outcome, v.run.Detail = outcome, detail
	v.journal(EntryOutcome, detail)
	v.close()
}

func (v *visit) close() {
	v.run.State, v.run.Phase, v.run.DoneAt = Done, PhaseDone, v.out.Now
	v.out.Unlock, v.out.Unlatch = true, !v.touched()
}

// effect is what a finished run means to the breaker of its rule on the target: only verified outcomes of acts count.
func effect(r Run, touched bool) breaker.Effect {
	switch {
	case !r.ByRule() || !r.Acted:
		return breaker.None
	case r.Outcome == Fixed:
		return breaker.Helped
	case r.Outcome == NeedsHuman:
		return breaker.NeedsHuman
	case r.Outcome == RefusedRun && !touched:
		return breaker.None
	default:
		return breaker.Failed
	}
}
