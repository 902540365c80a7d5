package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// Commit applies all of it or nothing: remediation.ErrFenced when this owner does not hold the run at that epoch any more, a
// *guard.Refusal when the intent is refused under the lock.
func (v *View) Commit(ctx context.Context, c remediation.Commit) error {
	c.Intent = ownIntent(c.Intent)
	err := v.write(ctx, func(t *transaction) error { return (&commit{Commit: unshared(c), t: t, view: v}).apply() })
	var refusal *guard.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal
	case err != nil:
		return fmt.Errorf("committing run %s: %w", c.Run.ID, err)
	default:
		return nil
	}
}

// unshared copies all that a commit leaves in rows.
func unshared(c remediation.Commit) remediation.Commit {
	c.Run, c.Steps, c.Rulings, c.Entries = clone(c.Run), clone(c.Steps), clone(c.Rulings), clone(c.Entries)
	c.Messages, c.Debts, c.Spawn, c.Storm = clone(c.Messages), clone(c.Debts), clone(c.Spawn), clone(c.Storm)
	return c
}

// ownIntent copies the one thing of an intent that is altered or kept: the intent is judged, its act becomes a row.
func ownIntent(in *remediation.Intent) *remediation.Intent {
	if in == nil {
		return nil
	}
	own := *in
	own.Act, own.Query.Act = clone(in.Act), clone(in.Query.Act)
	return &own
}

// commit is one Commit on its way into the rows.
type commit struct {
	remediation.Commit
	t    *transaction
	view *View
}

func (c *commit) apply() error {
	for _, part := range []func() error{c.run, c.intent, c.entries} { // what can fail comes first
		if err := part(); err != nil {
			return err
		}
	}
	c.want()
	c.storm()
	c.feed()
	c.unlock()
	c.steps()
	for _, r := range c.Rulings {
		putRuling(c.t, r)
	}
	insertMessages(c.t, c.Messages)
	c.debts()
	c.pause()
	c.spawn()
	return nil
}

// pause stops the automation on the run's target, unless a human has stopped it already: theirs may last longer.
func (c *commit) pause() {
	if c.Pause == nil {
		return
	}
	at := stop{c.Pause.Scope, c.Pause.Name}
	if _, there := c.t.pauses[at]; !there {
		put(c.t, c.t.pauses, at, clone(*c.Pause))
	}
}

func (c *commit) run() error {
	old, ok := c.t.runs[c.Run.ID]
	if !ok || !c.view.holds(old, c.Run.Epoch) {
		return remediation.ErrFenced
	}
	next := run{Run: c.Run, ended: old.ended, by: old.by, joined: old.joined, due: c.Due(), linked: old.linked}
	next.Alert.IncidentID = cmp.Or(old.Alert.IncidentID, next.Alert.IncidentID) // it may have been merged into another one meanwhile
	next.Version, next.LeaseOwner, next.LeaseUntil, next.parked = old.Version+1, c.view.owner, c.Lease, c.Run.Parks()
	if c.Lease.IsZero() || next.State == remediation.Done {
		next.LeaseOwner, next.LeaseUntil = "", time.Time{}
	}
	put(c.t, c.t.runs, next.ID, next)
	return nil
}

// intent takes the lock, judges what runs share under it, and debits the act if there is one.
func (c *commit) intent() error {
	in := c.Intent
	if in == nil {
		return nil
	}
	if _, held := c.t.locks[in.Query.Target]; !held {
		put(c.t, c.t.locks, in.Query.Target, in.Query.Run)
	}
	snapshot, row := c.t.snapshot(in.Query, c.view.owner)
	if refusal := judge(in, snapshot); refusal != nil {
		return refusal
	}
	if in.Act.Run != "" {
		c.debit(in.Act)
	} else { // a further part or try of an act that was debited
		c.renew(in.Query.Run)
	}
	if q := in.Query; q.Once {
		put(c.t, c.t.latches, owed{q.Target, q.Act.Kind}, guard.Latch{Kind: q.Act.Kind, Run: q.Run, At: c.Now})
	}
	if begun := row.Begin(in.Query.Run); !in.Exempt && begun != row {
		put(c.t, c.t.breakers, bond{in.Query.Rule, in.Query.Target}, begun)
	}
	return nil
}

func (c *commit) debit(a guard.Act) {
	t, old := c.t, c.t.acts
	t.undo = append(t.undo, func() { t.acts = old })
	t.acts = append(slices.Clip(old), a)
}

// renew makes the run's last act as young as its last call.
func (c *commit) renew(run string) {
	last := -1
	for i, a := range c.t.acts {
		if a.Run == run && (last < 0 || a.At.After(c.t.acts[last].At)) {
			last = i
		}
	}
	if last < 0 {
		return
	}
	t, old := c.t, c.t.acts
	t.undo = append(t.undo, func() { t.acts = old })
	t.acts = slices.Clone(old)
	t.acts[last].At = c.Now
}

// judge refuses as the shared guards do. An exempt intent is the way back and needs the lock alone.
func judge(in *remediation.Intent, s guard.Snapshot) *guard.Refusal {
	if !in.Exempt {
		return guard.Shared(in.Limits, s)
	}
	if s.LockedBy != "" && s.LockedBy != s.Run {
		return guard.Refuse(guard.TargetBusy, "run %s holds target %s", s.LockedBy, s.Target)
	}
	return nil
}

// feed tells the breaker how the run ended. A probing run that ended without a verdict lets the next one probe.
func (c *commit) feed() {
	if c.Run.Rule == "" || c.Effect == breaker.None && c.Run.State != remediation.Done {
		return
	}
	at := bond{c.Run.Rule, c.Run.Target}
	row := c.t.breakers[at]
	fed := row.Feed(c.Breaker, c.Effect, c.Now)
	if c.Run.State == remediation.Done && fed.Probe == c.Run.ID {
		fed.Probe = ""
	}
	if fed != row {
		put(c.t, c.t.breakers, at, fed)
	}
}

// entries appends to the journal; one that is there is never overwritten.
func (c *commit) entries() error {
	for _, e := range c.Entries {
		written := c.t.journal[e.Run]
		if slices.ContainsFunc(written, func(old remediation.Entry) bool { return old.Seq == e.Seq }) {
			return fmt.Errorf("writing journal entry %d: there is one", e.Seq)
		}
		put(c.t, c.t.journal, e.Run, append(slices.Clip(written), e))
	}
	return nil
}

func (c *commit) unlock() {
	if !c.Unlock {
		return
	}
	drop(c.t, c.t.locks, func(target string) bool { return target == c.Run.Target && c.t.locks[target] == c.Run.ID })
	if c.Unlatch {
		drop(c.t, c.t.latches, func(at owed) bool { return at.target == c.Run.Target && c.t.latches[at].Run == c.Run.ID })
	}
}

func (c *commit) steps() {
	for _, step := range c.Steps {
		all := slices.Clone(c.t.steps[step.Run])
		at, found := slices.BinarySearchFunc(all, step.Seq, func(s remediation.Step, seq int) int { return s.Seq - seq })
		if found {
			all[at] = step
		} else {
			all = slices.Insert(all, at, step)
		}
		put(c.t, c.t.steps, step.Run, all)
	}
}

// debts opens debts, settles those that the run or an earlier one opened (a reminder of an old act must not settle a newer one's), and
// notes what has no effect because of one.
func (c *commit) debts() {
	for _, d := range c.Debts {
		at := owed{d.Target, d.Kind}
		open, known := c.t.debts[at]
		known = known && open.SettledAt.IsZero()
		switch {
		case !d.SettledAt.IsZero():
			if known && open.Run <= d.Run {
				open.SettledAt = d.SettledAt
				put(c.t, c.t.debts, at, open)
			}
		case !d.Since.IsZero():
			d.Idle = ""
			put(c.t, c.t.debts, at, d)
		case known && open.Run == d.Run:
			open.Idle = d.Idle
			put(c.t, c.t.debts, at, open)
		}
	}
}

// spawn inserts the follow-ups. What is known of the end of their parents' alerts, and where their incidents have gone, is theirs too: nobody
// will say it again.
func (c *commit) spawn() {
	for _, r := range c.Spawn {
		due := r.WakeAt
		if due.IsZero() {
			due = c.Now
		}
		parent := c.t.runs[r.Parent]
		r.Alert.IncidentID = cmp.Or(parent.Alert.IncidentID, r.Alert.IncidentID)
		put(c.t, c.t.runs, r.ID, run{Run: r, due: due, ended: parent.ended, by: parent.by})
	}
}
