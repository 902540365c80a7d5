package sources

import (
	"encoding/json"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender: the labels become the alert's details.
func (s *Opsgenie) Sample(sample Sample) ([]byte, error) {
	details := make(map[string]any, len(sample.Labels))
	for name, value := range sample.Labels {
		details[name] = value
	}
	b := opsgenieBody{Action: opsgenieCreate, Alert: opsgenieAlert{
		ID: sample.ID, Alias: sample.ID, Message: sample.Summary, Details: details, Tags: []string{}, Priority: "P3",
		CreatedAt: sample.Began.UnixMilli(), UpdatedAt: sample.At.UnixNano(),
	}}
	if sample.Status == alert.Resolved {
		b.Action = opsgenieClose
	}
	return json.Marshal(b)
}
