package notify

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// What is asked of a *connect.PagerDuty.
type (
	pager interface {
		finder
		incidents
		alarms
		helpers
		audience
		notebook
		io.Closer
	}
	finder interface {
		FindOpen(ctx context.Context, incidentKey string) (connect.Incident, bool, error)
		FindAny(ctx context.Context, incidentKey string) (connect.Incident, bool, error)
	}
	incidents interface {
		Incident(ctx context.Context, id string) (connect.Incident, error)
		Alerts(ctx context.Context, id string) ([]connect.IncidentAlert, error)
		Trigger(ctx context.Context, e connect.Event) error
	}
	alarms interface {
		Acknowledge(ctx context.Context, id string) error
		Snooze(ctx context.Context, id string, d time.Duration) error
		Resolve(ctx context.Context, id, resolution string) error
		Escalate(ctx context.Context, id string) error
	}
	helpers interface {
		Reassign(ctx context.Context, id string, to connect.People) error
		RequestResponders(ctx context.Context, id string, who connect.People, message string) error
		SetPriority(ctx context.Context, id, name string) error
	}
	audience interface {
		StatusUpdate(ctx context.Context, id, message string) error
		Logged(ctx context.Context, id, line string) (bool, error)
	}
	notebook interface {
		Note(ctx context.Context, id, text string) error
		Notes(ctx context.Context, id string) ([]connect.Note, error)
	}
)

// maxNote bounds the text of a note in characters, below the 25,000 PagerDuty keeps, so that the marker is never cut off.
const maxNote = 20000

// tellPagerDuty finds the message's incident and tells it. The remote id of every message told is the incident's, so that the lane's
// later messages reach it even when it has been resolved meanwhile. A lane is about one incident; a message that is about another names
// its id.
func (n *Notifier) tellPagerDuty(ctx context.Context, m remediation.Message, thread string) (told, error) {
	if !slices.Contains(kinds[remediation.PagerDuty], m.Kind) {
		return told{state: remediation.MessageDead, why: fmt.Sprintf("PagerDuty has no message of kind %q", m.Kind)}, nil
	}
	pd, err := client[pager](n, m)
	if err != nil {
		return told{}, err
	}
	id := cmp.Or(m.IncidentID, thread)
	if id == "" {
		in, found, err := findByKey(ctx, pd, m)
		if err != nil {
			return told{}, err
		}
		if !found {
			return n.missing(ctx, pd, m)
		}
		if n.another(m, in) {
			return told{state: remediation.MessageSkipped, why: "the open incident of the key was opened later: it is another one"}, nil
		}
		id = in.ID
	}
	return n.tellSurvivor(ctx, pd, m, id)
}

func (n *Notifier) tellIncident(ctx context.Context, pd pager, m remediation.Message, id string) (told, error) {
	switch m.Kind {
	case remediation.Acknowledge:
		return acknowledge(ctx, pd, m, id)
	case remediation.Escalate:
		if (opened(m) || m.Own) && m.People.None() { // its opening has paged a human: one page is enough
			return sentAs(id), nil
		}
		return escalate(ctx, pd, m, id)
	case remediation.Prioritise:
		return call(m, id, func() error { return pd.SetPriority(ctx, id, m.Priority) })
	case remediation.AskResponders:
		return tellOnce(ctx, pd, m, id, func(text string) error { return pd.RequestResponders(ctx, id, m.People, text) })
	case remediation.StatusUpdate:
		return tellOnce(ctx, pd, m, id, func(text string) error { return pd.StatusUpdate(ctx, id, text) })
	default:
		if err := noteOnce(ctx, pd, m, id, m.ID, m.Text); err != nil {
			return told{}, err
		}
		return sentAs(id), nil
	}
}

// call makes the message's one remote call on the incident.
func call(m remediation.Message, id string, do func() error) (told, error) {
	before(m.Channel, m.Kind)
	if err := do(); err != nil {
		return told{}, fmt.Errorf("telling PagerDuty to %s: %w", m.Kind, err)
	}
	after(m.Channel, m.Kind)
	return sentAs(id), nil
}

// noteOnce writes a note that ends in its marker, unless an earlier attempt left it already.
func noteOnce(ctx context.Context, pd notebook, m remediation.Message, id, mark, text string) error {
	line := marker(m.Run, mark)
	if inDoubt(m) {
		found, err := hasNote(ctx, pd, id, line)
		if err != nil || found {
			return err
		}
	}
	before(m.Channel, remediation.Note)
	if err := pd.Note(ctx, id, shorten(text)+"\n\n"+line); err != nil {
		return fmt.Errorf("telling PagerDuty a note: %w", err)
	}
	after(m.Channel, remediation.Note)
	return nil
}

// marker is the last line of every note: by it a note whose answer was lost is found again.
func marker(run, id string) string { return "remediator: run " + run + " · message " + id }

func hasNote(ctx context.Context, pd notebook, id, line string) (bool, error) {
	notes, err := pd.Notes(ctx, id)
	if err != nil {
		return false, fmt.Errorf("looking for an earlier note: %w", err)
	}
	return slices.ContainsFunc(notes, func(note connect.Note) bool {
		text := strings.TrimRight(note.Content, "\r\n \t")
		return text == line || strings.HasSuffix(text, "\n"+line)
	}), nil
}

func shorten(text string) string {
	runes := []rune(text)
	if len(runes) <= maxNote {
		return text
	}
	return string(runes[:maxNote]) + "…"
}
