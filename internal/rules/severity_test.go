package rules

import (
	"strings"
	"testing"
	"time"
)

const severities = `severities:
  - {name: P0, labels: [critical, P0], escalate: 10m, priority: P1}
  - {name: P1, labels: [error]}
  - {name: P2, labels: [warning], mode: approve}
`

func TestSeverity(t *testing.T) {
	t.Parallel()
	set, err := Load("rules.yaml", []byte("version: 1\n"+severities), Options{Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]struct {
		name  string
		most  Mode
		worst bool
	}{
		"critical": {"P0", Auto, true}, "P0": {"P0", Auto, true}, "error": {"P1", Auto, false},
		"warning": {"P2", Approve, false}, "": {"P2", Approve, false}, "CRITICAL": {"P2", Approve, false},
	} {
		got, worst := set.Severity(map[string]string{"severity": label})
		if got.Name != want.name || got.Most != want.most || worst != want.worst {
			t.Errorf("%q is %s, at most %s, worst %t", label, got.Name, got.Most, worst)
		}
	}
	if got, _ := set.Severity(map[string]string{"severity": "critical"}); got.After != 10*time.Minute || got.Priority != "P1" {
		t.Errorf("people leave it alone for %s, its priority is %q", got.After, got.Priority)
	}
	if got, worst := (&Set{}).Severity(nil); got.Most != Auto || worst {
		t.Errorf("without severities: %+v, %t", got, worst)
	}
}

func TestModeWithin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ own, most, want Mode }{
		{Auto, Auto, Auto}, {Auto, Approve, Approve}, {Auto, Observe, Observe}, {Observe, Auto, Observe}, {Approve, Auto, Approve}, {Approve, Observe, Observe},
	} {
		if got := c.own.Within(c.most); got != c.want {
			t.Errorf("%s within %s is %s", c.own, c.most, got)
		}
	}
}

func TestSeverityMistakes(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"severities:\n  - {name: P0, labels: [critical]}\n  - {name: P1, labels: [critical]}\n": "more severe one already",
		"severities:\n  - {labels: [critical]}\n":                                               "name is missing",
		"severities:\n  - {name: P0, labels: [a], mode: manual}\n":                              "mode",
		"severities:\n  - {name: P0, labels: [a], priority: \"\"}\n":                            "no name of a priority",
	} {
		if _, err := Load("rules.yaml", []byte("version: 1\n"+text), Options{Speed: 1}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
