package remediation_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// The end of what was made for a time keeps nobody else off the target for longer than a call may be on its way.
func TestAnEndThatCannotBeReadBackLeavesTheTarget(t *testing.T) {
	t.Parallel()
	w, follow := lapsed(t)
	since := w.now()
	w.scene(api).hooks.observe = func(_ int, o executors.Observation) (executors.Observation, error) { return o, errTimeout }
	w.until(follow, func(remediation.Run) bool { return w.now().Sub(since) > time.Hour })
	w.scene(api).hooks.observe = nil
	w.scene(api).hooks.change = nil
	next := other(api)
	next.StartsAt = w.now()
	v := w.finish(w.fire(next))
	if v.Run.Outcome == remediation.RefusedRun {
		t.Errorf("%s\n%s", v.Run.Detail, story(v))
	}
}

// What had its time and was ended may be made again: its end is nobody's change of mind.
func TestWhatHasEndedMayBeMadeAgain(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"soon": 10 * time.Minute, "later": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, follow := lapsed(t)
			w.wantEnded(follow)
			w.advance(after)
			again := other(api)
			again.StartsAt = w.now()
			v := w.finish(w.fire(again))
			if v.Run.Outcome != remediation.Fixed {
				t.Errorf("ended %s: %s\n%s", v.Run.Outcome, v.Run.Detail, story(v))
			}
		})
	}
}

// Where only rules that skip could not be judged and no other holds, nobody knows that none holds: the facts are asked for again, and the
// next delivery may try.
func TestFactsOfARuleThatSkipsAreAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		missing int // times
		want    end
	}{
		"they come":       {1, fixed},
		"they never come": {99, refused(guard.UnknownFacts)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("first", "unknown: skip"))
			w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
				if n <= c.missing {
					return nil, errTimeout
				}
				return nil, nil
			}
			w.expect(w.play(down(api)), c.want)
		})
	}
}

// A system that is too busy is left alone for a while, also where the run had been waiting for people before.
func TestABusySystemIsLeftAloneAfterAnApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve"))
	var calls []time.Time
	w.scene(api).hooks.apply = func(n int) (bool, error) {
		calls = append(calls, w.now())
		if n == 1 {
			return false, status.Error(codes.ResourceExhausted, "quota")
		}
		return true, nil
	}
	asked := w.asked()
	must(t, w.answer(asked, asked.Asked, true))
	w.heard(asked)
	w.expect(w.finish(asked.ID), end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: endOf(w.view(asked.ID)).Messages})
	if len(calls) != 2 || calls[1].Sub(calls[0]) < 30*time.Second {
		t.Errorf("called at %v", calls)
	}
}
