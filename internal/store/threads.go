package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// threadsKey serialises those who may begin a thread in Slack: two runs of one incident must not begin one each.
const threadsKey = "threads"

func laneKeys(l remediation.Lane) []string {
	keys := []string{"lane:" + l.Run + "/" + string(l.Channel)}
	if l.Channel == remediation.Slack {
		keys = append(keys, threadsKey)
	}
	return keys
}

// begin counts an attempt at a message, keeps it from others for a time, and notes the thread in Slack that it is told in.
func begin(ctx context.Context, t tx, m *remediation.Message, thread string, until time.Time) error {
	m.Attempts, m.NotBefore = m.Attempts+1, until
	if m.Channel == remediation.Slack {
		m.Thread = thread
	}
	data, err := encode(*m)
	if err == nil {
		_, err = t.Exec(ctx, `UPDATE outbox SET attempts = $1, not_before = $2, data = $3 WHERE id = $4`, m.Attempts, micros(until), data, m.ID)
	}
	if err != nil {
		return fmt.Errorf("counting the attempt at message %s: %w", m.ID, err)
	}
	return nil
}

// threadOf finds what a message goes by; false while another run of its incident is about to begin the thread. Where a message was begun it
// stays: an attempt whose end is not known is looked for there.
func threadOf(ctx context.Context, t tx, m remediation.Message) (thread string, ok bool, err error) {
	if thread, err = laneThread(ctx, t, m, m.Run); err != nil || thread != "" {
		return thread, err == nil, err
	}
	if m.Channel == remediation.Slack && m.Attempts > 0 {
		return m.Thread, true, nil
	}
	if m.After != "" {
		if thread, err = laneThread(ctx, t, m, m.After); err != nil || thread != "" {
			return thread, err == nil, err
		}
	}
	if m.Channel != remediation.Slack {
		return "", true, nil
	}
	return incidentThread(ctx, t, m)
}

// laneThread is what the run's first message on the channel was told on; in Slack that of the message's own room.
func laneThread(ctx context.Context, t tx, m remediation.Message, run string) (string, error) {
	sent, err := list(ctx, t, scanMessage, selectMessages+` WHERE run = $1 AND channel = $2 AND state = 'sent' AND remote_id <> '' ORDER BY seq, id`,
		run, string(m.Channel))
	if err != nil {
		return "", fmt.Errorf("reading the thread of run %s: %w", run, err)
	}
	for _, told := range sent {
		if m.Channel != remediation.Slack || told.Beside(m) {
			return told.Root(), nil
		}
	}
	return "", nil
}

// incidentPostsSQL are the posts of an incident's other runs, told or begun, the last told first. The same incident is one id, or one key
// while both fired and no ids say otherwise.
const incidentPostsSQL = selectMessages + ` WHERE channel = 'slack' AND (state = 'sent' AND remote_id <> '' OR state = 'queued' AND attempts > 0)
	AND run IN (SELECT id FROM runs WHERE id <> $1
		AND (incident_id = $2 OR incident_key = $3 AND (incident_id = '' OR $4 = '') AND (ended_at = 0 OR ended_at > $5)))
	ORDER BY ended_at DESC, id DESC LIMIT 100`

// incidentThread is the thread of the incident's other runs in the message's room, false while it is being begun.
func incidentThread(ctx context.Context, t tx, m remediation.Message) (thread string, ok bool, err error) {
	own, err := readOwn(ctx, t, m.Run)
	if errors.Is(err, remediation.ErrNotFound) || err == nil && own.IncidentID == "" && own.IncidentKey == "" {
		return "", true, nil
	}
	if err != nil {
		return "", false, err
	}
	for _, by := range [][2]string{{own.IncidentID, ""}, {"", own.IncidentKey}} { // an id says more than a key
		posts, err := list(ctx, t, scanMessage, incidentPostsSQL, m.Run, orNull(by[0]), orNull(by[1]), own.IncidentID, micros(own.StartsAt))
		if err != nil {
			return "", false, fmt.Errorf("reading the threads of the incident of %s: %w", m.Run, err)
		}
		if i := slices.IndexFunc(posts, m.Beside); i >= 0 {
			return posts[i].Root(), posts[i].State == remediation.MessageSent, nil
		}
	}
	return "", true, nil
}
