package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/remediation"
)

// Config says where the rows are and who works on them.
type Config struct {
	DSN        string                // "sqlite:PATH", or "postgres://…" as libpq takes it
	Registerer prometheus.Registerer // nil: no metrics are shown
	Log        *slog.Logger          // nil: slog.Default
	Owner      string                // name of this process in leases; must not be empty
	Lease      time.Duration         // how long a run that is born here is claimed; 0: DefaultLease
	Roles      []string              // what this process does; nil: everything. Without WorkerRole it works on nothing
	Now        func() time.Time      // clock of leases and timers; nil: PostgreSQL's, or this process's with SQLite
	// Retention is asked anew for every round, so that a reload is followed; nil: the defaults.
	Retention func() remediation.Retention
}

// DefaultLease lets the runs of a dead process be taken over within 15 s: the sweep and the claim take the rest.
const DefaultLease = 12 * time.Second

// Store keeps the rows and drives the queue. Safe for concurrent use.
type Store struct {
	owner   string
	lease   time.Duration
	roles   []string
	log     *slog.Logger
	db      database
	queue   queue
	clock   clock
	shared  bool
	crew    *crew
	metrics metrics

	retention func() remediation.Retention
	retainAt  time.Time                        // the next round of retention; the sweep's alone
	fleet     atomic.Pointer[remediation.Link] // the head of the fleet's chain as the sweep last saw it

	packers  packers
	intake   chan *waiting
	closing  chan struct{}
	accepted sync.WaitGroup // the intake's goroutine

	mu     sync.Mutex
	err    error // why it is broken
	broken chan error
	roads  *roads // nil until Start
	closed bool

	rulesHash string // by which this process works, as it said
}

// Store is all of the heart's stores, and what its gauges read.
var (
	_ remediation.Intake = (*Store)(nil)
	_ remediation.Runs   = (*Store)(nil)
	_ remediation.Outbox = (*Store)(nil)
	_ remediation.Feeds  = (*Store)(nil)
	_ remediation.Ledger = (*Store)(nil)
)

// Open opens and migrates the database; any number of processes may do so at once with PostgreSQL, while a second one on the same
// SQLite file gets an error. What an earlier process left unfinished is due at once in SQLite, and when its leases are over in
// PostgreSQL. The caller closes the store.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Owner == "" {
		return nil, errors.New("opening the store: no owner for leases is given")
	}
	s := newStore(c)
	if err := s.metrics.register(c.Registerer); err != nil {
		return nil, err
	}
	b, err := openBackend(ctx, c.DSN, s.queueConfig())
	if err != nil {
		return nil, err
	}
	s.db, s.queue, s.shared = b.database, b.queue, b.shared
	if c.Now == nil {
		s.clock = b.clock
	}
	s.accepted.Go(s.acceptAll)
	return s, nil
}

// openBackend is the only place that asks which database it is.
func openBackend(ctx context.Context, dsn string, q *river.Config) (backend, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch {
	case scheme == "sqlite" && rest != "":
		return openSQLite(ctx, rest, q)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, dsn, q)
	default:
		return backend{}, errors.New("unsupported database: want sqlite:PATH or postgres://…")
	}
}

func newStore(c Config) *Store {
	s := &Store{
		owner: c.Owner, lease: c.Lease, roles: c.Roles, clock: processClock(c.Now), log: c.Log,
		metrics: newMetrics(), retention: c.Retention,
		packers: newPackers(),
		intake:  make(chan *waiting, maxBatch),
		closing: make(chan struct{}),
		broken:  make(chan error, 1),
	}
	if s.lease <= 0 {
		s.lease = DefaultLease
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.retention == nil {
		s.retention = func() remediation.Retention { return remediation.Retention{} }
	}
	s.crew = newCrew(s.visit)
	s.crew.deaf = !works(c.Roles)
	return s
}

// Now is the time by which leases, timers and budgets are judged: the same in all processes of one database.
func (s *Store) Now() time.Time { return s.clock.now() }

// Close stops what runs without waiting for visits (see Stop) and closes the database. Acceptances that wait are refused.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	err := s.halt(ctx)
	close(s.closing)
	s.accepted.Wait()
	return errors.Join(err, s.db.close())
}

const closeWait = 5 * time.Second

// Broken gives one error when the store can keep nothing any more and the process should exit for a clean restart.
func (s *Store) Broken() <-chan error { return s.broken }

// Err says why the store is broken, nil while it is not.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// breakDown stops all writing: what the disk holds is not known any more.
func (s *Store) breakDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.broken <- err
	s.log.Error("the store is broken and accepts nothing any more", "error", err)
}

var (
	// errNoTransaction marks what was not even begun.
	errNoTransaction = errors.New("beginning a transaction")
	// errCommit marks a transaction that failed in its COMMIT.
	errCommit = errors.New("committing")
)

// write runs fn in one transaction. ctx ends only the wait for the transaction: once begun it is carried through, so that its end is
// never unknown because a caller went away. Errors of the database that are not fn's own fault wrap remediation.ErrUnavailable.
// A panic in fn, as in the decisions it asks for, is an error like another: what cannot be judged is not stored.
func (s *Store) write(ctx context.Context, kind writeKind, fn func(ctx context.Context, t *transaction) error) (err error) {
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w: the store is broken: %w", remediation.ErrUnavailable, errNoTransaction, err)
	}
	t, err := s.db.begin(ctx, kind != writeBody)
	if err != nil {
		return fmt.Errorf("%w: %w: %w", remediation.ErrUnavailable, errNoTransaction, s.judged(err))
	}
	defer t.rollback()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	err = fn(context.WithoutCancel(ctx), t)
	if err == nil {
		_, err = t.execAll(context.WithoutCancel(ctx), nil) // what was left to be carried out later
	}
	if err != nil {
		return s.judged(err)
	}
	failpoint.Here("store." + string(kind) + ".before_commit")
	if err := t.commit(); err != nil {
		if s.db.severity(err) != passing {
			s.breakDown(fmt.Errorf("the end of a commit is unknown: %w", err))
		}
		return fmt.Errorf("%w: %w: %w", remediation.ErrUnavailable, errCommit, err)
	}
	failpoint.Here("store." + string(kind) + ".after_commit")
	s.metrics.commits.WithLabelValues(string(kind)).Inc()
	return nil
}

// judged breaks the store on a fatal error and marks what makes it unavailable.
func (s *Store) judged(err error) error {
	switch s.db.severity(err) {
	case fatal:
		s.breakDown(err)
		return fmt.Errorf("%w: %w", remediation.ErrUnavailable, err)
	case passing:
		return fmt.Errorf("%w: %w", remediation.ErrUnavailable, err)
	default:
		return err
	}
}
