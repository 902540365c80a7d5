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
	found := false
	err := t.Query(ctx, func(r row) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	}, query, args...)
	if err == nil && !found {
		return errNoRow
	}
	return err
}

// serialise takes the keys' advisory locks in the order of their numbers, which is the same for everybody, so that no two transactions
// wait for each other. They end with the transaction.
func (t pgTx) serialise(ctx context.Context, keys ...string) error {
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

// pgTransaction is a pgTx of its own connection.
type pgTransaction struct {
	pgTx
	tx     pgx.Tx
	conn   *pgxpool.Conn
	client *river.Client[pgx.Tx]
}

func (t *pgTransaction) enqueue(ctx context.Context, jobs []river.InsertManyParams) error {
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
