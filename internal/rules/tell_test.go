package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told loads a file with these defaults and one rule with this `tell`; either may be empty.
func told(t *testing.T, defaults, rule string) (Tell, error) {
	t.Helper()
	text := "version: 1\nconnections: {pagerduty: {token_file: t}, second: {kind: pagerduty, token_file: t}, slack: {token_file: t}}\ntargets: {a: {}}\n" +
		"defaults: {" + defaults + "}\nrules: [{name: r, match: [a=b], target: a" + rule + "}]\n"
	set, err := Load("r", []byte(text), Options{})
	if err != nil {
		return Tell{}, err
	}
	return set.Rules[0].Tell, nil
}

// What a rule leaves unsaid comes field by field from the defaults; null switches a part off.
func TestTell(t *testing.T) {
	t.Parallel()
	plain := &TellPagerDuty{Connection: "pagerduty", ResolveWhen: ResolveNever}
	const both = "tell: {pagerduty: {open_incident: true, connection: second}, slack: {every: 15m, channel: C1}}"
	tests := []struct {
		name, defaults, rule string
		want                 Tell
	}{
		{"nothing said", "", "", Tell{PagerDuty: plain}},
		{"empty parts", "", ", tell: {pagerduty: {}, slack: {}}", Tell{PagerDuty: plain, Slack: &TellSlack{Report: true, Connection: "slack", Every: 15 * time.Minute}}},
		{"the defaults alone", both, "", Tell{
			PagerDuty: &TellPagerDuty{Connection: "second", ResolveWhen: ResolveNever, OpenIncident: true},
			Slack:     &TellSlack{Report: true, Connection: "slack", Channel: "C1", Every: 15 * time.Minute},
		}},
		{"one field of each", both, ", tell: {pagerduty: {resolve_when: fixed}, slack: {channel: C2}}", Tell{
			PagerDuty: &TellPagerDuty{Connection: "second", ResolveWhen: ResolveFixed, OpenIncident: true},
			Slack:     &TellSlack{Report: true, Connection: "slack", Channel: "C2", Every: 15 * time.Minute},
		}},
		{"false and zero are said", both, ", tell: {pagerduty: {open_incident: false}, slack: {every: 0s}}", Tell{
			PagerDuty: &TellPagerDuty{Connection: "second", ResolveWhen: ResolveNever},
			Slack:     &TellSlack{Report: true, Connection: "slack", Channel: "C1"},
		}},
		{"no report", both, ", tell: {slack: {report: false}}", Tell{
			PagerDuty: &TellPagerDuty{Connection: "second", ResolveWhen: ResolveNever, OpenIncident: true},
			Slack:     &TellSlack{Connection: "slack", Channel: "C1", Every: 15 * time.Minute},
		}},
		{"a default switched off", both, ", tell: {slack: null}", Tell{
			PagerDuty: &TellPagerDuty{Connection: "second", ResolveWhen: ResolveNever, OpenIncident: true},
		}},
		{"PagerDuty switched off", "", ", tell: {pagerduty: null}", Tell{}},
		{"both switched off", both, ", tell: {pagerduty: ~, slack: ~}", Tell{}},
		{"off by default", "tell: {pagerduty: null, slack: null}", "", Tell{}},
		{"off by default, on in the rule", "tell: {pagerduty: null}", ", tell: {pagerduty: {resolve_when: fixed}}", Tell{
			PagerDuty: &TellPagerDuty{Connection: "pagerduty", ResolveWhen: ResolveFixed},
		}},
	}
	mention := "tell: {slack: {mention: [U024BE7LH, SAZ94GDB8]}}"
	tests = append(tests, []struct {
		name, defaults, rule string
		want                 Tell
	}{
		{"mentions by default", mention, "", Tell{
			PagerDuty: plain, Slack: &TellSlack{Report: true, Connection: "slack", Every: 15 * time.Minute, Mention: []string{"U024BE7LH", "SAZ94GDB8"}},
		}},
		{"mentions of its own", mention, ", tell: {slack: {mention: [here]}}", Tell{
			PagerDuty: plain, Slack: &TellSlack{Report: true, Connection: "slack", Every: 15 * time.Minute, Mention: []string{"here"}},
		}},
	}...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := told(t, tt.defaults, tt.rule)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("tell (-want +got):\n%s", diff)
			}
		})
	}
}

// A key with nothing behind it may be a slip: it must not silence a rule.
func TestTellSaysWhatIsMeant(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"pagerduty", "slack"} {
		for name, where := range map[string][2]string{"in a rule": {"", ", tell: {" + part + ": }"}, "by default": {"tell: {" + part + ": }", ""}} {
			_, err := told(t, where[0], where[1])
			if err == nil || !strings.Contains(err.Error(), "null") {
				t.Errorf("%s without a value %s: %v, want an error that tells of null", part, name, err)
			}
		}
	}
}

// Only what Slack can mention is taken: a name would be shown and reach nobody.
func TestMentionsOfNobody(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"ann", "\"@ann\"", "\"<!everyone>\"", "everyone", "u024be7lh", "U"} {
		if _, err := told(t, "", ", tell: {slack: {mention: ["+who+"]}}"); err == nil || !strings.Contains(err.Error(), "mention") {
			t.Errorf("%s: %v", who, err)
		}
	}
}
