package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// anyParked reports whether a run waits for a human's word.
func (s *sim) anyParked() bool {
	parked, err := s.people().Parked(context.Background(), nil)
	return err == nil && len(parked) > 0
}

// rejudgeEvery is how often a replica looks whether runs wait no more. It really does so every second.
const rejudgeEvery = 5 * time.Second

// lookAfter lets a replica look after the parked runs for as long as there are any.
func (s *sim) lookAfter() {
	if s.watched = s.anyParked(); !s.watched {
		return
	}
	if r := s.someReplica(); r != nil {
		l := r.life
		_, _ = l.visit("rejudge", l.engine.Rejudge)
	}
	s.plan(s.clock()+rejudgeEvery, s.lookAfter)
}

// pressFile is somebody who makes the file that stops everything, and removes it after a while.
func (s *sim) pressFile(lasts time.Duration) {
	s.happens(stopFilePressed)
	button := &pressed{Pause: guard.Pause{Scope: guard.Fleet, Actor: "the file", Reason: "it is there", Since: s.now().Add(s.otherClock())}, from: s.clock()}
	s.file = button
	s.pauses = append(s.pauses, button)
	s.plan(s.clock()+lasts, func() {
		s.file = nil
		button.to = s.clock()
	})
}

// stopFile is what a replica finds when it looks for the file.
func (s *sim) stopFile() *guard.Pause {
	if s.file == nil {
		return nil
	}
	return &s.file.Pause
}

// somethingSaid is a word that comes between an intent and its call: somebody presses the stop button, or the alert ends.
func (s *sim) somethingSaid(run string) {
	rec, _ := s.record(run)
	if s.luck.chance(500) {
		s.pause(guard.Pause{Scope: guard.Target, Name: rec.Run.Target, Actor: "ann", Reason: "r"}, s.luck.between(20*time.Second, 2*time.Minute), false)
		return
	}
	for _, e := range s.firingsOf(rec.Run) {
		if e.signal.open && e.signal.episode == e {
			s.notify(e.signal.outage, []alert.Alert{s.cease(e.signal)})
			return
		}
	}
}

// held is a person's acknowledgement of an incident.
type held struct {
	incident *incident
	from, to time.Duration
	heard    time.Duration // when its webhook was taken in; 0: it was not
}

// takeAnyInHand is a person who acknowledges an open incident.
func (s *sim) takeAnyInHand(lasts time.Duration) {
	for _, in := range s.pager.incidents {
		if s.takeInHand(in, lasts) {
			return
		}
	}
}

// takeInHand is a person who acknowledges an incident, if it is open, and lets go of it after a while.
func (s *sim) takeInHand(in *incident, lasts time.Duration) bool {
	if in.status == connect.StatusResolved || !in.tells || in.heldBy != "" {
		return false
	}
	s.happens(acknowledged)
	s.pager.acknowledge(in)
	h := &held{incident: in, from: s.clock()}
	s.inHand = append(s.inHand, h)
	s.plan(s.clock()+lasts, func() {
		h.to = s.clock()
		s.pager.release(in)
	})
	return true
}

// question is a plan that people were asked about.
type question struct {
	run, digest string
	at          time.Duration
	answered    time.Duration // 0: not yet
	yes         bool
	plan        executors.Change
}

// consider lets people think about a question: they say yes or no, sometimes too late, sometimes to something else, sometimes nothing.
func (s *sim) consider(r remediation.Run) {
	q := &question{run: r.ID, digest: r.Asked, at: s.clock(), plan: s.lastPlan[r.ID]}
	s.asked[r.ID+" "+r.Asked] = q
	if s.strikes(noAnswer) {
		return
	}
	s.meanwhile(r)
	yes := s.luck.chance(700)
	s.plan(s.clock()+s.luck.between(5*time.Second, 4*time.Minute), func() { s.answer(q, yes) })
	if s.luck.chance(100) {
		s.plan(s.clock()+s.luck.between(5*time.Second, 4*time.Minute), func() { s.answer(q, !yes) })
	}
}

// meanwhile is what can happen while people think.
func (s *sim) meanwhile(r remediation.Run) {
	p, soon := s.town[r.Target], s.clock()+s.luck.between(time.Second, 20*time.Second)
	if s.strikes(acknowledged) { // whoever is asked comes
		s.plan(soon, func() { s.takeIncidentOf(r) })
	}
	if s.strikes(conflict) {
		s.plan(soon, func() { s.byPlatform(p) })
	}
	if s.strikes(handBeforeCall) {
		s.plan(soon, func() { s.byHand(p, s.anotherState(p)) })
	}
}

// takeIncidentOf is a person who acknowledges the incident of a run.
func (s *sim) takeIncidentOf(r remediation.Run) {
	for _, in := range s.pager.incidents {
		if in.id == r.Alert.IncidentID || r.Alert.IncidentID == "" && in == s.pager.open(r.Alert.IncidentKey) {
			s.takeInHand(in, s.luck.between(time.Minute, 8*time.Minute))
		}
	}
}

func (s *sim) answer(q *question, yes bool) {
	s.asPeople(func(ctx context.Context, v *memory.View) error {
		err := v.Answer(ctx, remediation.Approval{Run: q.run, Digest: q.digest, Actor: "ann", Reason: "r", Approved: yes, At: s.now()})
		if errors.Is(err, remediation.ErrStaleHint) {
			return nil // somebody else has answered, or nobody asks any more
		}
		if err == nil {
			s.say("ann answers run %s: %t", q.run, yes)
			q.answered, q.yes = s.clock(), yes
		}
		return err
	})
}
