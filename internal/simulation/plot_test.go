package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// set draws the seed's world and plans what will happen in it. It gives the end of what is planned.
func (s *sim) set() time.Duration {
	d := s.plot
	s.code = d.IntN(files)
	s.lease = pick(d, 12*time.Second, 12*time.Second, 12*time.Second, 5*time.Second, 90*time.Second, 4*time.Minute)
	s.chosen = drawFaults(d)
	s.answers = d.chance(500)
	if s.has(sleepBeforePlan) {
		s.lease = 4 * time.Minute // a machine may sleep for long and still have the run
	}
	if d.chance(50) {
		s.itself = pick(d, names[2:]...) // no rule may name it as its target
	}
	s.store = memory.New(memory.Config{Now: s.now, Lease: s.lease})
	for _, name := range names {
		s.town[name] = newPlace(name)
	}
	for i := range pick(d, 1, 2, 2, 3) {
		r := &replica{s: s, name: string(rune('a' + i))}
		s.replicas = append(s.replicas, r)
		r.start()
	}
	end := s.drawOutages()
	s.drawPeople(end)
	s.drawTroubles(end)
	return end
}

// near draws a moment that has to do with an outage: shortly before it, or while somebody is at work on it.
func (s *sim) near(end time.Duration) time.Duration {
	d := s.plot
	o := pick(d, s.outages...)
	return max(0, min(end, o.began+pick(d, d.between(0, 30*time.Second), d.between(20*time.Second, 100*time.Second), d.between(0, 6*time.Minute))))
}

// drawPeople plans what people do.
func (s *sim) drawPeople(end time.Duration) {
	d := s.plot
	if s.has(handAnyTime) {
		for range pick(d, 1, 2, 4) {
			p := s.town[pick(d, names...)]
			if d.chance(700) {
				p = pick(d, pick(d, s.outages...).places...)
			}
			s.plan(s.near(end), func() { s.happens(handAnyTime); s.byHand(p, s.anotherState(p)) })
		}
	}
	if s.has(pressPause) {
		for range pick(d, 1, 1, 2) {
			s.drawPause(s.near(end))
		}
	}
	if s.has(pressRelease) {
		for range pick(d, 1, 3) {
			s.plan(s.near(end), s.release)
		}
	}
	if s.has(stopFilePressed) {
		at, lasts := s.near(end), d.between(10*time.Second, 5*time.Minute)
		s.plan(at, func() { s.pressFile(lasts) })
	}
	if s.has(acknowledged) {
		for range pick(d, 1, 2) {
			at, lasts := s.near(end), d.between(20*time.Second, 8*time.Minute)
			s.plan(at, func() { s.takeAnyInHand(lasts) })
		}
	}
	if s.has(reload) {
		s.drawReload(end)
	}
	if s.has(merged) {
		for range pick(d, 1, 3) {
			s.plan(s.near(end), s.mergeAny)
		}
	}
}

// mergeAny is a person who makes an open incident a part of another one.
func (s *sim) mergeAny() {
	for _, in := range s.pager.incidents {
		if in.status != connect.StatusResolved && in.tells {
			s.happens(merged)
			s.pager.merge(in)
			return
		}
	}
}

// anotherState is what a person may set a target to.
func (s *sim) anotherState(p *place) string {
	to := pick(s.luck, stable, broken, wide, "hand")
	if to == "hand" || to == p.state {
		to = fmt.Sprintf("hand%d", len(s.hands))
	}
	return to
}

// pressed is a pause somebody pressed.
type pressed struct {
	guard.Pause
	from, to time.Duration // to: 0 while it lasts
}

// unheardOf is a scope that only a later edition of us knows: it counts as the widest.
const unheardOf guard.Scope = "region"

func (s *sim) drawPause(at time.Duration) {
	d := s.plot
	p := guard.Pause{Scope: pick(d, guard.Fleet, guard.Target, guard.Rule, unheardOf), Actor: "ann", Reason: "r"}
	switch p.Scope {
	case guard.Target:
		p.Name = pick(d, pick(d, s.outages...).places...).name
	case guard.Rule:
		p.Name = pick(d, codeOf(s.code, 0).laws...).name
	}
	if p.Scope == unheardOf {
		p.Name = "the east"
	}
	lasts, timed := d.between(10*time.Second, 8*time.Minute), d.chance(500)
	s.plan(at, func() { s.pause(p, lasts, timed) })
}

// drawTroubles plans what goes wrong at a moment, and not with a call.
func (s *sim) drawTroubles(end time.Duration) {
	d := s.plot
	if s.has(storeDown) {
		at, lasts := s.near(end), d.between(time.Second, 2*time.Minute)
		s.plan(at, func() { s.happens(storeDown); s.storeDown = true })
		s.plan(at+lasts, func() { s.storeDown = false })
		s.storeGone = append(s.storeGone, span{at, at + lasts})
	}
	if s.has(pagerDown) {
		at, lasts := s.near(end), pick(d, d.between(time.Second, 10*time.Minute), d.between(5*time.Minute, 15*time.Minute))
		s.plan(at, func() { s.happens(pagerDown); s.pager.down = true })
		s.plan(at+lasts, func() { s.pager.down = false })
		s.pagerGone = append(s.pagerGone, span{at, at + lasts})
	}
	for i, f := range []fault{clockForward, clockBack} {
		if s.has(f) {
			way := time.Duration(1 - 2*i)
			jump := way * pick(d, d.between(time.Second, 30*time.Second), d.between(time.Minute, 2*time.Hour))
			s.plan(s.near(end), func() { s.leap(f, jump) })
		}
	}
	if s.has(crashElsewhere) {
		for range pick(d, 1, 2, 4) {
			r := pick(d, s.replicas...)
			s.plan(s.near(end), func() {
				if r.up() {
					s.happens(crashElsewhere)
					r.end("killed")
				}
			})
		}
	}
	if s.has(staleHint) {
		for range pick(d, 3, 10) {
			s.plan(s.near(end), s.staleHint)
		}
	}
}

func (s *sim) leap(f fault, by time.Duration) {
	s.happens(f)
	s.say("the store's clock jumps by %s", by)
	s.skew += by
	s.jumps = append(s.jumps, jump{at: s.clock(), by: by})
}

// hintAgain gives a hint of a run that is being visited to one of the replicas.
func (s *sim) hintAgain(run string) {
	rec, known := s.record(run)
	r := s.someReplica()
	if !known || r == nil {
		return
	}
	r.advance(remediation.Hint{Run: run, Version: rec.Run.Version, Epoch: int64(s.luck.IntN(2)) * rec.Run.Epoch})
}

// staleHint asks for a visit that is not due, or long done.
func (s *sim) staleHint() {
	r := s.someReplica()
	all, err := s.store.Records(context.Background())
	if r == nil || err != nil || len(all) == 0 {
		return
	}
	s.happens(staleHint)
	run := pick(s.luck, all...).Run
	h := remediation.Hint{Run: run.ID, Version: run.Version - int64(s.luck.IntN(2)), Epoch: int64(s.luck.IntN(3))}
	r.advance(h)
}

// calm is the end of all troubles: nothing goes wrong any more, the town gets well, and the senders say so.
func (s *sim) calm() {
	s.say("from here on nothing goes wrong")
	s.still, s.storeDown, s.pager.down = true, false, false
	for _, o := range s.outages {
		s.end(o)
	}
	for _, button := range s.pauses {
		s.resume(button)
	}
	for _, in := range s.pager.incidents {
		s.pager.release(in)
		s.pager.settle(in)
	}
	s.file = nil
}

// tidy mends what is left to be mended by people.
func (s *sim) tidy() {
	for _, name := range names {
		p := s.town[name]
		switch {
		case p.base() == worse:
			s.byHand(p, stable)
		case p.base() != p.state:
			s.unpin(p)
		}
	}
}

// unpin is what somebody asks for who settles a debt.
func (s *sim) unpin(p *place) {
	r := s.someReplica()
	if r == nil {
		s.plan(s.clock()+5*time.Second, func() { s.unpin(p) })
		return
	}
	l := r.life
	var got remediation.Accepted
	_, err := l.visit("unpin "+p.name, func(ctx context.Context) (err error) {
		got, err = l.engine.Settle(ctx, "world.unpin", p.name, "ann", "it is over")
		return err
	})
	if err != nil {
		s.plan(s.clock()+5*time.Second, func() { s.unpin(p) })
		return
	}
	for _, h := range got.Runs {
		s.handRuns[h.Run] = true
	}
	s.hint(l, got)
}

// quiet reports whether nothing is left to be done.
func (s *sim) quiet() bool {
	if _, planned := s.agenda.first(); planned {
		return false
	}
	if _, due := s.store.Wake(); !due {
		return true
	}
	all := s.records()
	awaits := false
	for _, rec := range all {
		queued := slices.ContainsFunc(rec.Messages, func(m remediation.Message) bool { return m.State == remediation.MessageQueued })
		vain := s.awaitsInVain(rec.Run)
		if rec.Run.State != remediation.Done && !vain || queued {
			return false
		}
		awaits = awaits || vain
	}
	return awaits && !s.pagesDue(all)
}

// awaitsInVain tells a follow-up that waits, for a day, for an end that nobody tells any more: of an incident which became a part of another
// one, or of an alert whose end was told before a firing of it was, out of order.
func (s *sim) awaitsInVain(r remediation.Run) bool {
	if r.Phase != remediation.PhaseAwait {
		return false
	}
	if in := s.pager.byID(r.Alert.IncidentID); in != nil && in.merged {
		return true
	}
	return slices.ContainsFunc(s.firingsOf(r), func(e *episode) bool { return e.resolved != 0 && e.resolved < s.births[r.Parent] })
}
