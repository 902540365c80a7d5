package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDB is one file, written by this process alone: a single connection writes, a small pool reads.
type sqliteDB struct {
	writer *sql.DB
	read   *sql.DB
	lock   *os.File
	// Set once the tables are there.
	client *river.Client[*sql.Tx]
	ready  map[string]*sql.Stmt
}

// frequent are the statements of the intake: compiling them anew for each delivery would cost as much as running them.
func frequent() []string { return []string{insertEventSQL, insertRunSQL, relatedSQL, upsertRulingSQL} }

const readers = 4

// openSQLite locks, opens and migrates the file, creating it readable by its owner only, and takes over what a former process left.
func openSQLite(ctx context.Context, path string, q *river.Config) (backend, error) {
	lock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return backend{}, err
	}
	db := &sqliteDB{lock: lock}
	if err := db.prepare(ctx, path, q); err != nil {
		return backend{}, errors.Join(err, db.close())
	}
	return backend{database: db, queue: db.client, clock: processClock(time.Now)}, nil
}

func (d *sqliteDB) prepare(ctx context.Context, path string, q *river.Config) (err error) {
	if err := d.openPools(ctx, path); err != nil {
		return err
	}
	driver := riversqlite.New(d.writer)
	if err := migrate(ctx, goose.DialectSQLite3, d.writer, driver); err != nil {
		return err
	}
	if err := d.makeReady(ctx); err != nil {
		return err
	}
	if d.client, err = newClient(driver, q); err != nil {
		return err
	}
	return d.takeOver(ctx)
}

// takeOver frees what a former process of this file held: no other can be alive, the file is locked. Without it a run would wait for
// its lease, a job for River's rescuer, and every timer for the dead leader's term of 15 s. What is free is due at once: 1 is the
// first microsecond there is.
func (d *sqliteDB) takeOver(ctx context.Context) error {
	t, err := d.begin(ctx, true)
	if err != nil {
		return fmt.Errorf("taking over: %w", err)
	}
	defer t.rollback()
	for _, query := range []string{
		`UPDATE runs SET lease_owner = '', lease_until = 0, due_at = 1 WHERE lease_owner <> '' AND due_at > 0`,
		`UPDATE river_job SET state = 'available' WHERE state = 'running'`,
		`DELETE FROM river_leader`,
		`DELETE FROM replicas`,
	} {
		if _, err := t.Exec(ctx, query); err != nil {
			return fmt.Errorf("taking over: %w", err)
		}
	}
	return t.commit()
}

func (d *sqliteDB) openPools(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if err := errors.Join(file.Chmod(0o600), file.Close()); err != nil {
		return fmt.Errorf("making the database private: %w", err)
	}
	// 32 MiB of cache: it is filled by large bodies and never given back, beside the 256 MiB that the process has in all.
	pragmas := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-32768)"
	if d.writer, err = sql.Open("sqlite", dataSource(path, "_txlock=immediate&"+pragmas)); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	d.writer.SetMaxOpenConns(1)
	if err := d.writer.PingContext(ctx); err != nil {
		return fmt.Errorf("opening the database %s: %w", path, err)
	}
	if d.read, err = sql.Open("sqlite", dataSource(path, "_pragma=busy_timeout(10000)&_pragma=query_only(1)")); err != nil {
		return fmt.Errorf("opening the database for reading: %w", err)
	}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	return nil
}

// makeReady compiles the frequent statements on the connection that writes.
func (d *sqliteDB) makeReady(ctx context.Context) error {
	d.ready = map[string]*sql.Stmt{}
	for _, query := range frequent() {
		stmt, err := d.writer.PrepareContext(ctx, query) //nolint:sqlclosecheck // closed with the database
		if err != nil {
			return fmt.Errorf("compiling a statement: %w", err)
		}
		d.ready[query] = stmt
	}
	return nil
}

func dataSource(path, query string) string {
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	return (&url.URL{Scheme: "file", Opaque: escaped, RawQuery: query}).String()
}

// lockFile takes the lock that keeps a second process off the file. The kernel drops it when the process ends, however it ends.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	if err := flock(ctx, f); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the database is in use by another process (%s, lock file %s)", strings.TrimSpace(string(holder)), path)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "pid %d\n", os.Getpid())
	}
	return f, nil
}

// lockPatience is how long a lock may be held by a process that is ending, or by a child between its fork and its exec.
const lockPatience = time.Second

func flock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	again := time.NewTicker(lockPatience / 50)
	defer again.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

func (d *sqliteDB) begin(ctx context.Context, durable bool) (*transaction, error) {
	conn, err := d.writer.Conn(ctx)
	if err != nil {
		return nil, err
	}
	end := conn.Close
	if !durable {
		if end, err = unsynced(conn); err != nil {
			return nil, err
		}
	}
	started, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &transaction{
		tx:       sqliteTx{readyTx{started, d.ready}},
		commit:   func() error { return errors.Join(started.Commit(), end()) },
		rollback: func() { _ = started.Rollback(); _ = end() },
		enqueue: func(ctx context.Context, jobs []river.InsertManyParams) error {
			_, err := d.client.InsertManyFastTx(ctx, started, jobs)
			return err
		},
		serialise: func(context.Context, ...string) error { return nil }, // there is one writer
	}, nil
}

// unsynced lets the connection commit without waiting for the disk until it is closed. The next commit that does wait makes it durable too: the
// log is written in order and synced as a whole (sqlite.org/pragma.html#pragma_synchronous). A connection that cannot be set back is thrown away.
func unsynced(conn *sql.Conn) (closed func() error, err error) {
	set := func(mode string) error {
		_, err := conn.ExecContext(context.Background(), "PRAGMA synchronous="+mode)
		if err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
			return fmt.Errorf("setting how commits are synced: %w", err)
		}
		return nil
	}
	if err := set("NORMAL"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return sync.OnceValue(func() error { return errors.Join(set("FULL"), conn.Close()) }), nil
}

func (d *sqliteDB) reader() tx { return sqliteTx{d.read} }

// severity follows SQLite's result codes: after a failed write or sync nobody knows what the file holds, while a full disk is rolled
// back cleanly (sqlite.org/rescode.html, sqlite.org/lang_transaction.html "Response to errors within a transaction").
func (d *sqliteDB) severity(err error) severity {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return harmless
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY:
		return fatal
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN:
		return passing
	default:
		return harmless
	}
}

func (d *sqliteDB) close() error {
	var errs []error
	for _, pool := range []*sql.DB{d.read, d.writer} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(append(errs, d.lock.Close())...)
}

// sqliteConn is what *sql.DB and *sql.Tx have in common.
type sqliteConn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readyTx is a transaction that uses the compiled statements where there are some.
type readyTx struct {
	*sql.Tx
	ready map[string]*sql.Stmt
}

func (t readyTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt, ok := t.ready[query]; ok {
		return t.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

func (t readyTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt, ok := t.ready[query]; ok {
		return t.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

type sqliteTx struct{ conn sqliteConn }

func (t sqliteTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t sqliteTx) Query(ctx context.Context, scan func(row) error, query string, args ...any) (err error) {
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t sqliteTx) QueryRow(ctx context.Context, dest []any, query string, args ...any) error {
	err := t.conn.QueryRowContext(ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRow
	}
	return err
}
