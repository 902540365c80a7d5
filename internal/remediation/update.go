package remediation

import (
	"fmt"
	"strings"
	"time"
)

// update tells people how a run that is at work stands: what it is about, what comes next and until when. It does so every so often until the
// run is done; the run's stored times of what was told last make it durable.
func (v *visit) update() {
	if v.run.State == Done || !v.run.ByRule() {
		return
	}
	to := v.telling()
	if to.Slack != nil {
		v.updateEvery(to.Slack.Every, &v.run.PostedAt, func() { v.tell(Slack, Post, v.standingWords()) })
	}
	if to.PagerDuty != nil {
		v.updateEvery(to.PagerDuty.Every, &v.run.PublishedAt, func() { v.publish(v.stands()) })
	}
}

// updateEvery tells when it is time, counted from when the same people were last told, and sees to it that the run wakes for the next time.
// Those who have not heard of the run yet hear of no updates.
func (v *visit) updateEvery(every time.Duration, last *time.Time, tell func()) {
	if every <= 0 || last.IsZero() {
		return
	}
	if !v.out.Now.Before(last.Add(every)) {
		tell()
	}
	if due := last.Add(every); v.run.State == Waiting && v.run.WakeAt.After(due) {
		v.run.WakeAt = due
	}
}

// publish tells the subscribers of the incident, where the rule says that they are told.
func (v *visit) publish(text string) {
	if to := v.telling().PagerDuty; to == nil || !to.StatusUpdates || !v.run.ByRule() {
		return
	}
	v.tell(PagerDuty, StatusUpdate, v.headline()+"\n"+text)
	v.run.PublishedAt = v.out.Now
}

// handover is the call for help: what it is about, what was tried, what is needed.
func (v *visit) handover(why string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "A human is needed: %s\nIssue: %s", why, v.headline())
	if looks := v.run.decisive(); len(looks) > 0 {
		last := looks[len(looks)-1]
		fmt.Fprintf(&b, "; %s", first(last.Summary, last.Err))
	}
	fmt.Fprintf(&b, "\nTried: %s\nNeed: %s", v.tried(), v.need())
	return b.String()
}

// tried is what has been done so far, in one line.
func (v *visit) tried() string {
	var acts []string
	for _, s := range v.steps {
		acts = append(acts, s.Change.Summary+" ("+stepWords(s)+")")
	}
	if len(acts) == 0 {
		return "nothing was changed"
	}
	return strings.Join(acts, "; ")
}

// need is what the human should do: the rule's own words, or what follows from how the run stands.
func (v *visit) need() string {
	if v.rule != nil && v.rule.Escalate.Need != "" {
		return v.rule.Escalate.Need
	}
	switch v.run.Outcome {
	case NeedsHuman:
		return "look whether the change has taken effect, then mend what is wrong by hand"
	case RefusedRun:
		return "decide whether to act by hand: remediator will not"
	case Observed:
		return "find the cause: no action of remediator's helps here"
	case NoOutcome:
		return "look at it now; remediator goes on: " + v.next()
	default:
		return "mend it by hand: remediator has done what it may"
	}
}

// resolved is what is posted of a run that helped: what it was, why, what mended it, and how that is known.
func (v *visit) resolved() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Resolved: %s\nSummary: %s\nCause: %s\nFix: %s\nVerified: %s", v.headline(), v.summary(), v.cause(), v.tried(), v.run.Detail)
	v.reportUntil(&b)
	v.reportUndo(&b)
	fmt.Fprintf(&b, "\nReport: remediator report %s", v.run.ID)
	return b.String()
}

// ended is what is posted of a run that did not help and whose report follows: how it ended, what was tried, what is left.
func (v *visit) ended() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Ended: %s\nOutcome: %s: %s\nTried: %s\nNeed: %s", v.headline(), outcomeWords(v.run.Outcome), v.run.Detail, v.tried(), v.need())
	v.reportUndo(&b)
	return b.String()
}

// summary says what was at stake and how long.
func (v *visit) summary() string {
	text := fmt.Sprintf("rule %s mended %s", v.run.Rule, v.run.Target)
	if began := v.run.Alert.StartsAt; !began.IsZero() && v.out.Now.After(began) {
		text += fmt.Sprintf(" %s after the alert began", v.out.Now.Sub(began).Round(time.Second))
	}
	return text
}

// cause is what made the change legal, else what was seen when the run was decided.
func (v *visit) cause() string {
	var reasons []string
	for _, s := range v.steps {
		if s.State == StepApplied && !s.Undo {
			reasons = append(reasons, s.Change.Evidence...)
		}
	}
	if len(reasons) == 0 {
		for _, look := range v.run.decisive() {
			reasons = append(reasons, first(look.Summary, look.Err))
		}
	}
	return first(strings.Join(reasons, "; "), "not known")
}

// standingWords says how a run at work stands.
func (v *visit) standingWords() string {
	return "Update: " + v.headline() + "\n" + v.stands()
}

// stands is the same without what it is about.
func (v *visit) stands() string {
	return fmt.Sprintf("Status: %s\nNext: %s, by %s at the latest", v.status(), v.next(), clock(v.run.Until))
}

// status is how the run stands now.
func (v *visit) status() string {
	switch v.run.Phase {
	case PhaseAsk:
		return "waiting for a human to approve"
	case PhaseApply, PhaseObserve:
		return v.step().Change.Summary + " is under way"
	case PhaseVerify:
		if v.run.HeldFrom.IsZero() {
			return "changed at " + clock(v.run.AppliedAt) + " and not well yet: " + v.lastLook()
		}
		return "changed at " + clock(v.run.AppliedAt) + " and well since " + clock(v.run.HeldFrom)
	case PhaseUndo:
		return "taking the change back"
	default:
		return "gathering facts"
	}
}

// lastLook is what was seen last.
func (v *visit) lastLook() string {
	if len(v.run.Seen) == 0 {
		return "nothing was seen yet"
	}
	last := v.run.Seen[len(v.run.Seen)-1]
	return first(last.Summary, last.Err)
}

// next is what the run will do when what it waits for does not come.
func (v *visit) next() string {
	switch v.run.Phase {
	case PhaseAsk:
		return "without an answer a human is called"
	case PhaseApply, PhaseObserve:
		return "the change is read back, then verified"
	case PhaseVerify:
		if v.rule != nil && v.run.Rung+1 < len(v.rule.Rungs) {
			return "if it does not get well, the next rung is tried"
		}
		return "if it does not get well, a human is called"
	case PhaseUndo:
		return "a human is called"
	case PhaseExpire:
		return "it is tried again until it has ended"
	default:
		return "the facts decide"
	}
}
