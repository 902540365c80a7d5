package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// errOutbox marks failures of our own store, which say nothing about PagerDuty.
var errOutbox = errors.New("asking the outbox")

// resolve ends the incident only when nothing else of it is left: no other run and no other alert. Otherwise it says why on the
// incident and leaves it to people.
func (n *Notifier) resolve(ctx context.Context, pd pager, m remediation.Message, at place) (told, error) {
	id := at.id
	why, err := n.unresolvable(ctx, pd, m, at)
	if err != nil {
		return told{}, err
	}
	if why == "" {
		return call(m, id, func() error { return pd.Resolve(ctx, id, m.Text) })
	}
	why = "not resolved: " + why
	if err := noteOnce(ctx, pd, m, id, m.ID+"-why", why); err != nil {
		return told{}, err
	}
	return told{state: remediation.MessageSkipped, remote: id, why: why}, nil
}

// unresolvable says why the incident must stay open, "" when it need not. What was made for those that were merged into it counts too.
func (n *Notifier) unresolvable(ctx context.Context, pd incidents, m remediation.Message, at place) (string, error) {
	for _, id := range append(at.left, at.id) {
		m.IncidentID = id
		others, err := n.cfg.Outbox.OtherRuns(ctx, m)
		if err != nil {
			return "", fmt.Errorf("%w for other runs of the incident: %w", errOutbox, err)
		}
		if others > 0 {
			return fmt.Sprintf("%d other run(s) or alert(s) of the incident are open, did not end well, or still fire", others), nil
		}
	}
	alerts, err := pd.Alerts(ctx, at.id)
	if err != nil {
		return "", fmt.Errorf("asking for the incident's other alerts: %w", err)
	}
	if len(at.left) > 0 && !hasOthers(alerts, m.IncidentKey) {
		return "it was merged into an incident that was opened for something else", nil
	}
	if open := foreign(alerts, m.IncidentKey); open > 0 {
		return fmt.Sprintf("%d other alert(s) of the incident are still open", open), nil
	}
	return "", nil
}

// hasOthers reports whether the incident has alerts beside ours: one without, which ours were merged into, was opened by a person, who says when
// it is over.
func hasOthers(alerts []connect.IncidentAlert, key string) bool {
	return slices.ContainsFunc(alerts, func(a connect.IncidentAlert) bool { return key != "" && a.AlertKey != key })
}

// foreign counts the unresolved alerts that are not ours. An incident's only alert is ours whatever its key; without a key none of
// several can be told to be.
func foreign(alerts []connect.IncidentAlert, key string) int {
	if len(alerts) == 1 {
		return 0
	}
	open := 0
	for _, a := range alerts {
		if a.Status != connect.StatusResolved && (key == "" || a.AlertKey != key) {
			open++
		}
	}
	return open
}
