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

// Explain tells how the database would find the rows of the statements that must never read a whole table.
func (s *Store) Explain(ctx context.Context) (map[string][]string, error) {
	plans := map[string][]string{}
	for name, query := range map[string]string{
		"related":    relatedSQL,
		"due runs":   dueRuns,
		"due events": dueEvents,
		"due lanes":  dueLanes,
		"episodes":   endEpisodesSQL,
		"siblings":   siblingsSQL,
		"unlinked":   unlinkedSQL,
		"old runs":   oldRunsSQL,
	} {
		steps, err := list(ctx, s.db.reader(), func(r row) (string, error) {
			var id, parent, unused int
			var detail string
			err := r.Scan(&id, &parent, &unused, &detail)
			return detail, err
		}, `EXPLAIN QUERY PLAN `+query, 1, "2", "3", "4", "5", 6)
		if err != nil {
			return nil, err
		}
		plans[name] = steps
	}
	return plans, nil
}

// Rehearse lets rows be changed, audits what that leaves, and takes the change back. It reports the findings and the anchors not found.
func (s *Store) Rehearse(ctx context.Context, asOf time.Time, anchors []remediation.Anchor, change func(exec func(query string, args ...any) error) error) (
	findings []remediation.Finding, lost int, err error) {
	t, err := s.db.begin(ctx)
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

// ChainLength is the gauge of the fleet's chain.
func (s *Store) ChainLength() prometheus.Gauge { return s.metrics.chain }

// Write tries what no archive may let happen.
func (a *Archive) Write(ctx context.Context) error {
	_, err := a.r.Exec(ctx, `DELETE FROM journal`)
	return err
}
