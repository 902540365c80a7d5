package sandbox_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/PagerDuty/go-pagerduty"
	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

const bot = "remediator-bot@example.com"

func pager(f *fixture) *pagerduty.Client {
	return pagerduty.NewClient(sandbox.PagerDutyToken, pagerduty.WithAPIEndpoint(f.PagerDutyURL()), pagerduty.WithV2EventsAPIEndpoint(f.PagerDutyURL()))
}

// manage sends one PUT /incidents and gives PagerDuty's error code, 0 if none.
func (f *fixture) manage(o pagerduty.ManageIncidentsOptions) (code int) {
	f.Helper()
	_, err := pager(f).ManageIncidentsWithContext(f.ctx, bot, []pagerduty.ManageIncidentsOptions{o})
	return pagerCode(f.T, err)
}

func pagerCode(t *testing.T, err error) int {
	t.Helper()
	var api pagerduty.APIError
	if err != nil && !errors.As(err, &api) {
		t.Fatal(err)
	}
	return api.APIError.ErrorObject.Code
}

func trigger(f *fixture) string {
	return f.TriggerIncident(sandbox.Incident{Title: "backend is down", Key: "key-1", Details: map[string]any{"firing": "Labels:\n - alertname = HealthCheckFailed\n"}})
}

func TestIncidentLife(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "acknowledged"}); code != 0 {
		t.Fatalf("acknowledging: %d", code)
	}
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "acknowledged"}); code != 1002 {
		t.Errorf("acknowledging again: %d", code)
	}
	_, err := pager(f).CreateIncidentNoteWithContext(f.ctx, id, pagerduty.IncidentNote{Content: "rolled back", User: pagerduty.APIObject{Summary: bot}})
	must(t, err)
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, EscalationLevel: 2}); code != 0 {
		t.Fatalf("escalating: %d", code)
	}
	inc := f.Incident(id)
	if inc.Status != "triggered" || inc.Level != 2 || !cmp.Equal(inc.Assignees, []string{"PUSR002"}) {
		t.Errorf("escalation pages the next human: %s level %d %v", inc.Status, inc.Level, inc.Assignees)
	}
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, EscalationLevel: 9}); code != 1006 {
		t.Errorf("escalating beyond the last level: %d", code)
	}
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "resolved", Resolution: "healthy again"}); code != 0 {
		t.Fatalf("resolving: %d", code)
	}
	for _, status := range []string{"resolved", "acknowledged"} {
		if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: status}); code != 1001 {
			t.Errorf("%s after resolved: %d", status, code)
		}
	}
	want := []string{"incident_created", "incident_acknowledged", "put_refused", "note_added", "incident_escalated", "put_refused", "incident_resolved", "put_refused", "put_refused"}
	if diff := cmp.Diff(want, verbs(f.Ledger(), "pagerduty")); diff != "" {
		t.Error(diff)
	}
	f.SetReopening(true)
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "acknowledged"}); code != 0 || f.Incident(id).Status != "acknowledged" {
		t.Errorf("reopening: %d, %s", code, f.Incident(id).Status)
	}
}

func TestReadingIncidents(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	c := pager(f)
	found := func(key string, statuses ...string) int {
		got, err := c.ListIncidentsWithContext(f.ctx, pagerduty.ListIncidentsOptions{IncidentKey: key, Statuses: statuses})
		must(t, err)
		return len(got.Incidents)
	}
	if found("key-1", "triggered", "acknowledged") != 1 || found("key-1", "resolved") != 0 || found("other") != 0 {
		t.Error("the incident is not found by its key and status alone")
	}
	alerts, err := c.ListIncidentAlertsWithContext(f.ctx, id, pagerduty.ListIncidentAlertsOptions{Limit: 100})
	must(t, err)
	details, _ := alerts.Alerts[0].Body["details"].(map[string]any)
	if alerts.Alerts[0].AlertKey != "key-1" || details["firing"] == "" {
		t.Errorf("alert %+v", alerts.Alerts[0])
	}
	must(t, f.AddAlert(id, sandbox.Alert{Key: "key-2", Summary: "another"}))
	got, err := c.GetIncidentWithContext(f.ctx, id)
	must(t, err)
	if got.IncidentKey != "" || got.AlertCounts.All != 2 {
		t.Errorf("an incident of two alerts has no key, got %q, %d alerts", got.IncidentKey, got.AlertCounts.All)
	}
	must(t, f.ResolveAlert(id, "key-2"))
	if found("key-1", "triggered") != 1 || found("key-2", "triggered") != 1 || found("key-2", "resolved") != 0 {
		t.Error("an incident of two alerts is not found by the key of each, the resolved one's too")
	}
	if f.ResolveAlert(id, "key-2") == nil || f.ResolveAlert("Q0", "key-1") == nil {
		t.Error("an alert that is not open was resolved")
	}
	me, err := c.GetCurrentUserWithContext(f.ctx, pagerduty.GetCurrentUserOptions{})
	must(t, err)
	if me.Email != bot {
		t.Errorf("the token belongs to %s", me.Email)
	}
	policy, err := c.GetEscalationPolicyWithContext(f.ctx, got.EscalationPolicy.ID, nil)
	must(t, err)
	if len(policy.EscalationRules) != 3 {
		t.Errorf("policy with %d levels", len(policy.EscalationRules))
	}
}

func TestStatusUpdatesAndResponders(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	_, err := pager(f).CreateIncidentStatusUpdate(f.ctx, id, bot, "rolling back")
	must(t, err)
	_, err = pager(f).ResponderRequestWithContext(f.ctx, id, pagerduty.ResponderRequestOptions{
		From: bot, Message: "help", RequesterID: "PBOT001",
		Targets: []pagerduty.ResponderRequestTargetWrapper{{Target: pagerduty.ResponderRequestTarget{APIObject: pagerduty.APIObject{ID: "PUSR003", Type: "user_reference"}}}},
	})
	must(t, err)
	inc := f.Incident(id)
	if len(inc.StatusUpdates) != 1 || inc.StatusUpdates[0].Content != "rolling back" || !cmp.Equal(inc.Responders, []string{"PUSR003"}) {
		t.Errorf("%+v", inc)
	}
}

func TestWritesNeedWhoTheyComeFrom(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	c := pager(f)
	for from, want := range map[string]int{"": 2001, "nobody@example.com": 1008} {
		_, err := c.ManageIncidentsWithContext(f.ctx, from, []pagerduty.ManageIncidentsOptions{{ID: id, Status: "acknowledged"}})
		if got := pagerCode(t, err); got != want {
			t.Errorf("from %q: %d, want %d", from, got, want)
		}
	}
	bad := pagerduty.NewClient("wrong", pagerduty.WithAPIEndpoint(f.PagerDutyURL()))
	if _, err := bad.GetIncidentWithContext(f.ctx, id); pagerCode(t, err) != 2006 {
		t.Errorf("a wrong token gets %v", err)
	}
	if f.Incident(id).Status != "triggered" {
		t.Error("a refused write took effect")
	}
}

func TestEventsJoinByKey(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	send := func(action string) {
		t.Helper()
		_, err := pager(f).ManageEventWithContext(f.ctx, &pagerduty.V2Event{
			RoutingKey: sandbox.PagerDutyRoutingKey, Action: action, DedupKey: "group-1",
			Payload: &pagerduty.V2Payload{Summary: "backend down", Source: "alertmanager", Severity: "critical", Details: map[string]string{"firing": "x"}},
		})
		must(t, err)
	}
	send("trigger")
	send("trigger")
	send("acknowledge")
	if got := f.Incidents(); len(got) != 1 || len(got[0].Alerts) != 1 || got[0].Status != "acknowledged" || got[0].Key != "group-1" {
		t.Fatalf("two triggers of one key: %+v", got)
	}
	send("resolve")
	send("resolve")
	send("trigger")
	got := f.Incidents()
	if len(got) != 2 || got[0].Status != "resolved" || got[1].Status != "triggered" || got[1].Key != "group-1" {
		t.Errorf("a key that was resolved starts a new incident: %+v", got)
	}
	for name, e := range map[string]*pagerduty.V2Event{
		"routing key": {RoutingKey: "x", Action: "trigger", Payload: &pagerduty.V2Payload{Summary: "s", Source: "s", Severity: "info"}},
		"severity":    {RoutingKey: sandbox.PagerDutyRoutingKey, Action: "trigger", Payload: &pagerduty.V2Payload{Summary: "s", Source: "s", Severity: "P0"}},
		"no key":      {RoutingKey: sandbox.PagerDutyRoutingKey, Action: "resolve"},
	} {
		if _, err := pager(f).ManageEventWithContext(f.ctx, e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIncidentResolvesWithItsLastAlert(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	must(t, f.AddAlert(id, sandbox.Alert{Key: "key-2"}))
	for _, c := range []struct{ key, want string }{{"key-1", "triggered"}, {"key-2", "resolved"}} {
		resolveEvent(f, c.key)
		if got := f.Incident(id).Status; got != c.want {
			t.Errorf("after %s: %s", c.key, got)
		}
	}
}

func resolveEvent(f *fixture, key string) {
	f.Helper()
	_, err := pager(f).ManageEventWithContext(f.ctx, &pagerduty.V2Event{RoutingKey: sandbox.PagerDutyRoutingKey, Action: "resolve", DedupKey: key})
	must(f.T, err)
}

func TestPagerDutyFaults(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	id := trigger(f)
	f.SetPagerDuty(sandbox.Fault{Status: 429, RetryAfter: 2 * time.Second})
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, f.PagerDutyURL()+"/incidents/"+id, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != 429 || resp.Header.Get("Ratelimit-Reset") != "2" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	f.SetPagerDuty(sandbox.Fault{Method: "PUT", ApplyThenFail: true, Drop: true})
	_, err = pager(f).ManageIncidentsWithContext(f.ctx, bot, []pagerduty.ManageIncidentsOptions{{ID: id, Status: "acknowledged"}})
	if err == nil || f.Incident(id).Status != "acknowledged" {
		t.Errorf("applied, then no answer: %v, %s", err, f.Incident(id).Status)
	}
	f.SetPagerDuty(sandbox.Fault{Method: "POST", Path: "/incidents/" + id + "/notes", Delay: time.Minute})
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	_, err = pager(f).CreateIncidentNoteWithContext(ctx, id, pagerduty.IncidentNote{Content: "x", User: pagerduty.APIObject{Summary: bot}})
	if err == nil || len(f.Incident(id).Notes) != 0 {
		t.Errorf("a call given up during the delay must not apply: %v", err)
	}
}
