package main

import (
	"regexp"
	"testing"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/logging"
	"github.com/mixillo/remediator/internal/rules"
)

// What the shipped rules show as comments can be switched on as it stands.
func TestPlaybookExamples(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`(?m)^# (protected:|freezes:|  - )`).ReplaceAll(playbook.Playbook, []byte("$1"))
	set, err := rules.Load(defaultRules, text, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if freezes := set.Rules[0].Limits.Freezes; len(freezes) != 2 || len(set.Protected) != 1 {
		t.Errorf("%d freezes and %d protected identities, want 2 and 1", len(freezes), len(set.Protected))
	}
}

// Whoever sends the most requests has to be the one whose requests are refused: beside a crowd that sends few each, a busy partner and a
// small one with a mistake of its own are no attack of few.
func TestABusyPartnerIsNoAttacker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		share float64
		want  bool
	}{"a partner": {0, false}, "an attacker": {0.9, true}} {
		bound, _ := shipped(t, "block-the-attackers").Bind(backend)
		fact := &logging.ClientsFact{ValidationShare: 0.35, TopShare: 0.4, TopValidationShare: c.share, Hostile: []string{"192.0.2.9"}}
		j := bound.If(alert.Alert{Status: alert.Firing}, rules.Facts{"clients": {Answer: executors.Answer{Fact: fact}}})
		if !j.Known || j.Holds != c.want {
			t.Errorf("%s: %+v", name, j)
		}
	}
}

// A rule that only says what somebody else's system suffers from keeps no rule from being asked when that system cannot be asked.
func TestADiagnosisOfAtlasBarsNobody(t *testing.T) {
	t.Parallel()
	if !shipped(t, "database-is-down-at-atlas").Skips {
		t.Error("without Atlas's word, nothing is said of a lost database")
	}
}

func shipped(t *testing.T, name string) *rules.Rule {
	t.Helper()
	set, err := rules.Load(defaultRules, playbook.Playbook, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, ok := set.Rule(name)
	if !ok {
		t.Fatalf("there is no rule %s", name)
	}
	return r
}
