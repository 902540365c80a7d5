package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// Whom a rule names gets the incident and is paged; whatever goes wrong with the names, somebody is, once.
func TestAssign(t *testing.T) {
	t.Parallel()
	users, policy := connect.People{Users: []string{"U1"}}, connect.People{Policies: []string{"E1"}}
	for name, c := range map[string]struct {
		to       connect.People
		incident connect.Incident
		failures map[string][]error
		own      bool
		want     []string
		state    remediation.MessageState
	}{
		"users":       {to: users, incident: connect.Incident{Status: "triggered"}, want: []string{"reassign Q1 [U1][]"}},
		"a policy":    {to: policy, incident: connect.Incident{Status: "triggered"}, want: []string{"reassign Q1 [][E1]"}},
		"our own":     {to: users, own: true, incident: connect.Incident{Status: "triggered"}, want: []string{"reassign Q1 [U1][]"}},
		"who have it": {to: users, incident: connect.Incident{Status: "acknowledged"}, want: []string{"reassign Q1 [U1][]", "escalate Q1"}},
		"ids of nobody": {
			to: users, failures: map[string][]error{"reassign Q1 [U1][]": {errPermanent}}, want: []string{"reassign Q1 [U1][]", "escalate Q1"},
		},
		"a resolved incident": {
			to: users, failures: map[string][]error{"reassign Q1 [U1][]": {connect.ErrIncidentResolved}},
			want: []string{"reassign Q1 [U1][]"}, state: remediation.MessageSkipped,
		},
		"users in doubt": {
			to: users, incident: connect.Incident{Status: "triggered"}, failures: map[string][]error{"reassign Q1 [U1][]": {errOutage}},
			want: []string{"reassign Q1 [U1][]", "reassign Q1 [U1][]"}, // which changes nothing where they have it
		},
		"a policy in doubt that has it": {
			to: policy, incident: connect.Incident{Status: "triggered", EscalationPolicyID: "E1"}, failures: map[string][]error{"reassign Q1 [][E1]": {errOutage}},
			want: []string{"reassign Q1 [][E1]"},
		},
		"a policy in doubt that has not": {
			to: policy, incident: connect.Incident{Status: "triggered", EscalationPolicyID: "E2"}, failures: map[string][]error{"reassign Q1 [][E1]": {errOutage}},
			want: []string{"reassign Q1 [][E1]", "reassign Q1 [][E1]"},
		},
		"ids of nobody in doubt": {
			to: users, incident: connect.Incident{Status: "triggered"},
			failures: map[string][]error{"reassign Q1 [U1][]": {errPermanent, errPermanent}, "escalate Q1": {errOutage}},
			want:     []string{"reassign Q1 [U1][]", "escalate Q1", "reassign Q1 [U1][]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pagerFake{incident: c.incident, failures: c.failures}
			s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Escalate, IncidentID: "Q1", People: c.to, Own: c.own})
			s.finish(t, lane, 3)
			if diff := cmp.Diff(c.want, p.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if c.state == "" {
				c.state = remediation.MessageSent
			}
			if m := s.message("m1"); m.State != c.state || m.RemoteID != "Q1" {
				t.Errorf("the message is %s as %q: %s", m.State, m.RemoteID, m.Error)
			}
		})
	}
}

// An acknowledgement for a time ends by itself; one that holds is no snooze.
func TestAcknowledgeForATime(t *testing.T) {
	t.Parallel()
	for snooze, want := range map[time.Duration][]string{0: {"acknowledge Q1"}, 45 * time.Minute: {"acknowledge Q1", "snooze Q1 45m0s"}} {
		p := &pagerFake{}
		s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1", Snooze: snooze})
		s.finish(t, lane, 1)
		if diff := cmp.Diff(want, p.calls); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", snooze, diff)
		}
	}
}

// What was told and not answered is looked for before it is told again.
func TestToldOnceWhenTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, kind := range []remediation.MessageKind{remediation.StatusUpdate, remediation.AskResponders} {
		for _, keeps := range []bool{true, false} {
			call := map[remediation.MessageKind]string{remediation.StatusUpdate: "update Q1", remediation.AskResponders: "responders Q1 [U1][]"}[kind]
			p := &pagerFake{keeps: keeps, failures: map[string][]error{call: {errOutage}}}
			s := withPager(p, remediation.Message{ID: "m1", Kind: kind, IncidentID: "Q1", Text: "help", People: connect.People{Users: []string{"U1"}}})
			s.finish(t, lane, 3)
			want := []string{call, "logged"}
			if !keeps {
				want = append(want, call)
			}
			if diff := cmp.Diff(want, p.calls); diff != "" || len(p.log) != 1 || !strings.HasPrefix(p.log[0], "help\n\nremediator: run run-1") {
				t.Errorf("%s, taken %t: told %q, calls (-want +got):\n%s", kind, keeps, p.log, diff)
			}
		}
	}
}

// What only adds to an incident opens none.
func TestNothingToAddTo(t *testing.T) {
	t.Parallel()
	for _, kind := range []remediation.MessageKind{remediation.Prioritise, remediation.AskResponders, remediation.StatusUpdate} {
		p := &pagerFake{}
		s := withPager(p, remediation.Message{ID: "m1", Kind: kind, IncidentKey: "k", Text: "help"})
		s.finish(t, lane, 40)
		if m := s.message("m1"); m.State != remediation.MessageSkipped || len(p.events) > 0 {
			t.Errorf("%s is %s: %s; %d incidents were opened", kind, m.State, m.Error, len(p.events))
		}
	}
}

// What tells only subscribers, or bounds a silence, keeps no call for a human waiting behind it.
func TestAHumanIsCalledPastWhatCannotBeTold(t *testing.T) {
	t.Parallel()
	never := make([]error, 200)
	for i := range never {
		never[i] = errOutage
	}
	for name, c := range map[string]struct {
		call  string
		first remediation.Message
		want  remediation.MessageState
	}{
		"a status update": {"update Q1", remediation.Message{ID: "m1", Kind: remediation.StatusUpdate, IncidentID: "Q1", Text: "about to act"}, remediation.MessageDead},
		"a snooze":        {"snooze Q1 1h0m0s", remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1", Snooze: time.Hour}, remediation.MessageSent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pagerFake{failures: map[string][]error{c.call: never}}
			s := withPager(p, c.first, remediation.Message{ID: "m2", Kind: remediation.Escalate, IncidentID: "Q1"})
			began := s.clock()
			s.finish(t, lane, 40)
			if m := s.message("m2"); m.State != remediation.MessageSent || s.clock().Sub(began) > 3*time.Minute {
				t.Errorf("the call is %s after %s: %s", m.State, s.clock().Sub(began), m.Error)
			}
			if m := s.message("m1"); m.State != c.want || m.Error == "" {
				t.Errorf("%s is %s: %s", name, m.State, m.Error)
			}
		})
	}
}

// TestSandboxSummonsUnderFaults: all of a call for a human takes effect once and in order, whatever is lost on the way.
func TestSandboxSummonsUnderFaults(t *testing.T) {
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
				remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: id, Snooze: time.Hour},
				remediation.Message{ID: "m2", Kind: remediation.StatusUpdate, IncidentID: id, Text: "about to act"},
				remediation.Message{ID: "m3", Kind: remediation.Escalate, IncidentID: id, People: connect.People{Policies: []string{"PEP0002"}}},
				remediation.Message{ID: "m4", Kind: remediation.Prioritise, IncidentID: id, Priority: "P1"},
				remediation.Message{ID: "m5", Kind: remediation.AskResponders, IncidentID: id, Text: "help", People: connect.People{Users: []string{"PUSR002"}}},
				remediation.Message{ID: "m6", Kind: remediation.StatusUpdate, IncidentID: id, Text: "a human is called"},
			)
			s.finish(t, lane, 30)
			in := w.Incident(id)
			told := fmt.Sprintf("%s %s %s %v %d updates, %d requests", in.Status, in.Policy, in.Priority, in.Responders, len(in.StatusUpdates), len(in.Requests))
			snoozed := slices.ContainsFunc(in.Log, func(s sandbox.IncidentStep) bool { return s.Did == "incident_snoozed" })
			if want := "triggered PEP0002 P1 [PUSR002] 2 updates, 1 requests"; told != want || !snoozed {
				t.Errorf("the incident is %s, want %s", told, want)
			}
			for _, m := range s.all {
				if m.State != remediation.MessageSent {
					t.Errorf("%s is %s: %s", m.ID, m.State, m.Error)
				}
			}
		})
	}
}
