package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// readStanding reads what stands in the way of acts beside pauses, locks, breakers and budgets.
func readStanding(ctx context.Context, t tx, q remediation.SnapshotQuery, s *guard.Snapshot) error {
	var err error
	if s.HeldBy, err = readHold(ctx, t, q.Run); err != nil {
		return err
	}
	if s.Wants, err = list(ctx, t, scanWant, `SELECT target, at FROM wants`); err != nil {
		return fmt.Errorf("reading what targets want: %w", err)
	}
	if _, s.Released, err = readStorm(ctx, t); err != nil {
		return err
	}
	if q.Once {
		s.Latch, err = readLatch(ctx, t, q.Target, q.Act.Kind)
	}
	return err
}

func scanWant(r row) (w guard.Want, err error) {
	var at int64
	err = r.Scan(&w.Target, &at)
	w.At = fromMicros(at)
	return w, err
}

// holdSQL goes by the key only where no ids say otherwise: keys recur.
const holdSQL = `SELECT h.held_by FROM runs AS r JOIN holds AS h ON h.incident_id = r.incident_id AND h.incident_id <> ''
	OR h.incident_key = r.incident_key AND h.incident_key <> '' AND (h.incident_id = '' OR r.incident_id = '')
	WHERE r.id = $1 ORDER BY h.at LIMIT 1`

// readHold tells who is at the run's incident, "" if nobody.
func readHold(ctx context.Context, t tx, run string) (string, error) {
	var by string
	err := t.QueryRow(ctx, []any{&by}, holdSQL, run)
	if err != nil && !errors.Is(err, errNoRow) {
		return "", fmt.Errorf("reading who holds the incident of run %s: %w", run, err)
	}
	return by, nil
}

// readStorm tells when a run was last refused for a storm, and when a human last ended one.
func readStorm(ctx context.Context, t tx) (seen, released time.Time, err error) {
	var s, r int64
	err = t.QueryRow(ctx, []any{&s, &r}, `SELECT seen_at, released FROM storms WHERE id = 1`)
	if err != nil && !errors.Is(err, errNoRow) {
		return seen, released, fmt.Errorf("reading the storm: %w", err)
	}
	return fromMicros(s), fromMicros(r), nil
}

func readLatch(ctx context.Context, t tx, target, kind string) (*guard.Latch, error) {
	l := guard.Latch{Kind: kind}
	var at int64
	err := t.QueryRow(ctx, []any{&l.Run, &at}, `SELECT run, at FROM latches WHERE target = $1 AND kind = $2`, target, kind)
	switch {
	case errors.Is(err, errNoRow):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the latch of %s: %w", target, err)
	}
	l.At = fromMicros(at)
	return &l, nil
}

// want notes that the run wants to act on its target, whatever became of it.
func (c *commit) want(ctx context.Context) error {
	if c.Want == nil {
		return nil
	}
	_, err := c.t.Exec(ctx, `INSERT INTO wants (target, at) VALUES ($1, $2) ON CONFLICT (target) DO UPDATE SET at = excluded.at
		WHERE wants.at < excluded.at`, c.Want.Target, micros(c.Want.At))
	if err != nil {
		return fmt.Errorf("noting that %s wants action: %w", c.Want.Target, err)
	}
	return nil
}

// storm pages when this is the first refusal of a storm.
func (c *commit) storm(ctx context.Context) error {
	if c.Storm == nil {
		return nil
	}
	seen, released, err := readStorm(ctx, c.t)
	if err != nil {
		return err
	}
	if seen.Before(c.Storm.Since) || !seen.After(released) {
		c.Messages = append(c.Messages, c.Storm.Pages...)
	}
	_, err = c.t.Exec(ctx, `INSERT INTO storms (id, seen_at, released) VALUES (1, $1, 0) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`,
		micros(c.Now))
	if err != nil {
		return fmt.Errorf("noting the storm: %w", err)
	}
	return nil
}

// latch keeps other runs from a second act of the kind on the target.
func (c *commit) latch(ctx context.Context, q remediation.SnapshotQuery) error {
	if !q.Once {
		return nil
	}
	_, err := c.t.Exec(ctx, `INSERT INTO latches (target, kind, run, at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (target, kind) DO UPDATE SET run = excluded.run, at = excluded.at`, q.Target, q.Act.Kind, q.Run, micros(c.Now))
	if err != nil {
		return fmt.Errorf("latching %s of %s: %w", q.Act.Kind, q.Target, err)
	}
	return nil
}

// ReleaseStorm lets runs act again after a storm: what targets wanted before does not count any more.
func (s *Store) ReleaseStorm(ctx context.Context) error {
	now := micros(s.Now())
	_, err := s.change(ctx, `INSERT INTO storms (id, seen_at, released) VALUES (1, 0, $1) ON CONFLICT (id) DO UPDATE SET released = excluded.released`, now)
	if err != nil {
		return fmt.Errorf("ending the storm: %w", err)
	}
	return nil
}

// Storm tells when a run was last refused for a storm, and when a human last ended one; zero for never.
func (s *Store) Storm(ctx context.Context) (seen, released time.Time, err error) {
	return readStorm(ctx, s.db.reader())
}

// holds keeps or lifts people's words about incidents; an older word never undoes a newer one, in whichever order they come.
func (in *admission) holds(ctx context.Context, holds []remediation.Hold) error {
	for _, h := range holds {
		query := `DELETE FROM holds WHERE incident_id = $1 AND (incident_id <> '' OR incident_key = $2) AND at <= $3`
		args := []any{h.IncidentID, h.IncidentKey, micros(h.At)}
		if !h.Lifted {
			query = `INSERT INTO holds (incident_id, incident_key, at, held_by) VALUES ($1, $2, $3, $4)
				ON CONFLICT (incident_id, incident_key) DO UPDATE SET held_by = excluded.held_by, at = excluded.at WHERE holds.at <= excluded.at`
			args = append(args, h.By)
		}
		if _, err := in.lazy.Exec(ctx, query, args...); err != nil {
			return fmt.Errorf("storing the hold on incident %s%s: %w", h.IncidentID, h.IncidentKey, err)
		}
	}
	return nil
}

// parked is the rule of a run that is parked, empty for every other.
func parked(run remediation.Run) string {
	if run.Parks() {
		return run.Rule
	}
	return ""
}

// parkedLimit bounds how many runs are judged again at once.
const parkedLimit = 500

// Parked gives the runs that were refused while they waited for a human's word, and whose alert still fires, but for those of except.
func (s *Store) Parked(ctx context.Context, except []remediation.Bond) ([]remediation.Run, error) {
	text, args := selectRun+` WHERE parked <> '' AND ended_at = 0`, []any{parkedLimit}
	for _, b := range except {
		args = append(args, b.Rule, b.Target)
		text += fmt.Sprintf(` AND (parked <> $%d OR target <> $%d)`, len(args)-1, len(args))
	}
	runs, err := list(ctx, s.db.reader(), scanRun, text+` ORDER BY created_at LIMIT $1`, args...)
	if err != nil {
		return nil, fmt.Errorf("reading the parked runs: %w", err)
	}
	return runs, nil
}

// unpark reports false when the run is not parked any more.
func unpark(ctx context.Context, t tx, run string) (bool, error) {
	n, err := t.Exec(ctx, `UPDATE runs SET parked = '' WHERE id = $1 AND parked <> '' AND ended_at = 0`, run)
	if err != nil {
		return false, fmt.Errorf("unparking run %s: %w", run, err)
	}
	return n == 1, nil
}

func readMarks(ctx context.Context, t tx, target string) (map[string]string, error) {
	var marks map[string]string
	err := t.Query(ctx, func(r row) error {
		var revision, reason string
		if err := r.Scan(&revision, &reason); err != nil {
			return err
		}
		if marks == nil {
			marks = map[string]string{}
		}
		marks[revision] = reason
		return nil
	}, `SELECT revision, reason FROM marks WHERE target = $1`, target)
	if err != nil {
		return nil, fmt.Errorf("reading the marks of %s: %w", target, err)
	}
	return marks, nil
}

// Mark says that a revision of a target cannot be gone back past; a former reason is replaced.
func (s *Store) Mark(ctx context.Context, m remediation.Mark) error {
	_, err := s.change(ctx, `INSERT INTO marks (target, revision, reason, actor, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (target, revision) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, at = excluded.at`,
		m.Target, m.Revision, m.Reason, m.Actor, micros(m.At))
	if err != nil {
		return fmt.Errorf("marking revision %s of %s: %w", m.Revision, m.Target, err)
	}
	return nil
}

// Unmark takes a mark back and reports whether there was one.
func (s *Store) Unmark(ctx context.Context, target, revision string) (bool, error) {
	n, err := s.change(ctx, `DELETE FROM marks WHERE target = $1 AND revision = $2`, target, revision)
	if err != nil {
		return false, fmt.Errorf("unmarking revision %s of %s: %w", revision, target, err)
	}
	return n == 1, nil
}

// readApproval reads the answer to what the run has asked.
func readApproval(ctx context.Context, t tx, run remediation.Run) (*remediation.Approval, error) {
	if run.Asked == "" {
		return nil, nil
	}
	all, err := list(ctx, t, scanJSON[remediation.Approval], `SELECT data FROM approvals WHERE run = $1`, run.ID)
	if err != nil {
		return nil, fmt.Errorf("reading the answer to run %s: %w", run.ID, err)
	}
	for _, a := range all {
		if a.Digest == run.Asked && !run.Heard(a) {
			return &a, nil
		}
	}
	return nil, nil
}

// Answer keeps a human's answer to the plan that a run has asked about, and wakes the run. remediation.ErrNotFound when there is no such
// run, remediation.ErrStaleHint when it asks nothing, something else, or has its answer.
func (s *Store) Answer(ctx context.Context, a remediation.Approval) error {
	var hint remediation.Hint
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		if err := t.serialise(ctx, "answer:"+a.Run); err != nil {
			return err
		}
		run, err := readRun(ctx, t, a.Run)
		if err != nil {
			return err
		}
		known, err := readApproval(ctx, t, run)
		if err != nil {
			return err
		}
		if run.Phase != remediation.PhaseAsk || run.Asked != a.Digest || known != nil {
			return remediation.ErrStaleHint
		}
		hint = remediation.Hint{Run: run.ID, Version: run.Version}
		return answerRun(ctx, t, a, s.Now())
	})
	if err != nil {
		return fmt.Errorf("keeping the answer to run %s: %w", a.Run, err)
	}
	s.crew.offer(task{kind: advanceTask, hint: hint})
	return nil
}

func answerRun(ctx context.Context, t *transaction, a remediation.Approval, now time.Time) error {
	data, err := encode(a)
	if err != nil {
		return err
	}
	if _, err := t.Exec(ctx, `INSERT INTO approvals (run, data) VALUES ($1, $2) ON CONFLICT (run) DO UPDATE SET data = excluded.data`, a.Run, data); err != nil {
		return err
	}
	n, err := t.Exec(ctx, `UPDATE runs SET due_at = $1 WHERE id = $2 AND state = 'waiting'`, micros(now), a.Run)
	if err == nil && n == 0 {
		err = remediation.ErrStaleHint // it is being visited, perhaps because its time is up
	}
	return err
}
