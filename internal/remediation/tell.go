package remediation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// maxForeign bounds what is shown of an alert's text, in characters.
const maxForeign = 200

// teller gives the rule whose `tell` a run goes by: its own, else its first candidate's. Where the rule that acted is gone, any that tells
// PagerDuty will do: a human has to hear of it.
func (v *visit) teller() *rules.Rule {
	if v.rule != nil {
		return v.rule
	}
	for _, name := range v.run.Rules {
		if rule, ok := v.set.Rule(name); ok {
			return rule
		}
	}
	return nil
}

// telling says who is told. A run that has acted and lost its rules still tells its incident, by the connection of the rules now in force:
// the pager it silenced must not stay silent.
func (v *visit) telling() rules.Tell {
	if rule := v.teller(); rule != nil {
		return rule.Tell
	}
	if !v.run.Acted && !v.run.Ends() {
		return rules.Tell{}
	}
	return rules.Tell{PagerDuty: &rules.TellPagerDuty{Connection: pagerDutyConnection(v.set)}}
}

// tell puts a message into the outbox, in the transaction of what it tells of.
func (v *visit) tell(channel Channel, kind MessageKind, text string) {
	v.send(Message{Channel: channel, Kind: kind, Text: text})
}

// send is tell for a message that says more than its text.
func (v *visit) send(m Message) {
	m.ID, m.Run, m.Seq = fmt.Sprintf("%s-%d", v.run.ID, v.run.Told), v.run.ID, v.run.Told
	m.IncidentID, m.IncidentKey, m.After = v.run.Alert.IncidentID, v.run.Alert.IncidentKey, v.run.Parent
	m.State, m.CreatedAt = MessageQueued, v.out.Now
	if !v.tells() || !v.address(&m) {
		return
	}
	v.run.Told++
	v.out.Messages = append(v.out.Messages, m)
}

// address fills in where a message goes; false when the rules tell nobody there.
func (v *visit) address(m *Message) bool {
	to := v.telling()
	switch m.Channel {
	case PagerDuty:
		if to.PagerDuty == nil || m.IncidentID == "" && (m.IncidentKey == "" || v.run.Reason == guard.Storm) {
			return false // of a storm's thousands of runs those leave a note whose incident is known; looking for the others' would take hours
		}
		m.Connection, m.Open = to.PagerDuty.Connection, to.PagerDuty.OpenIncident && v.mayOpen() && m.Kind.opens()
		m.Summary, m.Severity = v.headline(), v.run.Alert.Labels["severity"]
	case Slack:
		if to.Slack == nil || v.run.Reason == guard.Storm { // thousands of posts would bury the storm's own
			return false
		}
		m.Connection, m.Room = to.Slack.Connection, to.Slack.Channel
		if m.Kind == Escalate {
			m.Mentions, m.Starts, m.Target = to.Slack.Mention, v.set.Buttons(v.run.Target), v.run.Target
		}
		v.run.PostedAt = v.out.Now
	}
	return true
}

// mayOpen: an incident is opened for what a human should know of now, and not for what was only observed or has passed, nor for each of the
// many runs that a storm refuses: that has its own page.
func (v *visit) mayOpen() bool {
	observed := v.run.Outcome == Observed && v.run.Mode == string(rules.Observe)
	return v.run.Origin == ByAlert && v.run.Outcome != ResolvedItself && !observed && v.run.Reason != guard.Storm
}

func (v *visit) headline() string { return fmt.Sprintf("%s: %q", v.run.Target, v.run.subject()) }

// subject is what the run's alert says that it is about.
func (r Run) subject() string {
	name := first(oneLine(r.Alert.Annotations["summary"]), oneLine(r.Alert.Labels["alertname"]))
	return first(name, "alert")
}

// oneLine makes text from outside harmless beside our own words, and short.
func oneLine(text string) string { return connect.Line(text, maxForeign) }

// acknowledge says that the run is about to act: only from here on may a robot silence the pager.
func (v *visit) acknowledge(c executors.Change) {
	if !v.run.ByRule() || v.run.Acked {
		return
	}
	v.run.Acked = true
	about := fmt.Sprintf("rule %s is about to %s", v.run.Rule, c.Summary)
	var snooze time.Duration
	if to := v.telling().PagerDuty; to != nil {
		snooze = to.Snooze
	}
	v.send(Message{Channel: PagerDuty, Kind: Acknowledge, Snooze: snooze})
	v.publish(sentence(about))
	v.tell(Slack, Post, fmt.Sprintf("Acknowledged: %s\nNext: %s", v.headline(), about))
}

// tellOutcome leaves the note and, as the outcome asks, resolves or calls a human.
func (v *visit) tellOutcome() {
	calls := v.callsHuman()
	if calls {
		v.escalate(outcomeWords(v.run.Outcome) + ": " + v.run.Detail)
	}
	text := v.report()
	v.tell(PagerDuty, Note, text)
	if v.run.Acked || v.run.Escalated {
		v.publish(sentence(outcomeWords(v.run.Outcome) + ": " + v.run.Detail))
	}
	switch {
	case v.run.Outcome == Fixed:
		text = v.resolved()
	case v.reported():
		text = v.ended()
	}
	v.tell(Slack, Post, text)
	v.tellReport()
	if v.mayResolve() {
		v.tell(PagerDuty, Resolve, v.run.Detail)
	}
}

// mayResolve: only a verified run resolves, only where the rule says so, and never before a sender that would open the incident again.
// Whether the incident's other alerts allow it is asked when the message is told.
func (v *visit) mayResolve() bool {
	rule := v.teller()
	if v.run.Outcome != Fixed || rule == nil || rule.Tell.PagerDuty == nil || rule.Tell.PagerDuty.ResolveWhen != rules.ResolveFixed {
		return false
	}
	return !v.run.Alert.SelfResolving || v.episode.over()
}

func (v *visit) tellReminder(debt string, since time.Duration) {
	kind := executors.LookupDebt(debt)
	text := fmt.Sprintf("reminder: on %s %s for %s by run %s; %s until `remediator unpin %s`",
		v.run.Target, kind.Been, since.Round(time.Minute), v.run.Parent, kind.Effect, v.run.Target)
	v.tell(PagerDuty, Note, text)
	v.tell(Slack, Post, text)
}

// tellIdle says that a deploy serves nothing, which its pipeline calls a success.
func (v *visit) tellIdle(debt, idle string) {
	text := fmt.Sprintf("the new deploy %s of %s serves nothing: %s since run %s; `remediator unpin %s` lets it serve",
		idle, v.run.Target, executors.LookupDebt(debt).Is, v.run.Parent, v.run.Target)
	v.tell(PagerDuty, Note, text)
	v.tell(Slack, Post, text)
}

// report is the note: what was seen, what was done, how it was verified, how to undo it. It says nothing that the run does not hold.
func (v *visit) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "remediator: %s: %s\n", outcomeWords(v.run.Outcome), sentence(v.run.Detail))
	fmt.Fprintf(&b, "rule %s, target %s, mode %s\n", first(v.run.Rule, "(none chosen)"), v.run.Target, first(v.run.Mode, "-"))
	v.reportSeen(&b)
	v.reportDone(&b)
	v.reportUntil(&b)
	if v.run.Outcome == Fixed {
		fmt.Fprintf(&b, "\nHow it was verified\n- %s\n", v.run.Detail)
	}
	v.reportUndo(&b)
	if v.reported() {
		fmt.Fprintf(&b, "\nreport: remediator report %s", v.run.ID)
	}
	if v.fleet.Seq > 0 {
		fmt.Fprintf(&b, "\nfleet head %s", v.fleet)
	}
	fmt.Fprintf(&b, "\njournal head %s", v.run.Head)
	return b.String()
}

func outcomeWords(o Outcome) string {
	switch o {
	case Fixed:
		return "FIXED (verified)"
	case NotFixed:
		return "NOT FIXED"
	case Inconclusive:
		return "INCONCLUSIVE (it could not be told whether it helped)"
	case RefusedRun:
		return "REFUSED (nothing was changed)"
	case Undone:
		return "UNDONE"
	case NeedsHuman:
		return "NEEDS A HUMAN (the change may have taken effect)"
	case Observed:
		return "OBSERVED (nothing was changed)"
	case ResolvedItself:
		return "RESOLVED BY ITSELF (nothing was changed)"
	default:
		return "NO RULE CHOSEN"
	}
}

func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

func (v *visit) reportSeen(b *strings.Builder) {
	if len(v.run.Seen) == 0 {
		return
	}
	b.WriteString("\nWhat was seen\n")
	for _, s := range v.run.decisive() {
		text := s.Summary
		if s.Err != "" {
			text = "could not be had: " + s.Err
		}
		fmt.Fprintf(b, "- %s %s: %s\n", clock(s.At), s.Probe, text)
	}
	if last := v.run.Seen[len(v.run.Seen)-1]; !v.run.AppliedAt.IsZero() && last.At.After(v.run.AppliedAt) {
		fmt.Fprintf(b, "- %s %s, after the act: %s\n", clock(last.At), last.Probe, first(last.Summary, last.Err))
	}
}

// decisive gives, for each probe, the look by which the run was decided: the last one before its first act.
func (r Run) decisive() []Seen {
	var looks []Seen
	before := len(r.Seen)
	if r.Acted {
		before = min(r.Looks, before)
	}
	for _, s := range r.Seen[:before] {
		at := slices.IndexFunc(looks, func(l Seen) bool { return l.Probe == s.Probe })
		if at < 0 {
			looks = append(looks, s)
			continue
		}
		looks[at] = s
	}
	return looks
}

func (v *visit) reportDone(b *strings.Builder) {
	b.WriteString("\nWhat was done\n")
	if len(v.steps) == 0 {
		b.WriteString("- nothing\n")
	}
	for _, s := range v.steps {
		fmt.Fprintf(b, "- %s %s: %s\n", clock(s.StartedAt), s.Change.Summary, stepWords(s))
		if s.State != StepApplied {
			continue
		}
		reportChange(b, s.Change)
	}
}

// reportChange shows what a change alters and why it is legal.
func reportChange(b *strings.Builder, c executors.Change) {
	for _, key := range slices.Sorted(maps.Keys(c.After)) {
		if c.Before[key] != c.After[key] {
			fmt.Fprintf(b, "    %s: %s -> %s\n", key, first(c.Before[key], "-"), c.After[key])
		}
	}
	for _, line := range c.Evidence {
		fmt.Fprintf(b, "    because %s\n", line)
	}
}

func stepWords(s Step) string {
	switch s.State {
	case StepApplied:
		return "done, read back at " + clock(s.EndedAt)
	case StepFailed:
		return "failed: " + s.Detail
	case StepDropped:
		if !s.MissedAt.IsZero() && s.Answer != Conflict {
			return "never answered, no trace of it at " + clock(s.EndedAt) + ": " + s.Detail
		}
		return "not done: " + s.Detail
	case StepUnclear:
		return "unclear: " + s.Detail
	default:
		return "begun, its end is not known"
	}
}

func (v *visit) reportUndo(b *strings.Builder) {
	var hints, debts []string
	for _, s := range slices.Backward(v.steps) { // the last act is the first to be undone
		if s.State != StepApplied || s.Undo || v.run.Outcome == Undone {
			continue
		}
		if hint := first(s.Change.UndoHint, "there is no known way back"); !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
		if debt := s.Change.Debt; debt != "" && !slices.Contains(debts, debt) {
			debts = append(debts, debt)
		}
	}
	if len(hints) > 0 {
		fmt.Fprintf(b, "\nHow to undo it\n- %s\n", strings.Join(hints, "\n- "))
	}
	for i, debt := range debts {
		if i == 0 {
			b.WriteString("\nLeft to be settled\n")
		}
		kind := executors.LookupDebt(debt)
		fmt.Fprintf(b, "- %s; %s until `remediator unpin %s`\n", kind.Is, kind.Effect, v.run.Target)
	}
}

// clock shows a time as people on call compare it.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") + "Z" }

// pagerDutyConnection names the connection that messages without a rule go by.
func pagerDutyConnection(set *rules.Set) string {
	for _, rule := range set.Rules {
		if rule.Tell.PagerDuty != nil {
			return rule.Tell.PagerDuty.Connection
		}
	}
	const usual = "pagerduty"
	names := []string{}
	for name, config := range set.Connections {
		if _, is := config.(*connect.PagerDutyConfig); is {
			names = append(names, name)
		}
	}
	if len(names) == 0 || slices.Contains(names, usual) {
		return usual
	}
	return slices.Min(names)
}
