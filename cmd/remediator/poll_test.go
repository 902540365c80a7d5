package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// polledTimes are the times of a poll at the tests' speed: about every two seconds, of what is a few moments old.
func polledTimes(more map[string]any) map[string]any {
	poll := map[string]any{"every": fmt.Sprintf("%ds", 2*worldSpeed), "after": "1s", "look_back": fmt.Sprintf("%dh", worldSpeed)}
	for key, value := range more {
		poll[key] = value
	}
	return poll
}

func healthyForDays(name string) sandbox.Service {
	return sandbox.Service{Name: name, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}}}
}

// polledPagerDuty lets the house poll the service whose incidents it has.
func polledPagerDuty(overlay map[string]any) {
	overlay["sources"].(map[string]any)["pagerduty"].(map[string]any)["poll"] = polledTimes(map[string]any{"services": []string{"PSVC001"}})
}

// TestAPollFindsTheIncidentThatNoWebhookTold: the webhook cannot be delivered. The poll finds the incident, which is mended once; the webhook comes
// when all is over, and changes nothing.
func TestAPollFindsTheIncidentThatNoWebhookTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{healthyForDays(backend)}, adapt: polledPagerDuty})
	hook := newGate(t, h.url)
	hook.close()
	h.world.SetWebhook(sandbox.Webhook{URL: hook.url + "/v1/webhooks/pagerduty", Secret: demoSigningSecret})
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	incident := h.alert(healthFailed, backend)
	view := h.run(t, backend, incident)
	want(t, "outcome", view.Run.Outcome, remediation.Fixed)
	want(t, "what the poll found", h.metric(t, `remediator_poll_found_total{source="pagerduty"}`) != "0", true)
	succeed(t, h.expectTold(incident, map[string]int{"incident_acknowledged": 1, "incident_resolved": 1}))
	h.onceForAll(t, incident)

	delivered := func() int { return h.posts("pagerduty", "webhook_delivered", incident) }
	want(t, "webhooks that were delivered before", delivered(), 0)
	hook.open()
	h.await(t, "the late webhooks have come", func() bool { return delivered() >= 3 })
	h.await(t, "they are looked at", func() bool { return h.events(t)["pending"] == 0 })
	h.onceForAll(t, incident)
}

// onceForAll checks that one run and one change were made for the incident.
func (h *house) onceForAll(t *testing.T, incident string) {
	t.Helper()
	runs := 0
	for _, r := range h.allRuns(t) {
		if r.Origin == remediation.ByAlert && r.Alert.IncidentID == incident {
			runs++
		}
	}
	want(t, "runs", runs, 1)
	want(t, "changes in the ledger", len(h.updates(backend)), 1)
}

// polledAlertmanager is a real Alertmanager whose webhook hangs, and which is polled.
func polledAlertmanager(t *testing.T, told bool) *alertmanager {
	t.Helper()
	program, address := need(t, "prometheus-alertmanager", "prometheus-alertmanager"), freeAddress(t)
	h := newHouse(t, houseConfig{services: []sandbox.Service{healthyForDays(backend)}, adapt: func(overlay map[string]any) {
		alertmanagersDetails(overlay)
		source := overlay["sources"].(map[string]any)["alertmanager"].(map[string]any)
		source["url"], source["insecure"] = "http://"+address, true
		source["poll"] = polledTimes(map[string]any{"receiver": "all", "route": "{}"})
	}})
	am := &alertmanager{house: h, webhook: newGate(t, h.url)}
	am.webhook.close()
	receiver := ""
	if told {
		am.events = newGate(t, am.world.PagerDutyURL())
		receiver = fmt.Sprintf(pagerDutyReceiver, am.events.url, sandbox.PagerDutyRoutingKey)
	}
	am.start(t, program, address, fmt.Sprintf(alertmanagerConfig, am.webhook.url, demoBearerToken, receiver))
	return am
}

// TestAPollFindsTheAlertThatNoWebhookTold: one run of the real Alertmanager's alert, whose incident has the key of its group; the webhook that comes
// late is a repeat.
func TestAPollFindsTheAlertThatNoWebhookTold(t *testing.T) {
	t.Parallel()
	am := polledAlertmanager(t, false)
	am.breaks(t, backend)
	am.push(t, time.Now(), time.Time{}, backend)
	am.settled(t, 1)
	am.judgeOneOutage(t)
	want(t, "what the poll found", am.metric(t, `remediator_poll_found_total{source="alertmanager"}`), "1")
	am.webhook.open()
	am.await(t, "the webhook has come late", func() bool { return am.duplicates(t, "alertmanager") != "0" })
	am.settled(t, 1)
	am.judgeOneOutage(t)
	want(t, "what the poll found", am.metric(t, `remediator_poll_found_total{source="alertmanager"}`), "1")
}

// TestAPollJoinsWhatPagerDutyTells: the alert that a poll finds is that of the incident which PagerDuty has told of.
func TestAPollJoinsWhatPagerDutyTells(t *testing.T) {
	t.Parallel()
	am := polledAlertmanager(t, true)
	am.breaks(t, backend)
	am.push(t, time.Now(), time.Time{}, backend)
	am.settled(t, 1)
	am.await(t, "the poll has found it too", func() bool { return am.metric(t, `remediator_poll_found_total{source="alertmanager"}`) == "1" })
	am.settled(t, 1)
	am.judgeOneOutage(t)
}
