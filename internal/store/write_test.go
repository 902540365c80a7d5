package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/mixillo/remediator/internal/remediation"
)

// failingDB is a database whose statements or commits fail.
type failingDB struct {
	statement, commit error
	weight            severity
	rolledBack        int
}

func (d *failingDB) begin(context.Context, bool) (*transaction, error) {
	return &transaction{
		commit:    func() error { return d.commit },
		rollback:  func() { d.rolledBack++ },
		serialise: func(context.Context, ...string) error { return nil },
	}, nil
}

func (d *failingDB) reader() tx { return nil }

func (d *failingDB) severity(err error) severity {
	if errors.Is(err, d.statement) || errors.Is(err, d.commit) {
		return d.weight
	}
	return harmless
}

func (d *failingDB) close() error { return nil }

// What is not known to be on the disk is never taken for stored, nor tried again in place.
func TestFailuresOfTheDatabase(t *testing.T) {
	t.Parallel()
	failure := errors.New("failed")
	for name, c := range map[string]struct {
		db                  failingDB
		unavailable, broken bool
	}{
		"statement of its own fault": {failingDB{statement: failure, weight: harmless}, false, false},
		"statement on a full disk":   {failingDB{statement: failure, weight: passing}, true, false},
		"statement that cannot sync": {failingDB{statement: failure, weight: fatal}, true, true},
		"commit on a full disk":      {failingDB{commit: failure, weight: passing}, true, false},
		"commit that cannot sync":    {failingDB{commit: failure, weight: fatal}, true, true},
		"commit of unknown end":      {failingDB{commit: failure, weight: harmless}, true, true},
	} {
		s := newStore(Config{Log: slog.New(slog.DiscardHandler)})
		s.db = &c.db
		err := s.write(t.Context(), writeControl, func(context.Context, *transaction) error { return c.db.statement })
		if !errors.Is(err, failure) || errors.Is(err, remediation.ErrUnavailable) != c.unavailable || (s.Err() != nil) != c.broken {
			t.Errorf("%s: %v; broken: %v", name, err, s.Err())
		}
		if c.db.rolledBack != 1 {
			t.Errorf("%s: rolled back %d times", name, c.db.rolledBack)
		}
	}
}

func TestPanicInATransactionIsAnError(t *testing.T) {
	t.Parallel()
	db := &failingDB{}
	s := newStore(Config{})
	s.db = db
	err := s.write(t.Context(), writeControl, func(context.Context, *transaction) error { panic("a decision") })
	if err == nil || db.rolledBack != 1 {
		t.Errorf("%v, rolled back %d times", err, db.rolledBack)
	}
}

// A job that finds its visit under way must not be done with: that visit may die.
func TestJobComesBackToABusyKey(t *testing.T) {
	t.Parallel()
	c := newCrew(func(context.Context, task) error { return nil })
	v := &visitor[matchArgs]{crew: c}
	job := &river.Job[matchArgs]{JobRow: &rivertype.JobRow{}, Args: matchArgs{Event: "e"}}
	if err := v.Work(t.Context(), job); err != nil {
		t.Errorf("a free key: %v", err)
	}
	c.offer(task{kind: matchTask, event: "e"})
	var snooze *river.JobSnoozeError
	if err := v.Work(t.Context(), job); !errors.As(err, &snooze) {
		t.Errorf("a busy key: %v", err)
	}
}
