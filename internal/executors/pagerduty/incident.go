package pagerduty

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "pagerduty.incident",
		Doc:  "Asks PagerDuty how the run's incident stands: status, urgency, priority, who has it in hand, and its alerts.",
		New:  func() executors.Probe { return &incident{} },
		Fact: IncidentFact{},
	})
}

// incident has no parameters.
type incident struct{}

// IncidentFact is what pagerduty.incident finds.
type IncidentFact struct {
	// ID is PagerDuty's id of the incident.
	ID string `cel:"id"`
	// Number is the one that people know it by.
	Number int64 `cel:"number"`
	// Status is triggered, acknowledged or resolved.
	Status string `cel:"status"`
	// Urgency is high or low.
	Urgency string `cel:"urgency"`
	// Priority is the name of its priority, such as P1; "" when it has none.
	Priority string `cel:"priority"`
	// Title is its title, shortened and masked.
	Title string `cel:"title"`
	// Created is when it was opened.
	Created time.Time `cel:"created"`
	// Age is the time since then.
	Age time.Duration `cel:"age"`
	// AcknowledgedBy are the users who have it in hand, at most 20; those of integrations are left out.
	AcknowledgedBy []string `cel:"acknowledged_by"`
	// Assigned are the users it is assigned to, at most 20.
	Assigned []string `cel:"assigned"`
	// Alerts is how many alerts it has.
	Alerts int64 `cel:"alerts"`
	// TriggeredAlerts is how many of them still fire.
	TriggeredAlerts int64 `cel:"triggered_alerts"`
	// ResolvedAlerts is how many of them have ended.
	ResolvedAlerts int64 `cel:"resolved_alerts"`
	// Notes is how many notes it has, ours among them.
	Notes int64 `cel:"notes"`
}

// Claims implements executors.Claiming.
func (f *IncidentFact) Claims() map[string]string {
	return map[string]string{"the status of PagerDuty's incident " + f.ID: f.Status}
}

// Ask implements executors.Probe.
func (p *incident) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	pd, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	id, err := incidentOf(ctx, env, pd)
	if err != nil {
		return executors.Answer{}, err
	}
	d, err := pd.Details(ctx, id)
	if err != nil {
		return executors.Answer{}, err
	}
	statuses := []string{connect.StatusTriggered, connect.StatusAcknowledged, connect.StatusResolved}
	if d.ID != id || !slices.Contains(statuses, d.Status) {
		return executors.Answer{}, fmt.Errorf("pagerduty: reading incident %s: the answer is no incident that can be read", id)
	}
	fact, unknown := factOf(d, env.Now)
	notes, err := pd.Notes(ctx, id)
	switch {
	case ctx.Err() != nil:
		return executors.Answer{}, err
	case err != nil:
		unknown = append(unknown, "notes")
	default:
		fact.Notes = int64(len(notes))
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary()}, nil
}

func factOf(d connect.IncidentDetails, now time.Time) (fact *IncidentFact, unknown []string) {
	fact = &IncidentFact{
		ID: d.ID, Number: int64(d.Number), Status: d.Status, Urgency: d.Urgency, Priority: connect.Scrub(d.Priority, mostName), //nolint:gosec // a small number
		Title: connect.Scrub(d.Title, mostTitle), Created: d.CreatedAt, Assigned: names(d.Assignees),
		TriggeredAlerts: int64(d.TriggeredAlerts), ResolvedAlerts: int64(d.ResolvedAlerts), //nolint:gosec // 1000 at most
	}
	var by []string
	for _, a := range d.Acknowledgements {
		by = append(by, a.User)
	}
	fact.AcknowledgedBy = names(by)
	fact.Alerts = fact.TriggeredAlerts + fact.ResolvedAlerts
	if !d.AlertsCounted {
		unknown = append(unknown, "alerts", "triggered_alerts", "resolved_alerts")
	}
	if d.Urgency == "" {
		unknown = append(unknown, "urgency")
	}
	if d.CreatedAt.IsZero() {
		return fact, append(unknown, "created", "age")
	}
	fact.Age = max(0, now.Sub(d.CreatedAt))
	return fact, unknown
}

func (f *IncidentFact) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "PagerDuty: incident #%d %q is %s", f.Number, f.Title, f.Status)
	if len(f.AcknowledgedBy) > 0 {
		fmt.Fprintf(&b, " by %s", strings.Join(f.AcknowledgedBy, ", "))
	} else if len(f.Assigned) > 0 {
		fmt.Fprintf(&b, " and assigned to %s", strings.Join(f.Assigned, ", "))
	}
	if f.Urgency != "" {
		fmt.Fprintf(&b, ", urgency %s", f.Urgency)
	}
	if f.Priority != "" {
		fmt.Fprintf(&b, ", priority %s", f.Priority)
	}
	if f.Alerts > 0 {
		fmt.Fprintf(&b, "; %d of %d alerts fire", f.TriggeredAlerts, f.Alerts)
	}
	if !f.Created.IsZero() {
		fmt.Fprintf(&b, "; it was opened %s ago", f.Age.Round(time.Second))
	}
	return b.String()
}
