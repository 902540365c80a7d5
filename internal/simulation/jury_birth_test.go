package simulation

import (
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// newborn is a run that an alert has led to.
type newborn struct {
	id, target             string
	source, episode, group string
}

// ending is how a run ended, as it was stored.
type ending struct {
	at   time.Duration
	stay *stay
	run  remediation.Run

	unsure bool // somebody had an incident in hand, and it had not been looked up yet that this was us
}

// endingOf gives how a run ended.
func (s *sim) endingOf(run string) (ending, bool) {
	i := slices.IndexFunc(s.endings, func(e ending) bool { return e.run.ID == run })
	if i < 0 {
		return ending{}, false
	}
	return s.endings[i], true
}

// admitted lets the jury look at the runs that a delivery has led to, or a human's word for which they waited.
func (s *sim) admitted(v *stay, a remediation.Acceptance, got remediation.Accepted) {
	if a.Again == "" && !a.Looked && !got.Duplicate {
		l := &letter{source: a.Event.Source, delivery: a.Event.Delivery}
		s.stored = append(s.stored, receipt{at: s.clock(), store: s.now(), letter: l, event: a.Event.ID})
	}
	for _, h := range got.Runs {
		i := slices.IndexFunc(a.Proposals, func(p remediation.Proposal) bool { return p.Run.ID == h.Run })
		if r := a.Proposals[i].Run; r.Origin == remediation.ByAlert {
			s.judgeBirth(v, a, r)
			s.newborns = append(s.newborns, newborn{id: r.ID, target: r.Target, source: r.Alert.Source, episode: r.Alert.Episode, group: r.Alert.IncidentKey})
		}
		s.births[h.Run] = s.clock()
	}
	if a.Again != "" && !got.Duplicate {
		s.judgeAgain(v, a.Again)
	}
}

// judgeBirth: one outage makes one open run on a target, a firing is tried again only after what passes, and nothing old begins.
func (s *sim) judgeBirth(v *stay, a remediation.Acceptance, r remediation.Run) {
	for _, o := range s.newborns {
		if o.target != r.Target {
			continue
		}
		_, over := s.endingOf(o.id)
		s.holds(over || o.group == "" || o.group != r.Alert.IncidentKey, "G1", "run %s begins on %s while run %s of the same outage is open", r.ID, r.Target, o.id)
		if o.source == r.Alert.Source && o.episode == r.Alert.Episode {
			s.judgeAnotherTry(r, o.id)
		}
	}
	if at := a.Event.OccurredAt; !at.IsZero() {
		s.holds(v.store.Sub(at) <= s.longestAge(r.Alert.Labels["alertname"]), "G17", "run %s begins for an event of %s ago", r.ID, v.store.Sub(at))
	}
}

// judgeAnotherTry: what a guard has refused for good is not tried again for the same firing.
func (s *sim) judgeAnotherTry(r remediation.Run, former string) {
	e, over := s.endingOf(former)
	s.holds(over && !lasting[e.run.Reason], "G2", "run %s tries again what run %s was refused for good: %s", r.ID, former, e.run.Reason)
}

// lasting are the refusals that no time ends by itself.
var lasting = map[guard.Reason]bool{
	guard.BudgetExhausted: true, guard.BreakerOpen: true, guard.AwaitsRelease: true, guard.Oscillation: true, guard.Stale: true,
	guard.UnknownTarget: true, guard.HumanHand: true, guard.SplitTraffic: true, guard.AlreadyPinned: true, guard.NoDestination: true, guard.NoCause: true,
	guard.Migrations: true, guard.OutOfBounds: true, guard.TooWide: true, guard.Itself: true, guard.NothingToDo: true, guard.NeedsApproval: true,
	guard.Denied: true, guard.ApprovalExpired: true, guard.GuardFailed: true,
}

// longestAge is how old an event may be by the rule that allows the oldest.
func (s *sim) longestAge(alertname string) (most time.Duration) {
	for edition := range 2 {
		for _, l := range codeOf(s.code, edition).laws {
			if l.alert == alertname {
				most = max(most, l.maxAge)
			}
		}
	}
	return most
}

// judgeAgain: what a stop button has refused is judged again once it was released, and not before.
func (s *sim) judgeAgain(v *stay, parked string) {
	rec, _ := s.record(parked)
	for _, p := range s.pauses {
		holds := p.covers(&call{target: rec.Run.Target, rule: rec.Run.Rule}) && p.from < v.began && !p.over(s.now())
		s.holds(!holds, "G11", "run %s is judged again while %s %s is paused", parked, p.Scope, p.Name)
	}
}

// over reports whether a pause was released, or its time is over.
func (p *pressed) over(now time.Time) bool {
	return p.to != 0 || !p.Until.IsZero() && !now.Before(p.Until)
}
