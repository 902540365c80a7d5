package sources

import (
	"encoding/json"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender: the labels become those of the group's first alert.
func (s *OnCall) Sample(sample Sample) ([]byte, error) {
	kind, state := onCallCreated, "new"
	if sample.Status == alert.Resolved {
		kind, state = onCallResolve, "resolved"
	}
	labels := make(map[string]any, len(sample.Labels))
	for name, value := range sample.Labels {
		labels[name] = value
	}
	var b onCallBody
	b.Event.Type, b.Event.Time = kind, &sample.At
	b.Group = onCallGroup{
		ID: sample.ID, State: state, CreatedAt: sample.Began, Title: sample.Summary,
		Permalinks: map[string]any{"web": "https://grafana.example.com/a/grafana-oncall-app/alert-groups/" + sample.ID},
	}
	b.Payload = map[string]any{"labels": labels, "status": "firing", "startsAt": sample.Began}
	return json.Marshal(b)
}
