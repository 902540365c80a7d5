package store

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// linkLimit is how many runs one sweep links: a storm's runs wait a little, and no transaction is long.
const linkLimit = 500

// chainKey is held by who links.
const chainKey = "chain"

const (
	selectLinks = `SELECT seq, run, head, entries, at, prev, hash, pruned_at FROM chain`
	unlinkedSQL = `SELECT data FROM runs WHERE state = 'done' AND linked = 0 ORDER BY id LIMIT $1`
)

func scanLink(r row) (l remediation.Link, err error) {
	var at, pruned int64
	err = r.Scan(&l.Seq, &l.Run, &l.Head, &l.Entries, &at, &l.Prev, &l.Hash, &pruned)
	l.At, l.PrunedAt = fromMicros(at), fromMicros(pruned)
	return l, err
}

// newestLink is the head of the fleet's chain; the zero Link when nothing was linked yet.
func newestLink(ctx context.Context, t tx) (remediation.Link, error) {
	newest, err := list(ctx, t, scanLink, selectLinks+` ORDER BY seq DESC LIMIT 1`)
	if err != nil {
		return remediation.Link{}, fmt.Errorf("reading the head of the fleet's chain: %w", err)
	}
	if len(newest) == 0 {
		return remediation.Link{}, nil
	}
	return newest[0], nil
}

// LinkDone links runs that have ended into the fleet's chain, in the order of their ids, and reports how many; at most a few hundred, so
// that more may be left. Any replica may ask at any time: of several at once one links, and the others find nothing left.
func (s *Store) LinkDone(ctx context.Context, now time.Time) (int, error) {
	waiting, err := list(ctx, s.db.reader(), scanJSON[remediation.Run], unlinkedSQL, 1)
	if err != nil {
		return 0, fmt.Errorf("reading what is to be linked: %w", err)
	}
	linked := 0
	if len(waiting) > 0 {
		err = s.write(ctx, writeChain, func(ctx context.Context, t *transaction) (err error) {
			if err = t.serialise(ctx, chainKey); err == nil {
				linked, err = link(ctx, t, now)
			}
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	head, err := newestLink(ctx, s.db.reader())
	if err != nil {
		return linked, err
	}
	s.fleet.Store(&head)
	s.metrics.chain.Set(float64(head.Seq))
	return linked, nil
}

func link(ctx context.Context, t tx, now time.Time) (int, error) {
	head, err := newestLink(ctx, t)
	if err != nil {
		return 0, err
	}
	runs, err := list(ctx, t, scanJSON[remediation.Run], unlinkedSQL, linkLimit)
	if err != nil {
		return 0, fmt.Errorf("reading what is to be linked: %w", err)
	}
	for _, run := range runs {
		head = head.Next(run, now)
		if err := insertLink(ctx, t, head); err != nil {
			return 0, err
		}
	}
	return len(runs), nil
}

func insertLink(ctx context.Context, t tx, l remediation.Link) error {
	_, err := t.Exec(ctx, `INSERT INTO chain (seq, run, head, entries, at, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		l.Seq, l.Run, l.Head, l.Entries, micros(l.At), l.Prev, l.Hash)
	if err == nil {
		_, err = t.Exec(ctx, `UPDATE runs SET linked = 1 WHERE id = $1`, l.Run)
	}
	if err != nil {
		return fmt.Errorf("linking run %s: %w", l.Run, err)
	}
	return nil
}

// withFleet adds the head of the fleet's chain to a claim, without asking the database: the sweep has just seen it.
func (s *Store) withFleet(c remediation.Claimed, err error) (remediation.Claimed, error) {
	if head := s.fleet.Load(); head != nil {
		c.Fleet = head.Anchor()
	}
	return c, err
}

// linkLast links what ended while the queue was stopped, so that the file that is left holds together by itself.
func (s *Store) linkLast(ctx context.Context) {
	for ctx.Err() == nil && s.Err() == nil {
		n, err := s.LinkDone(ctx, s.Now())
		if err != nil {
			s.log.Warn("linking the last runs", "error", err)
		}
		if err != nil || n < linkLimit {
			return
		}
	}
}

// tend keeps the records: it links the runs that have ended and, once in a while, drops what need not be kept, a little with each sweep
// until nothing is left. It belongs to the sweep alone.
func (s *Store) tend(ctx context.Context) error {
	now := s.Now()
	if _, err := s.LinkDone(ctx, now); err != nil {
		return err
	}
	if now.Before(s.retainAt) {
		return nil
	}
	more, err := s.Retain(ctx, s.retention(), now)
	if err != nil || !more {
		s.retainAt = now.Add(retainEvery)
		s.log.Info("the records were tended", "fleet_head", s.fleet.Load().Anchor().String())
	}
	return err
}
