package remediation_test

import (
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/remediation"
)

// What is left to be settled is told in the words of its kind.
func TestADebtIsToldInItsOwnWords(t *testing.T) {
	t.Parallel()
	for debt, says := range map[string]string{
		executors.DebtPinnedTraffic: "the traffic is pinned; new deploys serve nothing until `remediator unpin api`",
		executors.DebtHeldDeploys:   "production is rolled back; new deploys do not go live until `remediator unpin api`",
		"of another version":        "there is of another version; what comes after it has no effect until `remediator unpin api`",
	} {
		t.Run(debt, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			w.scene(api).hooks.change = func(c *executors.Change) { c.Debt = debt }
			v := w.play(down(api))
			if note := v.Messages[1].Text; !strings.Contains(note, says) {
				t.Errorf("the note does not say %q:\n%s", says, note)
			}
			report := remediation.NewReport(remediation.Told{Run: v.Run, Steps: v.Steps})
			_, effect, _ := strings.Cut(says, "; ")
			effect, _, _ = strings.Cut(effect, " until")
			if !strings.Contains(strings.Join(report.Actions, "\n"), effect) {
				t.Errorf("the report's items are %q", report.Actions)
			}
		})
	}
}
