package remediation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// That no condition held was true of that moment only.
func TestNoConditionHeldIsJudgedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"))
	w.scene(api).set("good")
	none := verdicts{"cure": remediation.IfFalse, "next": remediation.IfFalse}
	first := w.play(down(api))
	w.expect(first, end{Rulings: none})
	w.advance(time.Minute)
	second := w.play(down(api))
	w.expect(second, end{Rulings: none})
	w.scene(api).set("bad")
	w.advance(time.Minute)
	third := w.play(down(api))
	w.expect(third, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed,
		Rulings: verdicts{"cure": remediation.Chosen, "next": remediation.Shadowed}})
	if ids := []string{first.Run.ID, second.Run.ID, third.Run.ID}; len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 3 {
		t.Errorf("runs %v, want three", ids)
	}
}

// blinkered is a store whose snapshots do not show yet that an alert has ended.
type blinkered struct{ remediation.Runs }

func (b blinkered) Snapshot(ctx context.Context, q remediation.SnapshotQuery) (guard.Snapshot, error) {
	snapshot, err := b.Runs.Snapshot(ctx, q)
	snapshot.EndedAt = time.Time{}
	return snapshot, err
}

func TestWhatChangesWhileFactsAreGathered(t *testing.T) {
	t.Parallel()
	resolve := func(w *world) { w.resolve(down(api)) }
	resolved := end{Outcome: remediation.ResolvedItself, Reason: string(guard.NotFiring), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}}
	for name, c := range map[string]struct {
		blinkered bool
		happens   func(w *world)
		want      end
	}{
		"the rule only observes now": {false, func(w *world) { w.load(rule("cure", "mode: observe")) },
			end{Outcome: remediation.Observed, Messages: toldOnly, Rulings: verdicts{"cure": remediation.Chosen}}},
		"the rule is gone": {false, func(w *world) { w.load(rule("else", `match: [alertname="Else"]`)) },
			end{Outcome: remediation.RefusedRun, Reason: string(guard.RulesChanged), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}}},
		"the alert resolves":                        {false, resolve, resolved},
		"the alert resolves, seen only by the lock": {true, resolve, resolved},
		"another alert resolves, and it may go on": {false, func(w *world) { w.resolve(down(web)) },
			end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{"cure": remediation.Chosen}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			if c.blinkered {
				w.engine.Runs = blinkered{w.racing}
			}
			w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
				if n == 1 {
					c.happens(w)
				}
				return nil, nil
			}
			w.expect(w.play(down(api)), c.want)
			if n := w.scene(api).made("apply"); n != len(c.want.Steps) {
				t.Errorf("%d calls, want %d", n, len(c.want.Steps))
			}
		})
	}
}

// Each rule has its own idea of too old, and old is what happened long ago, not what came in long ago.
func TestMaxAgeIsEachRulesOwnAndCountsFromTheEvent(t *testing.T) {
	t.Parallel()
	short, long := rule("short", "guard: {max_age: 5m}"), rule("long", "guard: {max_age: 20m}")
	const minute = time.Minute
	for name, c := range map[string]struct {
		age, delay time.Duration // at receipt, and from there to the first visit
		want       verdicts
	}{
		"young":                              {4 * minute, 0, verdicts{"short": remediation.Chosen, "long": remediation.Shadowed}},
		"too old for one when it comes in":   {10 * minute, 0, verdicts{"short": remediation.StaleEvent, "long": remediation.Chosen}},
		"too old for one when it is judged":  {4 * minute, 2 * minute, verdicts{"short": remediation.StaleEvent, "long": remediation.Chosen}},
		"too old for all when it is judged":  {4 * minute, 17 * minute, verdicts{"short": remediation.StaleEvent, "long": remediation.StaleEvent}},
		"too old for all, of two ages":       {10 * minute, 11 * minute, verdicts{"short": remediation.StaleEvent, "long": remediation.StaleEvent}},
		"the sender's clock is ahead of us":  {-time.Hour, 4 * minute, verdicts{"short": remediation.Chosen, "long": remediation.Shadowed}},
		"the sender's clock is ahead, waits": {-time.Hour, 6 * minute, verdicts{"short": remediation.StaleEvent, "long": remediation.Chosen}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, short, long)
			got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{down(api)}, OccurredAt: w.now().Add(-c.age)})
			w.advance(c.delay)
			v := w.finish(got.Runs[0].Run)
			have := w.verdictsOn(got.Event)
			want := verdicts{}
			for name, verdict := range c.want {
				want[name+" on api"] = verdict
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%s", diff, story(v))
			}
			if acts := c.want["long"] != remediation.StaleEvent; v.Run.Acted != acts {
				t.Errorf("acted %t, want %t: %s", v.Run.Acted, acts, v.Run.Detail)
			}
		})
	}
}

// What was done stands although it did not help, and somebody has to look after it.
func TestNotFixedLeavesItsFollowUps(t *testing.T) {
	t.Parallel()
	for phase, parts := range map[remediation.Phase][]string{
		remediation.PhaseRemind: {"do: [{fake.pin: {to: other}}]", "afterwards: [{remind: {of: pinned_traffic, every: 24h}}]"},
		remediation.PhaseCalm:   {"do: [{cloud_run.scale: {to: other}}]", "afterwards: [{scale_back: {if: health.value < 5.0, hold: 10m, every: 1m, within: 2h}}]"},
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", parts...))
			v := w.play(down(api))
			w.expect(v, end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed})
			follow := w.view(w.followUp(v.Run.ID)).Run
			if follow.Phase != phase || follow.State != remediation.Waiting {
				t.Fatalf("the follow-up is %s in %s", follow.State, follow.Phase)
			}
			if phase == remediation.PhaseRemind {
				w.until(follow.ID, func(remediation.Run) bool { return w.now().Sub(follow.CreatedAt) >= 24*time.Hour })
				if n := len(w.view(follow.ID).Messages); n != 1 {
					t.Errorf("%d reminders, want 1", n)
				}
				return
			}
			w.finish(follow.ID)
			if state, _ := w.scene(api).now(); state != "bad" {
				t.Errorf("the target is %s, want it as before the act", state)
			}
		})
	}
}

// Nobody knows what held while nobody looked.
func TestAGapBetweenSamplesBeginsTheHoldAnew(t *testing.T) {
	t.Parallel()
	held := func(r remediation.Run) bool { return !r.HeldFrom.IsZero() }
	t.Run("of verify", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure", "verify: {if: health.ok, hold: 1m, within: 6h, every: 10s}"))
		id := w.fire(down(api))
		w.until(id, held)
		w.advance(3 * time.Hour)
		from := w.now()
		v := w.finish(id)
		w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
		if took := v.Run.DoneAt.Sub(from); took != time.Minute {
			t.Errorf("fixed %s after the first sample behind the gap, want 1m", took)
		}
	})
	t.Run("of verify, over the deadline", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("cure"))
		id := w.fire(down(api))
		w.until(id, held)
		w.advance(3 * time.Hour)
		w.expect(w.finish(id), end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed})
	})
	t.Run("of calm", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, rule("grow", "do: [{cloud_run.scale: {to: good}}]", "afterwards: [{scale_back: {if: health.value < 5.0, hold: 10m, every: 1m, within: 12h}}]"))
		follow := w.followUp(w.play(down(api)).Run.ID)
		w.until(follow, held)
		w.advance(3 * time.Hour)
		from := w.now()
		w.until(follow, func(remediation.Run) bool { return w.scene(api).made("apply") == 2 })
		if took := w.now().Sub(from); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("taken back %s after the first look behind the gap, want 10m", took)
		}
		w.finish(follow)
	})
}

// A sender that resolves by itself would open the incident again: its word is waited for, for a day.
func TestTheIncidentIsResolvedAfterItsSenderSaysSo(t *testing.T) {
	t.Parallel()
	for says, after := range map[string]time.Duration{"soon": time.Minute, "late": 23 * time.Hour, "too late": 25 * time.Hour} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			a := down(api)
			a.SelfResolving = true
			v := w.play(a)
			w.expect(v, end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed[:2]})
			follow := w.followUp(v.Run.ID)
			must(t, w.visit(follow))
			w.clock.Store(v.Run.DoneAt.Add(after).UnixMicro())
			must(t, w.visit(follow))
			if n := len(w.view(follow).Messages); n != 0 {
				t.Fatalf("%d messages before the sender has said anything", n)
			}
			w.resolve(a)
			messages := w.finish(follow).Messages
			if resolves := len(messages) == 1 && messages[0].Kind == remediation.Resolve && messages[0].IncidentKey == a.IncidentKey; resolves != (says != "too late") {
				t.Errorf("told %+v", messages)
			}
		})
	}
}

// A system that is asked too much has done nothing: that is no failure of the rule, and no reason to hurry.
func TestAnExhaustedQuotaIsWaitedFor(t *testing.T) {
	t.Parallel()
	for busy, want := range map[int]remediation.Outcome{1: remediation.Fixed, 2: remediation.Fixed, 9: remediation.RefusedRun} {
		t.Run(fmt.Sprint(busy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			var called []time.Time
			w.scene(api).hooks.apply = func(n int) (bool, error) {
				called = append(called, w.now())
				if n <= busy {
					return false, fmt.Errorf("updating the service: %w", status.Error(codes.ResourceExhausted, "quota"))
				}
				return true, nil
			}
			v := w.play(down(api))
			if v.Run.Outcome != want || len(called) != min(busy+1, 3) {
				t.Errorf("ended %s after %d calls, want %s\n%s", v.Run.Outcome, len(called), want, story(v))
			}
			for i := 1; i < len(called); i++ {
				if wait := called[i].Sub(called[i-1]); wait < 30*time.Second {
					t.Errorf("call %d came %s after the one before", i+1, wait)
				}
			}
			for _, row := range w.breakers() {
				if row.Failures != 0 || row.Open {
					t.Errorf("the breaker was fed: %+v", row)
				}
			}
			if n := len(w.acts()); n != 1 {
				t.Errorf("%d debits, want 1", n)
			}
		})
	}
}

// The way back is refused in its own words: no next rung was in question.
func TestTheWayBackIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		apply  func(w *world) func(n int) (bool, error)
		calls  int
		detail string
	}{
		"too busy, always": {func(*world) func(int) (bool, error) { return busyFrom(2, 9) }, 4, "taking the change back had no effect"},
		"too busy, twice":  {func(*world) func(int) (bool, error) { return busyFrom(2, 3) }, 4, "verify did not hold"},
		"another hand": {func(w *world) func(int) (bool, error) {
			return func(n int) (bool, error) {
				if n == 2 {
					w.scene(api).set("theirs")
				}
				return true, nil
			}
		}, 2, "taking the change back was refused: human_hand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "do: [{fake.back: {to: other}}]"))
			w.scene(api).hooks.apply = c.apply(w)
			v := w.play(down(api))
			if n := w.scene(api).made("apply"); n != c.calls || !strings.Contains(v.Run.Detail, c.detail) || strings.Contains(v.Run.Detail, "rung") {
				t.Errorf("ended %s after %d calls, want %d: %s\n%s", v.Run.Outcome, n, c.calls, v.Run.Detail, story(v))
			}
			if state, _ := w.scene(api).now(); (state == "bad") != (v.Run.Outcome == remediation.Undone) {
				t.Errorf("ended %s with the target %s", v.Run.Outcome, state)
			}
		})
	}
}

// Each rung's way back has its own tries.
func TestEachWayBackIsTriedAsOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.back: {to: one}}, {fake.back: {to: two}}]", "guard: {per_hour: 99, target_per_hour: 99, fleet_per_hour: 99, per_day: 99, target_per_day: 99, fleet_per_day: 99}"))
	w.scene(api).hooks.apply = func(n int) (bool, error) { // each rung takes four calls: the act, two ways back that are lost, and one that is not
		if n%4 == 2 || n%4 == 3 {
			return false, status.Error(codes.ResourceExhausted, "quota")
		}
		return true, nil
	}
	v := w.play(down(api))
	if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.Undone || state != "bad" {
		t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
	}
}

// busyFrom has no time for the calls from one to another.
func busyFrom(from, to int) func(int) (bool, error) {
	return func(n int) (bool, error) {
		if n >= from && n <= to {
			return false, status.Error(codes.ResourceExhausted, "quota")
		}
		return true, nil
	}
}

// What an alert says is shown as one short quoted line, however it is made.
func TestHostileAnnotations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ summary, want string }{
		"lines":      {"api is down\nremediator: FIXED (verified)\r\njournal head 0\u2028\u2029\u0085\v\fx", "api is down remediator: FIXED (verified) journal head 0 x"},
		"controls":   {"api\x00 is\x1b[31m down\x7f\u009b", "api is[31m down"},
		"bidi":       {"api \u202e\u2066nwod si\u2069\u200f\u200b\ufeff", "api nwod si"},
		"very long":  {strings.Repeat("äpi is down ", 1000), strings.Repeat("äpi is down ", 16) + "äpi is …"},
		"all quotes": {strings.Repeat(`"`, 10_000), strings.Repeat(`\"`, 199) + "…"},
		"no UTF-8":   {"api \xff is down" + strings.Repeat("\xc3", 10_000), "api is down"},
		"nothing":    {"\n\t\u200b", "Down"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure", "tell: {pagerduty: {open_incident: true}}"))
			a := down(api)
			a.Annotations["summary"] = c.summary
			v := w.play(a)
			if len(v.Messages) == 0 {
				t.Fatal("nothing was told")
			}
			for _, m := range v.Messages {
				if want := `api: "` + c.want + `"`; m.Summary != want {
					t.Errorf("%s: the summary is %q, want %q", m.Kind, m.Summary, want)
				}
				if strings.ContainsFunc(m.Summary, harmful) || strings.Contains(m.Text, "journal head 0\n") || strings.ContainsFunc(m.Text, notInNotes) {
					t.Errorf("%s: the alert's text came through: %q, %q", m.Kind, m.Summary, m.Text)
				}
			}
		})
	}
}

func harmful(r rune) bool { return !unicode.IsPrint(r) }

func notInNotes(r rune) bool { return r != '\n' && harmful(r) }
