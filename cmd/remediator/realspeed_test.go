package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// realRules is the rollback of the playbook with a verification short enough for a test.
const realRules = `version: 1
rules:
  - name: roll-back-a-bad-deploy
    match: [alertname="HealthCheckFailed"]
    target: {from: service}
    mode: auto
    gather:
      health: {http.get: {url: "{{ .Target.Health }}", tries: 3}}
      deploy: {cloud_run.revisions: {}}
    if: health.sick && deploy.age < duration("30m")
    do:
      - cloud_run.rollback: {to: previous_healthy, within: 30m}
    verify: {if: health.status == 200, hold: 5s, within: 2m, every: 2s}
    tell:
      pagerduty: {open_incident: true, resolve_when: fixed}
`

// Times of the platform in the real-speed world.
const (
	realOperation = 20 * time.Second
	realCold      = 10 * time.Second
	realHold      = 5 * time.Second
)

// TestRollbackAtRealSpeed: nothing is shortened, neither the operation of 20 s nor the cold start of 10 s after it.
func TestRollbackAtRealSpeed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the better part of a minute")
	}
	t.Parallel()
	h := newHouse(t, houseConfig{rules: realRules, speed: 1, services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	h.world.SetOperationTime(realOperation, realOperation)
	before := h.serving(backend)
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	incident := h.alert(healthFailed, backend)
	awaitWithin(t, 90*time.Second, "the run is done", func() bool {
		view, ok := h.runOf(t.Context(), backend, incident)
		return ok && view.Run.State == remediation.Done
	})
	s := h.tale(t, backend, incident)
	h.honest(t, backend, s)
	want(t, "outcome", s.view.Run.Outcome, remediation.Fixed)
	want(t, "changes in the ledger", len(h.updates(backend)), 1)
	want(t, "what serves", h.serving(backend), before)
	succeed(t, h.expectTold(incident, healed))
	h.tookItsTime(t, s)
}

// tookItsTime compares the run's times with those of the platform.
func (h *house) tookItsTime(t *testing.T, s story) {
	t.Helper()
	run, step := s.view.Run, s.view.Steps[0]
	const readBack = 5 * time.Second // in which a busy machine sees that the act is done; the cold start goes on meanwhile
	between(t, "the act, until it was read back as done", step.EndedAt.Sub(step.StartedAt), realOperation, realOperation+readBack)
	between(t, "the verification", run.DoneAt.Sub(run.AppliedAt), realCold+realHold-readBack, realCold+realHold+10*time.Second)
	between(t, "the webhook to the act", run.DecidedAt.Sub(run.CreatedAt), 0, 6*time.Second)
	for _, e := range h.world.Ledger() {
		if e.Verb == "incident_acknowledged" && e.Resource == s.incident.ID {
			between(t, "the decision to the acknowledgement", e.Time.Sub(run.DecidedAt), 0, 3*time.Second) // a second, and what a busy machine takes
		}
	}
	cold := false
	for _, e := range s.view.Journal {
		cold = cold || e.Kind == remediation.EntrySample && strings.Contains(e.Text, "503")
	}
	want(t, "the cold start was seen and waited out", cold, true)
}

func between(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s took %s, not between %s and %s", what, got, least, most)
	}
}
