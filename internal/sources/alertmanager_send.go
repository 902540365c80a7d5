package sources

import (
	"encoding/json"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// alertmanagerSample is a body as Alertmanager writes it: alertGroup with what decides nothing.
type alertmanagerSample struct {
	Version           string                    `json:"version"`
	GroupKey          string                    `json:"groupKey"`
	TruncatedAlerts   uint64                    `json:"truncatedAlerts"`
	Status            alert.Status              `json:"status"`
	Receiver          string                    `json:"receiver"`
	GroupLabels       map[string]string         `json:"groupLabels"`
	CommonLabels      map[string]string         `json:"commonLabels"`
	CommonAnnotations map[string]string         `json:"commonAnnotations"`
	ExternalURL       string                    `json:"externalURL"`
	Alerts            []alertmanagerSampleAlert `json:"alerts"`
}

type alertmanagerSampleAlert struct {
	groupedAlert
	Fingerprint string `json:"fingerprint"`
}

// Sign implements Sender: by the first bearer token, else by the password.
func (a *Alertmanager) Sign(r *Request) error { return a.proofs().sign(r) }

// Sample implements Sender: a group of one alert, with a key of its own.
func (a *Alertmanager) Sample(s Sample) ([]byte, error) {
	notes := map[string]string{"summary": s.Summary}
	one := groupedAlert{Status: s.Status, Labels: s.Labels, Annotations: notes, StartsAt: s.Began.UTC(), EndsAt: time.Time{}}
	if s.Status == alert.Resolved {
		one.EndsAt = s.At.UTC()
	}
	return json.Marshal(alertmanagerSample{
		Version: "4", GroupKey: `{}:{sample="` + s.ID + `"}`, Status: s.Status, Receiver: "remediator", GroupLabels: map[string]string{},
		CommonLabels: s.Labels, CommonAnnotations: notes,
		Alerts: []alertmanagerSampleAlert{{groupedAlert: one, Fingerprint: alert.Fingerprint(s.Labels)}},
	})
}
