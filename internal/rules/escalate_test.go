package rules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
)

// escalated loads a file with these defaults and one rule with these further keys; either may be empty.
func escalated(defaults, rule string) (*Rule, error) {
	text := "version: 1\nconnections: {pagerduty: {token_file: t}}\ntargets: {a: {}}\ndefaults: {" + defaults + "}\nrules:\n  - {name: r, match: [a=b], target: a" + rule + "}\n"
	set, err := Load("r.yaml", []byte(text), Options{})
	if err != nil {
		return nil, err
	}
	return set.Rules[0], nil
}

// What a rule leaves unsaid of an escalation comes field by field from the defaults; null switches it off.
func TestEscalatePagerDuty(t *testing.T) {
	t.Parallel()
	const common = "escalate: {pagerduty: {assign: {escalation_policy: PDEF456}, priority: P2}}"
	users := connect.People{Users: []string{"PABC123", "PABC124"}}
	policy := connect.People{Policies: []string{"PDEF456"}}
	for name, c := range map[string]struct {
		defaults, rule string
		want           EscalatePagerDuty
	}{
		"nothing said":       {},
		"the defaults alone": {common, "", EscalatePagerDuty{Assign: policy, Priority: "P2"}},
		"the rule alone": {"", ", escalate: {pagerduty: {assign: {users: [PABC123, PABC124]}, responders: {users: [PABC123], escalation_policies: [PDEF456], message: come}, priority: Sev 1}}",
			EscalatePagerDuty{
				Assign: users, Responders: connect.People{Users: []string{"PABC123"}, Policies: []string{"PDEF456"}}, Message: "come", Priority: "Sev 1",
			}},
		"one field of each": {common, ", escalate: {pagerduty: {assign: {users: [PABC123, PABC124]}}}", EscalatePagerDuty{Assign: users, Priority: "P2"}},
		"switched off":      {common, ", escalate: {pagerduty: null}", EscalatePagerDuty{}},
		"nobody told":       {common, ", tell: {pagerduty: null}", EscalatePagerDuty{Assign: policy, Priority: "P2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := escalated(c.defaults, c.rule)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Escalate.PagerDuty); diff != "" {
				t.Errorf("escalate (-want +got):\n%s", diff)
			}
		})
	}
}

// What would page nobody, or somebody whom no file names, is refused at its place.
func TestEscalateMistakes(t *testing.T) {
	t.Parallel()
	for rule, says := range map[string]string{
		"assign: {}": "assigned to users or to an escalation policy",
		"assign: {users: [PABC123], escalation_policy: PDEF456}": "assigned to users or to an escalation policy",
		"assign: {users: [ann@example.com]}":                     "no id of PagerDuty",
		"assign: {escalation_policy: \"{{ .Labels.team }}\"}":    "no id of PagerDuty",
		"assign: {policy: PDEF456}":                              "there is no key policy",
		"responders: {message: come}":                            "nobody is asked",
		"responders: {escalation_policies: [pdef456]}":           "no id of PagerDuty",
		"priority: \" P1\"":                                      "no name of a priority",
		"priority: \"\"":                                         "no name of a priority",
		"":                                                       "null",
	} {
		for where, text := range map[string][2]string{"rule": {"", ", escalate: {pagerduty: {" + rule + "}}"}, "defaults": {"escalate: {pagerduty: {" + rule + "}}", ""}} {
			if rule == "" {
				text = [2]string{strings.Replace(text[0], "{}", "", 1), strings.Replace(text[1], "{}", "", 1)}
			}
			var got Diagnostics
			if _, err := escalated(text[0], text[1]); !errors.As(err, &got) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "r.yaml:") {
				t.Errorf("%s of the %s: %v", rule, where, err)
			}
		}
	}
	if _, err := escalated("", ", tell: {pagerduty: null}, escalate: {pagerduty: {priority: P1}}"); err == nil || !strings.Contains(err.Error(), "does not tell PagerDuty") {
		t.Errorf("an escalation nobody is told of: %v", err)
	}
}

// Subscribers hear of a run where the file says so, and an acknowledgement may be for a time.
func TestTellSubscribersAndSnooze(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]TellPagerDuty{
		"{}":                                 {},
		"{status_updates: true}":             {StatusUpdates: true, Every: 15 * time.Minute},
		"{status_updates: true, every: 0s}":  {StatusUpdates: true},
		"{status_updates: true, every: 30m}": {StatusUpdates: true, Every: 30 * time.Minute},
		"{snooze: 45m}":                      {Snooze: 45 * time.Minute},
	} {
		want.Connection, want.ResolveWhen = "pagerduty", ResolveNever
		got, err := escalated("", ", tell: {pagerduty: "+text+"}")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got.Tell.PagerDuty); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, says := range map[string]string{"{snooze: 10ms}": "PagerDuty snoozes", "{snooze: 8d}": "PagerDuty snoozes", "{every: 5m}": "status_updates: true"} {
		if _, err := escalated("", ", tell: {pagerduty: "+text+"}"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
