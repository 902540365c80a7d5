package remediation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

const unhurried = "guard: {cooldown: 0s, per_hour: 9, target_per_hour: 9, fleet_per_hour: 9, per_day: 99, target_per_day: 99, fleet_per_day: 99}"

// A name is the rule's own word: what another rule calls the same is another question, and the same question is asked once.
func TestEachRuleIsJudgedOnItsOwnAnswers(t *testing.T) {
	t.Parallel()
	const high = "if: health.value > 5.0"
	for name, c := range map[string]struct {
		second []string
		asks   int
		want   verdicts
	}{
		"another kind":                 {[]string{"gather: {health: {fake.probe: {of: x}}}", high}, 2, verdicts{"first": remediation.IfFalse, "second": remediation.Chosen}},
		"other parameters":             {[]string{"gather: {health: {look.probe: {of: y}}}", high}, 2, verdicts{"first": remediation.IfFalse, "second": remediation.Chosen}},
		"the same question":            {[]string{high}, 1, verdicts{"first": remediation.IfFalse, "second": remediation.IfFalse}},
		"the same by another name":     {[]string{"gather: {well: {look.probe: {of: x}}}", "if: well.value > 5.0", "-verify", "-do"}, 1, verdicts{"first": remediation.IfFalse, "second": remediation.IfFalse}},
		"other parameters, not chosen": {[]string{"gather: {health: {look.probe: {of: y}}}", "if: health.value < 5.0"}, 2, verdicts{"first": remediation.IfFalse, "second": remediation.IfFalse}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("first", high), rule("second", c.second...))
			w.scene(api).hooks.ask = func(n int, f *fact) ([]string, error) {
				if n > 1 {
					f.Value = 9
				}
				return nil, nil
			}
			id := w.fire(down(api))
			asks := -1
			w.racing.before = func(remediation.Commit) { asks = w.scene(api).made("ask") }
			v := w.finish(id)
			if asks < 0 {
				asks = w.scene(api).made("ask")
			}
			if diff := cmp.Diff(c.want, endOf(v).Rulings); diff != "" || asks != c.asks {
				t.Errorf("%d questions were asked, want %d; verdicts (-want +got):\n%s", asks, c.asks, diff)
			}
		})
	}
}

// The end of the former outage may be told late, and must not end what began after it: keys of incidents recur.
func TestALateEndEndsOnlyWhatBeganBeforeIt(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for name, c := range map[string]struct {
		endsAt, occurredAt time.Duration // since noon; 0: not told
		want               remediation.Outcome
	}{
		"ended before, by the alert's own time":   {hour / 2, hour + 5*time.Second, remediation.Fixed},
		"ended before, by the delivery's time":    {0, hour / 2, remediation.Fixed},
		"ended after, by the alert's own time":    {hour + 5*time.Second, hour + 6*time.Second, remediation.ResolvedItself},
		"ended after, by the delivery's time":     {0, hour + 5*time.Second, remediation.ResolvedItself},
		"ended at an unknown time: when received": {0, 0, remediation.ResolvedItself},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", unhurried))
			w.play(down(api))
			w.scene(api).set("bad")
			w.clock.Store(noon.Add(hour).UnixMicro())
			again := down(api)
			again.Episode, again.StartsAt = "the next episode", w.now()
			id := w.fire(again)
			w.advance(7 * time.Second)
			ended := alert.Alert{Source: "pd", Status: alert.Resolved, Episode: "incident-Q1", IncidentID: "Q1", IncidentKey: again.IncidentKey}
			if c.endsAt != 0 {
				ended.EndsAt = noon.Add(c.endsAt)
			}
			d := sources.Delivery{Alerts: []alert.Alert{ended}}
			if c.occurredAt != 0 {
				d.OccurredAt = noon.Add(c.occurredAt)
			}
			w.deliver("pd", d)
			if v := w.finish(id); v.Run.Outcome != c.want {
				t.Errorf("ended %s, want %s\n%s", v.Run.Outcome, c.want, story(v))
			}
		})
	}
}

// Whether a debt is settled is for the action to say that settles it; everything else keeps reminding, or waits.
func TestOnlyTheSettlingActionEndsAReminder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state    string
		plan     error
		reminded int
		settled  bool
	}{
		"nothing to do":                       {"unpinned", nil, 0, true},
		"still as it was left":                {"good", nil, 1, false},
		"another hand, and still to be done":  {"theirs", nil, 1, false},
		"the way back is refused for now":     {"theirs", guard.Refuse(guard.Reconciling, "a deploy is under way"), 1, false},
		"the way back is refused for good":    {"theirs", guard.Refuse(guard.HumanHand, "it is theirs"), 1, false},
		"it cannot be told: nothing is said":  {"good", errTimeout, 0, false},
		"a clear error is no settlement also": {"unpinned", status.Error(codes.NotFound, "gone"), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("pin", "do: [{fake.pin: {to: good}}]", "afterwards: [{remind: {of: pinned_traffic, every: 24h}}]"))
			follow := w.followUp(w.play(down(api)).Run.ID)
			w.scene(api).set(c.state)
			if c.plan != nil {
				w.scene(api).hooks.plan = func() error { return c.plan }
			}
			w.advance(24 * time.Hour)
			must(t, w.visit(follow))
			debts, err := w.store.Debts(context.Background())
			must(t, err)
			v := w.view(follow)
			if done := isDone(v.Run); done != c.settled || (len(debts) == 0) != c.settled || len(v.Messages) != c.reminded {
				t.Errorf("done %t with debts %+v after %d reminders, want settled %t after %d\n%s", done, debts, len(v.Messages), c.settled, c.reminded, story(v))
			}
		})
	}
}

// Alerts that join one run bring their rules along: what the first alert's rules do not act on, the second's do, on its own labels.
func TestTheSecondAlertsRuleActs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first string
		want  remediation.Verdict
	}{
		"the first only observes":      {rule("slow", `match: [alertname="Slow"]`, "mode: observe"), remediation.Chosen},
		"the first's condition is not": {rule("slow", `match: [alertname="Slow"]`, "if: health.ok"), remediation.IfFalse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.first, rule("cure", `if: "alert.labels.alertname == 'Down' && !health.ok"`))
			slow := down(api)
			slow.Labels["alertname"], slow.Episode = "Slow", "episode-slow"
			got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{slow, down(api)}, OccurredAt: w.now()})
			if len(got.Runs) != 1 {
				t.Fatalf("%d runs, want 1", len(got.Runs))
			}
			w.expect(w.finish(got.Runs[0].Run), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: endOf(w.view(got.Runs[0].Run)).Rulings})
			all, err := w.store.EventRulings(t.Context(), got.Event)
			must(t, err)
			final := map[string][]remediation.Verdict{}
			for _, r := range all {
				final[r.Rule] = append(final[r.Rule], r.Verdict)
			}
			want := map[string][]remediation.Verdict{"slow": {c.want}, "cure": {remediation.Chosen, remediation.Duplicate}}
			if diff := cmp.Diff(want, final); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// lost is a book that has lost the rules of a hash.
type lost struct{ *book }

func (l lost) ByHash(_ context.Context, hash string) (*rules.Set, error) {
	return nil, fmt.Errorf("rules %s: %w", hash, remediation.ErrRulesGone)
}

// A run whose rules cannot be had any more comes to an end that calls a human, whatever the rules now in force are about.
func TestTheRulesOfARunAreGone(t *testing.T) {
	t.Parallel()
	for name, now := range map[string]string{
		"its rule is still there": rule("cure", "escalate: {after: 11h}"),
		"its rule is not":         rule("else", `match: [alertname="Else"]`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			id := w.fire(down(api))
			w.until(id, inPhase(remediation.PhaseVerify))
			w.load(now)
			w.engine.Rules = lost{w.book}
			w.expect(w.finish(id), end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed}) // its end sees that the lock is gone
		})
	}
	t.Run("a book that only fails for now ends nothing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		former := w.book.current
		w.load(rule("cure", "escalate: {after: 11h}"))
		delete(w.book.all, former.Hash)
		if err := w.visit(id); !errors.Is(err, remediation.ErrNotFound) {
			t.Errorf("the visit ended with %v", err)
		}
		w.book.all[former.Hash] = former
		w.advance(lease)
		w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	})
}

// A follow-up that has taken back one act and waits for calm before the next holds nothing.
func TestWaitingForCalmHoldsNoLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("grow", scaling, unhurried, "afterwards: [{scale_back: {if: health.value < 5.0, hold: 10m, every: 1m, within: 2h}}]"))
	follow := w.followUp(w.play(down(api)).Run.ID)
	w.until(follow, func(r remediation.Run) bool {
		return r.State == remediation.Waiting && r.Phase == remediation.PhaseCalm && w.scene(api).made("apply") == 3
	})
	snapshot, err := w.store.Snapshot(t.Context(), remediation.SnapshotQuery{Now: w.now(), Target: api})
	must(t, err)
	if snapshot.LockedBy != "" {
		t.Errorf("run %s, which waits for calm, holds the target", snapshot.LockedBy)
	}
	w.advance(6 * time.Minute) // past what an alert may still tell of the time before
	again := other(api)
	again.StartsAt = w.now()
	if v := w.play(again); v.Run.Outcome != remediation.Fixed {
		t.Errorf("another run ended %s %s\n%s", v.Run.Outcome, v.Run.Reason, story(v))
	}
}

// A call that was accepted and failed inside may have changed something: that nothing was changed must not be said of it.
func TestFailedInsideAndNextRungRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]"))
	s := w.scene(api)
	s.hooks.observe = always(executors.Failed, "the revision did not start")
	s.hooks.plan = func() error {
		if s.made("plan") > 1 {
			return guard.Refuse(guard.OutOfBounds, "40 is the most")
		}
		return nil
	}
	w.expect(w.play(down(api)), end{Outcome: remediation.NotFixed, Reason: string(guard.OutOfBounds), Steps: oneFailed, Messages: toldNotFixed})
	rows := w.breakers()
	if len(rows) != 1 || rows[0].Failures != 1 {
		t.Errorf("the breaker's rows are %+v, want one failure", rows)
	}
}

// The platform moves versions by itself: the way back is planned anew on each, a few times.
func TestUndoIsPlannedAgainAfterALostPrecondition(t *testing.T) {
	t.Parallel()
	for lost, want := range map[int]remediation.Outcome{1: remediation.Undone, 2: remediation.Undone, 3: remediation.NotFixed, 9: remediation.NotFixed} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.back: {to: other}}]"))
			w.scene(api).hooks.apply = func(n int) (bool, error) {
				if n > 1 && n <= 1+lost {
					w.scene(api).set("other")
				}
				return true, nil
			}
			v := w.play(down(api))
			plans, calls := w.scene(api).made("undo"), w.scene(api).made("apply")
			if most := min(lost+1, 3); v.Run.Outcome != want || plans != most || calls != 1+most {
				t.Errorf("ended %s after %d plans and %d calls, want %s after %d\n%s", v.Run.Outcome, plans, calls, want, most, story(v))
			}
		})
	}
}
