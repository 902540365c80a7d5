package sources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// incidentReader is the part of the PagerDuty client that is asked how an incident stands.
type incidentReader interface {
	alertReader
	FindOpen(ctx context.Context, incidentKey string) (connect.Incident, bool, error)
}

// Reread asks PagerDuty how the alert's incident stands now, and within it the alert itself, by its alert_key.
func (p *PagerDuty) Reread(ctx context.Context, connections connect.Set, a alert.Alert) (Standing, error) {
	client, err := connect.Get[incidentReader](connections, p.Connection)
	if err != nil {
		return Standing{}, fmt.Errorf("asking PagerDuty how the alert stands: %w", err)
	}
	return readStanding(ctx, client, a, func() (string, error) { return p.Self(ctx, connections) })
}

// PagerDutyStanding asks the named connection about the incident of an alert that came by another road than PagerDuty's: by its id, else
// by its key among the open incidents. AcknowledgedBy is PagerDuty's to say; whether the alert fires is better known by its own sender,
// because a person's resolve is no recovery, and one incident may stand for a whole group of alerts. Known is false when there is no
// open incident for the key. Errors are as those of Reread.
func PagerDutyStanding(ctx context.Context, connections connect.Set, connection string, a alert.Alert) (Standing, error) {
	client, err := connect.Get[incidentReader](connections, connection)
	if err != nil {
		return Standing{}, fmt.Errorf("asking PagerDuty how the alert's incident stands: %w", err)
	}
	return readStanding(ctx, client, a, func() (string, error) {
		me, err := client.Me(ctx)
		return me.ID, err
	})
}

// readStanding asks who we are by self, and only where it matters.
func readStanding(ctx context.Context, client incidentReader, a alert.Alert, self func() (string, error)) (Standing, error) {
	in, found, err := incidentOf(ctx, client, a)
	if err != nil {
		return Standing{}, fmt.Errorf("asking PagerDuty how the alert stands: %w", err)
	}
	if !found {
		return Standing{Detail: "PagerDuty has no open incident for it"}, nil
	}
	s, err := standingIn(ctx, client, in, a.IncidentKey)
	if err != nil {
		return Standing{}, fmt.Errorf("asking PagerDuty for the alerts of incident %s: %w", in.ID, err)
	}
	if s.AcknowledgedBy, err = holders(in, self); err != nil {
		return Standing{}, fmt.Errorf("finding out whether incident %s was acknowledged by us: %w", in.ID, err)
	}
	return s, nil
}

// incidentOf finds the incident that the alert is in now. A merge resolves the incident that an alert was in and says nothing of anybody's
// health: the alert has gone to another one.
func incidentOf(ctx context.Context, client incidentReader, a alert.Alert) (connect.Incident, bool, error) {
	switch {
	case a.IncidentID != "":
		in, _, err := connect.Survivor(ctx, client.Incident, a.IncidentID)
		return in, err == nil, err
	case a.IncidentKey != "": // only where the id is not known, because keys recur
		return client.FindOpen(ctx, a.IncidentKey)
	default:
		return connect.Incident{}, false, nil
	}
}

func standingIn(ctx context.Context, client alertReader, in connect.Incident, key string) (Standing, error) {
	if in.Status == connect.StatusResolved {
		return Standing{Known: true, EndedAt: in.ResolvedAt.UTC(), Detail: "its incident in PagerDuty is resolved"}, nil
	}
	alerts, err := client.Alerts(ctx, in.ID)
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Known: true}
	s.Firing, s.Detail = firesAmong(alerts, key)
	return s, nil
}

// firesAmong reports whether the alert of the key is unresolved. Without a key it cannot be told from the others of the incident, and any
// of them will do; an open incident without alerts fires by itself.
func firesAmong(alerts []connect.IncidentAlert, key string) (firing bool, detail string) {
	if len(alerts) == 0 {
		return true, "its incident in PagerDuty is open and lists no alerts"
	}
	ours := alerts
	if key != "" {
		ours = slices.DeleteFunc(slices.Clone(alerts), func(one connect.IncidentAlert) bool { return one.AlertKey != key })
	}
	if len(ours) == 0 {
		return false, "its incident in PagerDuty does not hold it any more"
	}
	open := slices.ContainsFunc(ours, func(one connect.IncidentAlert) bool { return one.Status != connect.StatusResolved })
	if !open {
		return false, "it is resolved in PagerDuty, and its incident goes on"
	}
	return true, ""
}

// holders names the users who have acknowledged the incident, us left out. Who we are is asked only where it matters, and not knowing it
// then is an error: our own acknowledgement must not pass for a person's, nor theirs for ours.
func holders(in connect.Incident, self func() (string, error)) (string, error) {
	if len(in.Acknowledgements) == 0 {
		return "", nil
	}
	us, err := self()
	if err != nil {
		return "", err
	}
	var names []string
	for _, a := range in.Acknowledgements {
		if name := clip(a.User); a.UserID != us && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", "), nil
}
