package simulation

import (
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store/memory"
)

// sim is one seed's world. Everything in it happens in one goroutine.
type sim struct {
	seed   uint64
	plot   *dice // what the world will do
	luck   *dice // what goes wrong, and what is left to chance while it does it
	chosen [faults]int
	still  bool // nothing goes wrong any more: the end is near
	story  *strings.Builder
	began  time.Time
	skew   time.Duration // of the store's clock
	lease  time.Duration
	agenda agenda
	plans  int
	depth  int // how many visits are under way, one within the other
	ids    int

	code      int
	store     *memory.Store
	storeDown bool
	replicas  []*replica
	town      map[string]*place
	pager     *pager
	posts     []string
	threads   map[string]string // in Slack, by the id of their incident
	others    map[string]bool   // threads that what came by another road than PagerDuty's stands in
	outages   []*outage
	echoes    []*outage // further alerts of them
	answers   bool      // the monitoring can be asked how an alert stands
	itself    string    // a target that is remediator by another name, "" for none

	ledger
	clockAtEnd time.Duration
	reached    reached
	violations []violation
}

// ledger is what really happened.
type ledger struct {
	calls     []*call
	hands     []hand
	episodes  []*episode
	received  []receipt
	stored    []receipt // what reached the store, whether or not its sender was answered: the process may have died in between
	pauses    []*pressed
	file      *pressed // the stop button that is a file, while it is there
	watched   bool     // whether somebody looks after the parked runs
	asked     map[string]*question
	inHand    []*held
	releases  []time.Duration
	reloads   []time.Duration
	declared  []declaration
	stalls    []time.Duration          // when a process died or stood still
	births    map[string]time.Duration // of runs
	debits    map[string]*debit        // of a run's last act
	acts      []*debit                 // all of them, with those whose call was never made
	ended     map[string]time.Duration // and their ends
	about     map[string][]*episode    // what firings a run was about; known at the end
	flaws     []flaw
	looks     []sample
	rereads   map[string]sources.Standing // what each run's sender said last
	shownAs   []showing
	handRuns  map[string]bool             // runs that people asked for
	grips     map[string]grip             // who works on each run
	unread    map[*stay]bool              // visits that could not read back a call
	lastPlan  map[string]executors.Change // by the run it was made for
	newborns  []newborn
	endings   []ending
	wantings  []wanting
	wordAt    map[string]time.Duration // when messages were written down
	jumps     []jump
	storeGone []span
	pagerGone []span
}

// jump is a leap of the store's clock.
type jump struct{ at, by time.Duration }

type span struct{ from, to time.Duration }

// maxDepth bounds how many visits may be under way at once.
const maxDepth = 6

const sweepEvery = time.Second

// base is what the world's clocks say at the beginning: a bubble begins at the same moment, always.
func newSim(seed uint64, tell bool) *sim {
	s := &sim{seed: seed, plot: newDice(seed, 1), luck: newDice(seed, 2), began: time.Now(), town: map[string]*place{}}
	if tell {
		s.story = &strings.Builder{}
	}
	s.handRuns, s.births, s.asked = map[string]bool{}, map[string]time.Duration{}, map[string]*question{}
	s.debits, s.rereads = map[string]*debit{}, map[string]sources.Standing{}
	s.grips, s.unread, s.lastPlan = map[string]grip{}, map[*stay]bool{}, map[string]executors.Change{}
	s.wordAt, s.threads, s.others = map[string]time.Duration{}, map[string]string{}, map[string]bool{}
	s.ended, s.about = map[string]time.Duration{}, map[string][]*episode{}
	s.reached = newReached()
	s.pager = &pager{s: s}
	return s
}

// clock is how long the world has lasted.
func (s *sim) clock() time.Duration { return time.Since(s.began) }

// wall is what the clocks of senders show.
func (s *sim) wall() time.Time { return time.Now().UTC() }

// now is what the store's clock shows.
func (s *sim) now() time.Time { return time.Now().Add(s.skew).UTC() }

func (s *sim) sinceBeginning(t time.Time) time.Duration { return t.Sub(s.began) }

func (s *sim) newID() string {
	s.ids++
	return fmt.Sprintf("id%05d", s.ids)
}

// say adds a line to the story, if it is told at all.
func (s *sim) say(format string, args ...any) {
	if s.story == nil {
		return
	}
	fmt.Fprintf(s.story, "%9.3f %s%s\n", s.clock().Seconds(), strings.Repeat("  ", s.depth), fmt.Sprintf(format, args...))
}

// plan lets something happen at a moment.
func (s *sim) plan(at time.Duration, do func()) {
	s.plans++
	s.agenda.add(planned{at: max(at, s.clock()), seq: s.plans, do: do})
}

// deepens reports whether the world may go on while a visit waits.
func (s *sim) deepens() bool { return s.depth < maxDepth }

// elapse lets the world go on for a while, in the middle of a visit.
func (s *sim) elapse(d time.Duration) {
	if d <= 0 {
		return
	}
	end := s.clock() + d
	if s.deepens() {
		s.depth++
		s.runUntil(end)
		s.depth--
		return
	}
	s.pass(end)
}

// runUntil does what is planned and what is due, up to a moment.
func (s *sim) runUntil(end time.Duration) {
	for {
		at, do := s.next()
		if do == nil || at > end {
			break
		}
		s.pass(at)
		do()
	}
	s.pass(end)
}

// pass moves the clock.
func (s *sim) pass(to time.Duration) {
	if d := to - s.clock(); d > 0 {
		time.Sleep(d)
		synctest.Wait()
	}
}

// next finds what happens next: what the world has planned, or a replica that looks for what is due.
func (s *sim) next() (at time.Duration, do func()) {
	at, some := s.agenda.first()
	if some {
		do = func() { s.agenda.next().do() }
	}
	wake, waits := s.store.Wake()
	due := s.clock() + wake.Sub(s.now())
	if !waits {
		return at, do
	}
	for _, r := range s.replicas {
		if !r.up() {
			continue
		}
		if sweep := max(due, r.swept+sweepEvery); do == nil || sweep < at {
			at, do = sweep, r.sweep
		}
	}
	return max(at, s.clock()), do
}

// someReplica gives one that listens, nil if none does.
func (s *sim) someReplica() *replica {
	var up []*replica
	for _, r := range s.replicas {
		if r.up() {
			up = append(up, r)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return pick(s.luck, up...)
}

// The longest that a seed's world may take to come to rest.
const longestEnd = 6 * time.Hour

// play lets the seed's world happen from its beginning to its rest.
func (s *sim) play() {
	end := s.set()
	s.runUntil(end)
	s.calm()
	for rest := s.clock() + longestEnd; !s.quiet() && s.clock() < rest; {
		s.tidy()
		s.runUntil(s.clock() + 5*time.Minute)
	}
	s.clockAtEnd = s.clock()
	s.judgeEnd()
}
