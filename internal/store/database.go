package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// tx is the part of a transaction or pool that the SQL of this package needs; *sql.Tx and pgx.Tx both fit behind it. Placeholders are
// $1, $2, …: SQLite reads them as names, PostgreSQL as positions, with the same meaning.
type tx interface {
	// Exec reports how many rows it touched.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// Query gives each row to scan.
	Query(ctx context.Context, scan func(row) error, query string, args ...any) error
	// QueryRow scans one row; errNoRow when there is none.
	QueryRow(ctx context.Context, dest []any, query string, args ...any) error
}

var errNoRow = errors.New("no row")

type row interface {
	Scan(dest ...any) error
}

// transaction is a tx that writes, with the two ways to end it and the queue's insertion, which must be part of it.
type transaction struct {
	tx
	commit   func() error
	rollback func()
	enqueue  func(ctx context.Context, jobs []river.InsertManyParams) error
	// serialise waits until no other transaction holds any of the keys, and holds them until the end: what is read from now on is what
	// those before it left. It is called once, before anything else, with all keys: two calls, or rows locked before, could wait for
	// each other.
	serialise func(ctx context.Context, keys ...string) error
}

// statement is one to be run for what it does.
type statement struct {
	query string
	args  []any
}

// pipelining is implemented by a transaction for which waiting for an answer costs more than the statement.
type pipelining interface {
	// execAll runs the statements in order, sent together, and tells how many rows each touched.
	execAll(ctx context.Context, all []statement) ([]int64, error)
	// lazily gives a tx whose Exec keeps the statement until the next one whose answer is waited for, or the commit: its error comes
	// there, and its count is not told.
	lazily() tx
}

// lazily is for statements whose count nobody asks.
func (t *transaction) lazily() tx {
	if p, ok := t.tx.(pipelining); ok {
		return p.lazily()
	}
	return t.tx
}

// execAll runs the statements in order and tells how many rows each touched.
func (t *transaction) execAll(ctx context.Context, all []statement) ([]int64, error) {
	if p, ok := t.tx.(pipelining); ok {
		return p.execAll(ctx, all)
	}
	counts := make([]int64, len(all))
	for i, one := range all {
		var err error
		if counts[i], err = t.Exec(ctx, one.query, one.args...); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// fleetKey is held by whatever reads or changes what all runs share: locks, pauses, budgets, breakers.
const fleetKey = "fleet"

// runsKey is held by whatever changes runs that others hold, or adds some that such a change must not miss.
const runsKey = "runs"

// severity says what an error of the database means for the store.
type severity int

const (
	harmless severity = iota // of this statement alone: nothing else is affected
	passing                  // nothing can be kept now; it may pass (disk full, busy, no connection)
	fatal                    // what the disk holds is not known any more
)

// database is one kind of database beneath the store.
type database interface {
	// begin starts a writing transaction. ctx ends the wait for it, not the transaction. One that need not be durable is with the next that is.
	begin(ctx context.Context, durable bool) (*transaction, error)
	// reader reads what is committed, beside any writer.
	reader() tx
	severity(err error) severity
	close() error
}

// backend is a database that is ready for work, with what comes with its kind.
type backend struct {
	database
	queue  queue
	clock  clock
	shared bool // other processes may be at work on the same rows
}

// clock is what leases, timers and budgets go by.
type clock interface {
	now() time.Time
	// measure compares the clock with the one it follows, if it follows one.
	measure(ctx context.Context) error
}

// processClock is the clock of the only process there is, or of a test.
type processClock func() time.Time

func (c processClock) now() time.Time              { return c() }
func (processClock) measure(context.Context) error { return nil }

// queue is River's client, whatever its database.
type queue interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
}

// list reads all rows of a query.
func list[T any](ctx context.Context, t tx, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	var all []T
	err := t.Query(ctx, func(r row) error {
		one, err := scan(r)
		all = append(all, one)
		return err
	}, query, args...)
	return all, err
}

// scanJSON reads a row of one JSON column.
func scanJSON[T any](r row) (T, error) {
	var (
		v    T
		text string
	)
	if err := r.Scan(&text); err != nil {
		return v, err
	}
	err := decode(text, &v)
	return v, err
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding %T: %w", v, err)
	}
	return string(b), nil
}

func decode(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("decoding %T: %w", v, err)
	}
	return nil
}

// micros is how a time is stored: microseconds in UTC, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// orNull keeps an empty key from matching the rows that have none either.
func orNull(key string) any {
	if key == "" {
		return nil
	}
	return key
}
