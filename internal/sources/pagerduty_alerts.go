package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// The annotations that say what the webhook told of the incident.
const (
	noteNumber        = "incident_number"
	noteTitle         = "incident_title"
	noteServiceID     = "service_id"
	noteService       = "service"
	noteUrgency       = "urgency"
	notePriority      = "priority"
	noteResolveReason = "resolve_reason"
)

// mergeResolve is the resolve reason of an incident whose alerts went on in another one.
const mergeResolve = "merge_resolve_reason"

// stub is the one alert of a body that names none: it stands for the incident until LookUp. Its episode is the incident's, and a
// reopened incident begins a new one; the episodes of the alerts that LookUp finds begin with it and a slash.
func (p *PagerDuty) stub(d Delivery, in pagerDutyIncident) alert.Alert {
	a := alert.Alert{
		Source:      p.name,
		Status:      alert.Firing,
		Labels:      map[string]string{},
		Annotations: in.annotations(),
		StartsAt:    in.CreatedAt.UTC(),
		Link:        webLink(in.HTMLURL),
		Episode:     in.ID,
		IncidentID:  in.ID,
	}
	if in.Key != nil {
		a.IncidentKey = *in.Key
	}
	if reopened, ok := in.reopened(d); ok {
		a.StartsAt = reopened
		a.Episode = alert.Episode(in.ID, reopened)
	}
	if d.Type == incidentResolved {
		a.Status, a.EndsAt = alert.Resolved, d.OccurredAt
		a.Merged, a.MergedInto = in.merged()
	}
	return a
}

// merged reports whether the incident was resolved by becoming part of another one, and of which; "" where the body names none.
func (in pagerDutyIncident) merged() (yes bool, into string) {
	if in.ResolveReason == nil || in.ResolveReason.Type != mergeResolve {
		return false, ""
	}
	return true, survivorOf(in.ID, in.ResolveReason.Incident.ID)
}

// survivorOf is the incident that another was merged into, "" where its id is none of PagerDuty's.
func survivorOf(id, into string) string {
	if into == id || !incidentID.MatchString(into) {
		return ""
	}
	return into
}

// reopened is the moment of the last reopening. Not every body of a reopened incident has it, but its event does.
func (in pagerDutyIncident) reopened(d Delivery) (time.Time, bool) {
	switch {
	case in.ReopenedAt != nil && !in.ReopenedAt.IsZero():
		return in.ReopenedAt.UTC(), true
	case d.Type == incidentReopened:
		return d.OccurredAt, true
	default:
		return time.Time{}, false
	}
}

func (in pagerDutyIncident) annotations() map[string]string {
	notes := map[string]string{
		noteNumber:  strconv.FormatInt(in.Number, 10),
		noteTitle:   in.Title,
		noteUrgency: in.Urgency,
	}
	if in.Service != nil {
		notes[noteServiceID], notes[noteService] = in.Service.ID, in.Service.Summary
	}
	if in.Priority != nil {
		notes[notePriority] = in.Priority.Summary
	}
	if in.ResolveReason != nil {
		notes[noteResolveReason] = in.ResolveReason.Type
	}
	maps.DeleteFunc(notes, func(_, text string) bool { return text == "" })
	return notes
}

// alertReader is the part of the PagerDuty client that this source needs.
type alertReader interface {
	io.Closer
	Me(ctx context.Context) (connect.User, error)
	Alerts(ctx context.Context, incidentID string) ([]connect.IncidentAlert, error)
	Incident(ctx context.Context, id string) (connect.Incident, error)
}

// Self gives the user id behind our own token, which PagerDuty names as the agent of what we did. It is asked for once.
func (p *PagerDuty) Self(ctx context.Context, connections connect.Set) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.self != "" {
		return p.self, nil
	}
	client, err := connect.Get[alertReader](connections, p.Connection)
	if err != nil {
		return "", fmt.Errorf("finding out who we are in PagerDuty: %w", err)
	}
	me, err := client.Me(ctx)
	if err != nil {
		return "", fmt.Errorf("finding out who we are in PagerDuty: %w", err)
	}
	p.self = me.ID
	return p.self, nil
}

// Shared asks PagerDuty whether the user that acts for us looks like a person's.
func (p *PagerDuty) Shared(ctx context.Context, connections connect.Set) (string, error) {
	client, err := connect.Get[interface {
		io.Closer
		Me(ctx context.Context) (connect.User, error)
		Personal(ctx context.Context, user connect.User) (string, error)
	}](connections, p.Connection)
	if err != nil {
		return "", err
	}
	me, err := client.Me(ctx)
	if err != nil {
		return "", err
	}
	why, err := client.Personal(ctx, me)
	if why != "" {
		why = me.Email + " " + why
	}
	return why, err
}

// LookUp reads the incident's alerts and gives each its labels. It is an error when there are none yet: a webhook can be faster than
// the list.
func (p *PagerDuty) LookUp(ctx context.Context, connections connect.Set, d Delivery) (Delivery, error) {
	if !d.Incomplete {
		return d, nil
	}
	client, err := connect.Get[alertReader](connections, p.Connection)
	if err != nil {
		return Delivery{}, fmt.Errorf("looking up the alerts of an incident: %w", err)
	}
	var found []alert.Alert
	for _, stub := range d.Alerts {
		alerts, err := p.lookUp(ctx, client, stub)
		if err != nil {
			return Delivery{}, fmt.Errorf("looking up the alerts of incident %s: %w", stub.IncidentID, err)
		}
		found = append(found, alerts...)
	}
	d.Alerts, d.Incomplete = found, false
	if len(found) == 0 {
		d.Ignored = "remediator itself opened this incident"
	}
	return d, nil
}

func (p *PagerDuty) lookUp(ctx context.Context, client alertReader, stub alert.Alert) ([]alert.Alert, error) {
	listed, stub, err := listAlerts(ctx, client, stub)
	if err != nil {
		return nil, err
	}
	if len(listed) == 0 {
		return nil, errors.New("PagerDuty lists none yet")
	}
	var found []alert.Alert
	for _, one := range listed {
		if one.Details[connect.OpenedBy] == connect.Ourselves {
			continue
		}
		sets, err := p.labels(ctx, one, stub)
		if err != nil {
			return nil, fmt.Errorf("making the labels of alert %s: %w", one.ID, err)
		}
		for _, labels := range sets {
			found = append(found, complete(stub, one, labels))
		}
	}
	return oncePerEpisode(found), nil
}

// listAlerts reads the alerts of the stub's incident. Where that was merged into another one they are listed there, and nothing else will tell
// of them: they are looked at as alerts of that one, whose own then are no news.
func listAlerts(ctx context.Context, client alertReader, stub alert.Alert) ([]connect.IncidentAlert, alert.Alert, error) {
	listed, err := client.Alerts(ctx, stub.IncidentID)
	if err != nil || len(listed) > 0 {
		return listed, stub, err
	}
	in, left, err := connect.Survivor(ctx, client.Incident, stub.IncidentID)
	if err != nil || len(left) == 0 {
		return nil, stub, err
	}
	listed, err = client.Alerts(ctx, in.ID)
	if stub.Episode == stub.IncidentID { // it was not reopened: its alerts are no older than it
		began := stub.StartsAt.Add(-mergeSkew)
		listed = slices.DeleteFunc(listed, func(one connect.IncidentAlert) bool {
			return !one.CreatedAt.IsZero() && one.CreatedAt.Before(began)
		})
	}
	stub.IncidentID, stub.Episode = in.ID, in.ID
	return listed, stub, err
}

// mergeSkew is how much earlier than its incident an alert may have been created.
const mergeSkew = time.Minute

// labels gives at least one label set, all of them within bounds.
func (p *PagerDuty) labels(ctx context.Context, one connect.IncidentAlert, stub alert.Alert) ([]map[string]string, error) {
	sets, err := p.mapLabels(ctx, one, stub)
	if err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		return nil, errors.New("there are none")
	}
	for _, set := range sets {
		if err := checkLabels(set); err != nil {
			return nil, err
		}
		if set["severity"] == "" && one.Severity != "" {
			set["severity"] = one.Severity
		}
	}
	return sets, nil
}

func (p *PagerDuty) mapLabels(ctx context.Context, one connect.IncidentAlert, stub alert.Alert) ([]map[string]string, error) {
	if p.Labels == "" {
		return defaultLabels(one)
	}
	mapping, err := p.mapping()
	if err != nil {
		return nil, err
	}
	details := one.Details
	if details == nil {
		details = map[string]any{}
	}
	return mapping.labels(ctx, mappingInput{alert: seenAlert(one), details: details, incident: seenIncident(stub)})
}

func seenAlert(one connect.IncidentAlert) mappedAlert {
	return mappedAlert{
		ID: one.ID, AlertKey: one.AlertKey, Severity: one.Severity, Summary: one.Summary, Status: one.Status, CreatedAt: one.CreatedAt,
	}
}

func seenIncident(stub alert.Alert) mappedIncident {
	notes := stub.Annotations
	return mappedIncident{
		ID: stub.IncidentID, Number: notes[noteNumber], Title: notes[noteTitle],
		ServiceID: notes[noteServiceID], Service: notes[noteService], Urgency: notes[noteUrgency], Priority: notes[notePriority],
	}
}

// removedDetails begins what Alertmanager's notifier leaves in the detail `error` of an event that was too large.
const removedDetails = "Custom details have been removed"

// defaultLabels is the mapping without a labels expression.
func defaultLabels(one connect.IncidentAlert) ([]map[string]string, error) {
	if text, _ := one.Details["error"].(string); strings.HasPrefix(text, removedDetails) {
		return nil, errors.New("Alertmanager removed the details because they were too large")
	}
	if fromAlertmanager(one.Details["firing"]) {
		return alertmanagerLabels(one.Details["firing"], one.Details["num_firing"])
	}
	if one.Status == connect.StatusResolved && fromAlertmanager(one.Details["resolved"]) {
		return alertmanagerLabels(one.Details["resolved"], one.Details["num_resolved"])
	}
	return summaryLabels(one)
}

// summaryLabels are the labels of an alert from an unknown sender. Alertmanager's, which num_firing betrays, must not end here because
// somebody changed its template: rules that ask for its labels would silently not match.
func summaryLabels(one connect.IncidentAlert) ([]map[string]string, error) {
	if _, ours := one.Details["num_firing"]; ours && one.Status != connect.StatusResolved {
		return nil, errors.New("Alertmanager's details do not have their default form: the source needs a labels expression")
	}
	if one.Summary == "" {
		return nil, errors.New("it has neither Alertmanager's details nor a summary")
	}
	return []map[string]string{{"alertname": one.Summary}}, nil
}

// fromAlertmanager recognizes both default forms of its details, when they name an alert.
func fromAlertmanager(list any) bool {
	switch list := list.(type) {
	case string:
		return strings.HasPrefix(strings.TrimLeft(list, "\n"), labelsHeading+"\n")
	case []any:
		return len(list) > 0 && labelsOf(list[0]) != nil
	default:
		return false
	}
}

// complete makes an alert of the incident out of its stub.
func complete(stub alert.Alert, one connect.IncidentAlert, labels map[string]string) alert.Alert {
	a := stub
	a.Labels = labels
	a.Annotations = map[string]string{}
	maps.Copy(a.Annotations, stub.Annotations)
	if one.Summary != "" {
		a.Annotations["summary"] = one.Summary
	}
	if one.CreatedAt.After(stub.StartsAt) {
		a.StartsAt = one.CreatedAt.UTC()
	}
	a.Episode = stub.Episode + "/" + alert.Fingerprint(labels)
	a.IncidentKey = one.AlertKey
	_, a.SelfResolving = one.Details["num_firing"] // only Alertmanager's notifier sends it
	if one.Status == connect.StatusResolved {
		a.Status = alert.Resolved
	}
	return a
}

// oncePerEpisode keeps one of the alerts that have the same labels: a firing one where there is one.
func oncePerEpisode(alerts []alert.Alert) []alert.Alert {
	place := make(map[string]int, len(alerts))
	var once []alert.Alert
	for _, a := range alerts {
		at, seen := place[a.Episode]
		switch {
		case !seen:
			place[a.Episode] = len(once)
			once = append(once, a)
		case once[at].Status == alert.Resolved:
			once[at] = a
		}
	}
	return once
}
