package main

import (
	"regexp"
	"testing"

	playbook "github.com/mixillo/remediator"
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
