package remediation_test

import (
	"context"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

const threeSeverities = `severities:
  - {name: P0, labels: [critical], escalate: 10m}
  - {name: P1, labels: [error]}
  - {name: P2, labels: [warning], mode: observe}
`

// What an alert's severity does not allow is not done by itself, whatever the rule's mode is.
func TestSeverityBoundsTheMode(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]remediation.Outcome{"critical": remediation.Fixed, "error": remediation.Fixed, "warning": remediation.Observed, "": remediation.Observed} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"), threeSeverities)
			a := down(api)
			a.Labels["severity"] = label
			v := w.play(a)
			if v.Run.Outcome != want || (want == remediation.Observed) != (w.scene(api).made("apply") == 0) {
				t.Errorf("ended %s in mode %s, severity %s: %s", v.Run.Outcome, v.Run.Mode, v.Run.Severity, v.Run.Detail)
			}
		})
	}
}

// The more severe, the sooner a human is called.
func TestSeverityCallsSooner(t *testing.T) {
	t.Parallel()
	for label, after := range map[string]time.Duration{"critical": 10 * time.Minute, "error": 30 * time.Minute} {
		w := newWorld(t, rule("cure", "do: [{fake.act: {to: worse}}]", "verify: {if: health.ok, hold: 1m, within: 2h, every: 1m}", "escalate: {after: 30m}"), threeSeverities)
		a := down(api)
		a.Labels["severity"] = label
		v := w.until(w.fire(a), func(r remediation.Run) bool { return r.Escalated })
		if late := w.now().Sub(noon); late < after || late > after+2*time.Minute {
			t.Errorf("%s: called after %s\n%s", label, late, story(v))
		}
	}
}

// A rule may hold all automation on its target: it acts on nothing, calls a human, and no other rule acts there until a human lifts it.
func TestHoldOfARule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("breach", `match: [alertname="Breach"]`, "-do", "-verify", "hold: 24h"), rule("cure"))
	breach := down(api)
	breach.Labels["alertname"], breach.Episode, breach.IncidentKey = "Breach", "breach", "breach"
	v := w.play(breach)
	if v.Run.Outcome != remediation.Observed || !v.Run.Escalated {
		t.Errorf("ended %s, escalated %t", v.Run.Outcome, v.Run.Escalated)
	}
	w.expect(w.play(down(api)), refused(guard.Paused))
	w.expect(w.play(down(web)), fixed)
	n, err := w.store.Resume(context.Background(), guard.Target, api)
	if n != 1 || err != nil {
		t.Errorf("lifted %d, %v", n, err)
	}
}

// In mode observe a rule holds nothing.
func TestObservedHoldHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("breach", `match: [alertname="Breach"]`, "mode: observe", "-do", "-verify", "hold: 24h"), rule("cure"))
	breach := down(api)
	breach.Labels["alertname"], breach.Episode, breach.IncidentKey = "Breach", "breach", "breach"
	w.play(breach)
	w.expect(w.play(down(api)), fixed)
}
