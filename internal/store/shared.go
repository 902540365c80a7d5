package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// actsKept is how far back a snapshot's acts reach: longer than any budget's window is meant to be.
const actsKept = 31 * 24 * time.Hour

// Snapshot reads what the shared guards judge, outside any lock.
func (s *Store) Snapshot(ctx context.Context, q remediation.SnapshotQuery) (guard.Snapshot, error) {
	snapshot, _, err := readSnapshot(ctx, s.db.reader(), s.self(), q)
	return snapshot, err
}

// readSnapshot also gives the breaker's row that the snapshot's reason was judged by.
func readSnapshot(ctx context.Context, t tx, me self, q remediation.SnapshotQuery) (guard.Snapshot, breaker.Row, error) {
	snapshot := guard.Snapshot{
		Now: q.Now, Run: q.Run, Rule: q.Rule, Target: q.Target, FirstAct: q.First, Auto: q.Auto, Act: q.Act,
	}
	row, err := readBreaker(ctx, t, q.Rule, q.Target)
	if err != nil {
		return snapshot, row, err
	}
	snapshot.Breaker = row.Judge(q.Breaker, q.Run, q.Now)
	if q.MustFire {
		var ended int64
		if err := t.QueryRow(ctx, []any{&ended}, `SELECT ended_at FROM runs WHERE id = $1`, q.Run); err != nil {
			return snapshot, row, fmt.Errorf("reading whether the alert of run %s still fires: %w", q.Run, err)
		}
		snapshot.EndedAt = fromMicros(ended)
	}
	err = t.QueryRow(ctx, []any{&snapshot.LockedBy}, `SELECT run FROM locks WHERE target = $1`, q.Target)
	if err != nil && !errors.Is(err, errNoRow) {
		return snapshot, row, fmt.Errorf("reading the lock of %s: %w", q.Target, err)
	}
	if snapshot.Pauses, err = readPauses(ctx, t); err != nil {
		return snapshot, row, err
	}
	snapshot.Pauses = append(snapshot.Pauses, q.Pauses...)
	if err := readStanding(ctx, t, q, &snapshot); err != nil {
		return snapshot, row, err
	}
	if snapshot.Rules, err = me.agreement(ctx, t, q); err != nil {
		return snapshot, row, err
	}
	snapshot.Acts, err = readActs(ctx, t, q.Now.Add(-actsKept))
	return snapshot, row, err
}

func readActs(ctx context.Context, t tx, since time.Time) ([]guard.Act, error) {
	acts, err := list(ctx, t, scanAct, `SELECT run, rule, target, at, data FROM acts WHERE at >= $1 ORDER BY at`, micros(since))
	if err != nil {
		return nil, fmt.Errorf("reading the acts: %w", err)
	}
	return acts, nil
}

func scanAct(r row) (a guard.Act, err error) {
	var (
		at   int64
		data string
	)
	if err := r.Scan(&a.Run, &a.Rule, &a.Target, &at, &data); err != nil {
		return a, err
	}
	err = decode(data, &a)
	a.At = fromMicros(at)
	return a, err
}

// Acts reads the debits since a time, oldest first.
func (s *Store) Acts(ctx context.Context, since time.Time) ([]guard.Act, error) {
	return readActs(ctx, s.db.reader(), since)
}

func readPauses(ctx context.Context, t tx) ([]guard.Pause, error) {
	pauses, err := list(ctx, t, scanJSON[guard.Pause], `SELECT data FROM pauses ORDER BY scope, name`)
	if err != nil {
		return nil, fmt.Errorf("reading the pauses: %w", err)
	}
	return pauses, nil
}

// Pauses reads all that are stored, including those whose time is over.
func (s *Store) Pauses(ctx context.Context) ([]guard.Pause, error) {
	return readPauses(ctx, s.db.reader())
}

// Pause stores a pause; a former one of the same scope and name is replaced. It holds when Pause returns.
func (s *Store) Pause(ctx context.Context, p guard.Pause) error {
	data, err := encode(p)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, `INSERT INTO pauses (scope, name, data) VALUES ($1, $2, $3)
		ON CONFLICT (scope, name) DO UPDATE SET data = excluded.data`, string(p.Scope), p.Name, data)
	if err != nil {
		return fmt.Errorf("storing the pause of %s %s: %w", p.Scope, p.Name, err)
	}
	return nil
}

// Resume drops the pause of a scope and name and reports how many there were.
func (s *Store) Resume(ctx context.Context, scope guard.Scope, name string) (int, error) {
	n, err := s.change(ctx, `DELETE FROM pauses WHERE scope = $1 AND name = $2`, string(scope), name)
	if err != nil {
		return 0, fmt.Errorf("dropping the pause of %s %s: %w", scope, name, err)
	}
	return n, nil
}

// Release closes the breakers of a rule on a target, either of which may be "" for any, opens the latches of the target where one is
// named, and reports how many of both there were.
func (s *Store) Release(ctx context.Context, rule, target string) (int, error) {
	n, err := s.change(ctx, `DELETE FROM breakers WHERE ($1 = '' OR rule = $1) AND ($2 = '' OR target = $2)`, rule, target)
	if err != nil {
		return 0, fmt.Errorf("closing the breakers of rule %q on %q: %w", rule, target, err)
	}
	if target == "" {
		return n, nil
	}
	latches, err := s.change(ctx, `DELETE FROM latches WHERE target = $1`, target)
	if err != nil {
		return n, fmt.Errorf("opening the latches of %s: %w", target, err)
	}
	return n + latches, nil
}

// change makes a change that every intent after it sees, and no intent beside it misses.
func (s *Store) change(ctx context.Context, query string, args ...any) (int, error) {
	var n int64
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) (err error) {
		if err := t.serialise(ctx, fleetKey); err != nil {
			return err
		}
		n, err = t.Exec(ctx, query, args...)
		return err
	})
	return int(n), err
}

func readBreaker(ctx context.Context, t tx, rule, target string) (breaker.Row, error) {
	rows, err := list(ctx, t, scanJSON[breaker.Row], `SELECT data FROM breakers WHERE rule = $1 AND target = $2`, rule, target)
	if err != nil {
		return breaker.Row{}, fmt.Errorf("reading the breaker of rule %s on %s: %w", rule, target, err)
	}
	if len(rows) == 0 {
		return breaker.Row{}, nil
	}
	return rows[0], nil
}

func saveBreaker(ctx context.Context, t tx, rule, target string, r breaker.Row) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	_, err = t.Exec(ctx, `INSERT INTO breakers (rule, target, data) VALUES ($1, $2, $3) ON CONFLICT (rule, target) DO UPDATE SET data = excluded.data`,
		rule, target, data)
	if err != nil {
		return fmt.Errorf("storing the breaker of rule %s on %s: %w", rule, target, err)
	}
	return nil
}

// Breakers reads every row, open or not.
func (s *Store) Breakers(ctx context.Context) ([]remediation.BreakerRow, error) {
	all, err := list(ctx, s.db.reader(), scanBreaker, `SELECT rule, target, data FROM breakers ORDER BY rule, target`)
	if err != nil {
		return nil, fmt.Errorf("reading the breakers: %w", err)
	}
	return all, nil
}

func scanBreaker(r row) (b remediation.BreakerRow, err error) {
	var (
		data   string
		stored breaker.Row
	)
	if err := r.Scan(&b.Rule, &b.Target, &data); err != nil {
		return b, err
	}
	err = decode(data, &stored)
	b.Open, b.Failures, b.Reason, b.OpenedAt = stored.Open(), stored.Failures, stored.Reason, stored.OpenedAt
	return b, err
}

// KeepRules stores a rules text under its hash, once.
func (s *Store) KeepRules(ctx context.Context, hash string, text []byte, now time.Time) error {
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		_, err := t.Exec(ctx, `INSERT INTO rules (hash, text, loaded_at) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING`, hash, text, micros(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the rules %s: %w", hash, err)
	}
	return nil
}

// Rules reads a rules text by its hash; remediation.ErrNotFound if it was never kept.
func (s *Store) Rules(ctx context.Context, hash string) ([]byte, error) {
	var text []byte
	if err := s.db.reader().QueryRow(ctx, []any{&text}, `SELECT text FROM rules WHERE hash = $1`, hash); err != nil {
		return nil, fmt.Errorf("reading the rules %s: %w", hash, absent(err))
	}
	return text, nil
}
