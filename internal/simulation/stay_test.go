package simulation

import (
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// stay is one visit of one thing in one process.
type stay struct {
	life  *life
	key   string
	began time.Duration
	store time.Time // the same, by the store's clock
	over  bool
	late  bool // it has stood still for longer than its lease
	cut   bool // it breaks off once it has its run

	stored time.Duration // when it last stored what it found

	broken bool // it broke off, with what it found not stored perhaps

	blind   bool                // what runs share could not be read
	lacked  bool                // a plan, or the store that it takes, could not be had
	asked   time.Duration       // when it last read what could stop a call
	telling remediation.Message // what it is about to tell
	reached int                 // how often PagerDuty was asked for that
}

// enterStay begins a visit within the one that is under way, if any, and gives its end.
func (l *life) enterStay(key string) (leave func()) {
	outer, former := l.stay, l.busy[key]
	own := &stay{life: l, key: key, began: l.s.clock(), stored: l.s.clock() - 1, store: l.s.now(), asked: -1}
	own.cut = former != nil && l.s.luck.chance(500)
	l.stay, l.busy[key] = own, own
	return func() {
		own.over = true
		l.stay, l.busy[key] = outer, former
		if former == nil {
			delete(l.busy, key)
		}
	}
}

// keepsOut reports whether a visit keeps another one of the same thing out of its process. One that has stood still for longer than its
// lease does not: that runs are worked on by one visit at a time is what the store's claims ensure.
func (v *stay) keepsOut() bool { return v != nil && !v.late }

// works reports whether the visit may still do something.
func (v *stay) works() bool { return !v.over && !v.life.over }

// grip is the hold that a visit has on a run, as the store has said.
type grip struct {
	by    *stay
	until time.Time
}

// granted enters that the store gave a run to a visit. While another one is at work on it and has its lease, nobody gets it.
func (s *sim) granted(v *stay, r remediation.Run) {
	g, held := s.grips[r.ID]
	s.holds(!held || g.by == v || !g.by.works() || !s.now().Before(g.until), "G1", "run %s is given to %s while %s is at work on it",
		r.ID, v.life.owner, s.holder(r.ID))
	s.grips[r.ID] = grip{by: v, until: r.LeaseUntil}
}

// kept enters that the store let a visit write of a run: only the newest claim may.
func (s *sim) kept(v *stay, run string, until time.Time) {
	g, held := s.grips[run]
	s.holds(held && g.by == v, "G1", "%s writes of run %s, which %s has by now", v.life.owner, run, s.holder(run))
	if until.IsZero() {
		delete(s.grips, run)
		return
	}
	s.grips[run] = grip{by: v, until: until}
}

func (s *sim) holder(run string) string {
	if g, held := s.grips[run]; held {
		return g.by.life.owner
	}
	return "nobody"
}

// judgeLease: a call is asked for by the visit that holds its run, and in its time. That a process's own clock goes on while the store's is set back is
// not to be seen here: the worlds' time is no process's.
func (s *sim) judgeLease(v *stay, operation string) {
	if s.setBackSince(v.began) {
		return
	}
	g := s.grips[runOf(operation)]
	s.holds(g.by == v && s.now().Before(g.until), "G1", "%s is asked for after its lease; %s has the run", operation, s.holder(runOf(operation)))
}

// judgeDeadline: a call is over before another visit could get its run.
func (s *sim) judgeDeadline(c *call, deadline time.Time) {
	if s.setBackSince(c.stay.began) {
		return
	}
	g := s.grips[c.run]
	s.holds(time.Until(deadline) <= g.until.Sub(s.now()), "G1", "%s may be answered after its lease", c.operation)
}

func (s *sim) setBackSince(at time.Duration) bool {
	return slices.ContainsFunc(s.jumps, func(j jump) bool { return j.at >= at && j.by < 0 })
}
