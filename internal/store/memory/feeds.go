package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// feed is what is known of a source's feed, and before when nobody polls it.
type feed struct {
	remediation.Feed
	due time.Time
}

// feed keeps what the acceptance says of its source's feed.
func (in *admission) feed(a remediation.Acceptance) {
	for _, s := range a.Sightings {
		in.sighting(s)
	}
	if p := a.Push; p != nil {
		f := in.t.feeds[p.Source]
		f.Source, f.HeardAt = p.Source, latest(f.HeardAt, p.At)
		if p.Beat {
			f.BeatAt = latest(f.BeatAt, p.At)
		}
		put(in.t, in.t.feeds, p.Source, f)
	}
}

// sighting keeps when an episode was first told of by each road, and its end.
func (in *admission) sighting(s remediation.Sighting) {
	if s.Ended.IsZero() {
		at := sighting{s.Began.Truncate(time.Microsecond), s.Source, s.Subject}
		old, known := in.t.sightings[at]
		if !known {
			old = sources.Sighting{Subject: s.Subject, Began: at.began}
		}
		old.Pushed, old.Polled = orElse(old.Pushed, s.Pushed), orElse(old.Polled, s.Polled)
		put(in.t, in.t.sightings, at, old)
		return
	}
	for at, old := range in.t.sightings {
		if at.source == s.Source && at.subject == s.Subject && old.Ended.IsZero() && !at.began.After(s.Ended) {
			old.Ended = s.Ended
			put(in.t, in.t.sightings, at, old)
		}
	}
}

// Turn implements remediation.Feeds.
func (v *View) Turn(ctx context.Context, source string, now time.Time, every time.Duration) (mine bool, next time.Time, err error) {
	err = v.write(ctx, func(t *transaction) error {
		f := t.feeds[source]
		if next = f.due; next.After(now) && next.Sub(now) <= every {
			return nil
		}
		mine, next = true, now.Add(every)
		f.Source, f.due = source, next
		put(t, t.feeds, source, f)
		return nil
	})
	return mine, next, err
}

// Polled implements remediation.Feeds.
func (v *View) Polled(ctx context.Context, source string, at time.Time) error {
	return v.write(ctx, func(t *transaction) error {
		if f, known := t.feeds[source]; known {
			f.PolledAt = latest(f.PolledAt, at)
			put(t, t.feeds, source, f)
		}
		return nil
	})
}

// Sightings implements remediation.Feeds.
func (v *View) Sightings(ctx context.Context, source string, since time.Time) (all []sources.Sighting, err error) {
	err = v.read(ctx, func(r *rows) error {
		for at, s := range r.sightings {
			if at.source != source || !s.Ended.IsZero() && at.began.Before(since) {
				continue
			}
			for of, h := range r.holds {
				if of.id != "" && of.id == s.Subject {
					s.Held = latest(s.Held, h.At)
				}
			}
			all = append(all, s)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b sources.Sighting) int {
		return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(a.Subject, b.Subject))
	})
	return all, err
}

// Feeds implements remediation.Feeds.
func (v *View) Feeds(ctx context.Context) (all []remediation.Feed, err error) {
	err = v.read(ctx, func(r *rows) error {
		for _, source := range slices.Sorted(maps.Keys(r.feeds)) {
			all = append(all, r.feeds[source].Feed)
		}
		return nil
	})
	return all, err
}

// Listen implements remediation.Feeds.
func (v *View) Listen(ctx context.Context, source string, now time.Time, gap time.Duration) error {
	return v.write(ctx, func(t *transaction) error {
		f := t.feeds[source]
		if f.Source = source; now.Sub(f.ListenedAt) >= gap {
			f.Listening = now
		}
		f.ListenedAt = latest(f.ListenedAt, now)
		put(t, t.feeds, source, f)
		return nil
	})
}

// Alarms implements remediation.Feeds.
func (v *View) Alarms(ctx context.Context) (all []remediation.Alarm, err error) {
	err = v.read(ctx, func(r *rows) error {
		all = slices.Collect(maps.Values(r.alarms))
		return nil
	})
	slices.SortFunc(all, func(a, b remediation.Alarm) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Kind, b.Kind))
	})
	return all, err
}

// Raise implements remediation.Feeds.
func (v *View) Raise(ctx context.Context, a remediation.Alarm, judged remediation.Feed, told []remediation.Message) (done bool, err error) {
	err = v.write(ctx, func(t *transaction) error {
		f, at := t.feeds[a.Source], alarm{a.Source, a.Kind}
		_, raised := t.alarms[at]
		if done = !raised && !f.BeatAt.After(judged.BeatAt) && !f.HeardAt.After(judged.HeardAt); done {
			put(t, t.alarms, at, a)
			insertMessages(t, clone(told))
		}
		return nil
	})
	return done, err
}

// Clear implements remediation.Feeds.
func (v *View) Clear(ctx context.Context, a remediation.Alarm, told []remediation.Message) (done bool, err error) {
	err = v.write(ctx, func(t *transaction) error {
		done = drop(t, t.alarms, func(at alarm) bool {
			return at == alarm{a.Source, a.Kind} && t.alarms[at].IncidentKey == a.IncidentKey
		}) > 0
		if done {
			insertMessages(t, clone(told))
		}
		return nil
	})
	return done, err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func orElse(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}
