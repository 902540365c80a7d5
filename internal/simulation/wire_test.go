package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

// wire is the store as one life of a replica reaches it.
type wire struct {
	*life
	view *memory.View
}

// call makes one call of the store. The process may die before or after it, or not get through.
func (w *wire) call(what string, writes bool, do func() error) error {
	w.enter(what)
	if w.s.strikes(crashBeforeStore) {
		w.die("before " + what)
	}
	if w.s.storeDown || w.s.strikes(storeFails) || w.stay.cut && what != "claim" {
		w.s.flawed("", "store")
		w.stay.lacked = true
		return fmt.Errorf("%w: the connection broke", remediation.ErrUnavailable)
	}
	err := do()
	if w.s.strikes(crashAfterStore) {
		w.die("after " + what)
	}
	w.leave(what, writes)
	return err
}

// Accept implements remediation.Intake.
func (w *wire) Accept(ctx context.Context, a remediation.Acceptance) (got remediation.Accepted, err error) {
	err = w.call("accept", true, func() (err error) {
		if got, err = w.view.Accept(ctx, a); err == nil {
			w.s.admitted(w.stay, a, got)
		}
		return err
	})
	return got, err
}

// Event implements remediation.Intake.
func (w *wire) Event(ctx context.Context, id string) (e remediation.Event, err error) {
	err = w.call("event", false, func() (err error) {
		e, err = w.view.Event(ctx, id)
		return err
	})
	return e, err
}

// Postpone implements remediation.Intake.
func (w *wire) Postpone(ctx context.Context, id string, until time.Time, why string) error {
	return w.call("postpone", true, func() error { return w.view.Postpone(ctx, id, until, why) })
}

// Parked implements remediation.Intake.
func (w *wire) Parked(ctx context.Context, except []remediation.Bond) (parked []remediation.Run, err error) {
	err = w.call("parked", false, func() (err error) {
		parked, err = w.view.Parked(ctx, except)
		return err
	})
	return parked, err
}

// Claim implements remediation.Runs.
func (w *wire) Claim(ctx context.Context, c remediation.Claim) (got remediation.Claimed, err error) {
	err = w.call("claim", true, func() (err error) {
		if got, err = w.view.Claim(ctx, c); err == nil {
			w.s.granted(w.stay, got.Run)
		}
		return err
	})
	return got, err
}

// Renew implements remediation.Runs.
func (w *wire) Renew(ctx context.Context, run string, epoch int64, until time.Time) error {
	return w.call("renew", true, func() error {
		err := w.view.Renew(ctx, run, epoch, until)
		if err == nil {
			w.s.kept(w.stay, run, until)
		}
		return err
	})
}

// Snapshot implements remediation.Runs.
func (w *wire) Snapshot(ctx context.Context, q remediation.SnapshotQuery) (got guard.Snapshot, err error) {
	w.s.beat()
	if w.intents[q.Run] {
		w.beforeCall(q.Run)
	} else {
		w.beforePlan(q)
	}
	if q.First {
		w.s.wantings = append(w.s.wantings, wanting{at: w.s.clock(), target: q.Target})
	}
	err = w.call("snapshot", false, func() (err error) {
		if w.s.strikes(guardsUnread) {
			w.s.flawed("", "what runs share")
			return errors.New("what runs share cannot be read")
		}
		w.stay.asked = w.s.clock()
		got, err = w.view.Snapshot(ctx, q)
		return err
	})
	w.stay.blind = w.stay.blind || err != nil
	return got, err
}

// beforeCall is what can happen between an intent and the last look before its call.
func (w *wire) beforeCall(run string) {
	if w.s.lease > planLife && w.s.strikes(sleepBeforeCall) { // the machine is suspended: the process feels nothing of it
		w.s.leap(sleepBeforeCall, w.s.luck.between(planLife+time.Second, w.s.lease-time.Second))
	}
	if w.s.has(freezeLong) && !w.s.still && w.s.luck.chance(150) {
		w.freeze("before its call", w.s.lease+w.s.luck.between(0, 20*time.Second))
	}
	if w.s.deepens() && w.s.strikes(saidBeforeCall) {
		w.s.somethingSaid(run)
		w.s.elapse(w.s.luck.between(300*time.Millisecond, 2*time.Second))
	}
}

// beforePlan is what can happen before a plan is made: the machine may be suspended after the facts were had.
func (w *wire) beforePlan(q remediation.SnapshotQuery) {
	if q.MustFire && w.s.lease > factsLife && w.s.strikes(sleepBeforePlan) {
		w.s.leap(sleepBeforePlan, w.s.luck.between(factsLife+time.Second, w.s.lease-time.Second))
	}
}

// Commit implements remediation.Runs.
func (w *wire) Commit(ctx context.Context, c remediation.Commit) error {
	w.s.beat()
	w.s.judgeEdition(w.life, c)
	return w.call("commit "+string(c.Run.Phase), true, func() error {
		err := w.view.Commit(ctx, c)
		w.s.committed(w.life, c, err)
		return err
	})
}

// Next implements remediation.Outbox.
func (w *wire) Next(ctx context.Context, l remediation.Lane, now time.Time, lease time.Duration) (m remediation.Message, thread string, ok bool, err error) {
	err = w.call("next", true, func() (err error) {
		m, thread, ok, err = w.view.Next(ctx, l, now, lease)
		w.stay.telling, w.stay.reached = m, 0
		return err
	})
	return m, thread, ok, err
}

// End implements remediation.Outbox.
func (w *wire) End(ctx context.Context, e remediation.Sent) error {
	w.s.judgeAttempt(w.stay, e)
	return w.call("end", true, func() error { return w.view.End(ctx, e) })
}

// OtherRuns implements remediation.Outbox.
func (w *wire) OtherRuns(ctx context.Context, m remediation.Message) (n int, err error) {
	err = w.call("other runs", false, func() (err error) {
		n, err = w.view.OtherRuns(ctx, m)
		return err
	})
	return n, err
}

func (w *wire) due(ctx context.Context) (due remediation.Due, err error) {
	err = w.call("due", false, func() (err error) {
		due, err = w.view.Due(ctx, w.s.now())
		return err
	})
	return due, err
}
