package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/remediation"
)

// Deafen closes the road that visits at once, so that tests see the others at work.
func (s *Store) Deafen() {
	s.crew.mu.Lock()
	defer s.crew.mu.Unlock()
	s.crew.deaf = true
}

// BreakDown makes the store believe that the end of a commit is unknown.
func (s *Store) BreakDown(err error) { s.breakDown(err) }

// Writer gives the connection that writes, to look at rows and to make trouble.
func (s *Store) Writer() *sql.DB { return s.db.(*sqliteDB).writer }

// Sweep makes one round of the sweep.
func (s *Store) Sweep(ctx context.Context) error { return s.sweep(ctx) }

// OnlyQueue starts River and nothing else: no sweep, no visits at once.
func (s *Store) OnlyQueue(ctx context.Context, w Worker) error {
	s.Deafen()
	r := &roads{worker: w, cancel: func() {}, swept: make(chan struct{}), quit: make(chan struct{})}
	close(r.swept)
	s.mu.Lock()
	s.roads = r
	s.mu.Unlock()
	return s.queue.Start(ctx)
}

// hot are the statements that must never read a whole table, with arguments of their types.
func hot() map[string][]any {
	return map[string][]any{
		relatedSQL:      {"target-1", "episode-1", "key-1", "incident-1", "alert"},
		dueRuns:         {int64(1), 10},
		dueEvents:       {int64(1), 10},
		dueLanes:        {int64(1), 10},
		endEpisodesSQL:  {int64(1), "source", "episode-1", "incident-1", "key-1", "", "", int64(0)},
		endStaleSQL:     {int64(1), "source", "episode-1", "incident-1", "key-1", "", ""},
		countStaleSQL:   {"target-1", "incident-1", "key-1"},
		siblingsSQL:     {"run-1", "target-1", "incident-1", "key-1", "incident-1", int64(1), int64(1)},
		holdSQL:         {"run-1"},
		unlinkedSQL:     {10},
		upsertRulingSQL: {"event-1", 0, "run-1", "rule", "target-1", "auto", "chosen", ""},
	}
}

// Explain tells how the database would find the rows of the hot statements.
func (s *Store) Explain(ctx context.Context) (map[string][]string, error) {
	prefix, columns := "EXPLAIN QUERY PLAN ", 4
	if s.shared {
		prefix, columns = "EXPLAIN (COSTS OFF) ", 1
	}
	plans := map[string][]string{}
	for query, args := range hot() {
		steps, err := list(ctx, s.db.reader(), func(r row) (string, error) {
			cells, dest := make([]string, columns), make([]any, columns)
			for i := range cells {
				dest[i] = &cells[i]
			}
			err := r.Scan(dest...)
			return cells[columns-1], err
		}, prefix+query, args...)
		if err != nil {
			return nil, err
		}
		plans[query] = steps
	}
	return plans, nil
}

// Rehearse lets rows be changed, audits what that leaves, and takes the change back. It reports the findings and the anchors not found.
func (s *Store) Rehearse(ctx context.Context, asOf time.Time, anchors []remediation.Anchor, change func(exec func(query string, args ...any) error) error) (
	findings []remediation.Finding, lost int, err error) {
	t, err := s.db.begin(ctx, true)
	if err != nil {
		return nil, 0, err
	}
	defer t.rollback()
	err = change(func(query string, args ...any) error {
		n, err := t.Exec(ctx, query, args...)
		if err == nil && n == 0 {
			err = fmt.Errorf("changed no row: %s %v", query, args)
		}
		return err
	})
	for place, more := "", err == nil; more; more = place != "" {
		part, err := audit(ctx, t, asOf, place)
		if err != nil {
			return nil, 0, err
		}
		findings, place = append(findings, part.Findings...), part.Next
	}
	for _, a := range anchors {
		if _, missing := anchored(ctx, t, a); missing != nil {
			lost++
		}
	}
	return findings, lost, err
}

// Exec runs a statement of a test's own.
func (s *Store) Exec(ctx context.Context, query string) error {
	return s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		_, err := t.Exec(ctx, query)
		return err
	})
}

// Text reads one text.
func (s *Store) Text(ctx context.Context, query string) (text string, err error) {
	err = s.db.reader().QueryRow(ctx, []any{&text}, query)
	return text, err
}

// HoldFleet begins a transaction that holds what all runs share, and goes no further, as a process does that is stopped.
func (s *Store) HoldFleet(ctx context.Context) (end func()) {
	t, err := s.db.begin(ctx, true)
	if err == nil {
		err = t.serialise(ctx, fleetKey)
	}
	if err != nil {
		panic(err)
	}
	return t.rollback
}

// CutBeforeCommit makes a transaction, and lets the caller cut its connection before it is committed.
func (s *Store) CutBeforeCommit(ctx context.Context, cut func(pid int)) error {
	return s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		var pid int
		err := t.QueryRow(ctx, []any{&pid}, `SELECT pg_backend_pid()`)
		cut(pid)
		return err
	})
}

// Agreement gives what an intent reads of the replicas' rules.
func (s *Store) Agreement(ctx context.Context) (hashes []string, declared string, err error) {
	return readAgreement(ctx, s.db.reader(), s.owner, s.Now())
}

// Reserve keeps an event from other processes.
func (s *Store) Reserve(ctx context.Context, event string) (bool, error) {
	return s.reserve(ctx, event)
}

// ChainLength is the gauge of the fleet's chain.
func (s *Store) ChainLength() prometheus.Gauge { return s.metrics.chain }

// Write tries what no archive may let happen.
func (a *Archive) Write(ctx context.Context) error {
	_, err := a.r.Exec(ctx, `DELETE FROM journal`)
	return err
}
