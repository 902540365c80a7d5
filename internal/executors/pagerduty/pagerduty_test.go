package pagerduty_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/pagerduty"
	"github.com/mixillo/remediator/internal/sandbox"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func world(t *testing.T) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 1})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

func at(t *testing.T, endpoint string, about executors.Incident) executors.Env {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(sandbox.PagerDutyToken), 0o600))
	client, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: endpoint, Token: connect.Secret{File: path}, From: "remediator-bot@example.com", Insecure: true, Timeout: 5 * time.Second,
	})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return executors.Env{Target: executors.Target{Name: "backend"}, Connections: connect.Set{"pagerduty": client}, Incident: about, Now: time.Now()}
}

func probe(t *testing.T, name, params string) executors.Probe {
	t.Helper()
	kind, ok := executors.LookupProbe(name)
	if !ok {
		t.Fatalf("%s is not registered", name)
	}
	p := kind.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	return p
}

func ask[F any](t *testing.T, env executors.Env, name, params string) (*F, executors.Answer) {
	t.Helper()
	env.Now = time.Now()
	answer, err := probe(t, name, params).Ask(t.Context(), env)
	must(t, err)
	fact, ok := answer.Fact.(*F)
	if !ok {
		t.Fatalf("the fact is a %T", answer.Fact)
	}
	return fact, answer
}

func TestIncidentAsItStands(t *testing.T) {
	t.Parallel()
	w := world(t)
	id := w.TriggerIncident(sandbox.Incident{Title: "backend\nis down: token=hunter2", Key: "k"})
	must(t, w.AddAlert(id, sandbox.Alert{Key: "k2", Summary: "another"}))
	must(t, w.ResolveAlert(id, "k2"))
	env := at(t, w.PagerDutyURL(), executors.Incident{ID: id})
	fact, answer := ask[pagerduty.IncidentFact](t, env, "pagerduty.incident", "{}")
	want := &pagerduty.IncidentFact{
		ID: id, Number: 1, Status: "triggered", Urgency: "high", Title: "backend is down: token=[secret]", Created: fact.Created, Age: fact.Age,
		AcknowledgedBy: []string{}, Assigned: []string{"Ann"}, Alerts: 2, TriggeredAlerts: 1, ResolvedAlerts: 1,
	}
	if diff := cmp.Diff(want, fact); diff != "" || len(answer.Unknown) != 0 || fact.Age > time.Minute || fact.Created.IsZero() {
		t.Errorf("unknown %v, -want +got:\n%s", answer.Unknown, diff)
	}
	if want := `PagerDuty: incident #1 "backend is down: token=[secret]" is triggered and assigned to Ann, urgency high; 1 of 2 alerts fire; it was opened `; !strings.HasPrefix(answer.Summary, want) {
		t.Errorf("summary: %s", answer.Summary)
	}

	client, _ := env.Connections["pagerduty"].(*connect.PagerDuty)
	must(t, client.Note(t.Context(), id, "looking"))
	must(t, client.SetPriority(t.Context(), id, "p1"))
	must(t, w.HumanAcknowledges(id))
	fact, answer = ask[pagerduty.IncidentFact](t, env, "pagerduty.incident", "{}")
	if fact.Status != "acknowledged" || fact.Priority != "P1" || fact.Notes != 1 || !cmp.Equal(fact.AcknowledgedBy, []string{"Ann"}) {
		t.Errorf("%+v", fact)
	}
	if !strings.Contains(answer.Summary, "is acknowledged by Ann, urgency high, priority P1;") {
		t.Errorf("summary: %s", answer.Summary)
	}
	must(t, client.Acknowledge(t.Context(), id))
	must(t, w.HumanResolves(id))
	if fact, _ = ask[pagerduty.IncidentFact](t, env, "pagerduty.incident", "{}"); fact.Status != "resolved" || len(fact.AcknowledgedBy) != 0 {
		t.Errorf("%+v", fact)
	}
}

// TestWhichIncident: by its id, else the one open under the run's key, else none.
func TestWhichIncident(t *testing.T) {
	t.Parallel()
	w := world(t)
	first := w.TriggerIncident(sandbox.Incident{Title: "first", Key: "k"})
	must(t, w.HumanResolves(first))
	second := w.TriggerIncident(sandbox.Incident{Title: "second", Key: "k"})
	for about, want := range map[executors.Incident]string{{ID: first, Key: "k"}: first, {Key: "k"}: second} {
		if fact, _ := ask[pagerduty.IncidentFact](t, at(t, w.PagerDutyURL(), about), "pagerduty.incident", "{}"); fact.ID != want {
			t.Errorf("%+v: %s, want %s", about, fact.ID, want)
		}
	}
	for about, says := range map[executors.Incident]string{
		{}: "about no incident", {Key: "other"}: "no incident is open", {ID: "../users"}: "no PagerDuty id", {ID: "PNONE"}: "404",
	} {
		for _, kind := range []string{"pagerduty.incident", "pagerduty.changes", "pagerduty.on_call"} {
			if _, err := probe(t, kind, "{}").Ask(t.Context(), at(t, w.PagerDutyURL(), about)); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s about %+v: %v", kind, about, err)
			}
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.ReportChange(sandbox.PagerDutyChange{Summary: "deploy 6", Source: "ci", Ago: 5 * time.Hour})
	w.ReportChange(sandbox.PagerDutyChange{Summary: "deploy\x1b 7 by ann@example.com", Source: "ci", Ago: 8 * time.Minute})
	w.ReportChange(sandbox.PagerDutyChange{Summary: "deploy 1", Ago: 60 * time.Hour})
	w.ReportChange(sandbox.PagerDutyChange{Service: "PSVC002", Summary: "elsewhere", Ago: time.Minute})
	id := w.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	env := at(t, w.PagerDutyURL(), executors.Incident{ID: id})
	fact, answer := ask[pagerduty.ChangesFact](t, env, "pagerduty.changes", "{}")
	if fact.Count != 2 || fact.Summary != "deploy 7 by [email]" || fact.Source != "ci" || fact.Reason != "most_recent" || len(answer.Unknown) != 0 {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
	if fact.Age < 8*time.Minute || fact.Age > 9*time.Minute {
		t.Errorf("%s old", fact.Age)
	}
	if want := "PagerDuty: 2 changes in the last 24h0m0s, the newest 8m"; !strings.HasPrefix(answer.Summary, want) {
		t.Errorf("summary: %s", answer.Summary)
	}
	if fact, _ := ask[pagerduty.ChangesFact](t, env, "pagerduty.changes", "{of: service, window: 72h}"); fact.Count != 3 || fact.Reason != "" {
		t.Errorf("of the service: %+v", fact)
	}
	if fact, _ := ask[pagerduty.ChangesFact](t, at(t, w.PagerDutyURL(), executors.Incident{}), "pagerduty.changes", "{of: service, service: PSVC002}"); fact.Summary != "elsewhere" {
		t.Errorf("of a named service: %+v", fact)
	}
	fact, answer = ask[pagerduty.ChangesFact](t, env, "pagerduty.changes", "{window: 1m}")
	if fact.Count != 0 || !cmp.Equal(answer.Unknown, []string{"newest", "age", "summary", "source", "reason"}) {
		t.Errorf("none: %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestOnCall(t *testing.T) {
	t.Parallel()
	w := world(t)
	env := at(t, w.PagerDutyURL(), executors.Incident{ID: w.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})})
	fact, answer := ask[pagerduty.OnCallFact](t, env, "pagerduty.on_call", "{}")
	want := &pagerduty.OnCallFact{Names: []string{"Ann"}, Level: 1, Everybody: []string{"Ann", "Bo", "Cy"}}
	if diff := cmp.Diff(want, fact); diff != "" || !cmp.Equal(answer.Unknown, []string{"next_handover", "handover_in"}) {
		t.Errorf("unknown %v, -want +got:\n%s", answer.Unknown, diff)
	}
	must(t, w.SetShift(sandbox.Shift{User: "PUSR003", Ends: 3 * time.Hour}))
	fact, answer = ask[pagerduty.OnCallFact](t, env, "pagerduty.on_call", "{schedule: PSCH001}")
	if !cmp.Equal(fact.Names, []string{"Cy"}) || fact.HandoverIn < 170*time.Minute || fact.HandoverIn > 3*time.Hour || len(answer.Unknown) != 0 {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
	if want := "PagerDuty: Cy is on call; the next handover is in 3h0m0s"; answer.Summary != want {
		t.Errorf("summary: %s", answer.Summary)
	}
	must(t, w.SetShift(sandbox.Shift{}))
	fact, answer = ask[pagerduty.OnCallFact](t, env, "pagerduty.on_call", "{escalation_policy: PEP0001}")
	if !cmp.Equal(fact.Names, []string{"Bo"}) || fact.Level != 2 || fact.Nobody || !strings.Contains(answer.Summary, "on level 2 only") {
		t.Errorf("%+v: %s", fact, answer.Summary)
	}
	must(t, w.SetShift(sandbox.Shift{Policy: "PEP0002"}))
	fact, answer = ask[pagerduty.OnCallFact](t, env, "pagerduty.on_call", "{escalation_policy: PEP0002}")
	if !fact.Nobody || len(fact.Names) != 0 || answer.Summary != "PagerDuty: nobody is on call" {
		t.Errorf("%+v: %s", fact, answer.Summary)
	}
}

// TestAnswersThatAreNone: what cannot be read, or tells of something else, is an error.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ kind, params, path, body string }{
		"no incident":            {"pagerduty.incident", "{}", "/incidents/P1", `{}`},
		"another incident":       {"pagerduty.incident", "{}", "/incidents/P1", `{"incident":{"id":"P2","status":"triggered"}}`},
		"an unknown status":      {"pagerduty.incident", "{}", "/incidents/P1", `{"incident":{"id":"P1","status":"merged"}}`},
		"no list of changes":     {"pagerduty.changes", "{}", "/incidents/P1/related_change_events", `{}`},
		"a change without time":  {"pagerduty.changes", "{}", "/incidents/P1/related_change_events", `{"change_events":[{"id":"C","summary":"x"}]}`},
		"no list of shifts":      {"pagerduty.on_call", "{schedule: PS}", "/oncalls", `{}`},
		"a shift of others":      {"pagerduty.on_call", "{schedule: PS}", "/oncalls", `{"oncalls":[{"user":{"id":"U"},"schedule":{"id":"OTHER"}}]}`},
		"a shift of nobody":      {"pagerduty.on_call", "{schedule: PS}", "/oncalls", `{"oncalls":[{"schedule":{"id":"PS"}}]}`},
		"a policy of others":     {"pagerduty.on_call", "{escalation_policy: PE}", "/oncalls", `{"oncalls":[{"user":{"id":"U"},"escalation_policy":{"id":"X"}}]}`},
		"more than can be read":  {"pagerduty.on_call", "{schedule: PS}", "/oncalls", `{"more":true,"oncalls":[{"user":{"id":"U"},"schedule":{"id":"PS"}}]}`},
		"more changes than read": {"pagerduty.changes", "{of: service, service: S}", "/services/S/change_events", `{"more":true,"change_events":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != tc.path {
					t.Errorf("asked %s", r.URL.Path)
				}
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			if answer, err := probe(t, tc.kind, tc.params).Ask(t.Context(), at(t, server.URL, executors.Incident{ID: "P1"})); err == nil {
				t.Errorf("%+v", answer)
			}
		})
	}
}

// TestWhatPagerDutyLeavesOut is unknown, and no zero.
func TestWhatPagerDutyLeavesOut(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/incidents/P1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"incident":{"id":"P1","status":"triggered","title":"x"}}`)
	}))
	t.Cleanup(server.Close)
	_, answer := ask[pagerduty.IncidentFact](t, at(t, server.URL, executors.Incident{ID: "P1"}), "pagerduty.incident", "{}")
	want := []string{"alerts", "triggered_alerts", "resolved_alerts", "urgency", "created", "age", "notes"}
	if diff := cmp.Diff(want, answer.Unknown); diff != "" {
		t.Error(diff)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, params string
		right        bool
	}{
		{"pagerduty.changes", "{}", true}, {"pagerduty.changes", "{of: service, service: PABC123, window: 336h}", true},
		{"pagerduty.changes", "{of: team}", false}, {"pagerduty.changes", "{service: PABC123}", false},
		{"pagerduty.changes", "{of: service, service: a/b}", false}, {"pagerduty.changes", "{window: 1s}", false},
		{"pagerduty.on_call", "{}", true}, {"pagerduty.on_call", "{schedule: PABC123}", true},
		{"pagerduty.on_call", "{schedule: PABC123, escalation_policy: PDEF456}", false}, {"pagerduty.on_call", "{escalation_policy: 'x?y'}", false},
	} {
		p, ok := probe(t, tc.kind, tc.params).(interface {
			Validate(executors.Target) error
		})
		if !ok || (p.Validate(executors.Target{}) == nil) != tc.right {
			t.Errorf("%s %s: %v", tc.kind, tc.params, p.Validate(executors.Target{}))
		}
	}
}
