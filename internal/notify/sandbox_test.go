package notify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// world starts a sandbox and gives the real clients for it.
func world(t *testing.T) (*sandbox.World, connect.Set) {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	pd, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: w.PagerDutyURL(), Insecure: true, From: "remediator-bot@example.com", Timeout: 2 * time.Second,
		Token: secret(t, sandbox.PagerDutyToken), RoutingKey: secret(t, sandbox.PagerDutyRoutingKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	slack, err := connect.NewSlack(connect.SlackConfig{
		Endpoint: w.SlackURL(), Insecure: true, Channel: "#incidents", Token: secret(t, sandbox.SlackToken), Timeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	set := connect.Set{"pagerduty": pd, "slack": slack}
	t.Cleanup(func() { _ = set.Close() })
	return w, set
}

func secret(t *testing.T, text string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return connect.Secret{File: path}
}

func marked(notes []sandbox.Note, id string) int {
	n := 0
	for _, note := range notes {
		if strings.HasSuffix(note.Content, "message "+id) {
			n++
		}
	}
	return n
}

// faults by which the first attempts of a call fail.
func faults(path string) map[string]sandbox.Fault {
	return map[string]sandbox.Fault{
		"none":                {},
		"429 with reset":      {Path: path, Method: "POST", Status: 429, RetryAfter: 20 * time.Second, Count: 2},
		"500 three times":     {Path: path, Method: "POST", Status: 500, Count: 3},
		"apply then 500":      {Path: path, Method: "POST", Status: 500, ApplyThenFail: true},
		"apply then drop":     {Path: path, Method: "POST", Drop: true, ApplyThenFail: true},
		"drop":                {Path: path, Method: "POST", Drop: true},
		"apply then 429 once": {Path: path, Method: "POST", Status: 503, ApplyThenFail: true, Count: 1},
	}
}

func TestExactlyOneNoteUnderFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range faults("/incidents/") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			id := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k", Severity: "critical"})
			if fault.Path != "" {
				w.SetPagerDuty(fault)
			}
			s := newStand(set,
				remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentKey: "k"},
				remediation.Message{ID: "m2", Kind: remediation.Note, IncidentKey: "k", Text: "rolled back"},
				remediation.Message{ID: "m3", Kind: remediation.Note, IncidentKey: "k", Text: "verified"},
				remediation.Message{ID: "m4", Kind: remediation.Resolve, IncidentKey: "k", Text: "done"},
			)
			s.all[0].CreatedAt = time.Now() // as the incident
			s.finish(t, lane, 20)
			in := w.Incident(id)
			if in.Status != "resolved" || len(in.Notes) < 2 || marked(in.Notes, "m2") != 1 || marked(in.Notes, "m3") != 1 {
				t.Errorf("the incident is %s with notes %+v", in.Status, in.Notes)
			}
			if !strings.HasPrefix(in.Notes[0].Content, "rolled back") || !strings.HasPrefix(in.Notes[1].Content, "verified") {
				t.Errorf("the notes are out of order: %+v", in.Notes)
			}
			for _, m := range s.all {
				if m.State != remediation.MessageSent || m.RemoteID != id {
					t.Errorf("%s is %s as %q: %s", m.ID, m.State, m.RemoteID, m.Error)
				}
			}
		})
	}
}

func TestExactlyOnePostUnderFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range faults("/api/chat.postMessage") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			if fault.Path != "" {
				w.SetSlack(fault)
			}
			s := newStand(set,
				remediation.Message{ID: "s1", Channel: remediation.Slack, Kind: remediation.Post, Text: "first"},
				remediation.Message{ID: "s2", Channel: remediation.Slack, Kind: remediation.Post, Text: "second"},
			)
			s.finish(t, rooms, 20)
			said := w.SlackMessages()
			if len(said) != 2 || said[0].Text != "first" || said[1].Text != "second" || said[1].ThreadTS != said[0].TS {
				t.Errorf("Slack holds %+v", said)
			}
			if m := s.message("s1"); m.State != remediation.MessageSent || m.RemoteID != said[0].TS {
				t.Errorf("the first is %s as %q", m.State, m.RemoteID)
			}
		})
	}
}

func TestSandboxRefusesToResolveOthersAlerts(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	id := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k"})
	if err := w.AddAlert(id, sandbox.Alert{Key: "other", Summary: "db down", Status: "triggered"}); err != nil {
		t.Fatal(err)
	}
	s := newStand(set, remediation.Message{ID: "m1", Kind: remediation.Resolve, IncidentID: id, IncidentKey: "k"})
	s.finish(t, lane, 3)
	in := w.Incident(id)
	if in.Status != "triggered" || marked(in.Notes, "m1-why") != 1 || s.message("m1").State != remediation.MessageSkipped {
		t.Errorf("the incident is %s with %+v; the message %+v", in.Status, in.Notes, s.message("m1"))
	}
}

func TestSandboxIncidentComesLate(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	s := newStand(set, remediation.Message{ID: "m1", Kind: remediation.Note, IncidentKey: "k", Text: "seen", Open: true})
	s.deliver(t, lane)
	s.wake()
	id := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k"})
	s.finish(t, lane, 2)
	if in := w.Incident(id); len(in.Notes) != 1 || len(w.Incidents()) != 1 {
		t.Errorf("%d incidents, notes %+v", len(w.Incidents()), in.Notes)
	}
}

func TestSandboxIncidentIsOpenedAndPagesOnce(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	s := newStand(set, remediation.Message{
		ID: "m1", Kind: remediation.Escalate, IncidentKey: "k", Open: true, Summary: "api is down", Severity: "critical",
	})
	s.finish(t, lane, 40)
	all := w.Incidents()
	if len(all) != 1 || all[0].Title != "api is down" || all[0].Alerts[0].Key != "k" || all[0].Level != 1 || all[0].Status != "triggered" {
		t.Errorf("the incidents are %+v", all)
	}
	if m := s.message("m1"); m.State != remediation.MessageSent || m.RemoteID != all[0].ID {
		t.Errorf("the message is %+v", m)
	}
}

func TestSandboxEscalatesOnceWhenTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	id := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k"})
	s := newStand(set,
		remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: id},
		remediation.Message{ID: "m2", Kind: remediation.Escalate, IncidentID: id},
	)
	s.all = s.all[:1] // the acknowledgement alone
	s.finish(t, lane, 2)
	w.SetPagerDuty(sandbox.Fault{Method: "PUT", Path: "/incidents", Status: 500, ApplyThenFail: true})
	s.all = s.all[:2]
	s.finish(t, lane, 3)
	escalations := 0
	for _, e := range w.Ledger() {
		if e.Verb == "incident_escalated" || e.Verb == "incident_delegated" { // to the next level, or to the policy again
			escalations++
		}
	}
	if in := w.Incident(id); escalations != 1 || in.Status != "triggered" || s.message("m2").State != remediation.MessageSent {
		t.Errorf("%d escalations, the incident is %s, the message %+v", escalations, in.Status, s.message("m2"))
	}
}
