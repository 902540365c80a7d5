package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// planLife is how old a plan may be at its call.
const planLife = time.Minute

// judgeGuards holds a call that was begun by itself against what the guards promise, by what has really happened.
func (s *sim) judgeGuards(c *call, rec memory.Record) {
	l, ok := c.code.law(c.rule)
	if !ok {
		return
	}
	s.judgeFreezes(c)
	s.judgeProtected(c)
	s.judgeAgreement(c)
	s.judgeLatch(c)
	s.judgeSelection(c)
	s.holds(!c.stay.blind, "G13", "%s is made although the shared guards could not be read", c.operation)
	if c.first {
		s.judgeFirst(c, l, rec)
	}
}

// judgeFirst holds the first call of a run that an alert led to.
func (s *sim) judgeFirst(c *call, l law, rec memory.Record) {
	s.judgeStorm(c, l)
	s.judgeAge(c, l, rec)
	s.judgeClaims(c)
	s.judgeReread(c, rec)
	s.judgeInverse(c, l)
	s.judgeBreaker(c, l)
	if l.mode == "auto" {
		s.judgeHeld(c, rec)
	}
	age := c.store.Sub(c.planned).Abs()
	s.holds(age <= planLife+stopSlack, "G8", "%s is made by a plan of %s ago", c.operation, age)
}

// judgeFreezes: nothing is meant to be done in a freeze.
func (s *sim) judgeFreezes(c *call) {
	for _, f := range c.code.freezes {
		if !f.covers(c.target) || c.debit == nil {
			continue
		}
		at := s.sinceBeginning(c.debit.store)
		s.holds(at < f.from || at >= f.to, "G10", "%s was meant at %s, in a freeze from %s to %s", c.operation, at, f.from, f.to)
	}
}

// judgeAge: it is not decided to act by itself on an event that is older than its rule allows. A rung that was begun may be tried again later.
func (s *sim) judgeAge(c *call, l law, rec memory.Record) {
	i := slices.IndexFunc(s.received, func(got receipt) bool { return got.event == rec.Run.Event && !got.duplicate })
	if i < 0 || l.mode != "auto" || rec.Run.Approved != "" || len(s.jumps) > 0 || c.debit == nil {
		return
	}
	age := c.debit.stay.began - s.sinceBeginning(s.received[i].letter.delivery.OccurredAt)
	s.holds(age <= l.maxAge, "G17", "%s is made for an event of %s ago, %s is the most", c.operation, age, l.maxAge)
}

// judgeClaims: what its probes told the visit that makes the call was the same.
func (s *sim) judgeClaims(c *call) {
	said := map[string]string{}
	for _, look := range s.looksOf(c.stay) {
		delete(said, look.kind) // what was asked anew and could not be told says nothing
		if look.known {
			said[look.kind] = look.claim
		}
	}
	s.holds(len(said) < 2 || said["look.health"] == said["look.load"], "G7", "%s is made although the probes contradict each other: %v", c.operation, said)
}

// judgeReread: where the sender can be asked, it was, and did not say that the alert is over or a person at it.
func (s *sim) judgeReread(c *call, rec memory.Record) {
	if rec.Run.Alert.Source == "am" && !s.answers {
		return
	}
	last, asked := s.rereads[c.run]
	l, _ := c.code.law(c.rule)
	s.holds(asked, "G17", "%s is made, and nobody has asked whether the alert still fires", c.operation)
	s.holds(!last.Known || last.Firing && (last.AcknowledgedBy == "" || l.mode != "auto"), "G17", "%s is made although its sender said %+v", c.operation, last)
}

// leapt reports whether the store's clock has jumped a short while ago.
func (s *sim) leapt(within time.Duration) bool {
	return slices.ContainsFunc(s.jumps, func(j jump) bool { return j.at >= s.clock()-within })
}

// judgeProtected: remediator never acts on what is its own.
func (s *sim) judgeProtected(c *call) {
	if s.itself != "" {
		s.holds(c.target != s.itself, "G18", "%s is made on %s, which is remediator by another name", c.operation, c.target)
	}
	if c.code.protected != "" {
		s.holds(c.target != c.code.protected, "G18", "%s is made on %s, which is remediator's own", c.operation, c.target)
	}
}

// judgeSelection: what is changed is the target by its name, and nothing of which nobody knows what it is.
func (s *sim) judgeSelection(c *call) {
	s.holds(len(c.selects) == 1 && c.selects[0] == c.target, "G9", "%s selects %q", c.operation, c.selects)
	for _, n := range c.networks {
		s.violate("G9", "%s names the network %s", c.operation, n)
	}
	rolls := s.town[c.target].rolling
	at := s.sinceBeginning(c.planned)
	read := at + time.Second // at the latest: the visit tells its time before it reads
	s.holds(len(s.jumps) > 0 || at < rolls.from || read >= rolls.to, "G10", "%s was planned while a deploy of %s was under way", c.operation, c.target)
}

// declaration is a person's word about which edition of the rules counts.
type declaration struct {
	at      time.Duration
	edition int
}

// judgeAgreement: replicas that go by different rules do not act, unless it was said whose count. A run that has acted goes on by its own.
func (s *sim) judgeAgreement(c *call) {
	if !c.first {
		return
	}
	own := s.replicaOf(c)
	if n := len(s.declared); n > 0 && s.declared[n-1].edition == own.edition {
		return
	}
	for _, other := range s.replicas {
		if other == own || !other.up() || len(other.s.reloads) == 0 {
			continue
		}
		since := max(own.readAt, other.readAt, other.upSince)
		if n := len(s.declared); n > 0 {
			since = max(since, s.declared[n-1].at)
		}
		s.holds(other.edition == own.edition || s.clock()-since <= intentSlack, "G10", "%s is made while %s goes by other rules, for %s by now",
			c.operation, other.name, s.clock()-since)
	}
}

func (s *sim) replicaOf(c *call) *replica {
	return s.replicas[slices.IndexFunc(s.replicas, func(r *replica) bool { return r.name == c.replica })]
}

// judgeLatch: after one act of a kind that is made once, no other run makes another on the target before somebody releases it.
func (s *sim) judgeLatch(c *call) {
	if c.kind != "world.pin" {
		return
	}
	for _, o := range s.calls {
		if o.target != c.target || o.kind != c.kind || o.run == c.run || !o.took() || o.back {
			continue
		}
		released := slices.ContainsFunc(s.releases, func(at time.Duration) bool { return at >= o.began })
		s.holds(released, "G5", "%s pins %s again after %s, and nobody has released it", c.operation, c.target, o.operation)
	}
}

// judgeStorm: of many targets that want action, none is acted on. Those count that were acted on: they wanted it for sure. What began before
// there were so many goes on: a call that is made late was decided on when it was debited.
func (s *sim) judgeStorm(c *call, l law) {
	if s.leapt(stormTime) || c.debit == nil {
		return
	}
	since := c.debit.at - stormTime + intentSlack
	for _, at := range s.releases {
		since = max(since, at)
	}
	wanted := map[string]bool{c.target: true}
	for _, o := range s.calls {
		if o.first && o.debit != nil && o.debit.at > since && o.debit.at <= c.debit.at { // when it wanted to, however often it was tried since
			wanted[o.target] = true
		}
	}
	s.holds(len(wanted) < l.limits.storm, "G12", "%s acts on %s as one of %d targets, %d are a storm", c.operation, c.target, len(wanted), l.limits.storm)
}

// judgeInverse: what another run has set is not set back a short while later.
func (s *sim) judgeInverse(c *call, l law) {
	for _, o := range s.calls {
		if o.target != c.target || o.run == c.run || o.back || o.second || o.from != c.to || o.to != c.from {
			continue
		}
		age := c.store.Sub(o.store)
		s.holds(age < 0 || age >= l.limits.inverse-intentSlack, "G16", "%s sets %s from %s back to %s, %s after %s", c.operation, c.target, c.from, c.to, age, o.operation)
	}
}

// judgeBreaker: a rule that did not help a target so often in a row, or left it to a human, does not touch it again by itself before it is
// released or may try again.
func (s *sim) judgeBreaker(c *call, l law) {
	failures, last, latched := 0, time.Duration(0), false
	for _, e := range s.endings {
		acted, took := s.touchedBy(e.run.ID)
		if e.run.Rule != c.rule || e.run.Target != c.target || e.run.Origin != remediation.ByAlert || !acted || e.at > c.debit.at {
			continue
		}
		if s.releasedIn(last, e.at) {
			failures, latched = 0, false
		}
		switch e.run.Outcome {
		case remediation.Fixed:
			failures = 0
		case remediation.NeedsHuman:
			failures, latched, last = failures+1, true, e.at
		case remediation.NotFixed, remediation.Inconclusive, remediation.Undone:
			if took {
				failures, last = failures+1, e.at
			}
		}
	}
	if !latched && failures < max(l.limits.failures, 1) || s.releasedIn(last, s.clock()) {
		return
	}
	tries := l.limits.probeAfter > 0 && c.debit.first.Sub(s.storeTime(last)) >= l.limits.probeAfter-stopSlack
	s.holds(tries && !latched, "G4", "%s is made although rule %s did not help %s %d times in a row", c.operation, c.rule, c.target, failures)
}

// touchedBy reports whether a run made calls, and whether one took effect.
func (s *sim) touchedBy(run string) (acted, took bool) {
	for _, c := range s.calls {
		if c.run == run {
			acted, took = true, took || c.took()
		}
	}
	return acted, took
}

func (s *sim) releasedIn(from, to time.Duration) bool {
	return slices.ContainsFunc(s.releases, func(at time.Duration) bool { return at >= from && at <= to })
}

// judgeHeld: while a person is known to be at an incident, nothing new is begun on it by itself.
func (s *sim) judgeHeld(c *call, rec memory.Record) {
	for _, h := range s.inHand {
		of := rec.Run.Alert.IncidentID == h.incident.id || rec.Run.Alert.IncidentKey == h.incident.key && rec.Run.Alert.IncidentID == ""
		if !of || h.heard == 0 || h.incident.heldBy == "" {
			continue
		}
		s.holds(h.to != 0 || s.clock() <= h.heard+intentSlack, "G10", "%s is made on %s, which a person has had in hand since %s", c.operation, h.incident.id, h.from)
	}
}

// stormPage is how the incidents begin by which a storm is told.
const stormPage = "remediator-storm-"

// judgeStormPages: a storm calls people, once.
func (s *sim) judgeStormPages(all []memory.Record) {
	var refused []time.Duration
	for _, rec := range all {
		if rec.Run.Reason == "storm" {
			refused = append(refused, s.ended[rec.Run.ID])
		}
	}
	slices.Sort(refused)
	storms, last := 0, time.Duration(-1)
	for _, at := range refused {
		released := slices.ContainsFunc(s.releases, func(t time.Duration) bool { return t >= last && t <= at })
		if last < 0 || released || at-last >= stormTime-stopSlack || len(s.jumps) > 0 {
			storms++
		}
		last = at
	}
	pages := 0
	for _, in := range s.pager.incidents {
		if strings.HasPrefix(in.key, stormPage) {
			pages++
		}
	}
	s.holds(pages <= storms && (pages > 0 || storms == 0), "G12", "there were %d storms, and %d calls for them", storms, pages)
}

// pagesDue reports whether a storm has not been told yet.
func (s *sim) pagesDue(all []memory.Record) bool {
	return slices.ContainsFunc(all, func(rec memory.Record) bool { return rec.Run.Reason == "storm" }) &&
		!slices.ContainsFunc(s.pager.incidents, func(in *incident) bool { return strings.HasPrefix(in.key, stormPage) })
}
