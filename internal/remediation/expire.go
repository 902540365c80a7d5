package remediation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/guard"
)

// Waits of the follow-up that ends what was made for a time, in real time.
const (
	expireMost = 30 * time.Minute // the longest between two tries
	expireLate = 15 * time.Minute // after which people are told that it still stands
)

// expiries leaves a follow-up for each act that was made for a time and still stands, however the run has ended: nobody else ends it.
func (v *visit) expiries() {
	if v.run.Origin == ByFollowUp { // it takes back
		return
	}
	for _, step := range expiring(v.steps) {
		if step.Change.EndsItself {
			continue
		}
		run := v.child(PhaseExpire, step.expires())
		run.Of, run.Expires = &step, step.expires()
		v.out.Spawn = append(v.out.Spawn, run)
	}
}

// expiring are the acts that were made for a time, and stand or may stand.
func expiring(steps []Step) []Step {
	return slices.DeleteFunc(standing(steps), func(s Step) bool { return s.Change.Lasts <= 0 })
}

// standing are the acts that took effect, or may have, and were not taken back since. A way back is that of the newest act before it.
func standing(steps []Step) (left []Step) {
	for _, s := range steps {
		switch {
		case !s.Undo && s.mayStand():
			left = append(left, s)
		case s.Undo && s.State == StepApplied:
			for i := range slices.Backward(left) {
				if left[i].State == StepApplied {
					left = slices.Delete(left, i, i+1)
					break
				}
			}
		}
	}
	return left
}

// mayStand reports whether an act took effect, may have, or may still.
func (s Step) mayStand() bool {
	switch s.State {
	case StepApplied, StepUnclear:
		return true
	case StepFailed:
		return s.Answer != Rejected
	case StepDropped:
		return !s.MissedAt.IsZero() && s.Answer != Conflict
	default:
		return false
	}
}

// expires is when the time is over for which the act was made.
func (s Step) expires() time.Time { return s.EndedAt.Add(s.Change.Lasts) }

// expire ends what was made for a time, once that is over. As in every way back neither pause nor breaker nor budget stands in its way, and
// it ends nothing that another hand has changed. What passes is waited for without end: a block must not stay for good because a system was
// away for an hour.
func (v *visit) expire(ctx context.Context) {
	v.run.State = Running
	if left := v.run.Expires.Sub(v.out.Now); left > 0 {
		v.wait(left)
		return
	}
	if !v.run.Of.Change.Reversible {
		v.refuse(guard.Refuse(guard.NeedsApproval, "there is no known way back from it"))
		return
	}
	change, err := v.planUndo(ctx, v.run.Of)
	v.catchUp()
	refusal := asRefusal(err)
	switch {
	case refusal != nil && refusal.Reason == guard.NothingToDo:
		v.gone(refusal)
	case refusal != nil && !refusal.Reason.Passing():
		v.refuse(refusal)
	case err != nil:
		v.later(err.Error())
	default:
		v.begin(change, v.expireIntent())
		v.journal(EntryIntent, change.Summary)
		v.run.Acted, v.run.DecidedAt = true, v.out.Now
	}
}

// expireIntent needs the target's lock alone. A call that was debited and had no effect is not debited again.
func (v *visit) expireIntent() *Intent {
	intent := &Intent{Query: v.query(), Exempt: true}
	if len(v.steps) == 0 {
		intent.Act = guardAct(v)
	}
	return intent
}

// expireLater goes back to before the plan, and tries again later.
func (v *visit) expireLater(why string) {
	v.run.Phase, v.run.Attempt = PhaseExpire, 0
	v.later(why)
}

// later waits as long as the end is overdue, within bounds, so that the waits double. People are told once that it is late, and it goes on.
func (v *visit) later(why string) {
	late, most := v.out.Now.Sub(v.run.Expires), v.e.scale(expireLate)
	if v.run.Sampled != why {
		v.run.Sampled = why
		v.journal(EntryFacts, "it cannot be ended now, and is tried again: "+why)
	}
	wait := min(max(late, v.e.scale(regatherEvery)), v.e.scale(expireMost))
	switch {
	case late < most:
		wait = min(wait, most-late)
	case !v.run.Escalated:
		text := fmt.Sprintf("%s, and it still stands: %s; remediator goes on trying", v.overWords(), why)
		v.escalate(text)
		v.tell(PagerDuty, Note, text) // an incident that is resolved has nobody to page, and takes notes
	}
	v.wait(wait)
}

// overWords says what was to end when.
func (v *visit) overWords() string {
	return fmt.Sprintf("the time of what run %s did (%s) was over at %s", v.run.Parent, v.run.Of.Change.Summary, dated(v.run.Expires))
}

// gone ends a follow-up that has nothing to end any more.
func (v *visit) gone(r *guard.Refusal) {
	if v.touched() || v.adrift() != nil {
		v.finish(Undone, "it has ended, perhaps by a call that was not seen to: "+r.Detail)
		return
	}
	v.finish(Observed, "there was nothing left to end: "+r.Detail)
}

// leave ends a follow-up whose act is not remediator's to end: people are told what is left, and that it stays theirs.
func (v *visit) leave(r *guard.Refusal) {
	text := fmt.Sprintf("%s, and what is left of it remediator does not touch any more: %s; to end it by hand: %s", v.overWords(), r.Error(),
		first(v.run.Of.Change.UndoHint, "there is no known way back"))
	if s := v.adrift(); s != nil {
		text += "; " + adriftWords(*s)
	}
	if v.touched() || v.adrift() != nil {
		v.needsHuman(text)
		return
	}
	v.finish(RefusedRun, text)
}

// reportUntil says how long that stands which was made for a time.
func (v *visit) reportUntil(b *strings.Builder) {
	for i, s := range expiring(v.steps) {
		if i == 0 {
			b.WriteString("\nHow long it stands\n")
		}
		fmt.Fprintf(b, "- %s: %s\n", s.Change.Summary, untilWords(s))
	}
}

// untilWords says until when an act stands, and who ends it then.
func untilWords(s Step) string {
	by := "a human has to end it then: there is no known way back"
	switch {
	case s.Change.EndsItself:
		by = "the system ends it then by itself"
	case s.Change.Reversible:
		by = "remediator ends it then"
	}
	text := "until " + dated(s.expires()) + "; " + by
	if s.State != StepApplied {
		text = "if it took effect, " + text
	}
	return text
}

// dated shows a time that may be on another day.
func dated(t time.Time) string { return t.UTC().Format(time.DateTime) + "Z" }
