package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// tellSurvivor tells the message on the incident or, where that was merged into another one, on the one in which its alerts are now: nobody
// looks at the merged one any more. What is resolved has nobody to call; it is looked at again in that case, because a merge in the middle of
// the call resolves too.
func (n *Notifier) tellSurvivor(ctx context.Context, pd pager, m remediation.Message, id string) (told, error) {
	at, err := follow(ctx, pd, id)
	if err != nil {
		return told{}, err
	}
	got, err := n.tellAt(ctx, pd, m, at)
	if !errors.Is(err, connect.ErrIncidentResolved) {
		return got, err
	}
	next, lost := follow(ctx, pd, id)
	if lost != nil {
		return told{}, lost
	}
	if next.id != at.id {
		got, err = n.tellAt(ctx, pd, m, next)
	}
	if errors.Is(err, connect.ErrIncidentResolved) {
		return told{state: remediation.MessageSkipped, remote: next.id, why: "the incident is resolved: nobody is called to it"}, nil
	}
	return got, err
}

// place is an incident, and those that were merged into it on the way from the one that a message names.
type place struct {
	id   string
	left []string
}

func follow(ctx context.Context, pd incidents, id string) (place, error) {
	in, left, err := connect.Survivor(ctx, pd.Incident, id)
	if err != nil {
		return place{}, fmt.Errorf("looking where the incident has gone: %w", err)
	}
	return place{id: in.ID, left: left}, nil
}

// tellAt tells the message on an incident, unless an earlier attempt has told it on one that was merged into that one since.
func (n *Notifier) tellAt(ctx context.Context, pd pager, m remediation.Message, at place) (told, error) {
	if inDoubt(m) {
		for _, former := range at.left {
			found, err := wasTold(ctx, pd, m, former)
			if err != nil {
				return told{}, err
			}
			if found {
				return sentAs(at.id), nil
			}
		}
	}
	if m.Kind == remediation.Resolve {
		return n.resolve(ctx, pd, m, at)
	}
	return n.tellIncident(ctx, pd, m, at.id)
}

// wasTold reports whether a message that leaves its marker has left it on the incident.
func wasTold(ctx context.Context, pd pager, m remediation.Message, id string) (bool, error) {
	line := marker(m.Run, m.ID)
	switch m.Kind {
	case remediation.Note:
		return hasNote(ctx, pd, id, line)
	case remediation.AskResponders, remediation.StatusUpdate:
		return pd.Logged(ctx, id, line)
	default:
		return false, nil
	}
}
