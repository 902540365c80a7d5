package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// violation is a promise that was broken.
type violation struct {
	invariant string
	at        time.Duration
	text      string
}

func (s *sim) violate(invariant, format string, args ...any) {
	v := violation{invariant: invariant, at: s.clock(), text: fmt.Sprintf(format, args...)}
	s.say("VIOLATION of %s: %s", v.invariant, v.text)
	s.violations = append(s.violations, v)
}

// holds checks an invariant that was put to the test here.
func (s *sim) holds(ok bool, invariant, format string, args ...any) {
	s.reached.checks[invariant] = true
	if !ok {
		s.violate(invariant, format, args...)
	}
}

// The slack of judgements by time: how long an intent may come before its call, and how fast a stop has to work.
const (
	intentSlack = 75 * time.Second
	stopSlack   = time.Second
)

// record reads a run as it is stored at this moment.
func (s *sim) record(run string) (memory.Record, bool) {
	rec, err := s.store.Run(context.Background(), run)
	return rec, err == nil
}

// judgeCall is asked when a call that would change something leaves a replica.
func (s *sim) judgeCall(c *call) {
	rec, known := s.record(c.run)
	if !known {
		s.violate("G20", "%s is made for a run that is not stored", c.operation)
		return
	}
	c.rule, c.debit = rec.Run.Rule, s.debits[c.run]
	c.code = s.codeByHash(rec.Run.RulesHash)
	c.back = c.back || s.handRuns[c.run]
	c.first = rec.Run.Origin == remediation.ByAlert && !c.back && !slices.ContainsFunc(s.calls, func(o *call) bool { return o.run == c.run })
	s.judgeRecorded(c, rec)
	s.judgeAlone(c)
	s.judgeUnderWay(c)
	if c.back {
		s.reached.checks["G19"] = true // nothing stood in its way
		s.judgeTakenBack(c, rec)
		return
	}
	s.judgeStopped(c)
	if !c.second { // which only completes what was begun
		s.judgeEpisode(c, rec)
		s.judgeGuards(c, rec)
	}
	s.judgeBudgets(c)
	s.judgeCooldown(c)
	s.judgeRule(c, rec)
}

func (s *sim) codeByHash(hash string) *code {
	for edition := range 2 {
		if c := codeOf(s.code, edition); c.set.Hash == hash {
			return c
		}
	}
	return codeOf(s.code, 0)
}

// judgeRecorded: no record, no action.
func (s *sim) judgeRecorded(c *call, rec memory.Record) {
	at := slices.IndexFunc(rec.Steps, func(step remediation.Step) bool { return step.Operation == c.operation })
	s.holds(at >= 0 && rec.Steps[at].State == remediation.StepIntent, "G20", "%s is made, and no intent of it is stored", c.operation)
	intent := slices.ContainsFunc(rec.Entries, func(e remediation.Entry) bool { return e.Kind == remediation.EntryIntent })
	s.holds(intent, "G20", "%s is made, and the journal says nothing of it", c.operation)
}

// judgeAlone: one run at a time is at work on a target.
func (s *sim) judgeAlone(c *call) {
	for _, other := range s.calls {
		if other.target != c.target || other.run == c.run {
			continue
		}
		rec, _ := s.record(other.run)
		last := slices.IndexFunc(rec.Steps, func(step remediation.Step) bool { return step.Operation == other.operation })
		open := last >= 0 && (rec.Steps[last].State == remediation.StepIntent || rec.Steps[last].State == remediation.StepAccepted)
		working := rec.Run.State != remediation.Done && (rec.Run.Origin == remediation.ByAlert || open)
		s.holds(!working, "G1", "%s is made on %s while run %s is at work there", c.operation, c.target, other.run)
	}
}

// judgeStopped: no call starts once a stop button was pressed.
func (s *sim) judgeStopped(c *call) {
	for _, p := range s.pauses {
		if !p.covers(c) {
			continue
		}
		heard := s.clock() > p.from+stopSlack || c.stay.asked > p.from
		s.holds(p.over(s.now()) || !heard, "G11", "%s starts %s after %s %s was paused", c.operation, s.clock()-p.from, p.Scope, p.Name)
	}
}

func (p *pressed) covers(c *call) bool {
	switch p.Scope {
	case "target":
		return p.Name == c.target
	case "rule":
		return p.Name == c.rule
	default:
		return true
	}
}

// judgeEpisode: a firing is acted on by one run at most, and not once its end was heard of by the road that the run came by: that both
// roads tell of one alert cannot be known from what PagerDuty says of an end.
func (s *sim) judgeEpisode(c *call, rec memory.Record) {
	if rec.Run.Origin != remediation.ByAlert {
		return
	}
	for _, other := range s.calls {
		if other.run == c.run {
			continue
		}
		former, _ := s.record(other.run)
		same := former.Run.Origin == remediation.ByAlert && former.Run.Alert.Episode == rec.Run.Alert.Episode && former.Run.Target == rec.Run.Target
		s.holds(!same, "G2", "runs %s and %s both act on %s for episode %s", other.run, c.run, c.target, rec.Run.Alert.Episode)
	}
	for _, e := range s.firingsOf(rec.Run) {
		if at, heard := e.ends[roadOf(rec.Run.Alert.Source, rec.Run.Alert)]; heard && at >= s.births[c.run] && !s.firesAnew(e, at) && !s.joinedUnsaid(e, rec) {
			s.holds(s.clock() <= at+stopSlack && c.stay.asked <= at, "G17", "%s starts %s after the end of its alert was heard", c.operation, s.clock()-at)
		}
	}
}

// firesAnew reports whether the next firing of the same alert was heard of after a moment, or before it and has not ended: the end was told
// late. A run that is at work goes on with it.
func (s *sim) firesAnew(e *episode, after time.Duration) bool {
	return slices.ContainsFunc(s.episodes, func(o *episode) bool {
		return o != e && o.signal == e.signal && o.began > e.began && slices.ContainsFunc(o.accepted, func(at time.Duration) bool { return at >= after || len(o.ends) == 0 })
	})
}

// joinedUnsaid reports whether the store has taken in the next firing of the same alert although nobody could say so: who took it in stood still.
func (s *sim) joinedUnsaid(e *episode, rec memory.Record) bool {
	return rec.EndedAt.IsZero() && slices.ContainsFunc(s.episodes, func(o *episode) bool {
		return o != e && o.signal == e.signal && o.began > e.began && len(o.accepted) == 0 && len(o.ends) == 0
	})
}

// firingsOf are the episodes that a run is about.
func (s *sim) firingsOf(r remediation.Run) []*episode {
	var all []*episode
	for _, e := range s.episodes {
		a := r.Alert
		if fmt.Sprint(e.signal.outage.id) != a.Labels["outage"] || e.signal.place.name != a.Labels["instance"] {
			continue
		}
		at := s.sinceBeginning(a.StartsAt)
		if a.Source == "am" && e.starts.Equal(a.StartsAt) || a.Source == "pd" && e.began <= at && (e.ended == 0 || e.ended > at) {
			all = append(all, e)
		}
	}
	return all
}

// judgeRule: only a rule that may act by itself acts, on a target that was declared, on facts that were had.
func (s *sim) judgeRule(c *call, rec memory.Record) {
	l, ok := c.code.law(c.rule)
	if !ok || rec.Run.Origin != remediation.ByAlert {
		return
	}
	s.judgeConsent(c, l)
	if c.second {
		return
	}
	want := l.target
	if want == "" {
		want = rec.Run.Alert.Labels["service"]
	}
	s.holds(want == c.target, "G9", "%s changes %s for an alert that names %q", c.operation, c.target, want)
	s.judgeFacts(c, l)
	s.judgeBarred(c, l, rec)
	s.judgeRung(c)
}

// judgeConsent: what a rule may not do by itself, and what cannot be taken back, is done only after a human's yes.
func (s *sim) judgeConsent(c *call, l law) {
	if l.mode == "auto" && c.kind != "world.flush" {
		return
	}
	yes := false
	for _, q := range s.asked {
		same := c.second || q.plan.Kind == c.kind && q.plan.Before["state"] == c.from && q.plan.After["state"] == c.to
		yes = yes || q.run == c.run && q.yes && same
	}
	s.holds(l.mode == "approve" && yes, "G15", "%s (%s) is made by a rule in mode %s, and nobody approved that", c.operation, c.kind, l.mode)
}

// sample is one answer of a probe.
type sample struct {
	at     time.Duration
	stay   *stay
	run    string
	target string
	kind   string
	ok     bool
	known  bool
	claim  string
	void   bool // nobody has ever heard of it
}

// looked enters a probe's answer into the ledger.
func (s *sim) looked(l *life, target, kind string, f *fact, known bool) {
	s.looks = append(s.looks, sample{at: s.clock(), stay: l.stay, run: l.stay.key, target: target, kind: kind, ok: f.OK, known: known, claim: f.state})
}

// forgets strikes out what a visit found that did not come to its end: nothing was decided on it.
func (s *sim) forgets(v *stay) {
	for i := range s.looks {
		if look := &s.looks[i]; look.stay == v && look.at > v.stored {
			look.void = true
		}
	}
}

// judgeFacts: what the rule's condition needs was known, and said that the target is ill.
func (s *sim) judgeFacts(c *call, l law) {
	s.holds(l.when != never, "G7", "%s is made by a rule whose condition never holds", c.operation)
	if kind := l.when.needs(); kind != "" {
		s.holds(s.seenIll(c, factsLife, kind), "G7", "%s is made, and nobody has seen %s ill of late", c.operation, c.target)
	}
}

// judgeLanding is asked when a call has taken effect.
func (s *sim) judgeLanding(c *call) {
	s.reached.checks["G1"] = true
	for _, o := range s.calls {
		if o == c || o.run != c.run || !o.took() {
			continue
		}
		s.holds(o.to != c.to || o.second != c.second || o.failed, "G2", "%s and %s of one run both set %s to %s", o.operation, c.operation, c.target, c.to)
	}
	s.judgeHands(c)
}

// judgeHands: once somebody else has changed the target, the run that is at work there changes it no more.
func (s *sim) judgeHands(c *call) {
	first := slices.IndexFunc(s.calls, func(o *call) bool { return o.run == c.run })
	if first < 0 || s.handRuns[c.run] {
		return
	}
	for _, h := range s.hands {
		undone := c.from == s.calls[first].from && !s.changedBy(c.run, c.landed) // somebody else has put it back
		if h.target == c.target && !h.platform && !undone && h.at > s.calls[first].began && h.at < c.landed {
			s.violate("G10", "%s lands on %s although somebody set it to %s %s before, while the run was at work", c.operation, c.target, h.to, c.landed-h.at)
		}
	}
}

// changedBy reports whether a run had changed anything before a moment.
func (s *sim) changedBy(run string, before time.Duration) bool {
	return slices.ContainsFunc(s.calls, func(o *call) bool { return o.run == run && o.took() && o.landed < before })
}

// showing is what a replica was told when it read a call back.
type showing struct {
	at        time.Duration
	stay      *stay
	operation string
	progress  string
}

func (s *sim) shown(v *stay, operation string, progress any) {
	s.shownAs = append(s.shownAs, showing{at: s.clock(), stay: v, operation: operation, progress: fmt.Sprint(progress)})
	if fmt.Sprint(progress) == "foreign" {
		s.reached.checks["G10"] = true
	}
}

// flaw is a moment at which something could not be had of a target, or of the store.
type flaw struct {
	at     time.Duration
	target string
	what   string
}

func (s *sim) flawed(target, what string) {
	s.flaws = append(s.flaws, flaw{at: s.clock(), target: target, what: what})
}

// committed sees every commit as the store answered it.
func (s *sim) committed(l *life, c remediation.Commit, err error) {
	if err == nil {
		l.stay.stored, l.intents[c.Run.ID] = s.clock(), c.Intent != nil
		s.kept(l.stay, c.Run.ID, c.Lease)
		s.written(c)
		s.debited(l.stay, c)
		s.say("%s commits %s: %s %s %s", l.owner, c.Run.ID, c.Run.State, c.Run.Phase, c.Run.Outcome)
		if c.Run.State == remediation.Done {
			s.ended[c.Run.ID] = s.clock()
			s.endings = append(s.endings, ending{at: s.clock(), stay: l.stay, run: c.Run, unsure: s.unsure()})
		}
		if !s.watched && c.Run.State == remediation.Done && c.Run.Reason.Parks() {
			s.watched = true
			s.plan(s.clock()+time.Second, s.lookAfter)
		}
		if _, known := s.asked[c.Run.ID+" "+c.Run.Asked]; c.Run.Phase == remediation.PhaseAsk && !known {
			s.consider(c.Run)
		}
	}
}
