package notify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// incidentPatience is how long the sender's own trigger may take to open the incident, at speed 1.
const incidentPatience = 2 * time.Minute

// noIncident is recorded while there is no open incident for the key, and when that lasted.
const noIncident = "no open incident for the key"

// incidentDelays are the waits between looks for an incident; the last one repeats.
var incidentDelays = [...]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}

// findByKey finds the incident among the open ones, because keys recur. That of a key that does not is found however it ended, and so is
// one that the message itself may have opened before, so that an attempt that died after it does not lead to another.
func findByKey(ctx context.Context, pd finder, m remediation.Message) (connect.Incident, bool, error) {
	if m.IncidentKey == "" {
		return connect.Incident{}, false, nil
	}
	in, found, err := pd.FindOpen(ctx, m.IncidentKey)
	if err == nil && !found && (m.Own || opened(m) || inDoubt(m)) {
		in, found, err = pd.FindAny(ctx, m.IncidentKey)
		found = found && (m.Own || !in.CreatedAt.Before(m.CreatedAt.Add(-createdSkew)))
	}
	if err != nil {
		return connect.Incident{}, false, fmt.Errorf("finding the incident: %w", err)
	}
	return in, found, nil
}

// another reports whether an open incident of the key was opened so long after the message that it tells of something new: later than we
// open one ourselves. A note on it is harmless; nothing old silences or ends it. An attempt whose answer was lost may have opened it all the
// same: then it goes on paging, which is the lesser harm.
func (n *Notifier) another(m remediation.Message, in connect.Incident) bool {
	ends := m.Kind == remediation.Acknowledge || m.Kind == remediation.Resolve
	return ends && !opened(m) && in.CreatedAt.After(m.CreatedAt.Add(n.scaled(2*incidentPatience)+createdSkew))
}

// createdSkew is how much earlier than the message an incident may claim to be that the message asked for: PagerDuty tells whole seconds.
const createdSkew = 2 * time.Second

// missing decides what becomes of a message without an incident: the sender's trigger may come later, or the message may open one.
// Its absence must have been seen before: while PagerDuty was away nobody could open anything. Nobody else opens one of our own.
func (n *Notifier) missing(ctx context.Context, pd incidents, m remediation.Message) (told, error) {
	waited := n.cfg.Now().Sub(m.CreatedAt) >= n.scaled(incidentPatience) && strings.HasSuffix(m.Error, noIncident)
	switch {
	case m.IncidentKey == "":
		return told{state: remediation.MessageDead, why: "the message names no incident and no incident key"}, nil
	case !waited && !opened(m) && !m.Own:
		wait := incidentDelays[min(max(m.Attempts, 1), len(incidentDelays))-1]
		return told{state: remediation.MessageQueued, why: noIncident, wait: n.scaled(wait)}, nil
	case m.Kind == remediation.Resolve:
		return told{state: remediation.MessageSkipped, why: noIncident + ": there is nothing to resolve"}, nil
	case !m.Open && m.Kind != remediation.Acknowledge && m.Kind != remediation.Escalate:
		return told{state: remediation.MessageSkipped, why: noIncident + ": there is nothing to tell it on"}, nil
	case !m.Open:
		return told{state: remediation.MessageDead, why: noIncident}, nil
	case opened(m) && n.expired(m, n.cfg.Now()):
		return told{state: remediation.MessageDead, why: "given up: " + openedIncident}, nil
	default:
		return n.open(ctx, pd, m)
	}
}

// openedIncident is recorded once Events v2 took the event: PagerDuty shows the incident some time later.
const openedIncident = "an incident was asked for and is not there yet"

func opened(m remediation.Message) bool { return strings.HasSuffix(m.Error, openedIncident) }

// open opens an incident through Events v2. The key is the sender's, so that its own trigger, should it still come, joins; and so
// that asking again is harmless.
func (n *Notifier) open(ctx context.Context, pd incidents, m remediation.Message) (told, error) {
	summary, _, _ := strings.Cut(m.Text, "\n")
	if m.Summary != "" {
		summary = m.Summary
	}
	before(m.Channel, "open")
	err := pd.Trigger(ctx, connect.Event{
		DedupKey: m.IncidentKey, Summary: summary, Severity: m.Severity, Details: map[string]any{"run": m.Run, "message": m.Text, connect.OpenedBy: connect.Ourselves},
	})
	if err != nil {
		return told{}, fmt.Errorf("opening an incident: %w", err)
	}
	after(m.Channel, "open")
	n.cfg.Log.WarnContext(ctx, "opened an incident: the alert had none", "run", m.Run, "message", m.ID)
	wait := incidentDelays[0]
	if opened(m) {
		wait = incidentDelays[len(incidentDelays)-1]
	}
	return told{state: remediation.MessageQueued, why: openedIncident, wait: n.scaled(wait)}, nil
}
