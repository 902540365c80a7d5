package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/store/memory"
)

// What the jury expects of a firing, from the plot and the ledger alone. It never asks a guard: where anything was in the way that a
// guard could have to do with, or nearly so, it says may; where nothing was, must.
const (
	mustAct    = "must act"
	mustNotAct = "must not act"
	mayAct     = "may act"
)

// The times an expectation goes by.
const (
	actWithin   = 48 * time.Second // from the first word of a firing, and a lease if a hint is lost, to the call, when nothing stands still
	perStall    = 28 * time.Second // and a lease and so much more for every process that died or stood still meanwhile
	quietBefore = time.Minute      // before which nothing may have gone wrong
	stormTime   = 10 * time.Minute
	youngDeploy = 25 * time.Minute // rules take a deploy of less than half an hour for a cause
	oldDeploy   = 31 * time.Minute
	longMemory  = 24 * time.Hour // of acts on the same target
)

// expect says for each firing that was heard of what should have happened, and compares.
func (s *sim) expect(all []memory.Record) {
	for _, rec := range all {
		s.about[rec.Run.ID] = s.firingsOf(rec.Run)
	}
	for _, e := range s.episodes {
		if len(e.accepted) == 0 {
			continue
		}
		what, why := s.expectation(e)
		s.reached.expected[what+": "+why] = true
		acted := s.actedFor(e)
		switch {
		case what == mustAct:
			s.reached.must++
			if acted {
				s.reached.did++
			} else {
				s.missed(e, all)
			}
		case what == mustNotAct && acted:
			s.violate("expected", "episode %d on %s was acted on although %s", e.number, e.signal.place.name, why)
		}
	}
}

// missed notes a firing that had to be acted on and was not, with what became of it.
func (s *sim) missed(e *episode, all []memory.Record) {
	became := "no run"
	for _, rec := range all {
		if slices.Contains(s.about[rec.Run.ID], e) {
			became = fmt.Sprintf("run %s ended as %s %s", rec.Run.ID, rec.Run.Outcome, rec.Run.Reason)
		}
	}
	text := fmt.Sprintf("seed %d, episode %d on %s at %s: %s", s.seed, e.number, e.signal.place.name, e.accepted[0].Round(time.Second), became)
	s.say("MISSED: %s", text)
	s.reached.missed = append(s.reached.missed, text)
}

func (s *sim) actedFor(e *episode) bool {
	return slices.ContainsFunc(s.calls, func(c *call) bool {
		return !c.back && c.target == e.signal.place.name && slices.Contains(s.about[c.run], e)
	})
}

// expectation judges one firing.
func (s *sim) expectation(e *episode) (what, why string) {
	if slices.ContainsFunc(codeOf(s.code, 0).laws, func(l law) bool { return l.target != "" && l.alert == e.signal.outage.alert }) {
		return mayAct, "several alerts meet on one target"
	}
	if !slices.Contains(names, e.signal.service()) {
		return mustNotAct, "its label names no declared target"
	}
	l, why := s.willing(e)
	switch {
	case s.itself == e.signal.service():
		return mustNotAct, "its target is ourselves"
	case why != "":
		return mustNotAct, why
	case l.mode != "auto":
		return mayAct, "a human is asked"
	}
	from := s.known(e)
	to := s.patience(from)
	for _, doubt := range []func(*episode, law, time.Duration, time.Duration) string{
		s.doubtAlert, s.doubtTarget, s.doubtPeople, s.doubtTroubles, s.doubtOthers, s.doubtBudgets,
	} {
		if why := doubt(e, l, from, to); why != "" {
			return mayAct, why
		}
	}
	return mustAct, "nothing was in the way"
}

// known is since when a firing is known: its sender may have been answered later.
func (s *sim) known(e *episode) time.Duration {
	from := e.accepted[0]
	for run, about := range s.about {
		if at, born := s.births[run]; born && at >= e.began && slices.Contains(about, e) {
			from = min(from, at)
		}
	}
	return from
}

// willing gives the first rule that would act while the target is ill, by any edition of the file that was ever in force; why says that
// there is none.
func (s *sim) willing(e *episode) (l law, why string) {
	for edition := range 1 + min(len(s.reloads), 1) {
		if l, why = willingOf(codeOf(s.code, edition), e); why == "" {
			break
		}
	}
	return l, why
}

func willingOf(c *code, e *episode) (l law, why string) {
	if c.protected == e.signal.service() {
		return law{}, "its target is our own"
	}
	for _, l := range c.laws {
		o := e.signal.outage
		matches := l.alert == o.alert && (l.severity == "" || l.severity == o.level)
		if l.when == sickDeploy && !e.signal.place.deployedSince(e.accepted[0]-oldDeploy) {
			continue
		}
		switch {
		case !matches || l.mode == "observe" || l.when == never:
		case len(l.rungs) == 0:
			return l, "its rule only calls a human"
		case l.mode == "auto" && l.rungs[0].kind == "world.flush":
			return l, "what its rule does cannot be taken back"
		default:
			return l, ""
		}
	}
	return law{}, "no rule may act on it"
}

// patience is until when a firing that was heard of at a moment has to be acted on.
func (s *sim) patience(from time.Duration) time.Duration {
	to := from + s.lease + actWithin
	for _, stall := range s.stalls {
		if stall >= from-s.lease-perStall && stall <= to {
			to += s.lease + perStall
		}
	}
	return to
}

// doubtAlert: the alert has to fire all the time, and to be young.
func (s *sim) doubtAlert(e *episode, l law, from, to time.Duration) string {
	switch {
	case e.ended != 0 && e.ended <= to || e.resolved != 0 && e.resolved <= to:
		return "the alert ended"
	case e.signal.firing > 1 && e.signal.episode != e || e.number > 0 && s.firedBefore(e):
		return "it fired before"
	case s.sinceBeginning(e.starts)+l.maxAge <= to:
		return "the event was old"
	}
	for _, got := range s.received {
		if slices.Contains(got.letter.signals, e.signal) && s.sinceBeginning(got.letter.delivery.OccurredAt)+l.maxAge/2 <= got.at {
			return "the event was old"
		}
	}
	return ""
}

func (s *sim) firedBefore(e *episode) bool {
	return slices.ContainsFunc(s.episodes, func(o *episode) bool {
		return o != e && o.began <= e.began && o.signal.place == e.signal.place && o.signal.outage == e.signal.outage
	})
}

// doubtTarget: the target has to be ill all the time, by the rule's own condition, and not as wished already.
func (s *sim) doubtTarget(e *episode, l law, from, to time.Duration) string {
	p := e.signal.place
	if age := p.age(from); age > youngDeploy && (age <= oldDeploy || l.when == sickDeploy) {
		return "the deploy was neither young nor old"
	}
	if !p.illDuring(from-time.Second, to, s.calls) {
		return "the target was well, or was changed"
	}
	if wish := (&act{kind: l.rungs[0].kind, To: l.rungs[0].to}).wish(p); p.stateAt(from) == wish {
		return "the target was as wished"
	}
	return ""
}

// doubtPeople: nobody pressed a button, took the incident in hand, or edited the rules.
func (s *sim) doubtPeople(e *episode, l law, from, to time.Duration) string {
	for _, p := range s.pauses {
		covers := p.covers(&call{target: e.signal.place.name, rule: l.name})
		if covers && p.from <= to && (p.to == 0 || p.to >= from) {
			return "it was paused"
		}
	}
	for _, h := range s.inHand {
		if h.from <= to && (h.to == 0 || h.to >= from-quietBefore) {
			return "a person was at it"
		}
	}
	if slices.ContainsFunc(s.reloads, func(at time.Duration) bool { return at <= to+quietBefore }) {
		return "the rules were reloaded"
	}
	for _, f := range codeOf(s.code, 0).freezes {
		if f.from <= to && f.to >= from && f.covers(e.signal.place.name) {
			return "a freeze was in force"
		}
	}
	return ""
}

// doubtTroubles: everything it takes could be had.
func (s *sim) doubtTroubles(e *episode, _ law, from, to time.Duration) string {
	for _, f := range s.flaws {
		if f.at >= from-quietBefore && f.at <= to {
			return "something could not be had: " + f.what
		}
	}
	for _, gone := range s.storeGone {
		if gone.from <= to && gone.to >= from {
			return "the store was away"
		}
	}
	if len(s.jumps) > 0 {
		return "the clock jumped"
	}
	for _, gone := range s.pagerGone {
		if gone.from <= to && gone.to >= from-quietBefore && !slices.Contains(e.signal.outage.roads, "am") {
			return "PagerDuty was away"
		}
	}
	return ""
}

// doubtOthers: no other run had to do with the target, and not many targets wanted action.
func (s *sim) doubtOthers(e *episode, _ law, from, to time.Duration) string {
	wanting := map[string]bool{}
	for _, o := range s.episodes {
		for _, at := range o.accepted {
			if at >= from-stormTime-quietBefore && at <= to {
				s.wants(o, wanting)
			}
		}
		if o != e && o.signal.place == e.signal.place && len(o.accepted) > 0 && o.accepted[0] <= to {
			return "another alert was about the target"
		}
	}
	if len(wanting) >= 3 {
		return "many targets wanted action"
	}
	for _, c := range s.calls {
		own := slices.Contains(s.about[c.run], e)
		if !own && c.target == e.signal.place.name && c.began >= from-longMemory && c.began <= to {
			return "another run acted on the target"
		}
	}
	return ""
}

// wants enters the targets that a firing may be acted on at.
func (s *sim) wants(e *episode, all map[string]bool) {
	all[e.signal.place.name] = true
	for _, l := range codeOf(s.code, 0).laws {
		if l.target != "" && l.alert == e.signal.outage.alert {
			all[l.target] = true
		}
	}
}

// doubtBudgets: every window has room.
func (s *sim) doubtBudgets(e *episode, l law, from, to time.Duration) string {
	acts := map[string]int{}
	for _, d := range s.acts {
		if slices.Contains(s.about[d.run], e) || d.at > to {
			continue
		}
		acts["fleet"]++
		if d.rule == l.name {
			acts["rule"]++
		}
	}
	for i := range 2 {
		if acts["fleet"] >= l.limits.fleet[i] || acts["rule"] >= l.limits.rule[i] {
			return "a budget was used"
		}
	}
	return ""
}
