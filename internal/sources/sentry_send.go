package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// Sign implements Sender: by the first client secret.
func (s *Sentry) Sign(r *Request) error {
	if len(s.ClientSecret) == 0 {
		return errNoProof
	}
	secret, err := readSecret(s.ClientSecret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("signing with the client secret: %w", err)
	}
	header(r).Set(sentrySignature, signature(secret, r.Body))
	return nil
}

// Sample implements Sender: a metric alert or, where the labels are such as only an event has, an issue alert, which has no end of its own.
func (s *Sentry) Sample(of Sample) ([]byte, error) {
	hook := sampleMetric(of)
	if ofEvent(of.Labels) {
		if of.Status == alert.Resolved {
			return nil, errors.New("Sentry does not tell the end of an issue alert, and the labels are those of one")
		}
		hook = sampleIssue(of)
	}
	hook["installation"] = map[string]string{"uuid": of.ID}
	body, err := json.Marshal(hook)
	if err != nil {
		return nil, fmt.Errorf("making a hook: %w", err)
	}
	d, err := s.Parse(body, of.At)
	if err != nil {
		return nil, fmt.Errorf("making a hook: %w", err)
	}
	wanted := maps.Clone(of.Labels)
	if of.Status == alert.Resolved {
		delete(wanted, "severity")
	}
	return body, carries("a hook of Sentry", wanted, d.Alerts[0].Labels)
}

func ofEvent(labels map[string]string) bool {
	for name, value := range labels {
		level := name == "severity" && value != "critical" && value != "warning"
		if strings.HasPrefix(name, "tag_") || name == "release" || name == "project_id" || level {
			return true
		}
	}
	return false
}

func sampleMetric(of Sample) map[string]any {
	action := of.Labels["severity"]
	if action == "" {
		action = "critical"
	}
	metric := map[string]any{
		"id": of.ID, "identifier": of.ID, "organization_id": "1", "date_started": of.Began.UTC(), "date_detected": of.Began.UTC(),
		"date_closed": nil, "projects": []string{}, "alert_rule": map[string]any{"name": of.Labels["alertname"], "environment": of.Labels["environment"]},
	}
	if of.Status == alert.Resolved {
		action, metric["date_closed"] = "resolved", of.At.UTC()
	}
	if project := of.Labels["project"]; project != "" {
		metric["projects"] = []string{project}
	}
	return map[string]any{"action": action, "data": map[string]any{"metric_alert": metric, "description_title": of.Summary}}
}

func sampleIssue(of Sample) map[string]any {
	tags := [][2]string{}
	for _, name := range slices.Sorted(maps.Keys(of.Labels)) {
		if tag, ok := strings.CutPrefix(name, "tag_"); ok {
			tags = append(tags, [2]string{tag, of.Labels[name]})
		}
	}
	event := map[string]any{
		"event_id": of.ID, "issue_id": of.ID, "title": of.Summary, "level": of.Labels["severity"], "environment": of.Labels["environment"],
		"release": of.Labels["release"], "project": of.Labels["project_id"], "tags": tags,
		"received": float64(of.At.UnixMicro()) / 1e6, "datetime": of.At.UTC().Format(time.RFC3339Nano),
	}
	if project := of.Labels["project"]; project != "" {
		event["url"] = "https://sentry.io/api/0/projects/sample/" + project + "/events/" + of.ID + "/"
	}
	return map[string]any{"action": "triggered", "data": map[string]any{"event": event, "triggered_rule": of.Labels["alertname"]}}
}
