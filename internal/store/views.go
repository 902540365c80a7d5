package store

import (
	"context"
	"fmt"

	"github.com/mixillo/remediator/internal/remediation"
)

// RunView is a run with all that is stored about it.
type RunView struct {
	Run      remediation.Run       `json:"run"`
	Steps    []remediation.Step    `json:"steps"`
	Rulings  []remediation.Ruling  `json:"rulings"` // of every event that belongs to the run
	Entries  []remediation.Entry   `json:"entries"`
	Messages []remediation.Message `json:"messages"`
}

// Run reads a run with all that is stored about it; remediation.ErrNotFound if there is none.
func (s *Store) Run(ctx context.Context, id string) (RunView, error) {
	var (
		v   RunView
		err error
		r   = s.db.reader()
	)
	if v.Run, err = readRun(ctx, r, id); err != nil {
		return v, err
	}
	if v.Steps, err = readSteps(ctx, r, id); err != nil {
		return v, err
	}
	if v.Rulings, err = list(ctx, r, scanRuling, selectRulings+` WHERE run = $1 AND run <> '' ORDER BY event, seq`, id); err != nil {
		return v, fmt.Errorf("reading the rulings of run %s: %w", id, err)
	}
	if v.Entries, err = list(ctx, r, scanEntry, `SELECT run, seq, at, kind, text, prev, hash FROM journal WHERE run = $1 ORDER BY seq`, id); err != nil {
		return v, fmt.Errorf("reading the journal of run %s: %w", id, err)
	}
	if v.Messages, err = list(ctx, r, scanMessage, selectMessages+` WHERE run = $1 ORDER BY channel, seq, id`, id); err != nil {
		return v, fmt.Errorf("reading the messages of run %s: %w", id, err)
	}
	return v, nil
}

func scanEntry(r row) (e remediation.Entry, err error) {
	var at int64
	err = r.Scan(&e.Run, &e.Seq, &at, &e.Kind, &e.Text, &e.Prev, &e.Hash)
	e.At = fromMicros(at)
	return e, err
}

// Filter chooses runs; its zero value is all of them.
type Filter struct {
	State  remediation.State
	Target string
	Limit  int    // at most this many; 0: 100
	Before string // the id of a run: only older ones
}

const defaultLimit = 100

// ListRuns reads runs, newest first.
func (s *Store) ListRuns(ctx context.Context, f Filter) ([]remediation.Run, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	runs, err := list(ctx, s.db.reader(), scanRun, selectRun+` WHERE ($1 = '' OR state = $1) AND ($2 = '' OR target = $2)
		AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4`, string(f.State), f.Target, f.Before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("listing runs: %w", err)
	}
	return runs, nil
}

// Debts reads what is not settled yet, oldest first.
func (s *Store) Debts(ctx context.Context) ([]remediation.Debt, error) {
	debts, err := list(ctx, s.db.reader(), func(r row) (d remediation.Debt, err error) {
		var since int64
		err = r.Scan(&d.Target, &d.Kind, &d.Run, &d.Detail, &since, &d.Idle)
		d.Since = fromMicros(since)
		return d, err
	}, `SELECT target, kind, run, detail, since, idle FROM debts WHERE settled_at = 0 ORDER BY since, target`)
	if err != nil {
		return nil, fmt.Errorf("reading the debts: %w", err)
	}
	return debts, nil
}

// Counts is how much there is of everything, for metrics.
type Counts struct {
	Events map[remediation.EventState]int
	Runs   map[remediation.State]int
	Queued int // messages that are not told yet
}

// Counts counts; it reads one index each, so a scrape may call it.
func (s *Store) Counts(ctx context.Context) (Counts, error) {
	c := Counts{Events: map[remediation.EventState]int{}, Runs: map[remediation.State]int{}}
	r := s.db.reader()
	err := r.Query(ctx, func(r row) error { return tally(r, c.Events) }, `SELECT state, count(*) FROM events GROUP BY state`)
	if err != nil {
		return c, fmt.Errorf("counting events: %w", err)
	}
	err = r.Query(ctx, func(r row) error { return tally(r, c.Runs) }, `SELECT state, count(*) FROM runs GROUP BY state`)
	if err != nil {
		return c, fmt.Errorf("counting runs: %w", err)
	}
	if err := r.QueryRow(ctx, []any{&c.Queued}, `SELECT count(*) FROM outbox WHERE state = 'queued'`); err != nil {
		return c, fmt.Errorf("counting messages: %w", err)
	}
	return c, nil
}

func tally[K ~string](r row, counts map[K]int) error {
	var (
		state string
		n     int
	)
	err := r.Scan(&state, &n)
	counts[K(state)] = n
	return err
}

// Latches reads the acts after which the next of their kind waits for a release.
func (s *Store) Latches(ctx context.Context) ([]remediation.LatchRow, error) {
	all, err := list(ctx, s.db.reader(), func(r row) (l remediation.LatchRow, err error) {
		var at int64
		err = r.Scan(&l.Target, &l.Kind, &l.Run, &at)
		l.At = fromMicros(at)
		return l, err
	}, `SELECT target, kind, run, at FROM latches ORDER BY target, kind`)
	if err != nil {
		return nil, fmt.Errorf("reading the latches: %w", err)
	}
	return all, nil
}

// Marks reads the revisions that people said cannot be gone back past.
func (s *Store) Marks(ctx context.Context) ([]remediation.Mark, error) {
	all, err := list(ctx, s.db.reader(), func(r row) (m remediation.Mark, err error) {
		var at int64
		err = r.Scan(&m.Target, &m.Revision, &m.Reason, &m.Actor, &at)
		m.At = fromMicros(at)
		return m, err
	}, `SELECT target, revision, reason, actor, at FROM marks ORDER BY target, revision`)
	if err != nil {
		return nil, fmt.Errorf("reading the marks: %w", err)
	}
	return all, nil
}
