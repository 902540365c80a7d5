package store

import (
	"context"
	"database/sql"
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

// HoldFleet begins a transaction that holds what all runs share, and goes no further, as a process does that is stopped.
func (s *Store) HoldFleet(ctx context.Context) (end func()) {
	t, err := s.db.begin(ctx)
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
