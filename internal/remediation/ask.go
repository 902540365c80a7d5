package remediation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// asks reports whether the act has to wait for a human, or must not be made because it is not the one that was approved. What is
// approved is what would be done to what, not the version of the target or what was measured.
func (v *visit) asks(c executors.Change) bool {
	digest := c.Digest()
	switch {
	case v.wayBack() || v.run.Approved == digest:
		return false
	case v.run.Approved != "":
		v.refuse(guard.Refuse(guard.PlanChanged, "what was approved is not what would be done now: %s", c.Summary))
		return true
	case v.run.Mode != string(rules.Approve):
		return false
	}
	v.askPeople(c, digest)
	return true
}

// askPeople shows the plan to people, which pages them, and lets the run wait for their answer. No lock is held meanwhile.
func (v *visit) askPeople(c executors.Change, digest string) {
	v.run.Asked, v.run.Yes, v.run.Phase = digest, nil, PhaseAsk
	v.wait(v.rule.Approval.Within)
	v.run.Until = v.run.WakeAt
	v.journal(EntryAsked, fmt.Sprintf("a human is asked to approve until %s: %s", clock(v.run.Until), c.Summary))
	text := v.question(c, digest)
	v.tell(PagerDuty, Escalate, "remediator asks for an approval: "+c.Summary)
	v.tell(PagerDuty, Note, text)
	v.tell(Slack, Post, text)
	if n := len(v.out.Messages) - 1; v.out.Messages[n].Channel == Slack {
		v.out.Messages[n].Asks, v.run.Question = digest, v.out.Messages[n].ID
	}
}

// question is the note that asks: what was seen, what would be done, and how to answer.
func (v *visit) question(c executors.Change, digest string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "remediator asks: may it %s?\nrule %s, target %s; asked until %s, then a human has to act by hand\n",
		c.Summary, v.run.Rule, v.run.Target, clock(v.run.Until))
	v.reportSeen(&b)
	fmt.Fprintf(&b, "\nWhat it would do\n- %s\n", c.Summary)
	reportChange(&b, c)
	fmt.Fprintf(&b, "\nHow to answer\n- remediator approve %s --digest %.12s\n- remediator deny %s --digest %.12s --reason \"…\"",
		v.run.ID, digest, v.run.ID, digest)
	return b.String()
}

// hear looks for the answer. After a yes everything is asked and planned anew; only the same plan is carried out.
func (v *visit) hear() {
	v.run.State = Running
	a := v.approval
	switch {
	case !v.episode.EndedAt.IsZero():
		v.closeQuestion(v.episode.endWords())
		v.refuse(guard.Refuse(guard.NotFiring, "%s", v.episode.endWords()))
	case a != nil && a.Approved:
		v.hearYes(*a)
	case a != nil:
		v.closeQuestion(fmt.Sprintf("%s said no: %s", a.Actor, oneLine(a.Reason)))
		v.refuse(guard.Refuse(guard.Denied, "%s said no: %s", a.Actor, oneLine(a.Reason)))
	case !v.out.Now.Before(v.run.Until):
		v.closeQuestion("nobody answered until " + clock(v.run.Until))
		v.escalate("nobody answered whether remediator may act")
		v.refuse(guard.Refuse(guard.ApprovalExpired, "nobody answered until %s", clock(v.run.Until)))
	default:
		v.wait(v.run.Until.Sub(v.out.Now))
	}
}

// hearYes counts who has said yes. A rule that has gone meanwhile is judged when the run decides anew.
func (v *visit) hearYes(a Approval) {
	v.run.Yes = append(v.run.Yes, a.Actor)
	v.journal(EntryApproved, fmt.Sprintf("%s approved the plan", a.Actor))
	if v.rule != nil && len(v.run.Yes) < v.rule.Approval.People {
		v.tell(Slack, Post, fmt.Sprintf("%s said yes; %d more to go", a.Actor, v.rule.Approval.People-len(v.run.Yes)))
		v.wait(v.run.Until.Sub(v.out.Now))
		return
	}
	v.closeQuestion("approved by " + strings.Join(v.run.Yes, " and "))
	v.run.Approved, v.run.Granted, v.run.Asked, v.run.Phase = a.Digest, v.run.Rule, "", PhaseDecide
}

// closeQuestion puts what became of the question in the place of its buttons.
func (v *visit) closeQuestion(what string) {
	if v.run.Question == "" {
		return
	}
	v.tell(Slack, Replace, fmt.Sprintf("%s: remediator asked for an approval: %s", v.headline(), what))
	if n := len(v.out.Messages) - 1; n >= 0 && v.out.Messages[n].Kind == Replace {
		v.out.Messages[n].Of = v.run.Question
	}
	v.run.Question = ""
}

// Permit judges whether somebody may answer what the run asks: a *guard.Refusal says why not. Whoever may answer may say no.
func (r Run) Permit(policy rules.Approval, a Approval) *guard.Refusal {
	switch {
	case len(policy.By) > 0 && !slices.Contains(policy.By, a.Actor):
		return guard.Refuse(guard.NeedsApproval, "%s is not among those who may answer", a.Actor)
	case !a.Approved:
		return nil
	case r.Actor == a.Actor && r.Origin == ByHand && !policy.Self:
		return guard.Refuse(guard.NeedsApproval, "%s has started the run: another person has to approve it", a.Actor)
	case slices.Contains(r.Yes, a.Actor):
		return guard.Refuse(guard.NeedsApproval, "%s has said yes already: another person has to", a.Actor)
	default:
		return nil
	}
}
