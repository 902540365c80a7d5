package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mixillo/remediator/internal/remediation"
)

// Archive is a database that is only read: a copy, or what a stopped server left. Nothing is migrated, locked or changed. Safe for
// concurrent use; the caller closes it.
type Archive struct {
	r    tx
	asOf time.Time
	shut func() error
}

// OpenArchive opens a database that is there, "sqlite:PATH" or "postgres://…", for reading.
func OpenArchive(ctx context.Context, dsn string) (*Archive, error) {
	a, err := openReader(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if a.asOf, err = newestRecord(ctx, a.r); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func openReader(ctx context.Context, dsn string) (*Archive, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return openPostgresReader(ctx, dsn)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db, err := sql.Open("sqlite", dataSource(path, "mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(1)"))
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return &Archive{r: sqliteTx{db}, shut: db.Close}, nil
}

func openPostgresReader(ctx context.Context, dsn string) (*Archive, error) {
	config, err := poolConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return &Archive{r: pgTx{conn: pool}, shut: func() error { pool.Close(); return nil }}, nil
}

// newestRecord is until when the records reach: a server that was killed had no time to link the runs that had just ended.
func newestRecord(ctx context.Context, t tx) (time.Time, error) {
	var at int64
	err := t.QueryRow(ctx, []any{&at}, `SELECT coalesce(max(at), 0) FROM (SELECT max(at) AS at FROM journal UNION ALL SELECT max(at) FROM chain) AS newest`)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the records (does a server of this version know the database?): %w", err)
	}
	return fromMicros(at), nil
}

// Audit is Store.Audit, as of the newest record.
func (a *Archive) Audit(ctx context.Context, place string) (remediation.Audit, error) {
	return audit(ctx, a.r, a.asOf, place)
}

// Head is Store.Head.
func (a *Archive) Head(ctx context.Context) (remediation.Link, error) { return head(ctx, a.r) }

// Anchored is Store.Anchored.
func (a *Archive) Anchored(ctx context.Context, anchor remediation.Anchor) (string, error) {
	return anchored(ctx, a.r, anchor)
}

// Close closes the database.
func (a *Archive) Close() error { return a.shut() }
