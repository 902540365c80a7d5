package remediation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// paged are the messages for PagerDuty, in order, beside notes.
func paged(v store.RunView) (all []remediation.Message) {
	return slices.DeleteFunc(slices.Clone(v.Messages), func(m remediation.Message) bool {
		return m.Channel != remediation.PagerDuty || m.Kind == remediation.Note
	})
}

// A call for a human does with the incident what the rule says, and its subscribers hear of every turn and of each quarter of an hour.
func TestSummon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.act: {to: worse}}]", "verify: {if: health.ok, hold: 1m, within: 40m, every: 10s}",
		"escalate: {after: 30m, need: call the owner, pagerduty: {assign: {users: [PABC123]}, responders: {escalation_policies: [PDEF456]}, priority: P1}}",
		"tell: {pagerduty: {status_updates: true, every: 15m, snooze: 45m}}"))
	v := w.play(down(api))
	var kinds []string
	for _, m := range paged(v) {
		text := string(m.Kind)
		if m.Kind == remediation.StatusUpdate {
			text += ": " + strings.SplitN(m.Text, "\n", 3)[1]
		}
		kinds = append(kinds, strings.SplitN(text, " at 1", 2)[0])
	}
	want := []string{
		"acknowledge", "status_update: rule cure is about to set api from bad to worse.", "status_update: Status: changed",
		"escalate", "priority", "responders", "status_update: A human is called: not fixed within 30m0s; remediator is still at it. Need: call the owner.",
		"status_update: NOT FIXED: not well within 40m0s.",
	}
	if got := kinds[len(kinds)-1]; strings.HasPrefix(got, "status_update: NOT FIXED: ") {
		want[len(want)-1] = got // the sentence is verify's
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for _, m := range paged(v) {
		switch m.Kind {
		case remediation.Acknowledge:
			if m.Snooze != 45*time.Minute {
				t.Errorf("acknowledged for %s", m.Snooze)
			}
		case remediation.Escalate:
			if diff := cmp.Diff(connect.People{Users: []string{"PABC123"}}, m.People); diff != "" {
				t.Errorf("it is given to (-want +got):\n%s", diff)
			}
		case remediation.AskResponders:
			if diff := cmp.Diff(connect.People{Policies: []string{"PDEF456"}}, m.People); diff != "" || !strings.HasPrefix(m.Text, "remediator asks for help with api: ") {
				t.Errorf("asked %q (-want +got):\n%s", m.Text, diff)
			}
		case remediation.Prioritise:
			if m.Priority != "P1" {
				t.Errorf("priority %q", m.Priority)
			}
		default:
		}
	}
}

// A run of which nothing is asked tells as before; the severity gives the priority where the rule gives none; what was refused calls nobody.
func TestSummonSaysNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		severities, rule, want string
	}{
		"nothing":                   {"", "", "[acknowledge escalate]"},
		"the severity's priority":   {"severities: [{name: P0, labels: [x], priority: P1}, {name: P1, labels: [y], priority: P3}]", "", "[acknowledge escalate priority P3]"},
		"the rule's goes before it": {"severities: [{name: P0, labels: [x], priority: P1}]", "escalate: {after: 12h, pagerduty: {priority: P2}}", "[acknowledge escalate priority P2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parts := []string{"do: [{fake.act: {to: worse}}]"}
			if c.rule != "" {
				parts = append(parts, c.rule)
			}
			text := rule("cure", parts...)
			if c.severities != "" {
				text += c.severities + "\n"
			}
			var got []string
			for _, m := range paged(newWorld(t, text).play(down(api))) {
				got = append(got, strings.TrimSpace(string(m.Kind)+" "+m.Priority))
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("told %v, want %s", got, c.want)
			}
		})
	}
}

// A run that was only observed tells no subscriber.
func TestSubscribersHearOfActsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: observe", "tell: {pagerduty: {status_updates: true}}"))
	if all := paged(w.play(down(api))); len(all) > 0 {
		t.Errorf("told %+v", all)
	}
}
