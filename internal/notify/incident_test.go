package notify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

func TestIncidentThatComesLate(t *testing.T) {
	t.Parallel()
	p := &pagerFake{incident: connect.Incident{ID: "Q1"}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentKey: "k", Open: true})
	var waits []time.Duration
	for range 5 {
		now := s.clock()
		s.deliver(t, lane)
		waits = append(waits, s.message("m1").NotBefore.Sub(now))
		s.wake()
	}
	want := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	p.open = true
	s.finish(t, lane, 2)
	if got := s.message("m1"); got.State != remediation.MessageSent || len(p.events) != 0 {
		t.Errorf("the message is %s after %d events", got.State, len(p.events))
	}
}

// Keys recur: what is opened long after a message is something new, which nothing old may silence or end.
func TestIncidentThatIsAnother(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind  remediation.MessageKind
		after time.Duration
		state remediation.MessageState
	}{
		{remediation.Acknowledge, 3 * time.Minute, remediation.MessageSent}, {remediation.Acknowledge, 5 * time.Minute, remediation.MessageSkipped},
		{remediation.Resolve, 3 * time.Minute, remediation.MessageSent}, {remediation.Resolve, 5 * time.Minute, remediation.MessageSkipped},
		{remediation.Note, 5 * time.Minute, remediation.MessageSent}, {remediation.Escalate, 5 * time.Minute, remediation.MessageSent},
	} {
		for attempts, before := range map[int]string{0: "", 1: "asking PagerDuty: the answer never came"} {
			p := &pagerFake{incident: connect.Incident{ID: "Q1", CreatedAt: noon.Add(c.after)}, open: true}
			s := withPager(p, remediation.Message{ID: "m1", Kind: c.kind, IncidentKey: "k", CreatedAt: noon, Attempts: attempts, Error: before})
			s.finish(t, lane, 2)
			if m := s.message("m1"); m.State != c.state {
				t.Errorf("%s after %d attempts, and the incident was opened %s after it: %s, want %s", c.kind, attempts, c.after, m.State, c.state)
			}
		}
	}
}

// An incident that the message itself has had to open is its own, however long that took.
func TestAcknowledgesWhatItOpened(t *testing.T) {
	t.Parallel()
	p := &pagerFake{}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentKey: "k", Open: true})
	for len(p.events) == 0 {
		s.deliver(t, lane)
		s.wake()
	}
	p.open, p.incident = true, connect.Incident{ID: "Q1", CreatedAt: s.clock().Add(10 * time.Minute)}
	s.finish(t, lane, 2)
	if m := s.message("m1"); m.State != remediation.MessageSent {
		t.Errorf("the message is %s: %s", m.State, m.Error)
	}
}

func TestIncidentThatNeverComes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind  remediation.MessageKind
		open  bool
		state remediation.MessageState
	}{
		{remediation.Note, false, remediation.MessageSkipped},
		{remediation.Escalate, false, remediation.MessageDead},
		{remediation.Resolve, false, remediation.MessageSkipped},
		{remediation.Resolve, true, remediation.MessageSkipped}, // nothing is opened to be closed
	}
	for _, c := range cases {
		p := &pagerFake{}
		s := withPager(p, remediation.Message{ID: "m1", Kind: c.kind, IncidentKey: "k", Open: c.open, Text: "kept"})
		s.finish(t, lane, 40)
		m := s.message("m1")
		if m.State != c.state || !strings.Contains(m.Error, "no open incident for the key") || m.Text != "kept" {
			t.Errorf("%s is %s: %q", c.kind, m.State, m.Error)
		}
		if age := s.clock().Sub(noon); age < 2*time.Minute || age > 3*time.Minute || len(p.events) != 0 {
			t.Errorf("%s: given up after %s with %d events", c.kind, age, len(p.events))
		}
	}
}

func TestIncidentIsOpened(t *testing.T) {
	t.Parallel()
	p := &pagerFake{incident: connect.Incident{ID: "Q1"}}
	s := withPager(p, remediation.Message{
		ID: "m1", Kind: remediation.Escalate, IncidentKey: "k", Open: true, Summary: "api is down", Severity: "critical", Text: "why",
	})
	for len(p.events) == 0 {
		s.deliver(t, lane)
		s.wake()
	}
	want := connect.Event{DedupKey: "k", Summary: "api is down", Severity: "critical", Details: map[string]any{"run": "run-1", "message": "why", "opened_by": "remediator"}}
	if diff := cmp.Diff(want, p.events[0]); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	s.deliver(t, lane) // PagerDuty does not show it yet: asking again joins
	s.wake()
	p.open = true
	s.finish(t, lane, 2)
	if m := s.message("m1"); m.State != remediation.MessageSent || slices.Contains(p.calls, "escalate Q1") { // its opening paged already
		t.Errorf("the message is %s (%s) after %v", m.State, m.Error, p.calls)
	}
}

func TestAbsenceMustBeSeenAfterAnOutage(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"find": slices.Repeat([]error{errOutage}, 4)}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Note, IncidentKey: "k"})
	for range 4 {
		s.deliver(t, lane)
		s.now = s.now.Add(time.Hour)
	}
	s.deliver(t, lane) // the first look that says anything
	if m := s.message("m1"); m.State != remediation.MessageQueued {
		t.Errorf("one look after an outage gave it up: %s", m.Error)
	}
}

func TestLaterMessagesReachAResolvedIncident(t *testing.T) {
	t.Parallel()
	p := &pagerFake{open: true, incident: connect.Incident{ID: "Q1"}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentKey: "k", Open: true})
	s.deliver(t, lane)
	p.open = false
	note := s.all[0]
	note.ID, note.Kind, note.State, note.Attempts, note.RemoteID = "m2", remediation.Note, remediation.MessageQueued, 0, ""
	s.all = append(s.all, note)
	s.deliver(t, lane)
	if diff := cmp.Diff([]string{"find", "acknowledge Q1", "note Q1"}, p.calls); diff != "" || len(p.events) != 0 {
		t.Errorf("%d events; calls (-want +got):\n%s", len(p.events), diff)
	}
}

func TestEscalateOnce(t *testing.T) {
	t.Parallel()
	limit := limited(time.Second)
	cases := []struct {
		name   string
		status string
		first  error // of the first attempt
		second []string
	}{
		{"an attempt that may have paged, and people are paged", "triggered", errOutage, nil},
		{"an attempt that may have paged, and nobody is", "acknowledged", errOutage, []string{"escalate Q1"}},
		{"an attempt that did nothing", "triggered", limit, []string{"escalate Q1"}},
	}
	for _, c := range cases {
		p := &pagerFake{incident: connect.Incident{ID: "Q1", Status: c.status}, failures: map[string][]error{"escalate Q1": {c.first}}}
		s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Escalate, IncidentID: "Q1"})
		s.finish(t, lane, 3)
		if diff := cmp.Diff(append([]string{"escalate Q1"}, c.second...), p.calls); diff != "" || s.message("m1").State != remediation.MessageSent {
			t.Errorf("%s: %s; calls (-want +got):\n%s", c.name, s.message("m1").State, diff)
		}
	}
}

func TestEscalateOfAResolvedIncident(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"escalate Q1": {connect.ErrIncidentResolved}}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Escalate, IncidentID: "Q1"})
	s.deliver(t, lane)
	if m := s.message("m1"); m.State != remediation.MessageSkipped || !strings.Contains(m.Error, "resolved") {
		t.Errorf("the message is %s: %s", m.State, m.Error)
	}
}

func TestDoubt(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		m    remediation.Message
		want bool
	}{
		{"the first attempt", remediation.Message{Attempts: 1}, false},
		{"after a crash", remediation.Message{Attempts: 2}, true},
		{"after an attempt that did nothing", remediation.Message{Attempts: 2, Error: noEffect(1) + "x"}, false},
		{"after a crash after an attempt that did nothing", remediation.Message{Attempts: 3, Error: noEffect(1) + "x"}, true},
		{"attempt 1 is not attempt 11", remediation.Message{Attempts: 12, Error: noEffect(1) + "x"}, true},
		{"after an attempt that may have", remediation.Message{Attempts: 2, Error: "timeout"}, true},
	}
	for _, c := range cases {
		if got := inDoubt(c.m); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDoubtLasts(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"note Q1": {errOutage, limited(time.Second)}}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Note, IncidentID: "Q1"})
	s.finish(t, lane, 4)
	// The second attempt did nothing for sure, but nobody knows of the first.
	if diff := cmp.Diff([]string{"note Q1", "notes", "note Q1", "notes", "note Q1"}, p.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestResolveIsRefused(t *testing.T) {
	t.Parallel()
	ours := connect.IncidentAlert{AlertKey: "k", Status: "triggered"}
	other := connect.IncidentAlert{AlertKey: "other", Status: "triggered"}
	cases := []struct {
		name    string
		key     string
		alerts  []connect.IncidentAlert
		others  int
		refused string
	}{
		{"the only alert", "k", []connect.IncidentAlert{ours}, 0, ""},
		{"the only alert, without a key", "", []connect.IncidentAlert{other}, 0, ""},
		{"no alerts", "k", nil, 0, ""},
		{"all of our key", "k", []connect.IncidentAlert{ours, ours}, 0, ""},
		{"the other is resolved", "k", []connect.IncidentAlert{ours, {AlertKey: "other", Status: "resolved"}}, 0, ""},
		{"another is open", "k", []connect.IncidentAlert{ours, other}, 0, "1 other alert(s)"},
		{"ours is resolved, another is open", "k", []connect.IncidentAlert{{AlertKey: "k", Status: "resolved"}, other}, 0, "1 other alert(s)"},
		{"several, without a key", "", []connect.IncidentAlert{ours, ours}, 0, "2 other alert(s)"},
		{"several, none with a key", "", []connect.IncidentAlert{{Status: "triggered"}, {Status: "triggered"}}, 0, "2 other alert(s)"},
		{"another run", "k", []connect.IncidentAlert{ours}, 1, "1 other run(s)"},
	}
	for _, c := range cases {
		p := &pagerFake{alerts: c.alerts}
		s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Resolve, IncidentID: "Q1", IncidentKey: c.key})
		s.others = c.others
		s.deliver(t, lane)
		m := s.message("m1")
		if c.refused == "" {
			if m.State != remediation.MessageSent || !slices.Contains(p.calls, "resolve Q1") || len(p.notes) != 0 {
				t.Errorf("%s: %s (%s), calls %v", c.name, m.State, m.Error, p.calls)
			}
			continue
		}
		if m.State != remediation.MessageSkipped || slices.Contains(p.calls, "resolve Q1") || !strings.Contains(m.Error, c.refused) {
			t.Errorf("%s: %s (%s), calls %v", c.name, m.State, m.Error, p.calls)
		}
		want := "not resolved: " + m.Error[len("not resolved: "):] + "\n\nremediator: run run-1 · message m1-why"
		if len(p.notes) != 1 || p.notes[0].Content != want {
			t.Errorf("%s: notes %v, want %q", c.name, p.notes, want)
		}
	}
}

func TestNoteMarker(t *testing.T) {
	t.Parallel()
	line := marker("run-1", "m1")
	for content, want := range map[string]bool{
		"text\n\n" + line:                true,
		"text\n\n" + line + "\n":         true,
		"text\r\n\r\n" + line:            true,
		line:                             true,
		"text\n\n" + line + "0":          false,
		"x" + line:                       false,
		"quoting\n" + line + "\nfurther": false,
	} {
		p := &pagerFake{notes: []connect.Note{{Content: content}}}
		if got, err := hasNote(t.Context(), p, "Q1", line); err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", content, got, err, want)
		}
	}
	long := shorten(strings.Repeat("ä", 30_000))
	if n := len([]rune(long)); n != maxNote+1 {
		t.Errorf("a long note has %d characters", n)
	}
}
