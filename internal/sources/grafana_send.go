package sources

import (
	"encoding/json"
	"fmt"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender: a group of one alert, with a key of its own.
func (g *Grafana) Sample(s Sample) ([]byte, error) {
	one := groupedAlert{Status: s.Status, Labels: s.Labels, Annotations: map[string]string{"summary": s.Summary}, StartsAt: s.Began.UTC()}
	state := "alerting"
	if s.Status == alert.Resolved {
		one.EndsAt, state = s.At.UTC(), "ok"
	}
	body, err := json.Marshal(struct {
		alertGroup
		OrgID int    `json:"orgId"`
		Title string `json:"title"`
		State string `json:"state"`
	}{
		alertGroup: alertGroup{Version: "1", GroupKey: `{}:{sample="` + s.ID + `"}`, Status: s.Status, Alerts: []groupedAlert{one}},
		OrgID:      1, Title: s.Summary, State: state,
	})
	if err != nil {
		return nil, fmt.Errorf("making a group of alerts: %w", err)
	}
	return body, nil
}
