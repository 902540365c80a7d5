package simulation

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// names are the targets that every rules file declares.
var names = []string{"api", "web", "db", "jobs"}

// The states a target can be in, beside those that people set by hand. A pinned one ends in pin.
const (
	stable = "v1"
	broken = "v2" // what a bad deploy leaves
	wide   = "wide"
	reset  = "reset"
	half   = "half"
	worse  = "worse" // ill whatever the trouble is
	pin    = "+pin"
)

// place is one target as it really is.
type place struct {
	name     string
	state    string
	version  int
	deployed []time.Duration // when its deploys began to serve
	rolling  span            // in which somebody's deploy is carried out
	trouble  *outage         // the newest that befell it
	ours     *mark           // the change in force, nil when another hand was the last
	marks    map[string]*mark
	history  []moment
}

// moment is how a place was from a time on.
type moment struct {
	at    time.Duration
	state string
	ill   bool
}

// changed enters how a place is now into its history.
func (s *sim) changed(p *place) {
	p.history = append(p.history, moment{at: s.clock(), state: p.state, ill: p.ill()})
}

// illDuring reports whether a place was ill all the time, up to the first call that changed it, and nobody else touched it.
func (p *place) illDuring(from, to time.Duration, calls []*call) bool {
	for _, c := range calls {
		if c.target == p.name && c.took() && c.landed >= from && c.landed < to {
			to = c.landed - 1
		}
	}
	was := moment{}
	for _, m := range p.history {
		if m.at > to {
			break
		}
		if m.at > from {
			return false
		}
		was = m
	}
	return was.ill
}

// age is how old its last deploy was at a moment.
func (p *place) age(at time.Duration) time.Duration {
	age := at
	for _, deploy := range p.deployed {
		if deploy <= at {
			age = at - deploy
		}
	}
	return age
}

// deployedSince reports whether a deploy of it began to serve after a moment.
func (p *place) deployedSince(at time.Duration) bool {
	return slices.ContainsFunc(p.deployed, func(deploy time.Duration) bool { return deploy >= at })
}

// stateAt is the state a place was in.
func (p *place) stateAt(at time.Duration) string {
	state := stable
	for _, m := range p.history {
		if m.at <= at {
			state = m.state
		}
	}
	return state
}

// mark is what a call leaves on a target: the sign by which it is known.
type mark struct {
	operation, run string
	from, to       string
	at, done       time.Duration
	fails, failed  bool // the platform gives up on it at done
	seen           bool // somebody was shown that it is under way
}

func newPlace(name string) *place {
	return &place{name: name, state: stable, version: 1, deployed: []time.Duration{-24 * time.Hour}, marks: map[string]*mark{}}
}

func (p *place) base() string { return strings.TrimSuffix(p.state, pin) }

// rolls reports whether somebody's deploy is being carried out.
func (p *place) rolls(now time.Duration) bool { return now >= p.rolling.from && now < p.rolling.to }

// ill is the truth that probes are asked for.
func (p *place) ill() bool {
	return p.base() == worse || p.trouble != nil && p.trouble.on && !p.trouble.cured(p.base())
}

func (p *place) etag() string { return strconv.Itoa(p.version) }

// busy tells the change that the platform is still carrying out.
func (p *place) busy(now time.Duration) *mark {
	if p.ours != nil && now < p.ours.done {
		return p.ours
	}
	return nil
}

// outage is one trouble of one or several places, with the alert that tells of it.
type outage struct {
	id      int
	cause   string
	cures   []string
	places  []*place
	began   time.Duration
	lasts   time.Duration // 0: until somebody mends it
	on      bool
	alert   string // alertname
	label   string // what the label service says; "": each place's name
	level   string // severity
	roads   []string
	watcher watcher
	of      *outage       // the trouble that it is another alert of, by a key of its own; nil: it is one itself
	leaves  bool          // its monitoring opens incidents and never ends them
	returns time.Duration // how long after its end it begins again; 0: never
}

// trouble is what ails the places.
func (o *outage) trouble() *outage {
	if o.of != nil {
		return o.of
	}
	return o
}

func (o *outage) cured(state string) bool {
	for _, c := range o.cures {
		if c == state {
			return true
		}
	}
	return false
}

// hand is a change that was not ours.
type hand struct {
	at       time.Duration
	target   string
	from, to string
	platform bool // only the version moved
}

// byHand changes a target as another hand does.
func (s *sim) byHand(p *place, to string) {
	s.say("somebody sets %s from %s to %s", p.name, p.state, to)
	s.hands = append(s.hands, hand{at: s.clock(), target: p.name, from: p.state, to: to, platform: p.state == to}) // what changes nothing cannot be told
	p.state, p.ours = to, nil
	if s.strikes(deployTakesTime) {
		p.rolling = span{s.clock(), s.clock() + s.luck.between(10*time.Second, 4*time.Minute)}
	}
	p.version++
	s.changed(p)
}

// byPlatform moves the version as the platform does by itself.
func (s *sim) byPlatform(p *place) {
	s.say("the platform touches %s", p.name)
	s.hands = append(s.hands, hand{at: s.clock(), target: p.name, from: p.state, to: p.state, platform: true})
	p.version++
	s.changed(p)
}

// land lets a call take effect, if its precondition still holds.
func (s *sim) land(c *call, p *place) bool {
	now := s.clock()
	if c.etag != p.etag() {
		s.say("%s finds another version", c.operation)
		return false
	}
	if other := p.busy(now); other != nil {
		s.violate("G1", "%s lands on %s while %s is still being carried out", c.operation, p.name, other.operation)
	}
	m := &mark{operation: c.operation, run: c.run, from: p.state, to: c.to, at: now, done: now}
	if s.strikes(slowChange) {
		m.done = now + s.luck.between(time.Second, 40*time.Second)
		m.fails = s.strikes(failsInside)
	}
	s.say("%s takes effect: %s is %s", c.operation, p.name, c.to)
	p.state, p.ours, p.marks[c.operation] = c.to, m, m
	p.version++
	s.changed(p)
	c.landed, c.done = now, m.done
	s.tookEffect(c)
	if m.fails {
		s.plan(m.done, func() { s.giveUp(p, m, c) })
	}
	return true
}

// giveUp is the platform's end of a change it could not carry out.
func (s *sim) giveUp(p *place, m *mark, c *call) {
	m.failed, c.failed = true, true
	if p.ours == m {
		s.say("the platform gives up on %s", m.operation)
		p.state = m.from
		p.version++
		s.changed(p)
	}
}

// look says what can be read back of a call.
func (p *place) look(c executors.Change, operation string, now time.Duration) executors.Observation {
	o := executors.Observation{State: executors.State{"state": p.state}}
	m := p.marks[operation]
	if m == nil && p.ours != nil && p.ours.run == runOf(operation) && p.ours.to == c.After["state"] {
		m = p.ours // an earlier call of the run that was taken for lost
	}
	switch {
	case m == nil && c.Etag == p.etag():
		o.Progress, o.Detail = executors.NotApplied, "the target is as it was planned on"
	case m == nil && c.Before["state"] == p.state && p.ours == nil:
		o.Progress, o.Detail = executors.NotApplied, "only the version moved"
	case m == nil:
		o.Progress, o.Detail = executors.Foreign, "the target is "+p.state
	case p.ours != m:
		o.Progress, o.Detail = executors.Foreign, "it was accepted, and then the target became "+p.state
	case m.failed:
		o.Progress, o.Detail = executors.Failed, "the platform gave up"
	case now < m.done:
		o.Progress, o.Detail = executors.Pending, "under way"
	default:
		o.Progress = executors.Applied
	}
	return o
}

// runOf cuts the step and the attempt off an operation id.
func runOf(operation string) string {
	for range 2 {
		if i := strings.LastIndexByte(operation, '-'); i >= 0 {
			operation = operation[:i]
		}
	}
	return operation
}
