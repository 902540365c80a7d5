package remediation_test

import (
	"errors"
	"testing"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// A stop button that nobody can read right before the call counts as pressed.
func TestAnUnreadableStopButtonIsPressed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil {
			w.racing.blind = errors.New("the disk is gone")
		}
	}
	v := w.play(down(api))
	w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(guard.GuardFailed), Steps: oneDropped, Messages: toldNotFixed})
	if n := w.scene(api).made("apply"); n != 0 {
		t.Errorf("%d calls", n)
	}
}
