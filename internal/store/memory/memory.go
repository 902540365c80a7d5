// Package memory is the heart's store in the process: the same rows and the same promises as the databases of internal/store, without a
// disk. It is what the simulation runs on. Values are copied on their way in and out, so that nothing of a caller lives on in a row: a
// caller that dies loses exactly what it had not committed.
package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// Config says by which clock the rows live.
type Config struct {
	Now   func() time.Time // clock of leases and timers; nil: time.Now
	Lease time.Duration    // how long a run that is born here is claimed; 0: 15 s
}

const defaultLease = 15 * time.Second

// Store holds the rows. Several owners may work on it, each through its own View. Safe for concurrent use.
type Store struct {
	now   func() time.Time
	lease time.Duration

	mu sync.Mutex
	rows
}

// rows are never altered in place: a change puts a new value, and a transaction that fails puts the old ones back.
type rows struct {
	events   map[string]remediation.Event
	known    map[delivery]string // event by what its sender calls it
	rulings  map[place]remediation.Ruling
	runs     map[string]run
	stales   map[late]run // alerts that came too late for a run
	steps    map[string][]remediation.Step
	journal  map[string][]remediation.Entry
	outbox   map[string]remediation.Message
	acts     []guard.Act
	locks    map[string]string
	breakers map[bond]breaker.Row
	pauses   map[stop]guard.Pause
	debts    map[owed]remediation.Debt
	texts    map[string][]byte // rules by hash

	wants     map[string]guard.Want // by target
	storm     storm
	latches   map[owed]guard.Latch
	holds     map[incident]remediation.Hold
	marks     map[revision]remediation.Mark
	approvals map[string]remediation.Approval // by run

	chain    []remediation.Link
	replicas map[string]replica // by owner
	declared string             // hash of the rules that count where replicas differ

	feeds     map[string]feed
	sightings map[sighting]sources.Sighting
	alarms    map[alarm]remediation.Alarm
}

// storm is when a run was last refused for one, and when a human last ended one.
type storm struct{ seen, released time.Time }

// The keys of rows that one word does not identify.
type (
	delivery struct {
		at          time.Time
		source, key string
	}
	place struct {
		event string
		seq   int
	}
	bond struct{ rule, target string }
	late struct{ source, episode, target string }
	stop struct {
		scope guard.Scope
		name  string
	}
	owed     struct{ target, kind string }
	incident struct{ id, key string }
	revision struct{ target, name string }
	sighting struct {
		began           time.Time
		source, subject string
	}
	alarm struct {
		source string
		kind   remediation.AlarmKind
	}
)

// New makes an empty store.
func New(c Config) *Store {
	s := &Store{now: c.Now, lease: c.Lease, rows: rows{
		events: map[string]remediation.Event{}, known: map[delivery]string{}, rulings: map[place]remediation.Ruling{},
		runs: map[string]run{}, stales: map[late]run{}, steps: map[string][]remediation.Step{}, journal: map[string][]remediation.Entry{},
		outbox: map[string]remediation.Message{}, locks: map[string]string{}, breakers: map[bond]breaker.Row{},
		pauses: map[stop]guard.Pause{}, debts: map[owed]remediation.Debt{}, texts: map[string][]byte{},
		wants: map[string]guard.Want{}, latches: map[owed]guard.Latch{}, holds: map[incident]remediation.Hold{},
		marks: map[revision]remediation.Mark{}, approvals: map[string]remediation.Approval{},
		replicas: map[string]replica{},
		feeds:    map[string]feed{}, sightings: map[sighting]sources.Sighting{}, alarms: map[alarm]remediation.Alarm{},
	}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.lease <= 0 {
		s.lease = defaultLease
	}
	return s
}

// View is the store as one owner of leases sees it.
type View struct {
	*Store
	owner string
}

// View is all of the heart's stores, and what its gauges read.
var (
	_ remediation.Intake = (*View)(nil)
	_ remediation.Runs   = (*View)(nil)
	_ remediation.Outbox = (*View)(nil)
	_ remediation.Feeds  = (*View)(nil)
	_ remediation.Ledger = (*View)(nil)
)

// As gives the store to an owner of leases, such as one of several replicas. What is accepted by nobody is nobody's: "" is a process that
// takes in and does not work.
func (s *Store) As(owner string) *View { return &View{Store: s, owner: owner} }

// TakeOver is As for the next life of an owner that surely is dead: what it held is due at once.
func (s *Store) TakeOver(owner string) *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for id, r := range s.runs {
		if r.LeaseOwner == owner && !r.due.IsZero() {
			r.LeaseOwner, r.LeaseUntil, r.due = "", time.Time{}, now
			s.runs[id] = r
		}
	}
	return s.As(owner)
}

// transaction remembers how to take back what it has changed.
type transaction struct {
	*rows
	undo []func()
}

// write runs fn, all of whose changes hold or none: an error or a panic, as in the decisions it asks for, takes them back.
func (s *Store) write(ctx context.Context, fn func(*transaction) error) (err error) {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: beginning a transaction: %w", remediation.ErrUnavailable, cause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transaction{rows: &s.rows}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			t.rollback()
		}
	}()
	return fn(t)
}

func (t *transaction) rollback() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

// read runs fn on the rows as they are committed.
func (s *Store) read(ctx context.Context, fn func(*rows) error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("reading: %w", cause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn(&s.rows)
}

// put sets a row of a table.
func put[K comparable, V any](t *transaction, table map[K]V, key K, value V) {
	old, had := table[key]
	t.undo = append(t.undo, func() {
		if had {
			table[key] = old
		} else {
			delete(table, key)
		}
	})
	table[key] = value
}

// drop deletes the rows of a table that fn chooses, and counts them.
func drop[K comparable, V any](t *transaction, table map[K]V, fn func(K) bool) int {
	n := 0
	for key, old := range table {
		if fn(key) {
			t.undo = append(t.undo, func() { table[key] = old })
			delete(table, key)
			n++
		}
	}
	return n
}

// find reads a row, remediation.ErrNotFound if there is none.
func find[V any](table map[string]V, what, id string) (V, error) {
	v, ok := table[id]
	if !ok {
		return v, fmt.Errorf("reading %s %s: %w", what, id, remediation.ErrNotFound)
	}
	return v, nil
}

// unavailable marks an error of the intake, after which a sender must keep its delivery.
func unavailable(err error) error {
	if err == nil || errors.Is(err, remediation.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: storing a delivery: %w", remediation.ErrUnavailable, err)
}
