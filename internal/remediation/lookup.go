package remediation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Waits of the look-up of an incomplete event, in real time.
const (
	lookUpFirst = time.Second
	lookUpMost  = 30 * time.Second
	lookUpGive  = 5 * time.Minute // then a human is called: a failed look-up is never "no match"
)

// Match completes a pending event by its source's look-up and matches it. A look-up that fails is tried again, and escalated when it
// goes on failing.
func (e *Engine) Match(ctx context.Context, id string) error {
	event, err := e.Intake.Event(ctx, id)
	if err != nil || event.State != EventPending {
		return err
	}
	set := e.Rules.Current()
	failpoint.Here("look_up.before")
	d, err := e.lookUp(ctx, set, event)
	if err == nil && e.unsure(set, event.Source, d) {
		err = errors.New("who we are at the source could not be learned: an acknowledgement may be ours")
	}
	failpoint.Here("look_up.after")
	if err != nil {
		return e.lookUpFailed(ctx, set, event, err)
	}
	event.Delivery, event.RulesHash, event.Note = d, set.Hash, d.Warning
	a := Acceptance{Event: event, Looked: true, Holds: e.retracted(event.Source, d)}
	if d.Ignored != "" {
		a.Event.State, a.Event.Note = EventIgnored, d.Ignored
	} else {
		e.match(set, &a)
	}
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return fmt.Errorf("storing the matched event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return nil
}

func (e *Engine) lookUp(ctx context.Context, set *rules.Set, event Event) (sources.Delivery, error) {
	source, ok := set.Sources[event.Source].(sources.LookUp)
	if !ok {
		return sources.Delivery{}, fmt.Errorf("the rules file declares no source %q that can look up", event.Source)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	e.learnSelf(ctx, set, event.Source)
	d, err := source.LookUp(ctx, e.Connections(), event.Delivery)
	if err != nil {
		return d, err
	}
	return set.Intake.Bounds().Keep(d)
}

// learnSelf finds out, once, by which name a source tells of our own acts. It is needed by Accept, which may not call out.
func (e *Engine) learnSelf(ctx context.Context, set *rules.Set, name string) {
	source, ok := set.Sources[name].(sources.Self)
	if !ok {
		return
	}
	id, err := source.Self(ctx, e.Connections())
	if err != nil {
		e.Log.Warn("who we are at the source is not known; its word on our own acts is told by type alone", "source", name, "error", err)
		return
	}
	e.selves.Store(name, id)
	e.warnShared(ctx, source, name)
}

// warnShared says once on the log that the user we act as seems to be a person's.
func (e *Engine) warnShared(ctx context.Context, source sources.Self, name string) {
	dedicated, ok := source.(sources.Dedicated)
	if !ok {
		return
	}
	switch why, err := dedicated.Shared(ctx, e.Connections()); {
	case err != nil:
		e.Log.Debug("whether the user we act as is ours alone could not be learned", "source", name, "error", err)
	case why != "":
		e.Log.Warn("the user we act as seems to be a person's: their acknowledgements would pass for our own and hold nothing; "+
			"give remediator a user of its own", "source", name, "why", why)
	}
}

// ours reports whether a delivery only tells of what we did ourselves. That an incident ended is news whoever ended it.
func (e *Engine) ours(source string, d sources.Delivery) bool {
	id, known := e.selves.Load(source)
	if !known || d.Agent == "" || d.Agent != id {
		return false
	}
	return !slices.ContainsFunc(d.Alerts, func(a alert.Alert) bool { return a.Status == alert.Resolved })
}

func (e *Engine) lookUpFailed(ctx context.Context, set *rules.Set, event Event, cause error) error {
	now := e.Now()
	if now.Sub(event.ReceivedAt) < e.scale(lookUpGive) {
		wait := min(lookUpFirst<<min(event.Attempts, 10), lookUpMost)
		e.Log.Warn("the look-up of an event failed and is tried again", "event", event.ID, "source", event.Source, "error", cause, "in", wait)
		return e.Intake.Postpone(ctx, event.ID, now.Add(e.scale(wait)), cause.Error())
	}
	event.State, event.Note = EventFailed, "the look-up failed: "+cause.Error()
	a := Acceptance{Event: event, Looked: true, Messages: e.lookUpMessages(set, event)}
	e.Log.Error("the look-up of an event failed for good; a human is called", "event", event.ID, "source", event.Source, "error", cause)
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return fmt.Errorf("storing the failed event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return nil
}

func (e *Engine) lookUpMessages(set *rules.Set, event Event) []Message {
	var out []Message
	for _, a := range event.Delivery.Alerts {
		text := "remediator could not read this incident's alerts, so no rule was tried and nothing was done.\n\n" + event.Note
		for _, kind := range []MessageKind{Escalate, Note} {
			out = append(out, Message{
				ID: fmt.Sprintf("%s-%d", event.ID, len(out)), Run: event.ID, Seq: len(out), Channel: PagerDuty, Kind: kind,
				Connection: pagerDutyConnection(set), IncidentID: a.IncidentID, IncidentKey: a.IncidentKey, Text: text,
				State: MessageQueued, CreatedAt: e.Now(),
			})
		}
	}
	return out
}
