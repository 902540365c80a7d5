package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// storm is the one message of a platform incident: it opens an incident of its own. As a note it also writes its text there.
func storm(id string, kind remediation.MessageKind) remediation.Message {
	return remediation.Message{
		ID: id, Run: id, Kind: kind, IncidentKey: "remediator-storm-7", Open: true, Own: true,
		Summary: "3 targets want action within 10 minutes", Severity: "critical", Text: "Nothing was started.",
	}
}

func laneOf(run string) remediation.Lane {
	return remediation.Lane{Run: run, Channel: remediation.PagerDuty}
}

// pages counts how often people were called.
func pages(w *sandbox.World) int {
	n := 0
	for _, e := range w.Ledger() {
		switch e.Verb {
		case "incident_created", "incident_escalated", "incident_delegated", "incident_reopened":
			n++
		}
	}
	return n
}

// stormKinds are the kinds of message by which a storm may be paged.
var stormKinds = []remediation.MessageKind{remediation.Escalate, remediation.Note}

func TestStormIsPagedAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range stormKinds {
		w, set := world(t)
		s := newStand(set, storm("s1", kind))
		s.finish(t, laneOf("s1"), 3)
		all := w.Incidents()
		if len(all) != 1 || pages(w) != 1 || all[0].Title != "3 targets want action within 10 minutes" || all[0].Severity != "critical" {
			t.Fatalf("%s: %d pages, incidents %+v", kind, pages(w), all)
		}
		details, _ := all[0].Details.(map[string]any)
		if details[connect.OpenedBy] != connect.Ourselves || details["message"] != "Nothing was started." {
			t.Errorf("%s: its details are %v", kind, details)
		}
		if m := s.message("s1"); m.State != remediation.MessageSent || m.RemoteID != all[0].ID {
			t.Errorf("%s: the message is %+v", kind, m)
		}
		if waited := s.clock().Sub(noon); waited > 5*time.Second {
			t.Errorf("%s: it was told after %s: nobody else opens it, so there is nothing to wait for", kind, waited)
		}
		if notes := marked(all[0].Notes, "s1"); (notes == 1) != (kind == remediation.Note) {
			t.Errorf("%s: there are %d notes", kind, notes)
		}
	}
}

// crash lets the process die after the message's next attempt and before its end is recorded.
func (s *stand) crash(t *testing.T, l remediation.Lane) {
	t.Helper()
	s.endErr = remediation.ErrUnavailable
	if err := s.notifier.Deliver(t.Context(), l); err == nil {
		t.Fatal("nothing was recorded, so nothing crashed")
	}
	s.wake()
}

// TestStormIsPagedOnceWhateverDies: whether the process died before or after PagerDuty showed the incident, and whatever people did
// with it meanwhile, there is one page.
func TestStormIsPagedOnceWhateverDies(t *testing.T) {
	t.Parallel()
	nothing := func(*sandbox.World, string) error { return nil }
	for name, people := range map[string]func(w *sandbox.World, id string) error{
		"nobody has looked": nothing,
		"acknowledged":      func(w *sandbox.World, id string) error { return w.HumanAcknowledges(id) },
		"resolved":          func(w *sandbox.World, id string) error { return w.HumanResolves(id) },
	} {
		for i := range 3 * len(stormKinds) {
			kind, crashes := stormKinds[i%len(stormKinds)], i/len(stormKinds)
			t.Run(fmt.Sprintf("%s, %s, %d crashes", kind, name, crashes), func(t *testing.T) {
				t.Parallel()
				w, set := world(t)
				s := newStand(set, storm("s1", kind))
				s.first(t, crashes > 0)
				if err := people(w, w.Incidents()[0].ID); err != nil {
					t.Fatal(err)
				}
				if crashes > 1 {
					s.crash(t, laneOf("s1"))
				}
				s.finish(t, laneOf("s1"), 5)
				if n := pages(w); n != 1 || s.message("s1").State != remediation.MessageSent {
					t.Errorf("%d pages, %d incidents, the message %+v", n, len(w.Incidents()), s.message("s1"))
				}
				if notes := marked(w.Incidents()[0].Notes, "s1"); notes > 1 {
					t.Errorf("%d notes", notes)
				}
			})
		}
	}
}

// first makes the first attempt at the storm's message, after which the process may die.
func (s *stand) first(t *testing.T, dies bool) {
	t.Helper()
	if dies {
		s.crash(t, laneOf("s1"))
		return
	}
	s.deliver(t, laneOf("s1"))
	s.wake()
}

func TestStormIsPagedOnceWhenTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, fault := range faults("/v2/enqueue") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			if fault.Path != "" {
				w.SetPagerDuty(fault)
			}
			s := newStand(set, storm("s1", remediation.Escalate))
			s.finish(t, laneOf("s1"), 20)
			if n := pages(w); n != 1 || len(w.Incidents()) != 1 {
				t.Errorf("%d pages, %d incidents", n, len(w.Incidents()))
			}
		})
	}
}

// TestStormOfSeveralReplicas: two of them may tell of the same storm.
func TestStormOfSeveralReplicas(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	s := newStand(set, storm("s1", remediation.Note), storm("s2", remediation.Escalate))
	s.deliver(t, laneOf("s1"))
	s.deliver(t, laneOf("s2"))
	s.wake()
	s.finish(t, laneOf("s1"), 5)
	s.finish(t, laneOf("s2"), 5)
	if n := pages(w); n != 1 {
		t.Errorf("%d pages of one storm", n)
	}
}

// asking is what asking for an approval is told by: a page, and a note that says what is asked.
func asking(m remediation.Message) []remediation.Message {
	page, note := m, m
	page.ID, page.Kind, page.Summary = "a1", remediation.Escalate, "api: approval wanted"
	note.ID, note.Kind, note.Text = "a2", remediation.Note, "Approve with: remediator approve run-1"
	return []remediation.Message{page, note}
}

// TestAskingForApprovalPagesAHuman: on the incident there is, and where there is none in one that is opened.
func TestAskingForApprovalPagesAHuman(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		exists bool
		pages  []string
	}{
		"on the alert's incident": {true, []string{"incident_created", "incident_escalated"}},
		"where there is none":     {false, []string{"incident_created"}},
	} {
		for at := range 3 { // 0: nothing dies
			t.Run(fmt.Sprintf("%s, crash %d", name, at), func(t *testing.T) {
				t.Parallel()
				w, set := world(t)
				if c.exists {
					w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k"})
				}
				s := newStand(set, asking(remediation.Message{IncidentKey: "k", Open: true})...)
				s.rounds(t, w, at)
				var did []string
				for _, e := range w.Ledger() {
					if e.System == "pagerduty" && e.Verb != "alert_repeated" {
						did = append(did, e.Verb)
					}
				}
				if diff := cmp.Diff(append(c.pages, "note_added"), did); diff != "" {
					t.Errorf("PagerDuty saw (-want +got):\n%s", diff)
				}
				if in := w.Incidents()[0]; in.Status != "triggered" || marked(in.Notes, "a2") != 1 {
					t.Errorf("the incident is %s with %+v", in.Status, in.Notes)
				}
			})
		}
	}
}

// rounds delivers until nothing is queued. The process dies once, before the end of that attempt is recorded which was the at-th to change
// anything in PagerDuty.
func (s *stand) rounds(t *testing.T, w *sandbox.World, at int) {
	t.Helper()
	seen, changes := len(w.Ledger()), 0
	s.dies = func() bool {
		grown := len(w.Ledger()) > seen
		seen = len(w.Ledger())
		if grown {
			changes++
		}
		return grown && changes == at
	}
	for range 40 {
		_ = s.notifier.Deliver(t.Context(), lane)
		if !s.wake() {
			if changes < at {
				t.Errorf("only %d attempts changed anything: nothing died", changes)
			}
			return
		}
	}
	t.Fatalf("something is still queued: %+v", s.all)
}
