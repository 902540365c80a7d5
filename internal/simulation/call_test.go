package simulation

import (
	"net/netip"
	"time"
)

// call is one call that would change a target, as the outside world saw it.
type call struct {
	operation string
	run       string
	target    string
	kind      string
	replica   string
	etag      string
	from, to  string
	second    bool // the further part of a change of two
	back      bool // it takes back what an earlier call of the run did, or was asked for by a person
	began     time.Duration
	store     time.Time     // by the store's clock, when it began
	landed    time.Duration // when it took effect; notYet before
	done      time.Duration // when the platform had carried it out
	failed    bool          // the platform gave up on it
	rule      string        // of its run, as the run says
	code      *code         // the rules its run goes by
	first     bool          // the first of a run that an alert led to
	planned   time.Time     // by the store's clock
	stay      *stay         // the visit that makes it
	arrives   time.Duration // when it will, where it is on its way
	tooLate   bool          // that is later than calls land
	answer    answer
	obscure   bool // nobody will ever be able to say what became of it
	networks  []netip.Prefix
	debit     *debit
	selects   []string
}

// answer is what a caller was told.
type answer string

const (
	taken    answer = "taken"
	silent   answer = "silent"
	busy     answer = "busy"
	refused  answer = "refused"
	outdated answer = "outdated"
)

// notYet is when a call landed that has not.
const notYet = -1 * time.Second

func (c *call) took() bool { return c.landed != notYet }

// enter enters a call into the ledger and lets the jury look at it.
func (s *sim) enter(c *call) {
	c.began, c.store, c.landed = s.clock(), s.now(), notYet
	for _, former := range s.calls {
		if former.run == c.run && former.took() && former.from == c.to && former.to == c.from {
			c.back = true
		}
	}
	s.say("%s calls %s: %s of %s from %s to %s", c.replica, c.operation, c.kind, c.target, c.from, c.to)
	s.judgeCall(c)
	s.calls = append(s.calls, c)
}

// callOf finds a call by its operation id.
func (s *sim) callOf(operation string) *call {
	for _, c := range s.calls {
		if c.operation == operation {
			return c
		}
	}
	return &call{}
}

// landed lets the jury look at a call that took effect.
func (s *sim) tookEffect(c *call) { s.judgeLanding(c) }
