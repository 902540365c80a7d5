package sources

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// monitoringBody is what decides of a body (https://cloud.google.com/monitoring/support/notification-options#webhooks): an incident or, by
// Pub/Sub's push, a message that holds one (https://cloud.google.com/pubsub/docs/push#receive_push).
type monitoringBody struct {
	Version      looseText           `json:"version"`
	Incident     *monitoringIncident `json:"incident"`
	Message      *pubSubMessage      `json:"message"`
	Subscription string              `json:"subscription"`
}

type pubSubMessage struct {
	Data        string    `json:"data"`
	MessageID   looseText `json:"messageId"`
	PublishTime time.Time `json:"publishTime"`
}

// monitoringIncident is an incident. Numbers are taken as texts too, and texts as numbers: samples of Google's own differ in that.
type monitoringIncident struct {
	ID               looseText            `json:"incident_id"`
	URL              looseText            `json:"url"`
	State            looseText            `json:"state"`
	Severity         looseText            `json:"severity"`
	StartedAt        epochTime            `json:"started_at"`
	EndedAt          epochTime            `json:"ended_at"`
	Resource         monitoringLabels     `json:"resource"`
	Metric           monitoringLabels     `json:"metric"`
	PolicyName       looseText            `json:"policy_name"`
	PolicyUserLabels map[string]looseText `json:"policy_user_labels"`
	ConditionName    looseText            `json:"condition_name"`
	ThresholdValue   looseText            `json:"threshold_value"`
	ObservedValue    looseText            `json:"observed_value"`
	Summary          looseText            `json:"summary"`
}

type monitoringLabels struct {
	Type   looseText            `json:"type"`
	Labels map[string]looseText `json:"labels"`
}

// The states of an incident that its channel tells of.
const (
	incidentOpen   = "open"
	incidentClosed = "closed"
)

// Parse reads one incident. A webhook has no id and no time of its own being sent, so that a notification that is repeated has the episode
// of the first. A message has both: Pub/Sub delivers it at least once, for up to a week.
func (g *GoogleCloudMonitoring) Parse(body []byte, _ time.Time) (Delivery, error) {
	var read monitoringBody
	if err := decodeStrict(body, &read); err != nil {
		return Delivery{}, err
	}
	switch {
	case read.Incident != nil && read.Message != nil:
		return Delivery{}, errors.New("the body is an incident and a message of Pub/Sub at once")
	case read.Message != nil:
		return g.message(read)
	default:
		return g.notification(read)
	}
}

// message reads what Pub/Sub pushes. Its id is that of the message, not of the incident; it is one of the topic's, and a source may be
// pushed to from several subscriptions.
func (g *GoogleCloudMonitoring) message(read monitoringBody) (Delivery, error) {
	const maxID = 512
	inner, err := base64.StdEncoding.Strict().DecodeString(read.Message.Data)
	if err != nil {
		return Delivery{}, errors.New("the data of the Pub/Sub message are not base64")
	}
	id := read.Subscription + "/" + string(read.Message.MessageID)
	if read.Message.MessageID == "" || len(id) > maxID {
		return Delivery{}, errors.New("the Pub/Sub message has no messageId or a very long one")
	}
	var notified monitoringBody
	if err := decodeStrict(inner, &notified); err != nil {
		return Delivery{}, fmt.Errorf("the data of the Pub/Sub message: %w", err)
	}
	d, err := g.notification(notified)
	if err != nil {
		return Delivery{}, fmt.Errorf("the data of the Pub/Sub message: %w", err)
	}
	d.DedupKey, d.OccurredAt = id, read.Message.PublishTime.UTC()
	return d, nil
}

func (g *GoogleCloudMonitoring) notification(read monitoringBody) (Delivery, error) {
	switch {
	case read.Version == "test":
		return Delivery{Type: "test", Ignored: "Cloud Monitoring's test of the channel"}, nil
	case read.Version != "1.2":
		return Delivery{}, fmt.Errorf("the body's version is %q, not Cloud Monitoring's \"1.2\"", clip(string(read.Version)))
	case read.Incident == nil:
		return Delivery{}, errors.New("the body holds no incident")
	}
	in := *read.Incident
	state := strings.ToLower(string(in.State))
	if err := in.check(state); err != nil {
		return Delivery{}, fmt.Errorf("the incident: %w", err)
	}
	a := in.alert(g.name, state)
	if err := checkLabels(a.Labels); err != nil {
		return Delivery{}, fmt.Errorf("the incident: %w", err)
	}
	return Delivery{Type: "incident." + state, Alerts: []alert.Alert{a}}, nil
}

func (in monitoringIncident) check(state string) error {
	const maxID = 256
	switch {
	case in.ID == "" || len(in.ID) > maxID:
		return errors.New("it has no incident_id or a very long one")
	case state != incidentOpen && state != incidentClosed:
		return fmt.Errorf("its state is %q, neither open nor closed", clip(string(in.State)))
	case in.StartedAt.IsZero():
		return errors.New("it has no started_at")
	default:
		return nil
	}
}

// alert: one incident is one firing, whose id is the same when it closes. Cloud Monitoring closes it by itself.
func (in monitoringIncident) alert(source, state string) alert.Alert {
	a := alert.Alert{
		Source:        source,
		Status:        alert.Firing,
		Labels:        in.labels(),
		Annotations:   in.annotations(),
		StartsAt:      in.StartedAt.Time,
		Link:          webLink(string(in.URL)),
		Episode:       string(in.ID),
		SelfResolving: true,
	}
	if state == incidentClosed {
		a.Status, a.EndsAt = alert.Resolved, in.EndedAt.Time
	}
	return a
}

// ownLabels are those that only the policy decides: what was measured must not set them, even where the policy does not.
func ownLabels() []string {
	return []string{"alertname", "policy", "condition", "severity", "resource_type", "metric_type"}
}

// labels: what the policy's owner has written stands above what was measured. The values of metric labels may come out of log lines and
// requests, and those of resource labels from whoever deploys, so that theirs is the last word and the one before: the alert's own names, over
// the policy's user labels, over resource labels, over metric labels.
func (in monitoringIncident) labels() map[string]string {
	labels := map[string]string{}
	for _, measured := range []monitoringLabels{in.Metric, in.Resource} {
		for name, value := range measured.Labels {
			if !slices.Contains(ownLabels(), name) {
				setLabel(labels, name, value)
			}
		}
	}
	for name, value := range in.PolicyUserLabels {
		setLabel(labels, name, value)
	}
	setLabel(labels, "alertname", cmp.Or(in.PolicyName, in.ConditionName))
	setLabel(labels, "policy", in.PolicyName)
	setLabel(labels, "condition", in.ConditionName)
	setLabel(labels, "severity", in.severity())
	setLabel(labels, "resource_type", known(in.Resource.Type))
	setLabel(labels, "metric_type", known(in.Metric.Type))
	return labels
}

// known leaves out what Cloud Monitoring writes for a condition in PromQL, which has no metric of its own.
func known(text looseText) looseText {
	if text == "__missing__" {
		return ""
	}
	return text
}

// severity is critical, error or warning; "" when the policy has none, so that its user label severity counts.
func (in monitoringIncident) severity() string {
	switch severity := strings.ToLower(string(in.Severity)); severity {
	case "no severity", "severity_unspecified":
		return ""
	default:
		return severity
	}
}

func (in monitoringIncident) annotations() map[string]string {
	notes := map[string]string{}
	setLabel(notes, "summary", in.Summary)
	setLabel(notes, "observed_value", in.ObservedValue)
	setLabel(notes, "threshold_value", in.ThresholdValue)
	return notes
}
