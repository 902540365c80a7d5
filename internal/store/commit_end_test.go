package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// agreeable is a transaction in which every statement goes well.
type agreeable struct{}

func (agreeable) Exec(context.Context, string, ...any) (int64, error) { return 1, nil }

func (agreeable) Query(context.Context, func(row) error, string, ...any) error { return nil }

func (agreeable) QueryRow(context.Context, []any, string, ...any) error { return errNoRow }

// fullAtTheEnd is a database that runs full with each COMMIT.
type fullAtTheEnd struct {
	failingDB
	commits  int
	atCommit func()
}

func (d *fullAtTheEnd) begin(context.Context, bool) (*transaction, error) {
	commit := func() error {
		d.commits++
		d.atCommit()
		return d.commit
	}
	alone := func(context.Context, ...string) error { return nil }
	return &transaction{tx: agreeable{}, commit: commit, rollback: func() {}, serialise: alone}, nil
}

// deliveries wait to be stored; their channels hold an answer too many, so that a second one is seen.
func deliveries(n int) []*waiting {
	batch := make([]*waiting, n)
	for i := range batch {
		event := remediation.Event{ID: string(rune('a' + i)), State: remediation.EventMatched}
		batch[i] = &waiting{acceptance: remediation.Acceptance{Event: event}, answer: make(chan answer, 2)}
	}
	return batch
}

// acceptOn stores a batch on a disk that is full when it is committed.
func acceptOn(batch []*waiting, atCommit func()) (commits int) {
	db := &fullAtTheEnd{failingDB: failingDB{commit: errors.New("full"), weight: passing}, atCommit: atCommit}
	s := newStore(Config{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	s.db = db
	s.acceptTogether(batch)
	return db.commits
}

func TestNobodyIsAnsweredBeforeTheCommit(t *testing.T) {
	t.Parallel()
	batch := deliveries(1)
	early := 0
	acceptOn(batch, func() { early = len(batch[0].answer) })
	if early != 0 {
		t.Error("the sender was answered before the commit")
	}
	if got := <-batch[0].answer; !errors.Is(got.err, remediation.ErrUnavailable) {
		t.Errorf("after a commit that failed the sender was answered %+v", got)
	}
}

// How a COMMIT ended that gave an error may not be known: what is stored already must not be stored again.
func TestABatchWhoseCommitFailedIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	batch := deliveries(2)
	if commits := acceptOn(batch, func() {}); commits != 1 {
		t.Errorf("committed %d times", commits)
	}
	for i, w := range batch {
		if got := <-w.answer; !errors.Is(got.err, remediation.ErrUnavailable) || len(w.answer) != 0 {
			t.Errorf("delivery %d was answered %+v, and %d times more", i, got, len(w.answer))
		}
	}
}
