package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender: an incident whose labels are those of its policy.
func (g *GoogleCloudMonitoring) Sample(s Sample) ([]byte, error) {
	owner := maps.Clone(s.Labels)
	maps.DeleteFunc(owner, func(name, _ string) bool { return name == "alertname" || name == "policy" || name == "condition" })
	in := map[string]any{
		"incident_id": "0." + s.ID, "state": incidentOpen, "started_at": s.Began.Unix(), "ended_at": nil,
		"policy_name": s.Labels["alertname"], "condition_name": s.Labels["condition"], "policy_user_labels": owner,
		"resource": map[string]any{"labels": map[string]string{}}, "metric": map[string]any{"labels": map[string]string{}},
		"summary": s.Summary,
	}
	if s.Status == alert.Resolved {
		in["state"], in["ended_at"] = incidentClosed, s.At.Unix()
	}
	body, err := json.Marshal(map[string]any{"version": "1.2", "incident": in})
	if err != nil {
		return nil, fmt.Errorf("making an incident: %w", err)
	}
	d, err := g.Parse(body, s.At)
	if err != nil {
		return nil, fmt.Errorf("making an incident: %w", err)
	}
	if len(d.Alerts) != 1 {
		return nil, errors.New("making an incident: it tells of no alert")
	}
	return body, carries("an incident of Cloud Monitoring", s.Labels, d.Alerts[0].Labels)
}
