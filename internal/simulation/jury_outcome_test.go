package simulation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// judgeWhy holds why a run ended as it did against what was there to be seen.
func (s *sim) judgeWhy(rec memory.Record) {
	r := rec.Run
	e, over := s.endingOf(r.ID)
	if !over {
		return
	}
	var calls []*call
	for _, c := range s.calls {
		if c.run == r.ID {
			calls = append(calls, c)
		}
	}
	if r.Origin == remediation.ByAlert {
		s.judgeObserved(r)
		s.judgeOver(e)
		s.judgeNotFixed(e, calls)
		s.judgeHalf(rec, calls)
		s.judgeApproved(e, calls)
		s.judgePerson(e)
		s.judgeUnknown(e, calls)
		s.judgeReleased(e)
	}
	if r.Origin == remediation.ByFollowUp {
		s.holds(!passing[r.Reason], "G19", "follow-up %s gave up for %s, which passes", r.ID, r.Reason)
	}
	s.judgeWayBack(rec)
	s.judgeLost(rec)
}

// judgeLost: what was seen under way is not said to have left no trace.
func (s *sim) judgeLost(rec memory.Record) {
	for _, step := range rec.Steps {
		lost := step.State == remediation.StepDropped && !step.MissedAt.IsZero() && step.Answer != remediation.Conflict
		seen := slices.ContainsFunc(s.shownAs, func(show showing) bool {
			return show.operation == step.Operation && show.progress == "pending" && !show.stay.broken
		})
		s.holds(!lost || !seen, "G14", "run %s takes %s for lost, and was shown it under way", rec.Run.ID, step.Operation)
	}
}

// passing are refusals that end by themselves, or by a human's word.
var passing = map[guard.Reason]bool{
	guard.Paused: true, guard.TargetBusy: true, guard.Cooldown: true, guard.Storm: true, guard.Settling: true, guard.Frozen: true, guard.Held: true,
	guard.RulesDiffer: true,
}

// judgeObserved: only what watches or calls a human ends as observed.
func (s *sim) judgeObserved(r remediation.Run) {
	l, ok := s.codeByHash(r.RulesHash).law(r.Rule)
	s.holds(r.Outcome != remediation.Observed || ok && (l.mode == "observe" || len(l.rungs) == 0), "G13", "run %s of rule %q ended as observed", r.ID, r.Rule)
}

// judgeOver: that an alert is over was said by its sender; a merge says nothing. What fires anew is not over.
func (s *sim) judgeOver(e ending) {
	if e.run.Reason != guard.NotFiring {
		return
	}
	last, asked := s.rereads[e.run.ID]
	said := asked && last.Known && !last.Firing
	s.holds(said || len(s.endsHeard(e)) > 0, "G14", "run %s ended because its alert did, which nobody has said", e.run.ID)
	s.holds(said || !s.heardAnew(e), "G17", "run %s ended because its alert had, and it fires anew", e.run.ID)
}

// endsHeard are the times at which a run's alert ended by the words of senders that reached the store before the run ended.
func (s *sim) endsHeard(e ending) (ends []time.Time) {
	r := e.run
	for _, got := range s.stored {
		if got.at > e.at {
			break
		}
		for _, a := range got.letter.delivery.Alerts {
			same := a.Episode == r.Alert.Episode || a.IncidentID != "" && a.IncidentID == r.Alert.IncidentID ||
				a.IncidentKey != "" && a.IncidentKey == r.Alert.IncidentKey || s.keyOf(a.IncidentID) == r.Alert.IncidentKey
			if a.Status == alert.Resolved && !a.Merged && same {
				ends = append(ends, a.EndsAt)
			}
		}
	}
	return ends
}

// keyOf is the key of one of PagerDuty's incidents.
func (s *sim) keyOf(id string) string {
	if in := s.pager.byID(id); in != nil {
		return in.key
	}
	return "none"
}

// heardAnew reports whether the sender's newest word, told in time and before the run's last visit, was that its alert fires again.
func (s *sim) heardAnew(e ending) bool {
	if e.run.Alert.Source != "am" || len(s.reloads) > 0 || len(s.jumps) > 0 {
		return false
	}
	if !slices.Contains(names, e.run.Alert.Labels["service"]) {
		return false // the alerts of all places have the same labels: nobody can tell them apart
	}
	var newest receipt
	for _, got := range s.received {
		d := got.letter.delivery
		if got.letter.source != "am" || got.at > e.at || !slices.ContainsFunc(d.Alerts, func(a alert.Alert) bool { return aboutOne(a, e.run.Alert) }) {
			continue
		}
		if newest.letter != nil && d.OccurredAt.Before(newest.letter.delivery.OccurredAt) {
			continue // a word that came out of order
		}
		newest = got
	}
	if newest.letter == nil || newest.at >= e.stay.began || newest.at-s.sinceBeginning(newest.letter.delivery.OccurredAt) > time.Minute || newest.at < s.births[e.run.ID] {
		return false
	}
	last := slices.MaxFunc(append(s.endsHeard(e), time.Time{}), time.Time.Compare) // PagerDuty may have ended the incident after the firing began
	return slices.ContainsFunc(newest.letter.delivery.Alerts, func(a alert.Alert) bool {
		return aboutOne(a, e.run.Alert) && a.Status == alert.Firing && a.StartsAt.After(e.run.Alert.StartsAt) && a.StartsAt.After(last)
	})
}

// aboutOne reports whether two alerts are one, fired perhaps at different times.
func aboutOne(a, b alert.Alert) bool {
	return a.IncidentKey == b.IncidentKey && a.Labels["instance"] == b.Labels["instance"] && a.Labels["outage"] == b.Labels["outage"]
}

// half tells the first part of a change of two.
func (c *call) half() bool { return c.kind == "world.two" && !c.second && c.took() }

// judgeNotFixed: that something did not help is said where it was seen; what nobody could tell is said to be so.
func (s *sim) judgeNotFixed(e ending, calls []*call) {
	if e.run.Outcome != remediation.NotFixed || len(calls) == 0 || e.run.Reason != "" {
		return
	}
	last := calls[len(calls)-1]
	unclear := last.answer == silent && !s.wasShown(last.operation, "applied", "not_applied", "failed", "foreign", "pending")
	s.holds(!unclear, "G14", "run %s says that it did not help, and nobody could tell what became of %s", e.run.ID, last.operation)
	if last.back || !last.took() || last.failed {
		return
	}
	for _, look := range slices.Backward(s.looksOf(e.stay)) {
		if look.kind != "look.health" {
			continue
		}
		s.holds(look.known || look.at < last.landed, "G14", "run %s says that it did not help, which nobody could tell", e.run.ID)
		return
	}
}

// judgeHalf: a change that was stopped between its parts was made in part; nobody can say that it did not help, and that the alert ended is no
// reason to stop there.
func (s *sim) judgeHalf(rec memory.Record, calls []*call) {
	if len(calls) == 0 {
		return
	}
	last, n := calls[len(calls)-1], len(rec.Steps)
	between := n >= 2 && rec.Steps[n-2].Operation == last.operation // at the further part's first try
	if !last.half() || !between || !s.wasShown(last.operation, "applied") {
		return
	}
	s.holds(rec.Run.Outcome != remediation.NotFixed, "G14", "run %s says that it did not help, and made only a part of its change", rec.Run.ID)
	s.holds(rec.Run.Reason != guard.NotFiring, "G17", "run %s left a change half made because its alert ended", rec.Run.ID)
}

// judgeApproved: what a human has approved is done, whoever has the incident in hand and whatever version the target has by then.
func (s *sim) judgeApproved(e ending, calls []*call) {
	if len(calls) > 0 {
		return
	}
	for _, q := range s.asked {
		if q.run != e.run.ID || !q.yes {
			continue
		}
		s.holds(e.run.Reason != guard.Held, "G10", "run %s was approved and is held", e.run.ID)
		same := s.debits[e.run.ID] == nil && sameChange(q.plan, s.lastPlan[e.run.ID]) // another rule may have come first
		s.holds(e.run.Reason != guard.PlanChanged || !same || s.changedSince(e.run.Target, q.at, e.at), "G15", "run %s was approved, and not made for a version", e.run.ID)
	}
}

// sameChange reports whether two plans would do the same, of whatever version.
func sameChange(a, b executors.Change) bool {
	return a.Kind == b.Kind && a.Before["state"] == b.Before["state"] && a.After["state"] == b.After["state"]
}

// changedSince reports whether a target was anything else in a span than at its beginning.
func (s *sim) changedSince(target string, from, to time.Duration) bool {
	p := s.town[target]
	return slices.ContainsFunc(p.history, func(m moment) bool { return m.at >= from && m.at <= to && m.state != p.stateAt(from) })
}

// judgePerson: an incident counts as in a person's hand only where a person has taken it.
func (s *sim) judgePerson(e ending) {
	if e.run.Reason != guard.Held {
		return
	}
	person := slices.ContainsFunc(s.inHand, func(h *held) bool {
		return h.incident.id == e.run.Alert.IncidentID || h.incident.key == e.run.Alert.IncidentKey
	})
	ours := e.unsure || slices.ContainsFunc(s.stored, func(got receipt) bool { return got.letter.delivery.Agent == robot && got.at > e.at-time.Minute })
	s.holds(person || ours, "G10", "run %s is held for a person, and nobody has the incident in hand", e.run.ID)
}

// unsure reports whether it is still to be looked up that an acknowledgement was our own: while every process stands still nobody can.
func (s *sim) unsure() bool {
	return slices.ContainsFunc(s.stored, func(got receipt) bool {
		if got.letter.delivery.Agent != robot {
			return false
		}
		e, err := s.store.As("jury").Event(context.Background(), got.event)
		return err == nil && e.State == remediation.EventPending
	})
}

// judgeUnknown: for want of facts a run is refused where a rule that may act wants them. A plan that cannot be had is such a want too, and so is a
// probe that its system's breaker did not let through.
func (s *sim) judgeUnknown(e ending, calls []*call) {
	if e.run.Reason != guard.UnknownFacts || len(calls) > 0 || len(s.reloads) > 0 || e.stay.lacked {
		return
	}
	looks, needed := s.looksOf(e.stay), false
	unknown := map[string]bool{"look.health": true, "look.load": true}
	for _, look := range looks {
		unknown[look.kind] = !look.known
	}
	for _, l := range s.codeByHash(e.run.RulesHash).laws {
		target, matches := l.concerns(e.run.Alert)
		if matches && target == e.run.Target && l.mode != "observe" {
			needed = needed || unknown[l.when.needs()] || len(l.rungs) > 0 && l.rungs[0].kind == "world.flush"
		}
	}
	s.holds(needed || len(e.run.Others) > 0 || len(looks) == 0, "G7", "run %s is refused for facts that only a watching rule wants", e.run.ID)
}

// wanting is a run that asked whether it may act for the first time.
type wanting struct {
	at     time.Duration
	target string
}

// judgeReleased: what targets wanted before a human ended a storm makes no storm any more.
func (s *sim) judgeReleased(e ending) {
	l, ok := s.codeByHash(e.run.RulesHash).law(e.run.Rule)
	if e.run.Reason != guard.Storm || !ok || len(s.jumps) > 0 {
		return
	}
	since := e.at - stormTime - intentSlack
	for _, at := range s.releases {
		if at < e.stay.began {
			since = max(since, at)
		}
	}
	targets := map[string]bool{}
	for _, w := range s.wantings {
		if w.at >= since && w.at <= e.at {
			targets[w.target] = true
		}
	}
	s.holds(len(targets) >= l.limits.storm, "G12", "run %s is refused for a storm of %d targets", e.run.ID, len(targets))
}

// judgeWayBack: no breaker of a system stands in the way of taking a change back.
func (s *sim) judgeWayBack(rec memory.Record) {
	for _, step := range rec.Steps {
		made := slices.ContainsFunc(s.calls, func(c *call) bool { return c.operation == step.Operation })
		s.holds(!step.Undo || made || rec.Run.Reason != guard.SystemDown, "G19", "run %s could not take back what it did: %s", rec.Run.ID, strings.TrimSpace(step.Detail))
	}
}
