package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// lost marks an error after which the connection is gone, or was never there: what was under way on it may or may not have happened.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// pgConn is what a pool and a transaction have in common.
type pgConn interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// pgTx makes the SQL of this package run on a connection, or on any of the pool.
type pgTx struct {
	conn  pgConn
	until time.Time // when a transaction has taken too long; zero: the caller's context alone says
}

func (t pgTx) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.until.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, t.until)
}

// failed marks an error that cost the connection: pgx closes it when an answer was not understood or did not come in time.
func (t pgTx) failed(err error) error {
	if held, ok := t.conn.(pgx.Tx); ok && err != nil && held.Conn().IsClosed() {
		return lost{err}
	}
	return err
}

func (t pgTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	tag, err := t.conn.Exec(ctx, query, written(args)...)
	return tag.RowsAffected(), t.failed(err)
}

func (t pgTx) Query(ctx context.Context, scan func(row) error, query string, args ...any) error {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	rows, err := t.conn.Query(ctx, query, written(args)...)
	if err != nil {
		return t.failed(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(pgRow{rows}); err != nil {
			return t.failed(err)
		}
	}
	return t.failed(rows.Err())
}

func (t pgTx) QueryRow(ctx context.Context, dest []any, query string, args ...any) error {
	return scanFirst(dest, func(scan func(row) error) error { return t.Query(ctx, scan, query, args...) })
}

// scanFirst scans the first row that a query gives.
func scanFirst(dest []any, query func(scan func(row) error) error) error {
	found := false
	err := query(func(r row) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	})
	if err == nil && !found {
		return errNoRow
	}
	return err
}

// serialise takes the keys' advisory locks in the order of their numbers, which is the same for everybody, so that no two transactions
// wait for each other. They end with the transaction.
func serialise(ctx context.Context, t tx, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	slots := make([]int64, len(keys))
	for i, key := range keys {
		slots[i] = slot(key)
	}
	slices.Sort(slots)
	_, err := t.Exec(ctx, `SELECT pg_advisory_xact_lock(slot) FROM unnest($1::bigint[]) AS slot`, slices.Compact(slots))
	if err != nil {
		return fmt.Errorf("waiting for other transactions: %w", err)
	}
	return nil
}

// slot is a key as an advisory lock's number. Two keys of one number merely wait for each other.
func slot(key string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int64(h.Sum64()) //nolint:gosec // all bits are wanted, the sign among them
}

// pgRow is a row as it was before writing changed its texts.
type pgRow struct{ pgx.Rows }

func (r pgRow) Scan(dest ...any) error {
	if err := r.Rows.Scan(dest...); err != nil {
		return err
	}
	for _, d := range dest {
		if text, ok := d.(*string); ok {
			*text = unescape(*text)
		}
	}
	return nil
}

// written is what can be stored of the arguments.
func written(args []any) []any {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = escape(text)
		}
	}
	return args
}

// pgTransaction is a pgTx of its own connection, which sends statements that can wait together with the next that cannot.
type pgTransaction struct {
	pgTx
	tx     pgx.Tx
	conn   *pgxpool.Conn
	client *river.Client[pgx.Tx]
	kept   *pgx.Batch
}

// Exec sends what was kept first.
func (t *pgTransaction) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	counts, err := t.execAll(ctx, []statement{{query, args}})
	if err != nil {
		return 0, err
	}
	return counts[0], nil
}

// Query sends what was kept with it.
func (t *pgTransaction) Query(ctx context.Context, scan func(row) error, query string, args ...any) error {
	t.kept.Queue(query, written(args)...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(pgRow{rows}); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return t.flush(ctx)
}

// QueryRow sends what was kept with it.
func (t *pgTransaction) QueryRow(ctx context.Context, dest []any, query string, args ...any) error {
	return scanFirst(dest, func(scan func(row) error) error { return t.Query(ctx, scan, query, args...) })
}

func (t *pgTransaction) execAll(ctx context.Context, all []statement) ([]int64, error) {
	counts := make([]int64, len(all))
	for i, one := range all {
		t.kept.Queue(one.query, written(one.args)...).Exec(func(tag pgconn.CommandTag) error {
			counts[i] = tag.RowsAffected()
			return nil
		})
	}
	return counts, t.flush(ctx)
}

// flush sends what was kept, in its order, and gives the first error.
func (t *pgTransaction) flush(ctx context.Context) error {
	if t.kept.Len() == 0 {
		return nil
	}
	batch := t.kept
	t.kept = &pgx.Batch{}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	return t.failed(t.tx.SendBatch(ctx, batch).Close())
}

func (t *pgTransaction) lazily() tx { return lazyTx{t} }

// lazyTx keeps what it is asked to do.
type lazyTx struct{ *pgTransaction }

func (t lazyTx) Exec(_ context.Context, query string, args ...any) (int64, error) {
	t.kept.Queue(query, written(args)...)
	return 0, nil
}

func (t *pgTransaction) serialise(ctx context.Context, keys ...string) error {
	return serialise(ctx, t, keys)
}

func (t *pgTransaction) enqueue(ctx context.Context, jobs []river.InsertManyParams) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	_, err := t.client.InsertManyFastTx(ctx, t.tx, jobs)
	return t.failed(err)
}

// commit is never fatal by itself: without an answer its end is unknown, but whoever asks again asks the rows.
func (t *pgTransaction) commit() error {
	ctx, cancel := t.bounded(context.Background())
	defer cancel()
	err := t.tx.Commit(ctx)
	if err == nil {
		return nil
	}
	return lost{err}
}

// rollback ends what has not been committed and gives the connection back; one that is not as it should be is dropped by the pool.
func (t *pgTransaction) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if err := t.tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		_ = t.conn.Conn().Close(ctx)
	}
	t.conn.Release()
}

const rollbackTimeout = time.Second
