package remediation_test

import (
	"testing"
	"time"
)

// A rung's calls take as long as the rule allows, and always end before the lease does.
func TestARungsTimeout(t *testing.T) {
	t.Parallel()
	for text, most := range map[string]time.Duration{"2s": 2 * time.Second, "1h": lease - 2*time.Second} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}, timeout: "+text+"}]", unhurried))
			var took []time.Duration
			w.scene(api).hooks.until = func(_ string, deadline time.Time) {
				took = append(took, time.Until(deadline).Round(time.Second))
			}
			w.expect(w.play(down(api)), end{Outcome: "fixed", Steps: append(oneApplied, oneApplied...), Messages: toldFixed})
			if len(took) != 4 || took[2] != most || took[3] != most {
				t.Errorf("the plans and calls of two rungs may take %s, want %s for the second", took, most)
			}
		})
	}
}
