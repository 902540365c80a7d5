package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// feedKey is held by whoever writes down what a source has told: two deliveries of one group would wait for each other's rows.
func feedKey(source string) string { return "feed:" + source }

// feed keeps what the acceptance says of its source's feed.
func (in *admission) feed(ctx context.Context, a remediation.Acceptance) error {
	for _, s := range a.Sightings {
		if err := keepSighting(ctx, in.lazy, s); err != nil {
			return err
		}
	}
	if a.Push == nil {
		return nil
	}
	at, beat := micros(a.Push.At), int64(0)
	if a.Push.Beat {
		beat = at
	}
	_, err := in.lazy.Exec(ctx, `INSERT INTO feeds (source, heard_at, beat_at) VALUES ($1, $2, $3) ON CONFLICT (source) DO UPDATE SET
		heard_at = CASE WHEN feeds.heard_at < excluded.heard_at THEN excluded.heard_at ELSE feeds.heard_at END,
		beat_at = CASE WHEN feeds.beat_at < excluded.beat_at THEN excluded.beat_at ELSE feeds.beat_at END`, a.Push.Source, at, beat)
	if err != nil {
		return fmt.Errorf("noting that source %s was heard: %w", a.Push.Source, err)
	}
	return nil
}

// keepSighting keeps when an episode was first told of by each road, and its end. An episode that has ended goes on ending.
func keepSighting(ctx context.Context, t tx, s remediation.Sighting) error {
	query := `INSERT INTO sightings (began, source, subject, pushed_at, polled_at, ended_at) VALUES ($1, $2, $3, $4, $5, 0)
		ON CONFLICT (began, source, subject) DO UPDATE SET
		pushed_at = CASE WHEN sightings.pushed_at = 0 THEN excluded.pushed_at ELSE sightings.pushed_at END,
		polled_at = CASE WHEN sightings.polled_at = 0 THEN excluded.polled_at ELSE sightings.polled_at END`
	args := []any{micros(s.Began), s.Source, s.Subject, micros(s.Pushed), micros(s.Polled)}
	if !s.Ended.IsZero() {
		query = `UPDATE sightings SET ended_at = $1 WHERE source = $2 AND subject = $3 AND ended_at = 0 AND began <= $1`
		args = []any{micros(s.Ended), s.Source, s.Subject}
	}
	if _, err := t.Exec(ctx, query, args...); err != nil {
		return fmt.Errorf("noting the episode of %s: %w", s.Subject, err)
	}
	return nil
}

// changeFeed runs one statement that changes what is known of a source's feed.
func (s *Store) changeFeed(ctx context.Context, source, query string, args ...any) (n int64, err error) {
	err = s.write(ctx, writeControl, func(ctx context.Context, t *transaction) (err error) {
		if err := t.serialise(ctx, feedKey(source)); err != nil {
			return err
		}
		n, err = t.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// Turn implements remediation.Feeds.
func (s *Store) Turn(ctx context.Context, source string, now time.Time, every time.Duration) (mine bool, next time.Time, err error) {
	due, err := s.pollDue(ctx, source)
	if err != nil || due.After(now) && due.Sub(now) <= every { // one that is farther is of a slower rhythm, which the rules had before
		return false, due, err
	}
	next = now.Add(every)
	n, err := s.changeFeed(ctx, source, `INSERT INTO feeds (source, poll_due) VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET poll_due = excluded.poll_due
		WHERE feeds.poll_due = $3`, source, micros(next), micros(due))
	if err != nil {
		return false, next, fmt.Errorf("claiming the turn: %w", err)
	}
	return n == 1, next, nil
}

func (s *Store) pollDue(ctx context.Context, source string) (time.Time, error) {
	var due int64
	err := s.db.reader().QueryRow(ctx, []any{&due}, `SELECT poll_due FROM feeds WHERE source = $1`, source)
	if err != nil && !errors.Is(err, errNoRow) {
		return time.Time{}, fmt.Errorf("reading whose turn it is: %w", err)
	}
	return fromMicros(due), nil
}

// Polled implements remediation.Feeds.
func (s *Store) Polled(ctx context.Context, source string, at time.Time) error {
	if _, err := s.changeFeed(ctx, source, `UPDATE feeds SET polled_at = $1 WHERE source = $2 AND polled_at < $1`, micros(at), source); err != nil {
		return fmt.Errorf("noting that source %s was polled: %w", source, err)
	}
	return nil
}

// sightingsLimit bounds what one poll compares with. What is left out is found to be known when it is stored.
const sightingsLimit = 20_000

// Sightings implements remediation.Feeds.
func (s *Store) Sightings(ctx context.Context, source string, since time.Time) ([]sources.Sighting, error) {
	all, err := list(ctx, s.db.reader(), scanSighting, `SELECT s.subject, s.began, s.pushed_at, s.polled_at, s.ended_at,
		COALESCE((SELECT MAX(h.at) FROM holds AS h WHERE h.incident_id = s.subject AND h.incident_id <> ''), 0) FROM (
		SELECT * FROM sightings WHERE source = $1 AND ended_at = 0
		UNION ALL SELECT * FROM sightings WHERE source = $1 AND ended_at > 0 AND began >= $2) AS s
		ORDER BY s.began DESC, s.subject LIMIT $3`, source, micros(since), sightingsLimit)
	if err != nil {
		return nil, fmt.Errorf("reading the episodes of source %s: %w", source, err)
	}
	return all, nil
}

func scanSighting(r row) (s sources.Sighting, err error) {
	var began, pushed, polled, ended, held int64
	err = r.Scan(&s.Subject, &began, &pushed, &polled, &ended, &held)
	s.Began, s.Pushed, s.Polled, s.Ended, s.Held = fromMicros(began), fromMicros(pushed), fromMicros(polled), fromMicros(ended), fromMicros(held)
	return s, err
}

// Feeds implements remediation.Feeds.
func (s *Store) Feeds(ctx context.Context) ([]remediation.Feed, error) {
	all, err := list(ctx, s.db.reader(), scanFeed, selectFeed+` ORDER BY source`)
	if err != nil {
		return nil, fmt.Errorf("reading the feeds: %w", err)
	}
	return all, nil
}

const selectFeed = `SELECT source, heard_at, beat_at, polled_at, listened_at, listening FROM feeds`

func scanFeed(r row) (f remediation.Feed, err error) {
	var heard, beat, polled, listened, listening int64
	err = r.Scan(&f.Source, &heard, &beat, &polled, &listened, &listening)
	f.HeardAt, f.BeatAt, f.PolledAt = fromMicros(heard), fromMicros(beat), fromMicros(polled)
	f.ListenedAt, f.Listening = fromMicros(listened), fromMicros(listening)
	return f, err
}

// Listen implements remediation.Feeds.
func (s *Store) Listen(ctx context.Context, source string, now time.Time, gap time.Duration) error {
	_, err := s.changeFeed(ctx, source, `INSERT INTO feeds (source, listened_at, listening) VALUES ($1, $2, $2) ON CONFLICT (source) DO UPDATE SET
		listening = CASE WHEN feeds.listened_at <= $3 THEN excluded.listening ELSE feeds.listening END,
		listened_at = CASE WHEN feeds.listened_at < excluded.listened_at THEN excluded.listened_at ELSE feeds.listened_at END`,
		source, micros(now), micros(now.Add(-gap)))
	if err != nil {
		return fmt.Errorf("noting that source %s is listened to: %w", source, err)
	}
	return nil
}

// Alarms implements remediation.Feeds.
func (s *Store) Alarms(ctx context.Context) ([]remediation.Alarm, error) {
	all, err := list(ctx, s.db.reader(), func(r row) (a remediation.Alarm, err error) {
		var raised int64
		err = r.Scan(&a.Source, &a.Kind, &a.IncidentKey, &raised)
		a.RaisedAt = fromMicros(raised)
		return a, err
	}, `SELECT source, kind, incident_key, raised_at FROM alarms ORDER BY source, kind`)
	if err != nil {
		return nil, fmt.Errorf("reading the alarms: %w", err)
	}
	return all, nil
}

// Raise implements remediation.Feeds.
func (s *Store) Raise(ctx context.Context, a remediation.Alarm, judged remediation.Feed, told []remediation.Message) (bool, error) {
	return s.alarm(ctx, a, told, func(ctx context.Context, t *transaction) (int64, error) {
		feed, err := readFeed(ctx, t, a.Source)
		if err != nil || feed.BeatAt.After(judged.BeatAt) || feed.HeardAt.After(judged.HeardAt) {
			return 0, err
		}
		return t.Exec(ctx, `INSERT INTO alarms (source, kind, incident_key, raised_at) VALUES ($1, $2, $3, $4) ON CONFLICT (source, kind) DO NOTHING`,
			a.Source, string(a.Kind), a.IncidentKey, micros(a.RaisedAt))
	})
}

func readFeed(ctx context.Context, t tx, source string) (f remediation.Feed, err error) {
	all, err := list(ctx, t, scanFeed, selectFeed+` WHERE source = $1`, source)
	if err != nil || len(all) == 0 {
		return f, err
	}
	return all[0], nil
}

// Clear implements remediation.Feeds.
func (s *Store) Clear(ctx context.Context, a remediation.Alarm, told []remediation.Message) (bool, error) {
	return s.alarm(ctx, a, told, func(ctx context.Context, t *transaction) (int64, error) {
		return t.Exec(ctx, `DELETE FROM alarms WHERE source = $1 AND kind = $2 AND incident_key = $3`, a.Source, string(a.Kind), a.IncidentKey)
	})
}

// alarm changes an alarm and, if that was a change, puts what is told of it into the outbox.
func (s *Store) alarm(ctx context.Context, a remediation.Alarm, told []remediation.Message, change func(context.Context, *transaction) (int64, error)) (bool, error) {
	var (
		tasks []task
		done  bool
	)
	err := s.write(ctx, writeControl, func(ctx context.Context, t *transaction) error {
		if err := t.serialise(ctx, feedKey(a.Source)); err != nil {
			return err
		}
		n, err := change(ctx, t)
		if err != nil || n == 0 {
			return err
		}
		done = true
		all, jobs, err := insertMessages(ctx, t, told, s.Now().Add(s.lease))
		if err != nil {
			return err
		}
		tasks = all
		return t.enqueue(ctx, jobs)
	})
	if err != nil {
		return false, fmt.Errorf("changing the alarm %s of source %s: %w", a.Kind, a.Source, err)
	}
	s.offerAll(tasks)
	return done, nil
}

// dropSightings drops what no poll can find any more.
func (s *Store) dropSightings(ctx context.Context, before time.Time) (bool, error) {
	return s.dropSome(ctx, "sightings", `DELETE FROM sightings WHERE (began, source, subject) IN (
		SELECT began, source, subject FROM sightings WHERE began < $1 ORDER BY began LIMIT $2)`, before)
}
