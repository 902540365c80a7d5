package sources

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender: labels become tags, but for those that are fields of their own. A severity becomes the priority that means it.
func (s *Datadog) Sample(sample Sample) ([]byte, error) {
	labels := maps.Clone(sample.Labels)
	b := datadogBody{
		ID: sample.ID, AlertID: firstLabel(labels, "monitor", "1234"), CycleKey: sample.ID, Transition: "Triggered", Status: sample.Summary,
		Title: firstLabel(labels, "alertname", "sample"), Priority: firstLabel(labels, "priority", ""), Metric: firstLabel(labels, "metric", ""),
		Hostname: firstLabel(labels, "hostname", ""), Date: strconv.FormatInt(sample.At.UnixMilli(), 10),
		Link: "https://app.datadoghq.com/monitors/1234",
	}
	delete(labels, "transition")
	if sample.Status == alert.Resolved {
		b.Transition = "Recovered"
	}
	if severity := firstLabel(labels, "severity", ""); severity != "" && b.Priority == "" {
		if b.Priority = priorityOfSeverity(severity); b.Priority == "" {
			return nil, fmt.Errorf("Datadog has no priority for the severity %q", clip(severity))
		}
	}
	b.Title = fmt.Sprintf("[%s on {%s}] %s", b.Transition, b.Hostname, b.Title)
	tags, err := tagsOf(labels)
	if err != nil {
		return nil, err
	}
	b.Tags = strings.Join(tags, ",")
	return json.Marshal(b)
}

// firstLabel takes a label out of the set, and gives otherwise where it is not in it.
func firstLabel(labels map[string]string, name, otherwise string) string {
	value, ok := labels[name]
	delete(labels, name)
	if !ok {
		return otherwise
	}
	return value
}

func priorityOfSeverity(severity string) string {
	for _, priority := range []string{"P1", "P2", "P3", "P4"} {
		if severityOfPriority(priority) == severity {
			return priority
		}
	}
	return ""
}

// tagsOf writes labels as tags; what a tag cannot hold is an error.
func tagsOf(labels map[string]string) ([]string, error) {
	var tags []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		tag := name + ":" + labels[name]
		if got := tagLabels(strings.Split(tag, ",")); len(got) != 1 || got[name] != labels[name] {
			return nil, fmt.Errorf("the label %q cannot be written as a tag", clip(name))
		}
		tags = append(tags, tag)
	}
	return tags, nil
}
