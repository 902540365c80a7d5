package remediation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/rules"
)

// verify takes one sample: the run is fixed once the rule's `verify` has held for its time, and fails at the deadline only.
func (v *visit) verify(ctx context.Context) {
	v.run.State = Running
	if v.rule == nil || v.rule.Verify == nil {
		v.finish(Inconclusive, "the rule that acted is gone, so nobody can verify")
		return
	}
	since := v.run.AppliedAt.Add(v.rule.Verify.Settle)
	if v.out.Now.Before(since) {
		v.wait(since.Sub(v.out.Now))
		return
	}
	if v.handedOver(ctx) {
		return
	}
	v.facts = rules.Facts{}
	v.gather(ctx, v.rule.NeedsVerify(), since)
	j := v.bound.Verified(v.signal(), v.facts)
	v.judgeSample(j)
}

// handedOver ends the run when somebody else has changed the target since our act.
func (v *visit) handedOver(ctx context.Context) bool {
	o, err := v.readBack(ctx)
	if err != nil || o.Progress != executors.Foreign && o.Progress != executors.NotApplied {
		return false // unreadable is no proof of another hand: the samples and the deadline decide
	}
	v.journal(EntryObserved, "somebody else changed the target: "+o.Detail)
	v.finish(Inconclusive, "somebody else changed the target while the effect was being verified: "+o.Detail)
	return true
}

func (v *visit) judgeSample(j rules.Judgement) {
	deadline := !v.out.Now.Before(v.run.Until)
	if !j.Known || !j.Holds || v.gap(v.rule.Verify.Every) {
		v.run.HeldFrom = time.Time{}
	}
	if j.Holds && v.run.HeldFrom.IsZero() {
		v.run.HeldFrom = v.out.Now
	}
	v.sample(j)
	switch {
	case j.Holds && v.out.Now.Sub(v.run.HeldFrom) >= v.rule.Verify.Hold:
		v.finish(Fixed, fmt.Sprintf("verify held for %s: %s", v.rule.Verify.Hold, explain(j)))
	case deadline && !j.Known:
		v.rungFailed(Inconclusive, "at the deadline it could not be told whether it helped: "+sampleText(j))
	case deadline && j.Holds:
		v.rungFailed(Inconclusive, fmt.Sprintf("at the deadline verify had held for only %s", v.out.Now.Sub(v.run.HeldFrom).Round(time.Second)))
	case deadline:
		v.rungFailed(NotFixed, "at the deadline verify did not hold: "+sampleText(j))
	default:
		v.wait(v.nextSample())
	}
}

// gap notes a sample and reports whether there was none for so long before it that nobody can say what held meanwhile.
func (v *visit) gap(every time.Duration) bool {
	before := v.run.SampledAt
	v.run.SampledAt = v.out.Now
	return !before.IsZero() && v.out.Now.Sub(before) > 3*every+v.e.scale(v.e.Lease)+v.longest()
}

// sample journals what a sample said when the one before it said something else.
func (v *visit) sample(j rules.Judgement) {
	text := "verify does not hold: " + sampleText(j)
	if j.Holds {
		text = "verify holds: " + explain(j)
	}
	kind := fmt.Sprint(j.Known, j.Holds)
	if v.run.Sampled != kind {
		v.run.Sampled = kind
		v.journal(EntrySample, text)
	}
}

// nextSample is at the latest when the verification could end, either way.
func (v *visit) nextSample() time.Duration {
	next := v.out.Now.Add(v.rule.Verify.Every)
	if !v.run.HeldFrom.IsZero() {
		if end := v.run.HeldFrom.Add(v.rule.Verify.Hold); end.Before(next) {
			next = end
		}
	}
	if v.run.Until.Before(next) {
		next = v.run.Until
	}
	return next.Sub(v.out.Now)
}

func sampleText(j rules.Judgement) string {
	if j.Known {
		return explain(j)
	}
	return why("verify", j)
}

// rungFailed ends a rung that did not help: its change is taken back where its kind says so, the next rung is tried where the former surely
// did not help, and otherwise the run ends.
func (v *visit) rungFailed(outcome Outcome, detail string) {
	if v.run.Undoing {
		v.finish(NotFixed, v.run.Detail+"; taking the change back failed: "+detail)
		return
	}
	if v.run.Ends() {
		v.expireLater(detail)
		return
	}
	if !v.run.ByRule() {
		v.finish(outcome, detail)
		return
	}
	if v.takeBack(outcome, detail) {
		return
	}
	if outcome == NotFixed && v.nextRung(detail) {
		return
	}
	v.finish(outcome, detail)
}

// nextRung turns to the rung after one that surely did not help; false when there is none.
func (v *visit) nextRung(detail string) bool {
	if v.rule == nil || v.run.Rung+1 >= len(v.bound.Actions) {
		return false
	}
	v.journal(EntryOutcome, "the rung did not help: "+detail)
	v.run.Rung++
	v.run.Attempt, v.run.Tries, v.run.Undoing, v.run.Approved = 0, 0, false, ""
	v.run.State, v.run.Phase = Running, PhaseDecide
	return true
}

// takeBack starts the undo of an applied change that did not help.
func (v *visit) takeBack(outcome Outcome, detail string) bool {
	step := v.step()
	kind, ok := executors.LookupAction(step.Kind)
	if !ok || v.run.Undoing || step.State != StepApplied || !step.Change.Reversible || outcome != NotFixed {
		return false
	}
	if kind.Takeback == executors.Never || kind.Takeback == executors.IfWorse && !v.worse() {
		return false
	}
	v.run.Undoing, v.run.Detail, v.run.Outcome = true, detail, ""
	v.run.State, v.run.Phase, v.run.Tries = Running, PhaseUndo, 0
	v.journal(EntryOutcome, "the change is taken back: "+detail)
	return true
}

// worse reports whether a health check that answered when the run was decided is sick now.
func (v *visit) worse() bool {
	before, now := map[string]bool{}, map[string]bool{}
	for _, s := range v.run.Seen {
		if s.Err != "" {
			continue
		}
		if _, known := before[s.Probe]; !known {
			before[s.Probe] = s.Sick
		}
		now[s.Probe] = s.Sick
	}
	for probe, sick := range now {
		if sick && !before[probe] {
			return true
		}
	}
	return false
}

// undo plans the way back from the last applied change and begins it.
func (v *visit) undo(ctx context.Context) {
	change, err := v.planUndo(ctx, v.lastApplied())
	if err != nil && asRefusal(err) == nil && v.run.Tries+1 < maxGathers {
		v.run.Tries++
		v.wait(v.e.scale(regatherEvery))
		return
	}
	if err != nil {
		v.run.Undoing = false
		v.finish(NotFixed, v.run.Detail+"; taking it back was not possible: "+err.Error())
		return
	}
	v.begin(change, &Intent{Query: v.query(), Exempt: true, Act: guardAct(v)})
	v.journal(EntryIntent, change.Summary)
}

// lastApplied is the newest act that took effect and was no undo. There is one where an undo is begun.
func (v *visit) lastApplied() *Step {
	for i := range slices.Backward(v.steps) {
		if s := &v.steps[i]; s.State == StepApplied && !s.Undo {
			return s
		}
	}
	return v.step()
}

func (v *visit) planUndo(ctx context.Context, of *Step) (executors.Change, error) {
	kind, ok := executors.LookupAction(of.Kind)
	if !ok {
		return executors.Change{}, fmt.Errorf("there is no action %s", of.Kind)
	}
	if err := v.keep(ctx); err != nil {
		return executors.Change{}, err
	}
	bounded, cancel := v.bounded(ctx, 0)
	defer cancel()
	return kind.New().Undo(bounded, v.env(), of.Change)
}
