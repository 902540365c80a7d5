package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/mixillo/remediator/internal/remediation"
)

// insertMessages puts messages into the outbox, ignoring those that are there, and names the lanes to visit.
func insertMessages(ctx context.Context, t tx, messages []remediation.Message, backstopAt time.Time) ([]task, []river.InsertManyParams, error) {
	var (
		tasks []task
		jobs  []river.InsertManyParams
		seen  = map[remediation.Lane]bool{}
	)
	for _, m := range messages {
		if err := insertMessage(ctx, t, m); err != nil {
			return nil, nil, err
		}
		lane := remediation.Lane{Run: m.Run, Channel: m.Channel}
		if seen[lane] {
			continue
		}
		seen[lane] = true
		tasks = append(tasks, task{kind: deliverTask, lane: lane})
		jobs = append(jobs, backstop(deliverArgs{Run: lane.Run, Channel: lane.Channel}, later(m.NotBefore, backstopAt)))
	}
	return tasks, jobs, nil
}

func insertMessage(ctx context.Context, t tx, m remediation.Message) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	_, err = t.Exec(ctx, `INSERT INTO outbox (id, run, channel, seq, state, attempts, not_before, remote_id, error, ended_at, data)
		VALUES ($1, $2, $3, $4, 'queued', 0, $5, '', '', 0, $6) ON CONFLICT (id) DO NOTHING`,
		m.ID, m.Run, string(m.Channel), m.Seq, micros(m.NotBefore), data)
	if err != nil {
		return fmt.Errorf("putting message %s into the outbox: %w", m.ID, err)
	}
	return nil
}

const selectMessages = `SELECT data, state, attempts, not_before, remote_id, error, ended_at FROM outbox`

func scanMessage(r row) (remediation.Message, error) {
	var (
		m           remediation.Message
		data        string
		state       remediation.MessageState
		attempts    int
		before, end int64
		remote, why string
	)
	if err := r.Scan(&data, &state, &attempts, &before, &remote, &why, &end); err != nil {
		return m, err
	}
	err := decode(data, &m)
	m.State, m.Attempts, m.NotBefore, m.RemoteID, m.Error, m.EndedAt = state, attempts, fromMicros(before), remote, why, fromMicros(end)
	return m, err
}

// Next takes the lane's first queued message if its time has come; one that waits holds back the later ones. The attempt is counted,
// and the message kept from others for the lease, before Next returns.
func (s *Store) Next(ctx context.Context, l remediation.Lane, now time.Time, lease time.Duration) (m remediation.Message, thread string, ok bool, err error) {
	if _, waiting, err := firstQueued(ctx, s.db.reader(), l, now); err != nil || !waiting {
		return m, "", false, err
	}
	err = s.write(ctx, writeOutbox, func(ctx context.Context, t *transaction) (err error) {
		if err := t.serialise(ctx, laneKeys(l)...); err != nil {
			return err
		}
		if m, ok, err = firstQueued(ctx, t, l, now); err != nil || !ok {
			return err
		}
		if thread, ok, err = threadOf(ctx, t, m); err != nil || !ok {
			return err
		}
		return begin(ctx, t, &m, thread, now.Add(lease))
	})
	if err != nil || !ok {
		return remediation.Message{}, "", false, err
	}
	return m, thread, true, nil
}

func firstQueued(ctx context.Context, t tx, l remediation.Lane, now time.Time) (remediation.Message, bool, error) {
	first, err := list(ctx, t, scanMessage, selectMessages+` WHERE run = $1 AND channel = $2 AND state = 'queued' ORDER BY seq, id LIMIT 1`,
		l.Run, string(l.Channel))
	if err != nil {
		return remediation.Message{}, false, fmt.Errorf("reading the outbox of run %s: %w", l.Run, err)
	}
	if len(first) == 0 || first[0].NotBefore.After(now) {
		return remediation.Message{}, false, nil
	}
	if held, err := overtakes(ctx, t, first[0]); err != nil || held {
		return remediation.Message{}, false, err
	}
	return first[0], true, nil
}

// overtakes reports whether the message's channel still has something to tell of the run that comes first; the sweep looks again.
func overtakes(ctx context.Context, t tx, m remediation.Message) (bool, error) {
	if m.After == "" {
		return false, nil
	}
	var n int
	err := t.QueryRow(ctx, []any{&n}, `SELECT count(*) FROM outbox WHERE run = $1 AND channel = $2 AND state = 'queued'`, m.After, string(m.Channel))
	if err != nil {
		return false, fmt.Errorf("reading what run %s has to tell first: %w", m.After, err)
	}
	return n > 0, nil
}

// End records how a message ended, or until when it waits; what has ended stays so. remediation.ErrNotFound for an unknown id.
func (s *Store) End(ctx context.Context, e remediation.Sent) error {
	var (
		lane remediation.Lane
		wake time.Time
	)
	err := s.write(ctx, writeOutbox, func(ctx context.Context, t *transaction) (err error) {
		if lane, err = endMessage(ctx, t, e); err != nil {
			return err
		}
		if e.State != remediation.MessageQueued {
			return nil
		}
		wake = e.NotBefore
		return t.enqueue(ctx, []river.InsertManyParams{backstop(deliverArgs{Run: lane.Run, Channel: lane.Channel}, later(wake, s.Now().Add(s.lease)))})
	})
	if err != nil {
		return fmt.Errorf("recording the end of message %s: %w", e.ID, err)
	}
	if !wake.IsZero() {
		s.crew.offerAfter(task{kind: deliverTask, lane: lane}, wake.Sub(s.Now()))
	}
	return nil
}

func endMessage(ctx context.Context, t tx, e remediation.Sent) (l remediation.Lane, err error) {
	ended := e.At
	if e.State == remediation.MessageQueued {
		ended = time.Time{}
	}
	_, err = t.Exec(ctx, `UPDATE outbox SET state = $1, remote_id = $2, error = $3, ended_at = $4, not_before = $5 WHERE id = $6 AND state = 'queued'`,
		string(e.State), e.RemoteID, e.Error, micros(ended), micros(e.NotBefore), e.ID)
	if err != nil {
		return l, err
	}
	err = t.QueryRow(ctx, []any{&l.Run, &l.Channel}, `SELECT run, channel FROM outbox WHERE id = $1`, e.ID)
	return l, absent(err)
}

// OtherRuns counts the other runs of the message's incident that keep it from being over; see countSiblings. The incident
// that the message names goes before the one that its run is known to be about.
func (s *Store) OtherRuns(ctx context.Context, m remediation.Message) (int, error) {
	r := s.db.reader()
	own, err := readOwn(ctx, r, m.Run)
	if errors.Is(err, remediation.ErrNotFound) {
		own.Related = remediation.Related{IncidentID: m.IncidentID, IncidentKey: m.IncidentKey}
	} else if err != nil {
		return 0, err
	}
	own.IncidentID = cmp.Or(m.IncidentID, own.IncidentID)
	return countSiblings(ctx, r, own)
}
