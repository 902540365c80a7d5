package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

const (
	day         = 24 * time.Hour
	retainEvery = time.Hour
	// Rows of one round: the writer is never held for long.
	dropEvents = 500
	dropRuns   = 100
	dropActs   = 500
)

// Marks of how far retention has come.
const (
	bodiesMark = "bodies"
	eventsMark = "events"
)

// retentionKey is held by who drops old rows.
const retentionKey = "retention"

// Retain drops a batch of what is older than it has to be kept, and reports whether there is more. Every replica may ask at any time.
// What it drops of the runs stays in the fleet's chain, marked as pruned.
func (s *Store) Retain(ctx context.Context, r remediation.Retention, now time.Time) (bool, error) {
	r = r.Filled()
	runs := now.Add(-r.Runs)
	for _, part := range []struct {
		drop   func(ctx context.Context, before time.Time) (bool, error)
		before time.Time
	}{
		{s.dropBodies, now.Add(-r.Bodies)},
		{s.dropActs, now.Add(-actsKept - day)},
		{func(ctx context.Context, before time.Time) (bool, error) { return s.dropRuns(ctx, before, now) }, runs},
		{s.dropEvents, runs},
		{s.dropSightings, runs},
		{s.dropStale, runs},
	} {
		more, err := part.drop(ctx, part.before)
		if err != nil {
			return false, fmt.Errorf("retention: %w", err)
		}
		if more { // one after the other: no run goes before its debits
			return true, nil
		}
	}
	return false, nil
}

// retire runs fn in a transaction of its own; of several replicas one at a time.
func (s *Store) retire(ctx context.Context, fn func(ctx context.Context, t *transaction) error) error {
	return s.write(ctx, writeRetention, func(ctx context.Context, t *transaction) error {
		if err := t.serialise(ctx, retentionKey); err != nil {
			return err
		}
		return fn(ctx, t)
	})
}

// dropSome runs a statement that drops at most $2 rows from before $1, and reports whether there may be more.
func (s *Store) dropSome(ctx context.Context, what, query string, before time.Time) (bool, error) {
	var n int64
	err := s.retire(ctx, func(ctx context.Context, t *transaction) (err error) {
		n, err = t.Exec(ctx, query, micros(before), dropEvents)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("dropping old %s: %w", what, err)
	}
	return n == dropEvents, nil
}

const emptyEventsSQL = `UPDATE events SET body = NULL, delivery = '' WHERE id > $1 AND id <= $2 AND state <> 'pending'`

// dropPartsSQL finds the parts of bodies without an event too: ids sort by age.
const dropPartsSQL = `DELETE FROM bodies WHERE event > $1 AND event <= $2
	AND event NOT IN (SELECT id FROM events WHERE id > $1 AND id <= $2 AND state = 'pending')`

// dropBodies empties the oldest events that are not empty yet. One that waits for its look-up keeps its body as long as its row.
func (s *Store) dropBodies(ctx context.Context, before time.Time) (bool, error) {
	old, err := s.oldEvents(ctx, bodiesMark, before)
	if err != nil || old.upto == old.from {
		return false, err
	}
	err = s.retire(ctx, func(ctx context.Context, t *transaction) error {
		for _, query := range []string{emptyEventsSQL, dropPartsSQL} {
			if _, err := t.Exec(ctx, query, old.from, old.upto); err != nil {
				return fmt.Errorf("dropping bodies: %w", err)
			}
		}
		return setMark(ctx, t, bodiesMark, old.upto)
	})
	return old.more, err
}

// span is a range of events in the order of their ids: those after from, up to upto.
type span struct {
	from, upto string
	more       bool // there may be older ones behind it
}

// oldEvents is the next span of old events after a mark. It ends before the first one that is younger: ids sort by age, so that no index
// on the time is needed, which each delivery would pay for.
func (s *Store) oldEvents(ctx context.Context, what string, before time.Time) (span, error) {
	var (
		old  span
		seen int
		r    = s.db.reader()
	)
	err := r.QueryRow(ctx, []any{&old.from}, `SELECT upto FROM retention WHERE what = $1`, what)
	if err != nil && !errors.Is(err, errNoRow) {
		return old, fmt.Errorf("reading how far retention has come: %w", err)
	}
	old.upto, old.more = old.from, true
	err = r.Query(ctx, func(r row) error {
		var (
			id       string
			received int64
		)
		if err := r.Scan(&id, &received); err != nil {
			return err
		}
		seen++
		old.more = old.more && received < micros(before)
		if old.more {
			old.upto = id
		}
		return nil
	}, `SELECT id, received_at FROM events WHERE id > $1 ORDER BY id LIMIT $2`, old.from, dropEvents)
	old.more = old.more && seen == dropEvents
	if err != nil {
		return old, fmt.Errorf("reading the oldest events: %w", err)
	}
	return old, nil
}

func setMark(ctx context.Context, t tx, what, upto string) error {
	_, err := t.Exec(ctx, `INSERT INTO retention (what, upto) VALUES ($1, $2) ON CONFLICT (what) DO UPDATE SET upto = excluded.upto`, what, upto)
	if err != nil {
		return fmt.Errorf("noting how far retention has come: %w", err)
	}
	return nil
}

// dropActs drops debits that no window reaches.
func (s *Store) dropActs(ctx context.Context, before time.Time) (bool, error) {
	const oldest = `SELECT at FROM acts WHERE at < $1 ORDER BY at LIMIT $2`
	old, err := list(ctx, s.db.reader(), func(r row) (at int64, err error) { err = r.Scan(&at); return at, err }, oldest, micros(before), dropActs)
	if err != nil || len(old) == 0 {
		return false, err
	}
	err = s.retire(ctx, func(ctx context.Context, t *transaction) error {
		_, err := t.Exec(ctx, `DELETE FROM acts WHERE at <= $1`, old[len(old)-1])
		return err
	})
	return len(old) == dropActs, err
}

// oldRunsSQL finds linked runs that nothing needs: no human's word is waited for, no debt is open by them, no message waits, no run of
// their episode goes on.
const oldRunsSQL = `SELECT c.run FROM chain AS c JOIN runs AS r ON r.id = c.run WHERE c.pruned_at = 0 AND c.at < $1
	AND r.state NOT IN ('queued', 'running', 'waiting') AND r.parked = ''
	AND NOT EXISTS (SELECT 1 FROM debts AS d WHERE d.target = r.target AND d.run = r.id AND d.settled_at = 0)
	AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.run = c.run AND o.state = 'queued')
	AND NOT EXISTS (SELECT 1 FROM runs AS n WHERE n.episode = r.episode AND n.target = r.target AND n.state <> 'done')
	ORDER BY c.at, c.seq LIMIT $2`

// dropRuns drops the oldest finished runs with all that belongs to them and marks their links.
func (s *Store) dropRuns(ctx context.Context, before, now time.Time) (bool, error) {
	first, err := oldRuns(ctx, s.db.reader(), before, 1)
	if err != nil || len(first) == 0 {
		return false, err
	}
	more := false
	err = s.retire(ctx, func(ctx context.Context, t *transaction) error {
		old, err := oldRuns(ctx, t, before, dropRuns)
		more = len(old) == dropRuns
		if err != nil {
			return err
		}
		for _, run := range old {
			if err := dropRun(ctx, t, run, now); err != nil {
				return fmt.Errorf("dropping run %s: %w", run, err)
			}
		}
		return nil
	})
	return more, err
}

func oldRuns(ctx context.Context, t tx, before time.Time, most int) ([]string, error) {
	old, err := list(ctx, t, scanText, oldRunsSQL, micros(before), most)
	if err != nil {
		return nil, fmt.Errorf("reading the oldest runs: %w", err)
	}
	return old, nil
}

func dropRun(ctx context.Context, t tx, run string, now time.Time) error {
	if _, err := t.Exec(ctx, `UPDATE chain SET pruned_at = $1 WHERE run = $2`, micros(now), run); err != nil {
		return err
	}
	return execAll(ctx, t, run, `DELETE FROM journal WHERE run = $1`, `DELETE FROM steps WHERE run = $1`, `DELETE FROM outbox WHERE run = $1`,
		`DELETE FROM approvals WHERE run = $1`, `DELETE FROM runs WHERE id = $1`)
}

func execAll(ctx context.Context, t tx, id string, queries ...string) error {
	for _, query := range queries {
		if _, err := t.Exec(ctx, query, id); err != nil {
			return err
		}
	}
	return nil
}

// uselessEventsSQL finds events of a span that wait for nothing, whose runs are gone and whose messages are told.
const uselessEventsSQL = `SELECT e.id FROM events AS e WHERE e.id > $1 AND e.id <= $2 AND e.state <> 'pending'
	AND NOT EXISTS (SELECT 1 FROM rulings AS u JOIN runs AS r ON r.id = u.run WHERE u.event = e.id)
	AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.run = e.id AND o.state = 'queued')`

// dropEvents drops the oldest events with their rulings. Those that are needed still are looked at again in the next round.
func (s *Store) dropEvents(ctx context.Context, before time.Time) (bool, error) {
	old, err := s.oldEvents(ctx, eventsMark, before)
	if err != nil {
		return false, err
	}
	if old.upto == old.from && old.from == "" {
		return false, nil
	}
	err = s.retire(ctx, func(ctx context.Context, t *transaction) error {
		useless, err := list(ctx, t, scanText, uselessEventsSQL, old.from, old.upto)
		if err != nil {
			return fmt.Errorf("finding events nobody needs: %w", err)
		}
		for _, id := range useless {
			err := execAll(ctx, t, id, `DELETE FROM rulings WHERE event = $1`, `DELETE FROM outbox WHERE run = $1`, `DELETE FROM bodies WHERE event = $1`,
				`DELETE FROM events WHERE id = $1`)
			if err != nil {
				return fmt.Errorf("dropping event %s: %w", id, err)
			}
		}
		if !old.more {
			old.upto = ""
		}
		return setMark(ctx, t, eventsMark, old.upto)
	})
	return old.more, err
}
