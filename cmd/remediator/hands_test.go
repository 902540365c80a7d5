package main

import (
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// handed is a house that PagerDuty reaches through a gate, so that people can be faster than its webhooks.
type handed struct {
	*house
	webhooks *gate
	incident string
}

// newHanded breaks the backend and opens an incident for it, of which the house has not heard yet.
func newHanded(t *testing.T) *handed {
	t.Helper()
	h := newHouse(t, houseConfig{services: []sandbox.Service{
		{Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}}},
	}})
	in := &handed{house: h, webhooks: newGate(t, h.url)}
	h.world.SetWebhook(sandbox.Webhook{URL: in.webhooks.url + "/v1/webhooks/pagerduty", Secret: demoSigningSecret})
	in.webhooks.close()
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	in.incident = h.alert(healthFailed, backend)
	return in
}

// TestPersonsHandWins: a person's acknowledgement keeps automation off the incident, until it is given back.
func TestPersonsHandWins(t *testing.T) {
	t.Parallel()
	h := newHanded(t)
	succeed(t, h.world.HumanAcknowledges(h.incident))
	h.webhooks.open()
	s := h.tale(t, backend, h.incident)
	want(t, "outcome", s.view.Run.Outcome, remediation.RefusedRun)
	want(t, "reason", s.view.Run.Reason, guard.Held)
	want(t, "changes", len(h.updates(backend)), 0)
	s.note.shows(t, "Ann")
	succeed(t, h.expectTold(h.incident, map[string]int{"incident_acknowledged": 1, "incident_escalated": 0, "incident_resolved": 0}))
}

// TestOurOwnHandHoldsNothing: the acknowledgement that a run makes comes back as a webhook and is not taken for a person's.
func TestOurOwnHandHoldsNothing(t *testing.T) {
	t.Parallel()
	h := newHanded(t)
	h.webhooks.open()
	s := h.tale(t, backend, h.incident)
	want(t, "outcome", s.view.Run.Outcome, remediation.Fixed)
	want(t, "changes", len(h.updates(backend)), 1)
}

// TestOurHandOfALifeBefore: a server that has just started does not know yet by which name PagerDuty tells of it. The acknowledgement that
// it made before must not keep it off the incident.
func TestOurHandOfALifeBefore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{
		{Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}}},
	}})
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	key := alert.GroupIncidentKey(`{}:{alertname="` + healthFailed + `"}`)
	hook := sandbox.Webhook{URL: h.url + "/v1/webhooks/pagerduty", Secret: demoSigningSecret}
	h.world.SetWebhook(sandbox.Webhook{}) // its trigger was heard in the life before
	incident := h.world.TriggerIncident(sandbox.Incident{Title: "down", Key: key})
	h.world.SetWebhook(hook)
	pd, err := connect.Get[*connect.PagerDuty](h.app.connections(), "pagerduty")
	succeed(t, err)
	succeed(t, pd.Acknowledge(t.Context(), incident))
	h.await(t, "it has come back", func() bool { return h.posts("pagerduty", "webhook_delivered", incident) == 1 })
	run := h.deliver(t, wire{"alertmanager", bearer(), firingBody(t, healthFailed, backend, time.Now())})
	if run.Outcome != remediation.Fixed {
		t.Errorf("the run ended %s: %s %s", run.Outcome, run.Reason, run.Detail)
	}
}
