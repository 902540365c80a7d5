package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/store/memory"
)

// people are who presses buttons: not one of the replicas.
func (s *sim) people() *memory.View { return s.store.As("people") }

// asPeople lets people do something with the store; while it is away they try again.
func (s *sim) asPeople(do func(context.Context, *memory.View) error) {
	if s.storeDown {
		s.plan(s.clock()+5*time.Second, func() { s.asPeople(do) })
		return
	}
	if err := do(context.Background(), s.people()); err != nil {
		s.violate("people", "%v", err)
	}
}

func (s *sim) pause(p guard.Pause, lasts time.Duration, timed bool) {
	s.asPeople(func(ctx context.Context, v *memory.View) error {
		s.happens(pressPause)
		p.Since = s.now()
		if timed {
			p.Until = p.Since.Add(lasts)
		}
		p.Since = p.Since.Add(s.otherClock())
		for _, former := range s.pauses { // the same button pressed again
			if former.Scope == p.Scope && former.Name == p.Name && former.to == 0 {
				former.to = s.clock()
			}
		}
		button := &pressed{Pause: p, from: s.clock()}
		s.pauses = append(s.pauses, button)
		s.plan(s.clock()+lasts, func() { s.resume(button) })
		return v.Pause(ctx, p)
	})
}

// otherClock is how far the clock is ahead of whoever presses a button.
func (s *sim) otherClock() time.Duration {
	return pick(s.luck, 0, 0, 0, 20*time.Second, 10*time.Minute)
}

func (s *sim) resume(button *pressed) {
	s.asPeople(func(ctx context.Context, v *memory.View) error {
		if button.to != 0 { // while the store was away too
			return nil
		}
		s.say("the pause of %s %s is released", button.Scope, button.Name)
		button.to = s.clock()
		_, err := v.Resume(ctx, button.Scope, button.Name)
		return err
	})
}

func (s *sim) release() {
	s.asPeople(func(ctx context.Context, v *memory.View) error {
		s.happens(pressRelease)
		s.releases = append(s.releases, s.clock())
		_, err := v.Release(ctx, "", "")
		for _, name := range names {
			_, latch := v.Release(ctx, "", name)
			err = errors.Join(err, latch)
		}
		return errors.Join(err, v.ReleaseStorm(ctx))
	})
}

// drawReload plans that the rules file is edited: the replicas read it one after the other.
func (s *sim) drawReload(end time.Duration) {
	d := s.plot
	at := s.near(end)
	if d.chance(600) { // while runs are being decided
		at = pick(d, s.outages...).began + pick(d, d.between(20*time.Second, 70*time.Second), d.between(70*time.Second, 5*time.Minute))
	}
	gap := pick(d, 20*time.Second, 20*time.Second, 6*time.Minute)
	for _, r := range s.replicas {
		s.plan(at, func() { s.reload(r) })
		at += pick(d, 0, d.between(0, gap))
	}
	if gap > time.Minute && d.chance(500) {
		s.plan(at-d.between(0, gap/2), func() { s.declare(pick(s.luck, 0, 1)) })
	}
}

// reload lets a replica read the edited file, once it has told the others.
func (s *sim) reload(r *replica) {
	if s.storeDown {
		s.plan(s.clock()+5*time.Second, func() { s.reload(r) })
		return
	}
	s.happens(reload)
	s.reloads = append(s.reloads, s.clock())
	r.edition, r.readAt = 1, s.clock()
	r.tellRules()
}

// declare is somebody who says which edition counts while the replicas differ.
func (s *sim) declare(edition int) {
	s.asPeople(func(ctx context.Context, v *memory.View) error {
		s.say("edition %d is declared current", edition)
		s.declared = append(s.declared, declaration{at: s.clock(), edition: edition})
		return v.DeclareRules(ctx, codeOf(s.code, edition).set.Hash)
	})
}
