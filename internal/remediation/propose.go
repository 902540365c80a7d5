package remediation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// match fills in what the alerts of an event lead to under the rules.
func (e *Engine) match(set *rules.Set, a *Acceptance) {
	a.Event.State = EventMatched
	for _, sig := range a.Event.Delivery.Alerts {
		if sig.Status == alert.Resolved {
			if sig.Merged {
				a.Event.Note = strings.TrimPrefix(a.Event.Note+"; the incident was merged into another one: that is no recovery", "; ")
				a.Moves = append(a.Moves, moves(sig, a.Event)...)
				continue
			}
			a.Resolved = append(a.Resolved, resolution(sig, a.Event))
			continue
		}
		e.propose(set, a, sig)
	}
	unite(set, a)
	number(a)
}

// moves is where the runs of a merged incident go, none where its sender does not say.
func moves(sig alert.Alert, event Event) []Move {
	if sig.IncidentID == "" || sig.MergedInto == "" {
		return nil
	}
	return []Move{{From: sig.IncidentID, To: sig.MergedInto, Key: sig.IncidentKey, At: endOf(sig, event)}}
}

func resolution(sig alert.Alert, event Event) Resolution {
	r := Resolution{
		Source: sig.Source, Episode: sig.Episode, IncidentID: sig.IncidentID, IncidentKey: sig.IncidentKey, At: endOf(sig, event),
		Drill: event.Delivery.Drill != "",
		By:    oneLine(sig.EndedBy),
	}
	if len(sig.Labels) > 0 {
		r.Fingerprint = alert.Fingerprint(sig.Labels)
	}
	return r
}

// endOf is when the signal ended by its sender's clock: a word that comes late must not end what began after it.
func endOf(sig alert.Alert, event Event) time.Time {
	for _, at := range []time.Time{sig.EndsAt, event.OccurredAt} {
		if !at.IsZero() && at.Before(event.ReceivedAt) {
			return at
		}
	}
	if sig.StartsAt.After(event.ReceivedAt) { // our clock is behind the sender's, by which an incident may have been opened since
		return slices.MaxFunc([]time.Time{sig.StartsAt, sig.EndsAt, event.OccurredAt}, time.Time.Compare)
	}
	return event.ReceivedAt
}

// propose adds a run per target that one firing alert concerns, and the rulings that need none.
func (e *Engine) propose(set *rules.Set, a *Acceptance, sig alert.Alert) {
	byTarget, late := map[string][]*rules.Rule{}, map[string]bool{}
	for _, c := range set.Match(sig) {
		ruling := Ruling{Event: a.Event.ID, Rule: c.Rule.Name, Target: c.Target, Mode: string(c.Rule.Mode)}
		switch age := a.Event.age(e.Now()); {
		case c.Undeclared != "":
			ruling.Verdict = Refused
			ruling.Detail = fmt.Sprintf("%s: the label names %q, which is no declared target", guard.UnknownTarget, c.Undeclared)
		case age > c.Rule.MaxAge:
			late[c.Target] = true
			ruling.Verdict = StaleEvent
			ruling.Detail = fmt.Sprintf("the event is %s old, older than %s", age.Round(time.Second), c.Rule.MaxAge)
		default:
			byTarget[c.Target] = append(byTarget[c.Target], c.Rule)
			continue
		}
		a.Rulings = append(a.Rulings, ruling)
	}
	for _, target := range slices.Sorted(maps.Keys(late)) {
		if len(byTarget[target]) == 0 && a.Event.Delivery.Drill == "" {
			a.Stale = append(a.Stale, StaleAlert{Target: target, Alert: sig})
		}
	}
	for _, target := range slices.Sorted(maps.Keys(byTarget)) {
		a.Proposals = append(a.Proposals, e.proposal(set, a.Event, sig, target, byTarget[target]))
	}
}

func (e *Engine) proposal(set *rules.Set, event Event, sig alert.Alert, target string, candidates []*rules.Rule) Proposal {
	p := Proposal{Run: Run{
		ID: e.NewID(), Origin: ByAlert, Event: event.ID, Alert: sig, Target: target, RulesHash: set.Hash,
		State: Running, Phase: PhaseDecide, CreatedAt: event.ReceivedAt, UpdatedAt: event.ReceivedAt, EventAt: event.began(),
	}}
	if drill := event.Delivery.Drill; drill != "" {
		p.Run.Origin, p.Run.Drill = ByDrill, drill
	}
	for _, rule := range candidates {
		p.Run.Rules = append(p.Run.Rules, rule.Name)
		p.Rulings = append(p.Rulings, Ruling{
			Event: event.ID, Run: p.Run.ID, Rule: rule.Name, Target: target, Mode: string(rule.Mode), Verdict: Candidate,
		})
	}
	return p
}

// placesPerRun is how far the rulings of two runs lie apart, so that a run can add those of rules that came with a reload.
const placesPerRun = 1 << 20

// unite lets the first proposal of a target and incident stand for the others of the delivery, which will join its run: their rules become
// its candidates too, in file order.
func unite(set *rules.Set, a *Acceptance) {
	heads := map[[3]string]*Proposal{}
	for i := range a.Proposals {
		p := &a.Proposals[i]
		sig := p.Run.Alert
		key := [3]string{p.Run.Target, sig.IncidentID, sig.IncidentKey}
		head, ok := heads[key]
		if !ok || sig.IncidentID == "" && sig.IncidentKey == "" {
			heads[key] = p
			continue
		}
		head.Run.Others = append(head.Run.Others, sig)
		for _, r := range p.Rulings {
			if !slices.Contains(head.Run.Rules, r.Rule) {
				head.Run.Rules = append(head.Run.Rules, r.Rule)
				r.Run = head.Run.ID
				head.Rulings = append(head.Rulings, r)
			}
		}
		slices.SortFunc(head.Run.Rules, func(x, y string) int { return place(set, x) - place(set, y) })
	}
}

func place(set *rules.Set, name string) int {
	if rule, ok := set.Rule(name); ok {
		return rule.Index
	}
	return len(set.Rules)
}

// number gives every ruling of the event its place.
func number(a *Acceptance) {
	for i := range a.Proposals {
		p := &a.Proposals[i]
		p.Run.Places = map[string]int{}
		for j := range p.Rulings {
			p.Rulings[j].Seq = i*placesPerRun + j
			p.Run.Places[p.Rulings[j].Rule] = p.Rulings[j].Seq
		}
	}
	for i := range a.Rulings {
		a.Rulings[i].Seq = len(a.Proposals)*placesPerRun + i
	}
}

// age is how old an event is by its sender's clock, or since it came in where the sender does not say.
func (ev Event) age(now time.Time) time.Duration {
	return now.Sub(ev.began())
}

func (ev Event) began() time.Time {
	if ev.OccurredAt.IsZero() || ev.OccurredAt.After(ev.ReceivedAt) {
		return ev.ReceivedAt
	}
	return ev.OccurredAt
}
