package remediation_test

import (
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

func reported(v store.RunView) remediation.Report {
	return remediation.NewReport(remediation.Told{Run: v.Run, Steps: v.Steps, Rulings: v.Rulings, Entries: v.Entries})
}

// A report says what the records say, for whoever reads it the next day.
func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"), threeSeverities)
	r := reported(w.play(down(api)))
	text := r.Markdown()
	for _, part := range []string{
		"# api: api is down\n", "FIXED (verified): verify held for 1m0s", "Severity P0. Alert since 2026-03-01 11:59:00Z", "## Evidence at the decision\n\n- 12:00:00Z health: api is bad, ok false",
		"- cure: chosen", "- next: shadowed", "## Guards\n\n- asked before the plan and again in the transaction of the intent at 12:00:00Z; all allowed it",
		"- set api from bad to good: done, read back at 12:00:00Z; state from bad to good; because good worked before", "## Verification\n\n- 12:00:10Z to 12:01:00Z, 6 times, health: api is good, ok true",
		"## Action items\n\n- find out why it happened", "## Timeline\n\n- 12:00:00Z chosen: ", "## Post-mortem\n\n- Impact: ", "Journal head `" + r.Head,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the report does not say %q:\n%s", part, text)
		}
	}
}

// Of a run that did nothing it says so, and why; of one that people had a hand in, who.
func TestReportOfOtherRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.pause(guard.Fleet, "")
	text := reported(w.byHand("cure")).Markdown()
	for _, part := range []string{"refused: paused", "- ann started it: it hangs again", "mend it by hand: nothing was changed"} {
		if !strings.Contains(text, part) {
			t.Errorf("the report does not say %q:\n%s", part, text)
		}
	}
	if strings.Contains(text, "Post-mortem") {
		t.Error("a post-mortem of what is not most severe")
	}
}

// Words from outside are words: no heading, link, image, code or row of a table comes of them.
func TestReportIsNoMarkup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	a := down(api)
	a.Annotations["summary"] = "x\n# Owned\n[click](http://evil.example.com) ![i](http://evil.example.com/p) <script>alert(1)</script> `rm` |a|b| **b** ~~s~~ www.evil.example.com &#91;"
	text := reported(w.play(a)).Markdown()
	for _, part := range []string{"\n# Owned", "[click](", "![i](", "<script>", "`rm`", "|a|", "**b**", "~~s", "p://", "www.", " &#91;"} {
		if strings.Contains(text, part) {
			t.Errorf("%q is mark-up:\n%s", part, text)
		}
	}
}
