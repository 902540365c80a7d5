package remediation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// What is found under a cancelled context means nothing: the visit leaves no trace, and the next one decides.
func TestACancelledVisitLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"the question", "the call"} {
		t.Run(during, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			id := w.fire(down(api))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := w.scene(api)
			if during == "the call" {
				s.hooks.apply = func(int) (bool, error) { cancel(); return true, context.Canceled }
			} else {
				s.hooks.ask = func(int, *fact) ([]string, error) { cancel(); return nil, context.Canceled }
			}
			run := w.view(id).Run
			err := w.engine.Advance(ctx, remediation.Hint{Run: id, Version: run.Version, Epoch: run.Epoch})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("the visit ended with %v", err)
			}
			if v := w.view(id); v.Run.State == remediation.Done || len(v.Steps) > 0 && v.Steps[0].State != remediation.StepIntent {
				t.Errorf("it has left something:\n%s", story(v))
			}
			s.hooks = hooks{}
			w.advance(lease)
			w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
			if n := s.made("apply"); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

func TestGuardsThatCannotBeReadRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.racing.blind = errors.New("the disk is gone")
	w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(guard.GuardFailed), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}})
	if n := w.scene(api).made("plan"); n != 0 {
		t.Errorf("%d plans were made", n)
	}
}

func TestOurOwnActsAreNoNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	lookUps.Store(w.name, func(d sources.Delivery) (sources.Delivery, error) { return sources.Delivery{Ignored: "nothing"}, nil })
	first := w.deliver("pd", sources.Delivery{Incomplete: true})
	must(t, w.engine.Match(t.Context(), first.Event))
	ended := down(api)
	ended.Status = alert.Resolved
	for name, c := range map[string]struct {
		delivery sources.Delivery
		want     remediation.EventState
	}{
		"by us":            {sources.Delivery{Agent: "bot", Alerts: []alert.Alert{down(web)}}, remediation.EventIgnored},
		"an end by us":     {sources.Delivery{Agent: "bot", Alerts: []alert.Alert{ended}}, remediation.EventMatched},
		"by somebody else": {sources.Delivery{Agent: "ann", Alerts: []alert.Alert{down(web)}}, remediation.EventMatched},
		"by nobody":        {sources.Delivery{Alerts: []alert.Alert{down(api)}}, remediation.EventMatched},
	} {
		if got := w.event(w.deliver("pd", c.delivery).Event); got.State != c.want {
			t.Errorf("%s: %s (%s), want %s", name, got.State, got.Note, c.want)
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	r, _ := w.book.current.Rule("cure")
	if j := w.engine.Holds(t.Context(), r, api); !j.Known || !j.Holds {
		t.Errorf("sick: %+v", j)
	}
	w.scene(api).set("good")
	if j := w.engine.Holds(t.Context(), r, api); !j.Known || j.Holds {
		t.Errorf("well: %+v", j)
	}
	if j := w.engine.Holds(t.Context(), r, "nowhere"); j.Known || j.Err == "" {
		t.Errorf("a target that is not declared: %+v", j)
	}
	if got := w.open(); len(got) != 0 {
		t.Errorf("it has left runs: %v", got)
	}
}

// A rule in mode observe is judged beside the others and never bars them, nor does one that says so of itself.
func TestARuleThatCannotBeJudgedBarsThoseBehindIt(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]verdicts{
		"mode: auto":    {"first": remediation.Refused, "second": remediation.Refused},
		"unknown: bars": {"first": remediation.Refused, "second": remediation.Refused},
		"unknown: skip": {"first": remediation.Undecided, "second": remediation.Chosen},
		"mode: observe": {"first": remediation.Undecided, "second": remediation.Chosen},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("first", word, "if: health.value > 5.0"), rule("second", "if: health.ill"))
			w.scene(api).hooks.ask = func(int, *fact) ([]string, error) { return []string{"value"}, nil }
			v := w.play(down(api))
			if diff := cmp.Diff(want, endOf(v).Rulings); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%s", diff, story(v))
			}
		})
	}
}

func TestAFailedSampleBeginsTheHoldAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) {
		f.OK = f.OK && w.now().Sub(noon) != 30*time.Second
		return nil, nil
	}
	v := w.play(down(api))
	w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	if took := v.Run.DoneAt.Sub(noon); took != 100*time.Second {
		t.Errorf("fixed after %s, want 1m40s: it held for a minute from 40s on", took)
	}
}
