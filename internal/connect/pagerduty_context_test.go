package connect

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPagerDutyContextReads(t *testing.T) {
	t.Parallel()
	change := `{"id":"C1","type":"change_event","summary":"deploy 7","source":"ci","timestamp":"2030-01-02T03:04:05Z"`
	shift := `{"user":{"id":"U1","type":"user_reference","summary":"Ann"},"schedule":null,"escalation_policy":{"id":"E1"},"escalation_level":2,"start":null,"end":null}`
	a := newAccount(t, map[string][]answer{
		"GET /incidents/P1": {{body: `{"incident":{"id":"P1","status":"acknowledged","urgency":"low","priority":{"id":"PR1","summary":"P1"},
			"alert_counts":{"all":3,"triggered":1,"resolved":2},"assignments":[{"assignee":{"id":"U1","summary":"Ann"}},{"assignee":{"id":"U2"}}]}}`}, one(StatusTriggered)},
		"GET /incidents/P1/related_change_events": {{body: `{"change_events":[` + change + `,"correlation_reason":{"reason":"intelligent"}}],"more":false,"limit":null}`}},
		"GET /services/S1/change_events": {
			{body: `{"change_events":[` + change + `}],"more":true,"limit":100}`}, {body: `{"change_events":[],"more":false,"limit":100}`},
		},
		"GET /oncalls": {{body: `{"oncalls":[` + shift + `],"more":true}`}, {body: `{"oncalls":[],"more":false}`}},
	})
	d, err := a.Details(t.Context(), "P1")
	want := IncidentDetails{
		Incident: Incident{ID: "P1", Status: StatusAcknowledged, Urgency: "low", Priority: "P1"}, Assignees: []string{"Ann", "U2"},
		TriggeredAlerts: 1, ResolvedAlerts: 2, AlertsCounted: true,
	}
	if diff := cmp.Diff(want, d); err != nil || diff != "" {
		t.Errorf("Details: %v\n%s", err, diff)
	}
	if d, err = a.Details(t.Context(), "P1"); err != nil || d.AlertsCounted || d.Priority != "" || d.Title != "down" {
		t.Errorf("without counts: %+v, %v", d, err)
	}
	deploy := ChangeEvent{ID: "C1", Summary: "deploy 7", Source: "ci", At: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	berlin := time.FixedZone("CET", 3600)
	changes, err := a.ServiceChanges(t.Context(), "S1", time.Date(2030, 1, 2, 1, 0, 0, 0, berlin), time.Date(2030, 1, 3, 0, 0, 0, 0, time.UTC))
	if diff := cmp.Diff([]ChangeEvent{deploy}, changes); err != nil || diff != "" {
		t.Errorf("ServiceChanges: %v\n%s", err, diff)
	}
	deploy.Reason = "intelligent"
	if changes, err = a.RelatedChanges(t.Context(), "P1"); err != nil || !cmp.Equal(changes, []ChangeEvent{deploy}) {
		t.Errorf("RelatedChanges: %v, %v", changes, err)
	}
	shifts, err := a.OnCalls(t.Context(), "E1", "")
	if diff := cmp.Diff([]OnCall{{UserID: "U1", User: "Ann", Level: 2, PolicyID: "E1"}}, shifts); err != nil || diff != "" {
		t.Errorf("OnCalls: %v\n%s", err, diff)
	}
	wantSent := []string{
		"GET /incidents/P1", "GET /incidents/P1",
		"GET /services/S1/change_events?limit=100&offset=0&since=2030-01-02T00%3A00%3A00Z&until=2030-01-03T00%3A00%3A00Z",
		"GET /services/S1/change_events?limit=100&offset=100&since=2030-01-02T00%3A00%3A00Z&until=2030-01-03T00%3A00%3A00Z",
		"GET /incidents/P1/related_change_events?limit=100",
		"GET /oncalls?escalation_policy_ids%5B%5D=E1&limit=100", "GET /oncalls?escalation_policy_ids%5B%5D=E1&limit=100&offset=100",
	}
	if diff := cmp.Diff(wantSent, a.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestPagerDutyContextFailures(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"GET /incidents/P1":                       {fault(403, 2010, "no")},
		"GET /incidents/P1/related_change_events": {{body: `{}`}},
		"GET /oncalls":                            {{body: `{"oncalls":[],"more":true}`}},
	})
	var failed *CallError
	if _, err := a.Details(t.Context(), "P1"); !errors.As(err, &failed) || failed.Code != 2010 || failed.Status != http.StatusForbidden || IsAmbiguous(err) {
		t.Errorf("Details: %v", err)
	}
	if _, err := a.RelatedChanges(t.Context(), "P1"); err == nil {
		t.Error("an answer without a list is one")
	}
	if _, err := a.OnCalls(t.Context(), "", "S1"); err == nil {
		t.Error("a list without end was read to its end")
	}
	if _, err := a.OnCalls(t.Context(), "", ""); !IsPermanent(err) {
		t.Errorf("everybody's shifts: %v", err)
	}
}
