package sandbox_test

import (
	"testing"

	"github.com/PagerDuty/go-pagerduty"
	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

// acknowledgers reads by whom, and by what kind of thing, the incident is acknowledged.
func acknowledgers(f *fixture, id string) []string {
	f.Helper()
	in, err := pager(f).GetIncidentWithContext(f.ctx, id)
	must(f.T, err)
	out := []string{in.Status}
	for _, a := range in.Acknowledgements {
		out = append(out, a.Acknowledger.Type+" "+a.Acknowledger.ID)
		if a.At == "" {
			f.Errorf("an acknowledgement without a time: %+v", a)
		}
	}
	return out
}

func TestWhoAcknowledged(t *testing.T) {
	t.Parallel()
	r := receive(t, accepted)
	f := start(t, sandbox.Config{Webhook: sandbox.Webhook{URL: r.URL, Secret: secret}})
	id := trigger(f)
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"nobody", func() error { return nil }, []string{"triggered"}},
		{"the service", func() error { acknowledgeEvent(f); return nil }, []string{"acknowledged", "service_reference PSVC001"}},
		{"timed out", func() error { return f.AcknowledgementEnds(id) }, []string{"triggered"}},
		{"the bot", func() error {
			f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "acknowledged"})
			return nil
		}, []string{"acknowledged", "user_reference PBOT001"}},
		{"and a human", func() error { return f.HumanAcknowledges(id) }, []string{"acknowledged", "user_reference PBOT001", "user_reference PUSR001"}},
		{"a human lets go", func() error { return f.HumanUnacknowledges(id) }, []string{"triggered"}},
		{"twice", func() error { return f.HumanUnacknowledges(id) }, []string{"triggered"}},
		{"a human", func() error { return f.HumanAcknowledges(id) }, []string{"acknowledged", "user_reference PUSR001"}},
		{"paged anew", func() error { f.manage(pagerduty.ManageIncidentsOptions{ID: id, EscalationLevel: 2}); return nil }, []string{"triggered"}},
		{"a human again", func() error { return f.HumanAcknowledges(id) }, []string{"acknowledged", "user_reference PUSR001"}},
		{"resolved", func() error { return f.HumanResolves(id) }, []string{"resolved"}},
	}
	for _, s := range steps {
		must(t, s.do())
		if diff := cmp.Diff(s.want, acknowledgers(f, id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
	events := []string{
		"incident.triggered", "incident.acknowledged", "incident.unacknowledged", "incident.acknowledged PBOT001", "incident.acknowledged PUSR001",
		"incident.unacknowledged PUSR001", "incident.acknowledged PUSR001", "incident.escalated PBOT001", "incident.acknowledged PUSR001",
		"incident.resolved PUSR001",
	}
	f.eventually(func() bool { return len(r.types()) == len(events) })
	if diff := cmp.Diff(events, r.agents()); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

// agents lists the events with who caused each.
func (r *receiver) agents() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		said, _ := e["event_type"].(string)
		if agent, ok := e["agent"].(map[string]any); ok {
			said += " " + agent["id"].(string)
		}
		out = append(out, said)
	}
	return out
}

func acknowledgeEvent(f *fixture) {
	f.Helper()
	_, err := pager(f).ManageEventWithContext(f.ctx, &pagerduty.V2Event{RoutingKey: sandbox.PagerDutyRoutingKey, Action: "acknowledge", DedupKey: "key-1"})
	must(f.T, err)
}
