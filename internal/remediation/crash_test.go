package remediation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
)

// visitUntilDeath visits the run until it is done or the process dies.
func (w *world) visitUntilDeath(id string) (died bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(death); !ok {
				panic(p)
			}
			died = true
		}
	}()
	w.finish(id)
	return false
}

func TestADeathAtEveryCommit(t *testing.T) {
	t.Parallel()
	for _, do := range []string{"do: [{fake.act: {to: good}}]", "do: [{fake.two: {to: half, then: good}}]", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"} {
		for n := 1; n < 40; n++ {
			reached := true
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s commit %d after %t", do, n, after), func(t *testing.T) { reached = dieAt(t, do, n, after) })
			}
			if !reached {
				break
			}
		}
	}
}

// dieAt plays one alert with a death at one commit and reports whether the story is that long.
func dieAt(t *testing.T, do string, n int, after bool) bool {
	w := newWorld(t, rule("cure", do, "verify: {if: health.ok, hold: 20s, within: 1m, every: 20s}"))
	id := w.fire(down(api))
	w.racing.dieBefore = n
	if after {
		w.racing.dieBefore, w.racing.dieAfter = 0, n
	}
	died := w.visitUntilDeath(id)
	if died {
		w.restart()
	}
	v := w.finish(id)
	if v.Run.Outcome != remediation.Fixed {
		t.Fatalf("ended %s: %s\n%s", v.Run.Outcome, v.Run.Detail, story(v))
	}
	effects := 1 + strings.Count(do, ",")
	if _, version := w.scene(api).now(); version != effects {
		t.Errorf("the target was changed %d times, want %d\n%s", version, effects, story(v))
	}
	if diff := cmp.Diff(toldFixed, endOf(v).Messages); diff != "" {
		t.Errorf("told otherwise (-want +got):\n%s", diff)
	}
	return died
}

func TestAnIntentWithoutAResultIsLookedAtFirst(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]bool{"the call was made": true, "the call was not made": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			s := w.scene(api)
			id := w.fire(down(api))
			s.hooks.apply = func(int) (bool, error) {
				if made {
					v := w.view(id)
					s.mu.Lock()
					s.state, s.version, s.marks[v.Steps[0].Operation] = "good", 1, "good"
					s.mu.Unlock()
				}
				panic(death{})
			}
			if !w.visitUntilDeath(id) {
				t.Fatal("it did not die")
			}
			s.hooks.apply = nil
			w.restart()
			v := w.finish(id)
			want := map[bool][]remediation.StepState{true: oneApplied, false: {remediation.StepDropped, remediation.StepApplied}}[made]
			w.expect(v, end{Outcome: remediation.Fixed, Steps: want, Messages: toldFixed})
			if !said(v, remediation.EntryApplied, "has to be read back") {
				t.Errorf("the journal does not say that it looked:\n%s", story(v))
			}
		})
	}
}

func TestAFencedVisitChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	id := w.fire(down(api))
	var theirs remediation.Claimed
	w.scene(api).hooks.apply = func(int) (bool, error) {
		w.advance(lease + time.Second)
		var err error
		theirs, err = w.store.Claim(context.Background(), remediation.Claim{
			Hint: remediation.Hint{Run: id, Version: w.view(id).Run.Version}, Owner: "us", Now: w.now(), Lease: lease,
		})
		return true, err
	}
	if err := w.visit(id); !errors.Is(err, remediation.ErrFenced) {
		t.Fatalf("the late visit ended with %v, want it fenced off", err)
	}
	if v := w.view(id); v.Run.Epoch != theirs.Run.Epoch || v.Run.Phase != remediation.PhaseApply || v.Steps[0].State != remediation.StepIntent {
		t.Errorf("the late visit has left something: phase %s, step %s", v.Run.Phase, v.Steps[0].State)
	}
	v := w.finish(id)
	w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	if n := w.scene(api).made("apply"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}
