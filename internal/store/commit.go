package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// Commit applies all of it or nothing: remediation.ErrFenced when this process does not hold the run at that epoch any more, a
// *guard.Refusal when the intent is refused under the lock. What the commit makes due is visited at once, or when it is time.
func (s *Store) Commit(ctx context.Context, c remediation.Commit) error {
	failpoint.Here("commit." + string(c.Run.Phase) + ".before")
	w := commit{Commit: c, owner: s.owner, lease: s.lease, me: s.self()}
	if err := s.write(ctx, writeRun, w.apply); err != nil {
		var refusal *guard.Refusal
		if errors.As(err, &refusal) {
			return refusal
		}
		return fmt.Errorf("committing run %s: %w", c.Run.ID, err)
	}
	failpoint.Here("commit." + string(c.Run.Phase) + ".after")
	s.offerAll(w.tasks)
	for _, later := range w.later {
		s.crew.offerAfter(later.task, later.at.Sub(s.Now()))
	}
	return nil
}

// commit is one Commit on its way into the rows, and what it makes due.
type commit struct {
	remediation.Commit
	whole *transaction
	t     tx // the same transaction; nobody asks for its counts
	owner string
	lease time.Duration
	me    self
	jobs  []river.InsertManyParams
	tasks []task
	later []wish
}

// wish is a visit at a time.
type wish struct {
	task task
	at   time.Time
}

func (c *commit) apply(ctx context.Context, t *transaction) error {
	c.whole, c.t = t, t.lazily()
	for _, part := range []func(context.Context) error{
		c.serialise, c.run, c.intent, c.want, c.storm, c.feed, c.unlock, c.steps, c.rulings, c.entries, c.messages, c.debts, c.pause, c.spawn,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if len(c.jobs) == 0 {
		return nil
	}
	if err := t.enqueue(ctx, c.jobs); err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	return nil
}

// pause stops the automation on the run's target, unless a human has stopped it already: theirs may last longer.
func (c *commit) pause(ctx context.Context) error {
	p := c.Pause
	if p == nil {
		return nil
	}
	data, err := encode(p)
	if err == nil {
		_, err = c.t.Exec(ctx, `INSERT INTO pauses (scope, name, data) VALUES ($1, $2, $3) ON CONFLICT (scope, name) DO NOTHING`, string(p.Scope), p.Name, data)
	}
	if err != nil {
		return fmt.Errorf("storing the pause of %s %s: %w", p.Scope, p.Name, err)
	}
	return nil
}

// serialise comes before the run's own row is touched: whoever holds what all share may be waiting for that row.
func (c *commit) serialise(ctx context.Context) error {
	var keys []string
	if c.Intent != nil || c.Want != nil || c.Storm != nil || c.Pause != nil || c.Unlock || c.feeds() {
		keys = append(keys, fleetKey)
	}
	if len(c.Spawn) > 0 { // the end of an alert that is heard meanwhile would miss them
		keys = append(keys, runsKey)
	}
	return c.whole.serialise(ctx, keys...)
}

func (c *commit) run(ctx context.Context) error {
	run, owner, due := c.Run, c.owner, c.Due()
	if c.Lease.IsZero() || run.State == remediation.Done {
		owner, c.Lease = "", time.Time{}
	}
	data, err := encode(run)
	if err != nil {
		return err
	}
	a := run.Alert
	err = c.t.QueryRow(ctx, []any{&run.Version}, `UPDATE runs SET version = version + 1, state = $1, outcome = $2, reason = $3, acted = $4,
		lease_owner = $5, lease_until = $6, due_at = $7, incident_key = $8, incident_id = COALESCE(NULLIF(incident_id, ''), $9), data = $10, parked = $14
		WHERE id = $11 AND epoch = $12 AND lease_owner = $13 RETURNING version`,
		string(run.State), string(run.Outcome), string(run.Reason), flag(run.Acted), owner, micros(c.Lease), micros(due),
		a.IncidentKey, a.IncidentID, data, run.ID, run.Epoch, c.owner, parked(run))
	if errors.Is(err, errNoRow) {
		return remediation.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("updating the run: %w", err)
	}
	c.schedule(run, due)
	return nil
}

// schedule notes the visit that follows. A run whose claim goes on has its visit; only the backstop is set.
func (c *commit) schedule(run remediation.Run, due time.Time) {
	if due.IsZero() {
		return
	}
	backstopAt := due
	if c.Lease.IsZero() {
		visit := task{kind: advanceTask, hint: remediation.Hint{Run: run.ID, Version: run.Version}}
		c.later = append(c.later, wish{task: visit, at: due})
		backstopAt = later(due, c.Now.Add(c.lease))
	}
	c.jobs = append(c.jobs, backstop(advanceArgs{Run: run.ID, Version: run.Version}, backstopAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// intent takes the lock, judges what runs share under it, and debits the act if there is one.
func (c *commit) intent(ctx context.Context) error {
	in := c.Intent
	if in == nil {
		return nil
	}
	if err := c.lock(ctx, in.Query); err != nil {
		return err
	}
	snapshot, row, err := readSnapshot(ctx, c.t, c.me, in.Query)
	if err != nil {
		return err
	}
	if refusal := judge(in, snapshot); refusal != nil {
		return refusal
	}
	if err := c.debit(ctx, in.Query.Run, in.Act); err != nil {
		return err
	}
	if err := c.latch(ctx, in.Query); err != nil {
		return err
	}
	if begun := row.Begin(in.Query.Run); !in.Exempt && begun != row {
		return saveBreaker(ctx, c.t, in.Query.Rule, in.Query.Target, begun)
	}
	return nil
}

// lock takes the target for the run unless another holds it; who does is in the snapshot that is read next.
func (c *commit) lock(ctx context.Context, q remediation.SnapshotQuery) error {
	_, err := c.t.Exec(ctx, `INSERT INTO locks (target, run, at) VALUES ($1, $2, $3) ON CONFLICT (target) DO NOTHING`,
		q.Target, q.Run, micros(c.Now))
	if err != nil {
		return fmt.Errorf("locking target %s: %w", q.Target, err)
	}
	return nil
}

// debit records the act. A further part or try of one that was debited has none: it makes the run's last act as young as itself, so that
// what waits after an act waits after the last call of it.
func (c *commit) debit(ctx context.Context, run string, a guard.Act) error {
	if a.Run == "" {
		_, err := c.t.Exec(ctx, `UPDATE acts SET at = $1 WHERE run = $2 AND at = (SELECT max(at) FROM acts WHERE run = $2)`, micros(c.Now), run)
		if err != nil {
			return fmt.Errorf("renewing the act: %w", err)
		}
		return nil
	}
	data, err := encode(a)
	if err != nil {
		return err
	}
	_, err = c.t.Exec(ctx, `INSERT INTO acts (run, rule, target, at, data) VALUES ($1, $2, $3, $4, $5)`, a.Run, a.Rule, a.Target, micros(a.At), data)
	if err != nil {
		return fmt.Errorf("debiting the act: %w", err)
	}
	return nil
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

func (c *commit) feeds() bool {
	return c.Run.Rule != "" && (c.Effect != breaker.None || c.Run.State == remediation.Done)
}

// feed tells the breaker how the run ended. A probing run that ended without a verdict lets the next one probe.
func (c *commit) feed(ctx context.Context) error {
	if !c.feeds() {
		return nil
	}
	row, err := readBreaker(ctx, c.t, c.Run.Rule, c.Run.Target)
	if err != nil {
		return err
	}
	fed := row.Feed(c.Breaker, c.Effect, c.Now)
	if c.Run.State == remediation.Done && fed.Probe == c.Run.ID {
		fed.Probe = ""
	}
	if fed == row {
		return nil
	}
	return saveBreaker(ctx, c.t, c.Run.Rule, c.Run.Target, fed)
}

func (c *commit) unlock(ctx context.Context) error {
	if !c.Unlock {
		return nil
	}
	if _, err := c.t.Exec(ctx, `DELETE FROM locks WHERE target = $1 AND run = $2`, c.Run.Target, c.Run.ID); err != nil {
		return fmt.Errorf("unlocking target %s: %w", c.Run.Target, err)
	}
	if !c.Unlatch {
		return nil
	}
	if _, err := c.t.Exec(ctx, `DELETE FROM latches WHERE target = $1 AND run = $2`, c.Run.Target, c.Run.ID); err != nil {
		return fmt.Errorf("opening the latch of %s: %w", c.Run.Target, err)
	}
	return nil
}

func (c *commit) steps(ctx context.Context) error {
	for _, step := range c.Steps {
		data, err := encode(step)
		if err != nil {
			return err
		}
		_, err = c.t.Exec(ctx, `INSERT INTO steps (run, seq, data) VALUES ($1, $2, $3) ON CONFLICT (run, seq) DO UPDATE SET data = excluded.data`,
			step.Run, step.Seq, data)
		if err != nil {
			return fmt.Errorf("storing step %d: %w", step.Seq, err)
		}
	}
	return nil
}

func (c *commit) rulings(ctx context.Context) error {
	for _, r := range c.Rulings {
		if err := upsertRuling(ctx, c.t, r); err != nil {
			return err
		}
	}
	return nil
}

// entries appends to the journal; one that is there is never overwritten.
func (c *commit) entries(ctx context.Context) error {
	for _, e := range c.Entries {
		_, err := c.t.Exec(ctx, `INSERT INTO journal (run, seq, at, kind, text, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			e.Run, e.Seq, micros(e.At), e.Kind, e.Text, e.Prev, e.Hash)
		if err != nil {
			return fmt.Errorf("writing journal entry %d: %w", e.Seq, err)
		}
	}
	return nil
}

func (c *commit) messages(ctx context.Context) error {
	tasks, jobs, err := insertMessages(ctx, c.t, c.Messages, c.Now.Add(c.lease))
	c.tasks, c.jobs = append(c.tasks, tasks...), append(c.jobs, jobs...)
	return err
}

// debts opens debts, settles those that the run or an earlier one opened (a reminder of an old act must not settle a newer one's), and
// notes what has no effect because of one.
func (c *commit) debts(ctx context.Context) error {
	for _, d := range c.Debts {
		query, args := debtSQL(d)
		if _, err := c.t.Exec(ctx, query, args...); err != nil {
			return fmt.Errorf("storing the debt %s of %s: %w", d.Kind, d.Target, err)
		}
	}
	return nil
}

func debtSQL(d remediation.Debt) (query string, args []any) {
	switch {
	case !d.SettledAt.IsZero():
		return `UPDATE debts SET settled_at = $1 WHERE target = $2 AND kind = $3 AND run <= $4 AND settled_at = 0`,
			[]any{micros(d.SettledAt), d.Target, d.Kind, d.Run}
	case !d.Since.IsZero():
		return `INSERT INTO debts (target, kind, run, detail, since, settled_at, idle) VALUES ($1, $2, $3, $4, $5, 0, '')
			ON CONFLICT (target, kind) DO UPDATE SET run = excluded.run, detail = excluded.detail, since = excluded.since, settled_at = 0, idle = ''`,
			[]any{d.Target, d.Kind, d.Run, d.Detail, micros(d.Since)}
	default:
		return `UPDATE debts SET idle = $1 WHERE target = $2 AND kind = $3 AND run = $4 AND settled_at = 0`, []any{d.Idle, d.Target, d.Kind, d.Run}
	}
}

// spawn inserts the follow-ups. What is known of the end of their parents' alerts, and where their incidents have gone, is theirs too: nobody
// will say it again.
func (c *commit) spawn(ctx context.Context) error {
	for _, run := range c.Spawn {
		due := run.WakeAt
		if due.IsZero() {
			due = c.Now
		}
		if err := insertRun(ctx, c.t, run, due); err != nil {
			return err
		}
		_, err := c.t.Exec(ctx, `UPDATE runs SET (ended_at, ended_by, incident_id) = (SELECT p.ended_at, p.ended_by, p.incident_id FROM runs AS p WHERE p.id = $1)
			WHERE id = $2 AND $1 <> ''`, run.Parent, run.ID)
		if err != nil {
			return fmt.Errorf("telling follow-up %s whether the alert has ended: %w", run.ID, err)
		}
		c.later = append(c.later, wish{task{kind: advanceTask, hint: remediation.Hint{Run: run.ID, Version: run.Version}}, due})
		c.jobs = append(c.jobs, backstop(advanceArgs{Run: run.ID, Version: run.Version}, later(due, c.Now.Add(c.lease))))
	}
	return nil
}
