package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// postgresDB is a database that any number of processes share.
type postgresDB struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

const (
	poolSize    = 16
	dialTimeout = 5 * time.Second
	// transactionTimeout is how long a transaction may take, from its first statement to its last: a server that does not answer any more
	// must not keep a visit beyond its lease, nor the intake for ever.
	transactionTimeout = 10 * time.Second
	// pausedAfter is when the server gives up a transaction whose process says nothing. A process that is stopped in the middle of one
	// holds its locks, and with them everybody.
	pausedAfter = 3 * time.Second
	// lockTimeout leaves a transaction the time to say that it waited in vain.
	lockTimeout = 8 * time.Second
)

// openPostgres opens and migrates the database.
func openPostgres(ctx context.Context, dsn string, q *river.Config) (backend, error) {
	config, err := poolConfig(dsn)
	if err != nil {
		return backend{}, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return backend{}, fmt.Errorf("opening the database: %w", err)
	}
	db := &postgresDB{pool: pool}
	clock := &serverClock{ask: db.askTime}
	if err = db.prepare(ctx, q); err == nil {
		err = clock.set(ctx)
	}
	if err != nil {
		return backend{}, errors.Join(err, db.close())
	}
	return backend{database: db, queue: db.client, clock: clock, shared: true}, nil
}

// poolConfig never tells what it could not read: an address may hold a password. That is read again for each connection, so that it
// can be rotated.
func poolConfig(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the address of the database cannot be read: want postgres://USER@HOST:PORT/DATABASE, with passfile=FILE for a password")
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = dialTimeout
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		if fresh, err := pgxpool.ParseConfig(dsn); err == nil {
			c.Password = fresh.ConnConfig.Password
		}
		return nil
	}
	config.AfterConnect = settle
	return config, nil
}

// settle makes a session safe whatever the server's defaults are: a commit is on the disk when it returns, and a transaction whose
// process was stopped ends.
func settle(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('idle_in_transaction_session_timeout', $1, false),
		set_config('lock_timeout', $2, false), set_config('application_name', 'remediator', false),
		CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`,
		fmt.Sprint(pausedAfter.Milliseconds()), fmt.Sprint(lockTimeout.Milliseconds()))
	return err
}

// migrationKey is the advisory lock under which one process at a time changes the tables.
const migrationKey = 0x72656d65646961 // "remedia"

func (d *postgresDB) prepare(ctx context.Context, q *river.Config) error {
	driver := riverpgxv5.New(d.pool)
	if err := d.alone(ctx, func() error {
		db := stdlib.OpenDBFromPool(d.pool)
		return errors.Join(migrate(ctx, goose.DialectPostgres, db, driver), db.Close())
	}); err != nil {
		return err
	}
	var err error
	d.client, err = newClient(driver, q)
	return err
}

// alone runs fn while no other process runs one. The lock goes with its connection, so with the process.
func (d *postgresDB) alone(ctx context.Context, fn func() error) error {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	own := conn.Hijack()
	defer func() { _ = own.Close(context.WithoutCancel(ctx)) }()
	if _, err := own.Exec(ctx, `SET lock_timeout = 0`); err != nil {
		return fmt.Errorf("waiting for other processes: %w", err)
	}
	if _, err := own.Exec(ctx, `SELECT pg_advisory_lock($1)`, migrationKey); err != nil {
		return fmt.Errorf("waiting for other processes: %w", err)
	}
	return fn()
}

func (d *postgresDB) begin(ctx context.Context, _ bool) (*transaction, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, lost{err}
	}
	until := time.Now().Add(transactionTimeout)
	limited, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	started, err := conn.BeginTx(limited, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		conn.Release()
		return nil, lost{err}
	}
	t := &pgTransaction{pgTx: pgTx{conn: started, until: until}, tx: started, conn: conn, client: d.client, kept: &pgx.Batch{}}
	return &transaction{tx: t, commit: t.commit, rollback: t.rollback, enqueue: t.enqueue, serialise: t.serialise}, nil
}

func (d *postgresDB) reader() tx { return pgTx{conn: d.pool} }

func (d *postgresDB) close() error {
	d.pool.Close()
	return nil
}

// severity follows PostgreSQL's codes (postgresql.org/docs/current/errcodes-appendix.html). What lost its connection may pass; whoever
// asked for it starts from the rows again, as the end of a commit may be unknown.
func (d *postgresDB) severity(err error) severity {
	var failure *pgconn.PgError
	if !errors.As(err, &failure) {
		failure = &pgconn.PgError{}
	}
	if failure.Severity == "PANIC" || slices.Contains(corrupt(), failure.Code) {
		return fatal
	}
	if errors.As(err, new(lost)) || slices.ContainsFunc(mayPass(), func(class string) bool { return strings.HasPrefix(failure.Code, class) }) {
		return passing
	}
	return harmless
}

// corrupt are the codes after which nobody knows what the disk holds: a file that cannot be read or written, data or an index that is
// broken.
func corrupt() []string { return []string{"58030", "XX001", "XX002"} }

// mayPass are classes and codes of what is not the statement's fault: connections, transactions that were in each other's way or stood
// still, disk or memory full, a server that stops or only reads, one whose accounts are being changed.
func mayPass() []string { return []string{"08", "25006", "25P03", "28", "40", "53", "55P03", "57"} }
