package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// WorkerRole is the role of a process that works on what the rows ask for. Roles of other names mean nothing to the store.
const WorkerRole = "worker"

const (
	// deadAfter is how long a replica may be silent: longer than a server that recovers, or a process that is short of time.
	deadAfter = 15 * time.Second
	// forgottenAfter is when the row of a dead replica is dropped.
	forgottenAfter = time.Hour
)

// Replica is a process that shares the database.
type Replica struct {
	Owner     string    `json:"owner"`
	Roles     []string  `json:"roles"`
	RulesHash string    `json:"rules_hash"`
	SeenAt    time.Time `json:"seen_at"`
}

// DeclaredRules are the rules that a person declared to hold where replicas differ.
type DeclaredRules struct {
	Hash  string    `json:"hash"`
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
}

// works tells whether a process of these roles visits; none named are all.
func works(roles []string) bool { return len(roles) == 0 || slices.Contains(roles, WorkerRole) }

// SetRulesHash tells the other replicas by which rules this process works. No intent after it misses that, so it is called before Start
// and before rules are put in force.
func (s *Store) SetRulesHash(ctx context.Context, hash string) error {
	s.mu.Lock()
	s.rulesHash = hash
	s.mu.Unlock()
	if _, err := s.change(ctx, upsertReplica, s.presence()...); err != nil {
		return fmt.Errorf("telling the rules %s to other replicas: %w", hash, err)
	}
	return nil
}

const upsertReplica = `INSERT INTO replicas (owner, roles, rules_hash, seen_at) VALUES ($1, $2, $3, $4)
	ON CONFLICT (owner) DO UPDATE SET roles = excluded.roles, rules_hash = excluded.rules_hash, seen_at = excluded.seen_at`

func (s *Store) presence() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []any{s.owner, strings.Join(s.roles, ","), s.rulesHash, micros(s.Now())}
}

// beat shows that this process lives, and forgets those that have not for long.
func (s *Store) beat(ctx context.Context) error {
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		if _, err := t.Exec(ctx, upsertReplica, s.presence()...); err != nil {
			return err
		}
		_, err := t.Exec(ctx, `DELETE FROM replicas WHERE seen_at < $1`, micros(s.Now().Add(-forgottenAfter)))
		return err
	})
	if err != nil {
		return fmt.Errorf("showing that this process lives: %w", err)
	}
	return nil
}

// leave takes this process off the list: its rules count no more. If that fails, it is dead to the others in deadAfter.
func (s *Store) leave(ctx context.Context) {
	if !s.shared || s.Err() != nil {
		return
	}
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		_, err := t.Exec(ctx, `DELETE FROM replicas WHERE owner = $1`, s.owner)
		return err
	})
	if err != nil {
		s.log.Warn("leaving the list of replicas", "error", err)
	}
}

// Replicas lists the processes that live, by their names. This one is among them once it has told its rules.
func (s *Store) Replicas(ctx context.Context) ([]Replica, error) {
	return readReplicas(ctx, s.db.reader(), s.owner, s.Now())
}

// readReplicas counts the asking process among the living: it is.
func readReplicas(ctx context.Context, t tx, owner string, now time.Time) ([]Replica, error) {
	all, err := list(ctx, t, func(r row) (p Replica, err error) {
		var (
			roles string
			seen  int64
		)
		err = r.Scan(&p.Owner, &roles, &p.RulesHash, &seen)
		p.SeenAt = fromMicros(seen)
		if roles != "" {
			p.Roles = strings.Split(roles, ",")
		}
		return p, err
	}, `SELECT owner, roles, rules_hash, seen_at FROM replicas WHERE seen_at > $1 OR owner = $2 ORDER BY owner`,
		micros(now.Add(-deadAfter)), owner)
	if err != nil {
		return nil, fmt.Errorf("reading the replicas: %w", err)
	}
	return all, nil
}

// DeclareRules says which rules hold where replicas differ; the former declaration is replaced, and "" takes it back.
func (s *Store) DeclareRules(ctx context.Context, hash, actor string) error {
	query, args := `INSERT INTO current_rules (id, hash, actor, at) VALUES (1, $1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, actor = excluded.actor, at = excluded.at`, []any{hash, actor, micros(s.Now())}
	if hash == "" {
		query, args = `DELETE FROM current_rules`, nil
	}
	if _, err := s.change(ctx, query, args...); err != nil {
		return fmt.Errorf("declaring the rules %s: %w", hash, err)
	}
	return nil
}

// DeclaredRules reads the declaration; zero when there is none.
func (s *Store) DeclaredRules(ctx context.Context) (DeclaredRules, error) {
	return readDeclared(ctx, s.db.reader())
}

func readDeclared(ctx context.Context, t tx) (DeclaredRules, error) {
	var (
		d  DeclaredRules
		at int64
	)
	err := t.QueryRow(ctx, []any{&d.Hash, &d.Actor, &at}, `SELECT hash, actor, at FROM current_rules`)
	if err != nil && !errors.Is(err, errNoRow) {
		return d, fmt.Errorf("reading which rules were declared: %w", err)
	}
	d.At = fromMicros(at)
	return d, nil
}

// self is this process among those that may share the rows.
type self struct {
	owner  string
	shared bool
}

func (s *Store) self() self { return self{owner: s.owner, shared: s.shared} }

// agreement tells whether the replicas that work go by the same rules; a process that has its rows to itself agrees.
func (me self) agreement(ctx context.Context, t tx, q remediation.SnapshotQuery) (guard.Agreement, error) {
	a := guard.Agreement{Own: q.RulesHash}
	if !me.shared || q.RulesHash == "" {
		return a, nil
	}
	var err error
	a.Live, a.Current, err = readAgreement(ctx, t, me.owner, q.Now)
	return a, err
}

// readAgreement gives the hashes by which the living workers work, each once, and the hash that was declared to hold.
func readAgreement(ctx context.Context, t tx, owner string, now time.Time) (hashes []string, declared string, err error) {
	replicas, err := readReplicas(ctx, t, owner, now)
	if err != nil {
		return nil, "", err
	}
	for _, r := range replicas {
		if works(r.Roles) && r.RulesHash != "" {
			hashes = append(hashes, r.RulesHash)
		}
	}
	slices.Sort(hashes)
	d, err := readDeclared(ctx, t)
	return slices.Compact(hashes), d.Hash, err
}
