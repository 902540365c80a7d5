package remediation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// pollTimeout bounds one poll, in real time.
const pollTimeout = 30 * time.Second

// Poll asks the sources whose turn it is for what they should have sent, and takes in what is news as if they had. It may be called at any
// time by any number of processes: one of them polls. Whether remediator is paused makes no difference.
func (e *Engine) Poll(ctx context.Context) error {
	set := e.Rules.Current()
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(set.Sources)) {
		source, how := polling(set.Sources[name])
		if how.Every <= 0 {
			continue
		}
		mine, err := e.pollTurn(ctx, name, how.Every)
		if err == nil && mine {
			err = e.poll(ctx, set, name, source)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// pollTurn asks the store only when a turn can be due.
func (e *Engine) pollTurn(ctx context.Context, name string, every time.Duration) (bool, error) {
	now := e.Now()
	kept, _ := e.turns.Load(name)
	if due, known := kept.(time.Time); known && now.Before(due) && due.Sub(now) <= every {
		return false, nil
	}
	mine, next, err := e.Feeds.Turn(ctx, name, now, every)
	if err != nil {
		return false, fmt.Errorf("taking the turn to poll %s: %w", name, err)
	}
	e.turns.Store(name, next)
	return mine, nil
}

func (e *Engine) poll(ctx context.Context, set *rules.Set, name string, source sources.Poll) error {
	how := source.Polling()
	ctx, cancel := context.WithTimeout(ctx, min(pollTimeout, max(how.Every, callTimeout)))
	defer cancel()
	now := e.Now()
	if _, known := e.selves.Load(name); !known {
		e.learnSelf(ctx, set, name)
	}
	found, err := e.missed(ctx, name, source, now)
	for _, f := range found {
		if kept := e.takeFound(ctx, set, name, f); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	if err == nil {
		err = e.Feeds.Polled(ctx, name, now)
	}
	if err != nil {
		e.Metrics.pollFailed(name)
		return fmt.Errorf("source %s: %w", name, err)
	}
	e.Metrics.polled(name, now)
	return nil
}

func (e *Engine) missed(ctx context.Context, name string, source sources.Poll, now time.Time) ([]sources.Found, error) {
	known, err := e.Feeds.Sightings(ctx, name, now.Add(-source.Polling().LookBack-sightingSkew))
	if err != nil {
		return nil, fmt.Errorf("reading which episodes are known: %w", err)
	}
	return source.Missed(ctx, e.Connections(), sources.Question{Now: now, Known: known})
}

// sightingSkew lets an episode at the edge of what a poll may take be known for sure.
const sightingSkew = time.Minute

// takeFound stores what a poll has found with all it leads to.
func (e *Engine) takeFound(ctx context.Context, set *rules.Set, name string, f sources.Found) error {
	event := Event{ID: e.NewID(), Source: name, ReceivedAt: e.Now(), RulesHash: set.Hash, Body: f.Body}
	accepted, err := e.take(ctx, set, taken{event: event, delivery: f.Delivery})
	if err != nil {
		return fmt.Errorf("taking in what was found: %w", err)
	}
	begins := slices.ContainsFunc(f.Delivery.Alerts, func(a alert.Alert) bool { return a.Status == alert.Firing })
	if begins && !accepted.Duplicate {
		e.Metrics.foundByPoll(name, len(f.Delivery.Alerts))
		e.Log.Warn("a poll found what no delivery has brought", "source", name, "event", accepted.Event, "alerts", len(f.Delivery.Alerts),
			"began", f.Delivery.OccurredAt)
	}
	return nil
}
