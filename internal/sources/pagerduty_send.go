package sources

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// pageyPing is PagerDuty's own test of a subscription.
const pageyPing = "pagey.ping"

// Sign implements Sender: by the first of the subscription's secrets.
func (p *PagerDuty) Sign(r *Request) error {
	if len(p.SigningSecret) == 0 {
		return errNoProof
	}
	secret, err := readSecret(p.SigningSecret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("signing as PagerDuty: %w", err)
	}
	header(r).Set("X-PagerDuty-Signature", "v1="+signature(secret, r.Body))
	return nil
}

// Sample implements Sender: an incident that was triggered or resolved. Its labels are not in the body.
func (p *PagerDuty) Sample(s Sample) ([]byte, error) {
	if s.Status == alert.Resolved {
		return p.Event(incidentResolved, s)
	}
	return p.Event(incidentTriggered, s)
}

// Events implements Eventful.
func (p *PagerDuty) Events() []string {
	return []string{pageyPing, incidentTriggered, incidentReopened, incidentResolved}
}

// Event implements Eventful.
func (p *PagerDuty) Event(name string, s Sample) ([]byte, error) {
	at := slices.IndexFunc(p.Events(), func(e string) bool { return e == name || strings.HasSuffix(e, "."+name) })
	if at < 0 {
		return nil, fmt.Errorf("PagerDuty's events are %s, not %q", strings.Join(p.Events(), ", "), clip(name))
	}
	data, err := json.Marshal(map[string]string{"message": s.Summary, "type": "ping"})
	event := p.Events()[at]
	if event != pageyPing {
		data, err = json.Marshal(sampleIncident(event, s))
	}
	if err != nil {
		return nil, fmt.Errorf("writing the data of the event: %w", err)
	}
	return json.Marshal(pagerDutyBody{Event: pagerDutyEvent{ID: s.ID, EventType: event, OccurredAt: s.At.UTC(), Data: data}})
}

func sampleIncident(event string, s Sample) pagerDutyIncident {
	in := pagerDutyIncident{
		ID: s.ID, Type: "incident", Status: strings.TrimPrefix(event, "incident."), Key: &s.ID, CreatedAt: s.Began.UTC(), Title: s.Summary, Urgency: "high",
	}
	if event == incidentReopened {
		in.Status, in.ReopenedAt = "triggered", new(time.Time)
		*in.ReopenedAt = s.At.UTC()
	}
	return in
}
