package remediation_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

// unhindered leaves only the guards in question in the way of a second act.
const unhindered = "guard: {cooldown: 0s, per_hour: 9, target_per_hour: 9, fleet_per_hour: 9}"

func refused(reason guard.Reason) end {
	return end{Outcome: remediation.RefusedRun, Reason: string(reason), Messages: toldOnly}
}

var (
	fixed        = end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed}
	irreversible = func(c *executors.Change) { c.Reversible = false }
)

// hold delivers a person's acknowledgement of the alert's incident, or its end.
func (w *world) hold(a alert.Alert, lifted bool) {
	w.t.Helper()
	w.deliver("pd", sources.Delivery{Ignored: "it begins no alert", OccurredAt: w.now(), Holds: []sources.Hold{
		{IncidentID: "Q1", IncidentKey: a.IncidentKey, By: "ann", ByID: "PANN", At: w.now(), Lifted: lifted},
	}})
}

func TestHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.hold(down(api), false)
	w.expect(w.play(down(api)), refused(guard.Held))
	w.expect(w.play(down(web)), fixed) // another incident
	w.hold(down(api), true)
	w.expect(w.play(down(api)), fixed) // it was a passing refusal
}

func TestOurOwnAcknowledgementHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.expect(w.play(down(web)), fixed)
	lookUps.Store(w.name, func(d sources.Delivery) (sources.Delivery, error) { return d, nil })
	pending := w.deliver("pd", sources.Delivery{Incomplete: true, OccurredAt: w.now()}) // who we are is learned with the first look-up
	must(t, w.engine.Match(t.Context(), pending.Event))
	w.deliver("pd", sources.Delivery{Ignored: "-", OccurredAt: w.now(), Holds: []sources.Hold{{IncidentID: "Q1", IncidentKey: "key-api", By: "bot", ByID: "bot", At: w.now()}}})
	w.expect(w.play(down(api)), fixed)
}

// ack delivers an acknowledgement of the incident of down(api), as a source parses it.
func (w *world) ack(id string, at time.Time) remediation.Accepted {
	w.t.Helper()
	return w.deliver("pd", sources.Delivery{
		DedupKey: id + at.String(), OccurredAt: at, Agent: id, Holds: []sources.Hold{{IncidentID: "Q1", IncidentKey: "key-api", By: id, ByID: id, At: at}},
	})
}

// A server that has just started hears of the acknowledgement it made before, and does not know yet that it was itself.
func TestOurAcknowledgementOfALifeBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	ours := w.ack("bot", w.now())
	w.expect(w.play(down(api)), refused(guard.Held)) // it may have been a person
	must(t, w.engine.Match(t.Context(), ours.Event))
	w.expect(w.play(down(api)), fixed)
}

// A run that meets a hold which may be our own waits a little for what turns out.
func TestAHoldThatMayBeOursIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	ours := w.ack("bot", w.now())
	id := w.fire(down(api))
	must(t, w.visit(id))
	if r := w.view(id).Run; r.State != remediation.Waiting {
		t.Fatalf("the run is %s: %s", r.State, r.Detail)
	}
	must(t, w.engine.Match(t.Context(), ours.Event))
	w.expect(w.finish(id), fixed)
}

// A person's word that came after it stays, and so does one that came while it was not known who we are.
func TestAPersonsAcknowledgementIsNotTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	ours, theirs := w.ack("bot", w.now()), w.ack("ann", w.now().Add(time.Second))
	must(t, w.engine.Match(t.Context(), ours.Event))
	must(t, w.engine.Match(t.Context(), theirs.Event))
	w.expect(w.play(down(api)), refused(guard.Held))
}

// A hold that comes while a run is at it stops neither its verification nor its way back.
func TestHoldDuringARun(t *testing.T) {
	t.Parallel()
	for do, outcome := range map[string]remediation.Outcome{"fake.act: {to: good}": remediation.Fixed, "fake.back: {to: other}": remediation.Undone} {
		w := newWorld(t, rule("cure", "do: [{"+do+"}]"))
		id := w.fire(down(api))
		w.until(id, inPhase(remediation.PhaseVerify))
		w.hold(down(api), false)
		if v := w.finish(id); v.Run.Outcome != outcome {
			t.Errorf("%s ended %s: %s", do, v.Run.Outcome, v.Run.Detail)
		}
	}
}

func TestTheAlertIsReadAgainBeforeTheCall(t *testing.T) {
	t.Parallel()
	down503 := errors.New("503 from the sender")
	for name, c := range map[string]struct {
		standing sources.Standing
		err      error
		change   func(*executors.Change)
		want     end
	}{
		"it fires":                       {standing: sources.Standing{Known: true, Firing: true}, want: fixed},
		"the sender cannot be asked":     {want: fixed},
		"it does not fire":               {standing: sources.Standing{Known: true}, want: end{Outcome: remediation.ResolvedItself, Reason: string(guard.NotFiring), Messages: toldOnly}},
		"a person has acknowledged":      {standing: sources.Standing{Known: true, Firing: true, AcknowledgedBy: "ann"}, want: refused(guard.Held)},
		"no answer":                      {err: down503, want: fixed},
		"no answer, and no way back":     {err: down503, change: irreversible, want: refused(guard.NeedsApproval)},
		"unknown, and somebody has it":   {standing: sources.Standing{AcknowledgedBy: "ann"}, want: fixed},
		"unknown, and said not to fire":  {standing: sources.Standing{Firing: false}, want: fixed},
		"known, fires, nobody has it, 2": {standing: sources.Standing{Known: true, Firing: true, Detail: "d"}, want: fixed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			standings.Store(w.name, func() (sources.Standing, error) { return c.standing, c.err })
			w.scene(api).hooks.change = c.change
			w.expect(w.play(down(api)), c.want)
		})
	}
}

func TestAnApprovedIrreversibleActNeedsTheSendersWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "mode: approve"))
	w.scene(api).hooks.change = irreversible
	run := w.asked()
	standings.Store(w.name, func() (sources.Standing, error) { return sources.Standing{}, errTimeout })
	must(t, w.answer(run, run.Asked, true))
	w.heard(run)
	if v := w.finish(run.ID); v.Run.Reason != guard.UnknownFacts || w.scene(api).made("apply") != 0 {
		t.Errorf("ended %s %s", v.Run.Outcome, v.Run.Reason)
	}
}

// A storm passes by itself when nothing has wanted action for its time, and pages anew when it comes again.
func TestLatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", unhindered, "do: [{fake.once: {to: good}}]"))
	w.expect(w.play(down(api)), fixed)
	w.scene(api).set("bad")
	w.advance(7 * time.Hour)
	again := other(api)
	again.StartsAt = w.now()
	w.expect(w.play(again), refused(guard.AwaitsRelease))
	w.expect(w.play(down(web)), fixed)
	if n, err := w.store.Release(t.Context(), "", api); err != nil || n != 1 {
		t.Errorf("released %d, %v", n, err)
	}
	again.Episode, again.IncidentKey = "next", "next"
	w.expect(w.play(again), fixed)
}

// An act that had no effect leaves no latch.
func TestNoLatchWithoutAnEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", unhindered, "do: [{fake.once: {to: good}}]"))
	w.scene(api).hooks.apply = moving(w, 1, "theirs")
	if v := w.play(down(api)); v.Run.Reason != guard.HumanHand {
		t.Fatalf("ended %s %s", v.Run.Outcome, v.Run.Detail)
	}
	w.scene(api).hooks.apply = nil
	w.scene(api).set("bad")
	w.advance(6 * time.Minute)
	again := other(api)
	again.StartsAt = w.now()
	w.expect(w.play(again), fixed)
}

func TestOscillation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after time.Duration
		want  end
	}{
		"within six hours": {time.Hour, refused(guard.Oscillation)},
		"later":            {6 * time.Hour, fixed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("forth", unhindered), rule("back", unhindered, `match: [alertname="Up"]`, "do: [{fake.act: {to: bad}}]", `if: health.value > 0.5`))
			w.expect(w.play(down(api)), fixed)
			w.advance(c.after)
			w.scene(api).cured = map[string]bool{"bad": true}
			up := other(api)
			up.Labels["alertname"], up.StartsAt = "Up", w.now()
			w.expect(w.play(up), c.want)
		})
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change    func(*executors.Change)
		protected []string
		want      guard.Reason
	}{
		"one thing":               {func(c *executors.Change) { c.Selects = []string{"api"} }, nil, ""},
		"nothing":                 {func(c *executors.Change) { c.Selects = []string{} }, nil, guard.TooWide},
		"everything":              {func(c *executors.Change) { c.Selects = []string{"*"} }, nil, guard.TooWide},
		"another target":          {func(c *executors.Change) { c.Target = web }, nil, guard.TooWide},
		"the whole internet":      {networks("0.0.0.0/0"), nil, guard.TooWide},
		"one address for an hour": {networks("192.0.2.7/32"), nil, ""}, // a follow-up ends it
		"itself by name":          {nil, []string{api}, guard.Itself},
		"itself by identity":      {nil, []string{"fake/*"}, guard.Itself},
		"somebody else":           {nil, []string{web, "fake/other", ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			w.scene(api).hooks.change = c.change
			w.engine.Protected = c.protected
			want := fixed
			if c.want != "" {
				want = refused(c.want)
			}
			w.expect(w.play(down(api)), want)
		})
	}
}

func networks(prefix string) func(*executors.Change) {
	return func(c *executors.Change) {
		c.Networks, c.Lasts = []netip.Prefix{netip.MustParsePrefix(prefix)}, time.Hour
	}
}

func TestConflictingFacts(t *testing.T) {
	t.Parallel()
	two := rule("cure", "gather: {health: {look.probe: {of: x}}, other: {look.probe: {of: y}}}")
	for name, c := range map[string]struct {
		until int // the look from which on the facts agree
		want  end
	}{
		"they never agree": {1000, refused(guard.Conflicting)},
		"they agree later": {4, fixed},
		"they agree":       {0, fixed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, two)
			w.scene(api).hooks.ask = func(n int, f *fact) ([]string, error) {
				if n < c.until {
					f.says = fmt.Sprint(n)
				}
				return nil, nil
			}
			w.expect(w.play(down(api)), c.want)
		})
	}
}

func TestPausedBetweenIntentAndCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.racing.after = func(c remediation.Commit) {
		if c.Intent != nil {
			w.pause(guard.Fleet, "")
		}
	}
	v := w.play(down(api))
	w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(guard.Paused), Steps: oneDropped, Messages: toldNotFixed})
	if n := w.scene(api).made("apply"); n != 0 {
		t.Errorf("%d calls after the button was pressed", n)
	}
	if v.Run.Parks() {
		t.Error("it waits for the release, although a human was called for it")
	}
}

// A process that stood still between intent and call neither calls under a lost lease nor by an old plan.
func TestAStandstillBeforeTheCall(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lease, stands time.Duration }{
		"past the lease": {15 * time.Second, 20 * time.Second}, "past the plan": {time.Hour, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			w.engine.Lease = tc.lease
			stood := false
			w.racing.after = func(c remediation.Commit) {
				if c.Intent != nil && !stood {
					stood = true
					w.advance(tc.stands)
				}
			}
			v := w.play(down(api))
			w.expect(v, end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed})
			if n := w.scene(api).made("apply"); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// A clock that is set back while a process stands still gives it no lease again: its own goes on.
func TestAStandstillWhileTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rule("cure"))
		w.engine.Lease = 15 * time.Second
		stood := false
		w.racing.after = func(c remediation.Commit) {
			if c.Intent != nil && !stood {
				stood = true
				time.Sleep(20 * time.Second) // the store's clock was set back by as much
			}
		}
		v := w.play(down(api))
		w.expect(v, end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed})
		if n := w.scene(api).made("apply"); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestAPanicRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.scene(api).hooks.plan = func() error { panic("index out of range") }
	v := w.play(down(api))
	w.expect(v, refused(guard.GuardFailed))
	w.scene(web).hooks.ask = func(int, *fact) ([]string, error) { panic("nil map") }
	w.expect(w.play(down(web)), refused(guard.GuardFailed))
}

func TestWhatAPauseRefusedIsJudgedAgain(t *testing.T) {
	t.Parallel()
	resume := func(w *world) {
		_, err := w.store.Resume(context.Background(), guard.Fleet, "")
		must(w.t, err)
	}
	for name, c := range map[string]struct {
		release func(w *world)
		want    int // new runs
		verdict remediation.Verdict
	}{
		"released":                   {resume, 1, remediation.Candidate},
		"not released":               {func(*world) {}, 0, remediation.Refused},
		"released, and ended before": {func(w *world) { w.resolve(down(api)); resume(w) }, 0, remediation.Refused},
		"released too late":          {func(w *world) { w.advance(11 * time.Minute); resume(w) }, 0, remediation.StaleEvent},
		"another is at it":           {func(w *world) { resume(w); w.fire(down(api)) }, 0, remediation.Refused},
		"the file holds": {func(w *world) {
			resume(w)
			w.engine.Pressed = func() *guard.Pause { return &guard.Pause{Actor: "file"} }
		}, 0, remediation.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			w.pause(guard.Fleet, "")
			v := w.play(down(api))
			w.expect(v, refused(guard.Paused))
			must(t, w.engine.Rejudge(t.Context())) // while it holds, nothing happens
			c.release(w)
			before := w.runs()
			must(t, w.engine.Rejudge(t.Context()))
			must(t, w.engine.Rejudge(t.Context())) // once
			fresh := slices.DeleteFunc(w.runs(), func(id string) bool { return slices.Contains(before, id) })
			if len(fresh) != c.want || w.verdictsOn(v.Run.Event)["cure on api"] != c.verdict {
				t.Fatalf("%d new runs, verdict %s; want %d, %s", len(fresh), w.verdictsOn(v.Run.Event)["cure on api"], c.want, c.verdict)
			}
			for _, id := range fresh {
				w.expect(w.finish(id), fixed)
				if got := w.verdictsOn(v.Run.Event)["cure on api"]; got != remediation.Chosen {
					t.Errorf("the verdict is %s", got)
				}
			}
		})
	}
}

// runs are the ids of all runs, newest first.
func (w *world) runs() (ids []string) {
	w.t.Helper()
	all, err := w.store.ListRuns(context.Background(), store.Filter{Limit: 1000})
	must(w.t, err)
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}
