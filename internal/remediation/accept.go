package remediation

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Accept authenticates, parses and stores one delivery with all it leads to. It never calls out. Errors wrap ErrUnknownSource,
// sources.ErrUnauthenticated, sources.ErrUnavailable, ErrTooMany or ErrUnavailable; a body that cannot be read, or is out of bounds, is
// stored and flagged.
func (e *Engine) Accept(ctx context.Context, in Inbound) (Accepted, error) {
	set := e.Rules.Current()
	source, err := e.source(set, in.Source)
	if err != nil {
		return Accepted{}, err
	}
	if err := source.Authenticate(in.Request); err != nil {
		e.Metrics.turnedAway(in.Source, eventUnauthenticated)
		return Accepted{}, err
	}
	now := e.Now()
	if err := e.rated(set.Intake, in.Source, len(in.Request.Body), now); err != nil { // only after the proof: a stranger must not use up what is the sender's
		e.Metrics.turnedAway(in.Source, eventTooMany)
		return Accepted{}, err
	}
	event := Event{ID: e.NewID(), Source: in.Source, ReceivedAt: now, RulesHash: set.Hash, Body: in.Request.Body}
	d, err := parse(set.Intake.Bounds(), source, in.Request.Body, now)
	return e.take(ctx, set, taken{event: event, delivery: d, unread: err, pushed: true})
}

// taken is a delivery on its way in: sent to us, or found by a poll.
type taken struct {
	event    Event
	delivery sources.Delivery
	unread   error // why it could not be read
	pushed   bool
}

// take stores a delivery with all it leads to.
func (e *Engine) take(ctx context.Context, set *rules.Set, in taken) (Accepted, error) {
	event, d := in.event, in.delivery
	event.DedupKey, event.Type, event.OccurredAt, event.Delivery = d.DedupKey, d.Type, d.OccurredAt, d
	a := Acceptance{Event: event, Holds: e.holds(event.Source, d)}
	if d.Drill == "" { // which says nothing of the sender's road
		e.noteFeed(set, &a, in.pushed)
	}
	switch {
	case in.unread != nil:
		a.Event.State, a.Event.Note = EventInvalid, in.unread.Error()
	case d.Ignored != "":
		a.Event.State, a.Event.Note = EventIgnored, d.Ignored
	case e.ours(event.Source, d):
		a.Event.State, a.Event.Note = EventIgnored, "it tells of our own act"
	case d.Incomplete, e.unsure(set, event.Source, d):
		a.Event.State, a.Event.Note, a.Event.WakeAt = EventPending, d.Warning, event.ReceivedAt
	default:
		a.Event.Note = d.Warning
		e.match(set, &a)
	}
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return Accepted{}, fmt.Errorf("storing the event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	if in.pushed && d.Drill == "" {
		e.Metrics.delivered(event.Source, event.ReceivedAt)
	}
	if a.Event.State == EventInvalid {
		e.Log.Warn("a delivery was kept and not understood", "source", event.Source, "event", event.ID, "error", a.Event.Note)
	}
	accepted.Note = a.Event.Note
	return accepted, nil
}

// parse reads a body, keeps what is within bounds, and moves a drill's delivery into the drill's own space.
func parse(bounds sources.Bounds, source sources.Source, body []byte, now time.Time) (sources.Delivery, error) {
	d, err := source.Parse(body, now)
	if err == nil {
		d, err = bounds.Keep(d)
	}
	if err != nil {
		return d, err
	}
	return sources.Apart(body, d)
}
