package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
)

// eventV2 is the body of POST /v2/enqueue.
type eventV2 struct {
	RoutingKey string `json:"routing_key"`
	Action     string `json:"event_action"`
	DedupKey   string `json:"dedup_key"`
	Payload    *struct {
		Summary  string `json:"summary"`
		Source   string `json:"source"`
		Severity string `json:"severity"`
		Details  any    `json:"custom_details"`
	} `json:"payload"`
}

func (e eventV2) errors() []string {
	var out []string
	if e.RoutingKey != PagerDutyRoutingKey {
		out = append(out, "'routing_key' is not a valid routing key")
	}
	if len(e.DedupKey) > 255 {
		out = append(out, "'dedup_key' is longer than 255 characters")
	}
	switch {
	case e.Action == "trigger" && (e.Payload == nil || e.Payload.Summary == "" || e.Payload.Source == ""):
		out = append(out, "'payload' needs a summary and a source")
	case e.Action == "trigger" && !slices.Contains([]string{"critical", "error", "warning", "info"}, e.Payload.Severity):
		out = append(out, "'payload.severity' is not one of critical, error, warning, info")
	case !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, e.Action):
		out = append(out, "'event_action' is not one of trigger, acknowledge, resolve")
	case e.Action != "trigger" && e.DedupKey == "":
		out = append(out, "'dedup_key' is required")
	}
	return out
}

// enqueue is the Events API v2. An acknowledge or resolve of a key that is not
// open is accepted and dropped, as the vendor does.
func (p *pagerDuty) enqueue(w http.ResponseWriter, r *http.Request) {
	var e eventV2
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&e); err != nil {
		writeJSON(w, http.StatusBadRequest, object{"status": "invalid event", "message": "Event object is invalid", "errors": []string{"unparsable JSON"}})
		return
	}
	if errs := e.errors(); len(errs) > 0 {
		p.ledger.add(Entry{System: "pagerduty", Verb: "enqueue_refused", Resource: "/v2/enqueue", By: "events", Detail: map[string]any{"errors": errs}})
		writeJSON(w, http.StatusBadRequest, object{"status": "invalid event", "message": "Event object is invalid", "errors": errs})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	writeJSON(w, http.StatusAccepted, object{"status": "success", "message": "Event processed", "dedup_key": p.apply(e)})
}

func (p *pagerDuty) apply(e eventV2) (key string) {
	if e.Action == "trigger" {
		if e.DedupKey == "" {
			e.DedupKey = p.dice.letters("0123456789abcdef", 32)
		}
		p.open(Incident{Title: e.Payload.Summary, Key: e.DedupKey, Details: e.Payload.Details, Severity: e.Payload.Severity, ServiceID: defaultService}, actor{})
		return e.DedupKey
	}
	inc, a := p.openAlert(defaultService, e.DedupKey)
	switch {
	case inc == nil:
		p.ledger.add(Entry{System: "pagerduty", Verb: "event_dropped", Resource: e.DedupKey, By: "events", Detail: map[string]any{"action": e.Action}})
	case e.Action == "acknowledge" && inc.Status == "triggered":
		p.acknowledge(inc, actor{})
	case e.Action == "resolve":
		p.resolveAlert(inc, a)
	}
	return e.DedupKey
}

// resolveAlert ends one alert; the incident ends with its last open alert.
func (p *pagerDuty) resolveAlert(inc *Incident, a *Alert) {
	a.Status = "resolved"
	open := slices.ContainsFunc(inc.Alerts, func(a Alert) bool { return a.Status != "resolved" })
	if open {
		p.record(inc, actor{}, "alert_resolved", "", map[string]any{"alert_key": a.Key})
		return
	}
	p.resolve(inc, actor{}, "")
}
