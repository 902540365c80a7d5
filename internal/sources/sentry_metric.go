package sources

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// sentryMetric is what decides of a metric alert.
type sentryMetric struct {
	ID             looseText   `json:"id"`
	Identifier     looseText   `json:"identifier"`
	OrganizationID looseText   `json:"organization_id"`
	Projects       []looseText `json:"projects"`
	DateStarted    time.Time   `json:"date_started"`
	DateDetected   time.Time   `json:"date_detected"`
	DateClosed     time.Time   `json:"date_closed"`
	AlertRule      struct {
		Name        looseText `json:"name"`
		Environment looseText `json:"environment"`
	} `json:"alert_rule"`
}

// metricAlert reads a metric alert. Sentry watches the metric, so that its end is Sentry's own word. The body has no time of its own being
// sent: its age is that of the incident, also when a warning becomes critical later.
func (s *Sentry) metricAlert(d Delivery, action string, data sentryData) (Delivery, error) {
	m := *data.MetricAlert
	if err := m.check(action); err != nil {
		return Delivery{}, err
	}
	a := alert.Alert{
		Source: s.name, Status: alert.Firing, Labels: m.labels(action), Annotations: map[string]string{}, StartsAt: m.DateStarted.UTC(),
		Link:          webLink(string(data.WebURL)),
		Episode:       alert.Episode(s.name+"/metric/"+string(m.ID), m.DateStarted),
		IncidentKey:   m.incidentKey(),
		SelfResolving: true,
	}
	d.OccurredAt = m.DateDetected.UTC()
	if action == "resolved" {
		a.Status, a.EndsAt, d.OccurredAt = alert.Resolved, m.DateClosed.UTC(), m.DateClosed.UTC()
	}
	setLabel(a.Annotations, "summary", data.DescriptionTitle)
	setLabel(a.Annotations, "description", data.DescriptionText)
	if len(m.Projects) > 1 {
		setLabel(a.Annotations, "projects", fmt.Sprint(m.Projects))
	}
	d.Alerts = []alert.Alert{a}
	return d, checkLabels(a.Labels)
}

func (m sentryMetric) check(action string) error {
	switch {
	case action != "critical" && action != "warning" && action != "resolved":
		return fmt.Errorf("its action is %q, neither critical nor warning nor resolved", clip(action))
	case !sentryID.MatchString(string(m.ID)):
		return errors.New("it has no id, or none of Sentry's")
	case m.DateStarted.IsZero():
		return errors.New("it has no date_started")
	case m.AlertRule.Name == "":
		return errors.New("its alert rule has no name")
	default:
		return nil
	}
}

// labels: a rule may watch several projects; then none of them is the alert's.
func (m sentryMetric) labels(action string) map[string]string {
	labels := map[string]string{"alertname": string(m.AlertRule.Name)}
	if len(m.Projects) == 1 {
		setLabel(labels, "project", m.Projects[0])
	}
	setLabel(labels, "environment", m.AlertRule.Environment)
	if action != "resolved" {
		labels["severity"] = strings.ToLower(action)
	}
	return labels
}

// incidentKey is the key under which Sentry's own PagerDuty integration opens the incident of a metric alert (getsentry/sentry,
// src/sentry/integrations/pagerduty/utils.py, dedup_key). That of an issue alert's incident is not in the hook.
func (m sentryMetric) incidentKey() string {
	if m.OrganizationID == "" || m.Identifier == "" {
		return ""
	}
	return "incident_" + string(m.OrganizationID) + "_" + string(m.Identifier)
}
