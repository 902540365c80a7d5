package sources

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// Sign implements Sender: by the first signing secret, else by the first bearer token, else by the password. A time that is signed is now.
func (g *Grafana) Sign(r *Request) error {
	if len(g.SigningSecret) == 0 {
		return g.authorization().sign(r)
	}
	secret, err := readSecret(g.SigningSecret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("signing with the signing secret: %w", err)
	}
	signed := r.Body
	if g.TimestampHeader != "" {
		now := time.Now()
		header(r).Set(g.TimestampHeader, strconv.FormatInt(now.Unix(), 10))
		signed = stamped(now, r.Body)
	}
	header(r).Set(g.signatureHeader(), signature(secret, signed))
	return nil
}

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
