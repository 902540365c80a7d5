package remediation

import (
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// escalateLate calls a human once a run has been at it for too long.
func (v *visit) escalateLate() {
	if v.run.State == Done || v.rule == nil || !v.run.Acted || v.run.Escalated || !v.run.ByRule() {
		return
	}
	if after := v.patience(); after > 0 && v.out.Now.Sub(v.run.CreatedAt) >= after {
		v.escalate(fmt.Sprintf("not fixed within %s; remediator is still at it", after))
	}
}

// patience is how long people leave the run alone: what the severity allows, but never longer than the rule says.
func (v *visit) patience() time.Duration {
	severity, _ := v.set.Severity(v.run.Alert.Labels)
	if own := v.rule.Escalate.After; severity.After <= 0 || own > 0 && own < severity.After {
		return own
	}
	return severity.After
}

func (v *visit) escalate(why string) {
	if v.run.Escalated || !v.tells() {
		return
	}
	v.run.Escalated = true
	v.journal(EntryEscalated, why)
	v.summon(why)
	v.tell(Slack, Escalate, v.handover(why))
}

// summon pages people on the incident as the rule says: first of all the page, because what follows may fail for reasons of its own.
func (v *visit) summon(why string) {
	var on rules.EscalatePagerDuty
	if rule := v.teller(); rule != nil {
		on = rule.Escalate.PagerDuty
	}
	v.send(Message{Channel: PagerDuty, Kind: Escalate, Text: why, People: on.Assign})
	severity, _ := v.set.Severity(v.run.Alert.Labels)
	if priority := first(on.Priority, severity.Priority); priority != "" {
		v.send(Message{Channel: PagerDuty, Kind: Prioritise, Text: "priority " + priority, Priority: priority})
	}
	if !on.Responders.None() {
		v.send(Message{Channel: PagerDuty, Kind: AskResponders, Text: v.plea(on.Message, why), People: on.Responders})
	}
	v.publish(fmt.Sprintf("A human is called: %s. Need: %s.", why, v.need()))
}

// plea is what those who are asked to help read.
func (v *visit) plea(words, why string) string {
	return first(words, "remediator asks for help with "+v.headline()+": "+why)
}

// callsHuman: whatever silenced the pager or touched something and did not end well wakes somebody; so does a rule that only diagnoses.
func (v *visit) callsHuman() bool {
	switch v.run.Outcome {
	case Fixed, ResolvedItself:
		return false
	case Undone:
		return v.run.ByRule()
	case Observed:
		return v.run.Mode == string(rules.Auto) && v.run.ByRule()
	case RefusedRun: // what outlasts its time and is in a person's hand, that person knows of
		return v.run.Acked || v.run.Ends() && v.run.Reason != guard.HumanHand
	default:
		return true
	}
}
