package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// factsLife is how old the facts may be that a call rests on.
const factsLife = 2 * time.Minute

// needs is the probe that a condition hangs on, "" for none.
func (c condition) needs() string {
	switch c {
	case sick, sickDeploy, never:
		return "look.health"
	case loaded:
		return "look.load"
	default:
		return ""
	}
}

// judgeUnderWay: no call is made while an earlier one of the run is on its way: it would be made twice.
func (s *sim) judgeUnderWay(c *call) {
	for _, o := range s.calls {
		if o.run == c.run && o.arrives > s.clock() && !o.tooLate && !s.leaptSince(o.began) {
			s.violate("G2", "%s is made while %s is on its way", c.operation, o.operation)
		}
	}
}

func (s *sim) leaptSince(at time.Duration) bool {
	return slices.ContainsFunc(s.jumps, func(j jump) bool { return j.at >= at })
}

// judgeBarred: a rule that could not be judged bars those behind it, because with its facts it might have come first.
func (s *sim) judgeBarred(c *call, l law, rec memory.Record) {
	if !c.first || c.debit == nil || c.debit.tries != 1 || l.mode != "auto" {
		return
	}
	known := map[string]bool{}
	for _, look := range s.looksOf(c.stay) {
		known[look.kind] = look.known
	}
	for _, o := range c.code.laws {
		if o.name == l.name {
			return
		}
		target, matches := o.concerns(rec.Run.Alert)
		need := o.when.needs()
		asked, had := known[need]
		if !matches || target != c.target || o.mode == "observe" || o.when == sickDeploy || o.maxAge < l.maxAge || !had {
			continue
		}
		s.holds(asked, "G7", "%s is made by rule %s although rule %s before it could not be judged", c.operation, l.name, o.name)
	}
}

// looksOf are the answers of probes that a visit had.
func (s *sim) looksOf(v *stay) []sample {
	var all []sample
	for _, look := range s.looks {
		if !look.void && look.stay == v {
			all = append(all, look)
		}
	}
	return all
}

// nextRung reports whether a call begins another rung of its run's ladder.
func (s *sim) nextRung(c *call) bool {
	if c.first || c.back || c.second {
		return false
	}
	return !slices.ContainsFunc(s.calls, func(o *call) bool { return o.run == c.run && o.kind == c.kind && o.to == c.to })
}

// judgeRung: the next rung is tried by the rules in force, after one that surely did not help, and only on what still is ill.
func (s *sim) judgeRung(c *call) {
	if !s.nextRung(c) {
		return
	}
	own := s.replicaOf(c)
	begun := !strings.HasSuffix(c.operation, "-1") // by an intent whose call was not made
	s.holds(begun || own.readAt == 0 || own.readAt > c.stay.began || c.code == codeOf(s.code, own.edition), "G8",
		"%s begins a rung by rules that were replaced at %s", c.operation, own.readAt)
	landed := time.Duration(0)
	for _, o := range s.calls {
		if o.run == c.run && o.took() {
			landed = max(landed, o.landed)
		}
	}
	var health []sample
	for _, look := range s.looksOf(c.stay) {
		if look.kind == "look.health" && look.at > landed {
			health = append(health, look)
		}
	}
	if n := len(health); n >= 2 && landed > 0 {
		s.holds(health[0].known && !health[0].ok, "G7", "%s begins a rung, and nobody could tell that the one before did not help", c.operation)
	}
	if n := len(health); n > 0 && health[n-1].known && health[n-1].ok {
		s.holds(s.seenIll(c, time.Minute+intentSlack, "look.health"), "G7", "%s begins a rung on %s, which is well", c.operation, c.target)
	}
}

// seenIll reports whether the run of a call has seen its target ill within a time, by the store's clock.
func (s *sim) seenIll(c *call, within time.Duration, kind string) bool {
	return slices.ContainsFunc(s.looks, func(look sample) bool {
		return look.run == c.run && look.target == c.target && look.kind == kind && look.known && !look.ok &&
			c.store.Sub(s.storeTime(look.at)).Abs() <= within
	})
}

// judgeTakenBack: a change is taken back where it surely did not help.
func (s *sim) judgeTakenBack(c *call, rec memory.Record) {
	undo := slices.ContainsFunc(rec.Steps, func(step remediation.Step) bool { return step.Operation == c.operation && step.Undo })
	if rec.Run.Origin != remediation.ByAlert || !undo {
		return
	}
	for _, look := range slices.Backward(s.looksOf(c.stay)) {
		if look.kind != "look.health" {
			continue
		}
		s.holds(look.known, "G14", "%s takes a change back of which nobody could tell whether it helped", c.operation)
		return
	}
}

// judgeEdition: a run that has not acted begins to by the rules that its process goes by.
func (s *sim) judgeEdition(l *life, c remediation.Commit) {
	acted := slices.ContainsFunc(s.calls, func(o *call) bool { return o.run == c.Run.ID })
	if c.Intent == nil || acted || c.Run.Origin != remediation.ByAlert || s.debits[c.Run.ID] != nil {
		return
	}
	s.holds(c.Run.RulesHash == l.Current().Hash, "G8", "run %s is meant to act by rules that were replaced", c.Run.ID)
}
