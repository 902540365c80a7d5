package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/mixillo/remediator/internal/remediation"
)

const insertEventSQL = `INSERT INTO events (id, source, dedup_key, type, received_at, occurred_at, state, note, rules_hash, attempts, wake_at, delivery, body, packed)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`

// insertion is the statement that stores an event, unless the sender's id of it is known.
func insertion(e remediation.Event, packed bool) (statement, error) {
	delivery := ""
	if e.State == remediation.EventPending {
		var err error
		if delivery, err = encode(e.Delivery); err != nil {
			return statement{}, err
		}
	}
	return statement{insertEventSQL, []any{e.ID, e.Source, e.DedupKey, e.Type, micros(e.ReceivedAt), micros(e.OccurredAt),
		string(e.State), e.Note, e.RulesHash, e.Attempts, micros(e.WakeAt), delivery, e.Body, flag(packed)}}, nil
}

// insertEvents stores the deliveries that are new to the store and tells of each whether it was.
func insertEvents(ctx context.Context, t *transaction, batch []*waiting) (fresh map[*waiting]bool, err error) {
	var (
		all   []statement
		whose []*waiting
	)
	for _, w := range batch {
		if w.acceptance.Looked || w.acceptance.Again != "" {
			continue
		}
		one, err := insertion(w.acceptance.Event, w.packed)
		if err != nil {
			return nil, err
		}
		all, whose = append(all, one), append(whose, w)
	}
	counts, err := t.execAll(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("inserting events: %w", err)
	}
	fresh = make(map[*waiting]bool, len(counts))
	for i, n := range counts {
		fresh[whose[i]] = n == 1
	}
	return fresh, nil
}

// knownEvent finds the id under which a repeated delivery is stored.
func knownEvent(ctx context.Context, t tx, e remediation.Event) (string, error) {
	var id string
	err := t.QueryRow(ctx, []any{&id}, `SELECT id FROM events WHERE occurred_at = $1 AND source = $2 AND dedup_key = $3 AND dedup_key <> ''`,
		micros(e.OccurredAt), e.Source, e.DedupKey)
	if err != nil {
		return "", fmt.Errorf("finding the event that %s repeats: %w", e.ID, err)
	}
	return id, nil
}

// completeEvent ends the look-up of a pending event. It reports false when that has been done.
func completeEvent(ctx context.Context, t tx, e remediation.Event) (bool, error) {
	delivery, err := encode(e.Delivery)
	if err != nil {
		return false, err
	}
	n, err := t.Exec(ctx, `UPDATE events SET state = $1, note = $2, rules_hash = $3, attempts = $4, wake_at = 0, delivery = $5
		WHERE id = $6 AND state = 'pending'`, string(e.State), e.Note, e.RulesHash, e.Attempts, delivery, e.ID)
	if err != nil {
		return false, fmt.Errorf("completing event %s: %w", e.ID, err)
	}
	return n == 1, nil
}

// Event reads one event with its body; its delivery is kept only where it had, or has, to be looked up: another body says it all.
// remediation.ErrNotFound if there is none.
func (s *Store) Event(ctx context.Context, id string) (remediation.Event, error) {
	var (
		e                         remediation.Event
		received, occurred, wakes int64
		packed                    int64
		delivery                  string
	)
	err := s.db.reader().QueryRow(ctx, []any{&e.ID, &e.Source, &e.DedupKey, &e.Type, &received, &occurred, &e.State, &e.Note, &e.RulesHash,
		&e.Attempts, &wakes, &delivery, &e.Body, &packed},
		`SELECT id, source, dedup_key, type, received_at, occurred_at, state, note, rules_hash, attempts, wake_at, delivery, body, packed
		FROM events WHERE id = $1`, id)
	if err != nil {
		return e, fmt.Errorf("reading event %s: %w", id, absent(err))
	}
	if e.Body, err = s.bodyOf(ctx, e, packed != 0); err != nil {
		return e, fmt.Errorf("reading the body of event %s: %w", id, err)
	}
	e.ReceivedAt, e.OccurredAt, e.WakeAt = fromMicros(received), fromMicros(occurred), fromMicros(wakes)
	if delivery == "" {
		return e, nil
	}
	return e, decode(delivery, &e.Delivery)
}

// Postpone records a look-up that failed and asks for another one at a time. remediation.ErrNotFound when the event is not pending.
func (s *Store) Postpone(ctx context.Context, id string, until time.Time, why string) error {
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		n, err := t.Exec(ctx, `UPDATE events SET attempts = attempts + 1, wake_at = $1, note = $2 WHERE id = $3 AND state = 'pending'`,
			micros(until), why, id)
		if err == nil && n == 0 {
			err = remediation.ErrNotFound
		}
		if err != nil {
			return err
		}
		return t.enqueue(ctx, []river.InsertManyParams{backstop(matchArgs{Event: id}, until)})
	})
	if err != nil {
		return fmt.Errorf("postponing event %s: %w", id, err)
	}
	s.crew.offerAfter(task{kind: matchTask, event: id}, until.Sub(s.Now()))
	return nil
}

// askAlone is how long a look-up is left to the process that began it: every other would ask the same.
const askAlone = 5 * time.Second

// reserve keeps a pending event from other processes for a while. It reports false when another has it, or it is not due yet.
func (s *Store) reserve(ctx context.Context, id string) (bool, error) {
	if !s.shared {
		return true, nil
	}
	var n int64
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) (err error) {
		now := s.Now()
		n, err = t.Exec(ctx, `UPDATE events SET wake_at = $1 WHERE id = $2 AND state = 'pending' AND wake_at <= $3`,
			micros(now.Add(askAlone)), id, micros(now))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reserving event %s: %w", id, err)
	}
	return n == 1, nil
}

const upsertRulingSQL = `INSERT INTO rulings (event, seq, run, rule, target, mode, verdict, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
	ON CONFLICT (event, seq) DO UPDATE SET run = excluded.run, verdict = excluded.verdict, detail = excluded.detail`

func upsertRuling(ctx context.Context, t tx, r remediation.Ruling) error {
	_, err := t.Exec(ctx, upsertRulingSQL, r.Event, r.Seq, r.Run, r.Rule, r.Target, r.Mode, string(r.Verdict), r.Detail)
	if err != nil {
		return fmt.Errorf("storing the ruling of %s on event %s: %w", r.Rule, r.Event, err)
	}
	return nil
}

func scanRuling(r row) (u remediation.Ruling, err error) {
	err = r.Scan(&u.Event, &u.Seq, &u.Run, &u.Rule, &u.Target, &u.Mode, &u.Verdict, &u.Detail)
	return u, err
}

// EventRulings reads the verdicts on an event, in their order.
func (s *Store) EventRulings(ctx context.Context, event string) ([]remediation.Ruling, error) {
	all, err := list(ctx, s.db.reader(), scanRuling, selectRulings+` WHERE event = $1 ORDER BY seq`, event)
	if err != nil {
		return nil, fmt.Errorf("reading the rulings on event %s: %w", event, err)
	}
	return all, nil
}

const selectRulings = `SELECT event, seq, run, rule, target, mode, verdict, detail FROM rulings`

// absent turns "no row" into the word callers know.
func absent(err error) error {
	if errors.Is(err, errNoRow) {
		return remediation.ErrNotFound
	}
	return err
}
