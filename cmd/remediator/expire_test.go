package main

import (
	"strings"
	"testing"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

const floodRule = `
rules:
  - name: limit-a-flood
    match: [alertname="Flood"]
    target: {from: service}
    mode: auto
    gather: {edge: {cloud_armor.policy: {}}}
    if: "!edge.rate_limit_on"
    do: [{cloud_armor.rate_limit: {per_minute: 60, per_client_ip: true, lasts: 30m}}]
    verify: {if: edge.rate_limit_on && edge.rate_limit_ours, hold: 1m, within: 10m}
    tell: {pagerduty: {open_incident: true}, slack: {}}
`

// limitOff is the rule that people have made for a rate limit, in preview.
var limitOff = sandbox.ArmorRule{
	Priority: 1000, Action: "throttle", Description: "rate limit, off", Preview: true,
	Match: &sandbox.ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &sandbox.ArmorAddresses{SrcIPRanges: []string{"*"}}},
	RateLimitOptions: &sandbox.ArmorRateLimit{
		ConformAction: "allow", ExceedAction: "deny(429)", EnforceOnKey: "IP", RateLimitThreshold: &sandbox.ArmorThreshold{Count: 300, IntervalSec: 60},
	},
}

// flooded is a house whose rate limit was put in force for a time, and the run that has done it.
func flooded(t *testing.T) (*house, string, remediation.Run) {
	t.Helper()
	h := newHouse(t, houseConfig{
		rules: swap(t, string(playbook.Playbook), "\nrules:\n", floodRule), services: []sandbox.Service{{Name: backend}},
		adapt: func(overlay map[string]any) {
			overlay["targets"].(map[string]any)[backend].(map[string]any)["cloud_armor"] = map[string]any{
				"policy": "edge", "rate_limit": 1000, "never_block": []string{"192.0.2.0/24"}, "priorities": map[string]any{"from": 500, "to": 509},
			}
		},
	})
	succeed(t, h.world.SetIngress(backend, true))
	h.world.AddSecurityPolicy(sandbox.ArmorPolicy{Name: "edge", Rules: []sandbox.ArmorRule{limitOff}})
	incident := h.alert("Flood", backend)
	view := h.run(t, backend, incident)
	want(t, "outcome", view.Run.Outcome, remediation.Fixed)
	if on := h.limit(t); on.Preview || on.RateLimitOptions.RateLimitThreshold.Count != 60 {
		t.Fatalf("the limit in force is %+v", on)
	}
	if notes := h.world.Incident(incident).Notes; !strings.Contains(notes[len(notes)-1].Content, "Z; remediator ends it then") {
		t.Errorf("the note does not say until when it stands:\n%s", notes[len(notes)-1].Content)
	}
	return h, incident, view.Run
}

// limit is the rate limit as it is now.
func (h *house) limit(t *testing.T) sandbox.ArmorRule {
	t.Helper()
	policy, err := h.world.SecurityPolicy("edge")
	succeed(t, err)
	for _, r := range policy.Rules {
		if r.Priority == limitOff.Priority {
			return r
		}
	}
	return sandbox.ArmorRule{}
}

// TestARateLimitEndsByItself: what was made for a time is put back as it was, also while everything is paused.
func TestARateLimitEndsByItself(t *testing.T) {
	t.Parallel()
	h, incident, run := flooded(t)
	_, err := h.call(t, "pause", "--reason", "the way back stays open")
	succeed(t, err)
	end := h.followUp(t, run.ID)
	want(t, "outcome of its end", end.Outcome, remediation.Undone)
	if late := end.DoneAt.Sub(end.Expires); late < 0 || end.CreatedAt.After(end.Expires) {
		t.Errorf("it ended %s after its time", late)
	}
	now := h.limit(t)
	want(t, "preview", now.Preview, true)
	want(t, "description", now.Description, limitOff.Description)
	want(t, "limit", now.RateLimitOptions.RateLimitThreshold.Count, 300)
	h.await(t, "people are told", func() bool {
		notes := h.world.Incident(incident).Notes
		return strings.Contains(notes[len(notes)-1].Content, "put the rate limit of security policy edge back")
	})
}

// TestARateLimitOfAnotherHandStays: what a person has changed meanwhile is that person's, and people are told.
func TestARateLimitOfAnotherHandStays(t *testing.T) {
	t.Parallel()
	h, incident, run := flooded(t)
	theirs := h.limit(t)
	theirs.RateLimitOptions.RateLimitThreshold.Count = 90
	succeed(t, h.world.SetArmorRule("edge", theirs))
	end := h.followUp(t, run.ID)
	want(t, "outcome of its end", end.Outcome, remediation.RefusedRun)
	want(t, "reason", end.Reason, guard.HumanHand)
	want(t, "limit", h.limit(t).RateLimitOptions.RateLimitThreshold.Count, 90)
	h.await(t, "people are told", func() bool {
		notes := h.world.Incident(incident).Notes
		return strings.Contains(notes[len(notes)-1].Content, "remediator does not touch any more")
	})
}
