package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// plenty are limits nothing in these tests exhausts.
var plenty = guard.Limits{
	Rule:   []guard.Window{{Most: 100, Per: time.Hour}},
	Target: []guard.Window{{Most: 100, Per: time.Hour}},
	Fleet:  []guard.Window{{Most: 100, Per: time.Hour}},
}

func claiming(w *world) {
	run := w.born(firing("e"), "api")
	w.clock.advance(lease - time.Microsecond)
	if _, err := w.claim(remediation.Hint{Run: run.ID}); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("a claim before the lease is over: %v", err)
	}
	w.clock.advance(time.Microsecond)
	c, err := w.claim(remediation.Hint{Run: run.ID})
	must(w.t, err)
	if c.Run.Epoch != 2 || c.Run.Version != 0 || c.Run.State != remediation.Running || !c.Run.LeaseUntil.Equal(w.clock.now().Add(lease)) {
		w.t.Errorf("claimed %+v", c.Run)
	}
	w.clock.advance(lease)
	if _, err := w.claim(remediation.Hint{Run: run.ID, Version: 1}); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("a claim of another version: %v", err)
	}
	if _, err := w.claim(remediation.Hint{Run: "none"}); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("a claim of an unknown run: %v", err)
	}
}

func fenced(w *world) {
	zombie := w.born(firing("e"), "api")
	w.clock.advance(lease)
	c, err := w.claim(remediation.Hint{Run: zombie.ID})
	must(w.t, err)
	if err := w.act(&zombie, "restart", plenty); !errors.Is(err, remediation.ErrFenced) {
		w.t.Errorf("a commit with an old epoch: %v", err)
	}
	if err := w.Renew(w.t.Context(), zombie.ID, zombie.Epoch, w.clock.now().Add(time.Hour)); !errors.Is(err, remediation.ErrFenced) {
		w.t.Errorf("a renewal with an old epoch: %v", err)
	}
	if s := w.snapshot("restart", "api"); len(s.Acts) != 0 || s.LockedBy != "" {
		w.t.Errorf("the fenced commit left %+v", s)
	}
	w.end(&c.Run, remediation.Fixed, "")
	if err := w.commit(&c.Run, nil); !errors.Is(err, remediation.ErrFenced) {
		w.t.Errorf("a commit after the run is done: %v", err)
	}
}

// A visit takes its time before it waits for the lock, and a clock may go back: what was debited meanwhile counts all the same.
func actsOfLater(w *world) {
	once := plenty
	once.Target = []guard.Window{{Most: 1, Per: time.Hour}}
	first, second := w.born(firing("e"), "api"), w.born(firing("f"), "api")
	must(w.t, w.act(&first, "restart", plenty))
	must(w.t, w.commit(&first, func(c *remediation.Commit) { c.Unlock = true }))
	w.clock.advance(-time.Minute)
	if s := w.snapshot("restart", "api"); len(s.Acts) != 1 {
		w.t.Errorf("acts %+v", s.Acts)
	}
	var refusal *guard.Refusal
	if err := w.act(&second, "restart", once); !errors.As(err, &refusal) || refusal.Reason != guard.BudgetExhausted {
		w.t.Errorf("the second act: %v", err)
	}
}

// An act is as young as the last call of it: what waits after an act waits after that.
func actsAreRenewed(w *world) {
	run, other := w.born(firing("e"), "api"), w.born(firing("f"), "web")
	must(w.t, w.act(&other, "restart", plenty))
	must(w.t, w.act(&run, "restart", plenty))
	w.clock.advance(time.Second)
	must(w.t, w.act(&run, "restart", plenty))
	w.clock.advance(time.Second)
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Intent = w.intent(run, "restart", guard.Limits{})
		c.Intent.Act = guard.Act{}
	}))
	var got []time.Duration
	for _, a := range w.snapshot("restart", "api").Acts {
		got = append(got, a.At.Sub(noon))
	}
	if diff := cmp.Diff([]time.Duration{0, 0, 2 * time.Second}, got); diff != "" {
		w.t.Errorf("the ages of the acts (-want +got):\n%s", diff)
	}
}

func renewing(w *world) {
	run := w.born(firing("e"), "api")
	must(w.t, w.Renew(w.t.Context(), run.ID, run.Epoch, noon.Add(time.Hour)))
	w.clock.advance(time.Hour - time.Second)
	if _, err := w.claim(remediation.Hint{Run: run.ID}); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("a claim within the renewed lease: %v", err)
	}
	w.clock.advance(time.Second)
	if _, err := w.claim(remediation.Hint{Run: run.ID}); err != nil {
		w.t.Errorf("a claim after the renewed lease: %v", err)
	}
}

func (w *world) snapshot(rule, target string) guard.Snapshot {
	w.t.Helper()
	s, err := w.Snapshot(w.t.Context(), remediation.SnapshotQuery{Now: w.clock.now(), Run: "any", Rule: rule, Target: target})
	must(w.t, err)
	return s
}

func commitIsKept(w *world) {
	run := w.born(firing("e"), "api")
	must(w.t, w.act(&run, "restart", plenty))
	step := remediation.Step{Run: run.ID, Kind: "restart", State: remediation.StepApplied, StartedAt: noon, EndedAt: noon}
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.WakeAt, c.Lease = remediation.Waiting, noon.Add(time.Minute), time.Time{}
		c.Run.Alert.IncidentID = "Q1"
		c.Steps = []remediation.Step{step, {Run: run.ID, Seq: 1, Kind: "check", State: remediation.StepIntent}}
	}))
	w.reopen()
	w.clock.advance(time.Minute)
	c, err := w.claim(remediation.Hint{Run: run.ID, Version: 2})
	must(w.t, err)
	want := run
	want.State, want.Epoch, want.LeaseOwner, want.LeaseUntil = remediation.Running, 2, owner, w.clock.now().Add(lease)
	if diff := cmp.Diff(want, c.Run); diff != "" {
		w.t.Errorf("run (-want +got):\n%s", diff)
	}
	if len(c.Steps) != 2 || c.Steps[0].State != remediation.StepApplied || c.Steps[1].Kind != "check" {
		w.t.Errorf("steps %+v", c.Steps)
	}
	if e := c.Episode; e.ID != run.ID || e.IncidentID != "Q1" || !e.Acted || !e.EndedAt.IsZero() {
		w.t.Errorf("episode %+v", e)
	}
	entry := remediation.Entry{Run: run.ID, Kind: remediation.EntryChosen, At: noon, Text: "a"}
	must(w.t, w.commit(&c.Run, func(c *remediation.Commit) { c.Entries = []remediation.Entry{entry} }))
	entry.Text = "b"
	if err := w.commit(&c.Run, func(c *remediation.Commit) { c.Entries = []remediation.Entry{entry} }); err == nil {
		w.t.Error("a journal entry was overwritten")
	}
}

func releasedRunWaits(w *world) {
	run := w.born(firing("e"), "api")
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.WakeAt, c.Lease = remediation.Waiting, noon.Add(time.Minute), time.Time{}
	}))
	if err := w.commit(&run, nil); !errors.Is(err, remediation.ErrFenced) {
		w.t.Errorf("a commit after the claim was released: %v", err)
	}
	c, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
	must(w.t, err)
	if c.Run.Epoch != 2 {
		w.t.Errorf("epoch %d", c.Run.Epoch)
	}
}

func refusedIntentStoresNothing(w *world) {
	once := plenty
	once.Rule = []guard.Window{{Most: 0, Per: time.Hour}}
	cool := plenty
	cool.Cooldown = time.Hour
	for name, c := range map[string]struct {
		reason guard.Reason
		limits guard.Limits
		before func(target string)
	}{
		"budget":   {guard.BudgetExhausted, once, func(string) {}},
		"cooldown": {guard.Cooldown, cool, func(target string) { w.acted(target) }},
		"busy":     {guard.TargetBusy, plenty, func(target string) { w.holds(target) }},
		"breaker":  {guard.BreakerOpen, plenty, func(target string) { w.failed(target) }},
		"paused": {guard.Paused, plenty, func(target string) {
			must(w.t, w.Pause(w.t.Context(), guard.Pause{Scope: guard.Target, Name: target, Since: noon}))
		}},
	} {
		c.before(name)
		run := w.born(firing("e-"+name), name)
		before := w.snapshot("restart", name)
		err := w.act(&run, "restart", c.limits)
		var refusal *guard.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.reason {
			w.t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, w.snapshot("restart", name)); diff != "" {
			w.t.Errorf("%s: the refused intent left (-before +after):\n%s", name, diff)
		}
		// The run itself is as it was: its claim still commits, at the version it had.
		must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Lease = time.Time{}; c.Run.State = remediation.Waiting }))
		claimed, err := w.claim(remediation.Hint{Run: run.ID, Version: 1})
		must(w.t, err)
		if len(claimed.Steps) != 0 || claimed.Run.Acted {
			w.t.Errorf("%s: the refused intent left a step or an act: %+v", name, claimed)
		}
	}
}

// acted lets a run act on the target and end.
func (w *world) acted(target string) {
	w.t.Helper()
	run := w.holds(target)
	w.end(&run, remediation.Fixed, "")
}

// holds lets a run act on the target and go on.
func (w *world) holds(target string) remediation.Run {
	w.t.Helper()
	run := w.born(firing("former-"+newID()), target)
	must(w.t, w.act(&run, "restart", plenty))
	return run
}

// failed lets a run act on the target without helping.
func (w *world) failed(target string) {
	w.t.Helper()
	run := w.holds(target)
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Outcome, c.Unlock = remediation.Done, remediation.NotFixed, true
		c.Effect, c.Breaker = breaker.Failed, breaker.Policy{Failures: 1}
	}))
}

func exemptIntent(w *world) {
	none := guard.Limits{}
	must(w.t, w.Pause(w.t.Context(), guard.Pause{Scope: guard.Fleet, Since: noon}))
	run := w.born(firing("e"), "api")
	exempt := func(c *remediation.Commit) {
		c.Intent = w.intent(c.Run, "restart", none)
		c.Intent.Exempt = true
	}
	must(w.t, w.commit(&run, exempt))
	// A further part of the same act has no debit of its own.
	must(w.t, w.commit(&run, func(c *remediation.Commit) { exempt(c); c.Intent.Act = guard.Act{} }))
	if s := w.snapshot("restart", "api"); len(s.Acts) != 1 || s.LockedBy != run.ID {
		w.t.Errorf("after an exempt intent: %+v", s)
	}
	other := w.born(firing("f"), "api")
	var refusal *guard.Refusal
	if err := w.commit(&other, exempt); !errors.As(err, &refusal) || refusal.Reason != guard.TargetBusy {
		w.t.Errorf("an exempt intent on a target that is held: %v", err)
	}
}

func targetLock(w *world) {
	first := w.holds("api")
	must(w.t, w.act(&first, "restart", plenty)) // its own lock does not stop it
	second := w.born(firing("f"), "api")
	if err := w.commit(&second, func(c *remediation.Commit) { c.Unlock = true }); err != nil {
		w.t.Fatal(err)
	}
	w.reopen()
	if s := w.snapshot("restart", "api"); s.LockedBy != first.ID {
		w.t.Errorf("the lock is held by %q, want %q", s.LockedBy, first.ID)
	}
	w.clock.advance(lease) // the claim may outlive the process, the lock does
	c, err := w.claim(remediation.Hint{Run: first.ID, Version: first.Version})
	must(w.t, err)
	w.end(&c.Run, remediation.Fixed, "")
	if s := w.snapshot("restart", "api"); s.LockedBy != "" {
		w.t.Errorf("the lock is still held by %q", s.LockedBy)
	}
}

func breakerOpens(w *world) {
	w.failed("api")
	if s := w.snapshot("restart", "api"); s.Breaker == "" {
		w.t.Error("the breaker is closed after a failure")
	}
	if s := w.snapshot("restart", "web"); s.Breaker != "" {
		w.t.Errorf("the breaker of another target is open: %s", s.Breaker)
	}
	w.reopen()
	if n, err := w.Release(w.t.Context(), "", "web"); n != 0 || err != nil {
		w.t.Errorf("releasing another target: %d, %v", n, err)
	}
	if n, err := w.Release(w.t.Context(), "restart", ""); n != 1 || err != nil {
		w.t.Errorf("releasing the rule: %d, %v", n, err)
	}
	if s := w.snapshot("restart", "api"); s.Breaker != "" {
		w.t.Errorf("the breaker is open after its release: %s", s.Breaker)
	}
}

func halfOpenProbe(w *world) {
	policy := breaker.Policy{Failures: 1, ProbeAfter: time.Minute}
	w.failed("api")
	w.clock.advance(time.Minute)
	probing := func(run *remediation.Run) error {
		return w.commit(run, func(c *remediation.Commit) {
			c.Run.Rule = "restart"
			c.Intent = w.intent(*run, "restart", plenty)
			c.Intent.Query.Breaker = policy
		})
	}
	first := w.born(firing("f"), "api")
	must(w.t, probing(&first))
	must(w.t, w.commit(&first, func(c *remediation.Commit) { c.Unlock = true }))
	second := w.born(firing("g"), "api")
	var refusal *guard.Refusal
	if err := probing(&second); !errors.As(err, &refusal) || refusal.Reason != guard.BreakerOpen {
		w.t.Errorf("a second probe: %v", err)
	}
	w.end(&first, remediation.ResolvedItself, "") // ended without a verdict: the next may probe
	must(w.t, probing(&second))
	must(w.t, w.commit(&second, func(c *remediation.Commit) {
		c.Run.State, c.Run.Outcome, c.Effect, c.Breaker, c.Unlock = remediation.Done, remediation.Fixed, breaker.Helped, policy, true
	}))
	if s := w.snapshot("restart", "api"); s.Breaker != "" {
		w.t.Errorf("the breaker is open after a probe that helped: %s", s.Breaker)
	}
}

func budgetsOutlive(w *world) {
	twice := plenty
	twice.Rule = []guard.Window{{Most: 2, Per: time.Hour}}
	for _, target := range []string{"a", "b"} {
		run := w.born(firing(target), target)
		must(w.t, w.act(&run, "restart", twice))
		w.reopen()
	}
	third := w.born(firing("c"), "c")
	var refusal *guard.Refusal
	if err := w.act(&third, "restart", twice); !errors.As(err, &refusal) || refusal.Reason != guard.BudgetExhausted {
		w.t.Errorf("the third act: %v", err)
	}
	must(w.t, w.Renew(w.t.Context(), third.ID, third.Epoch, noon.Add(2*time.Hour)))
	w.clock.advance(time.Hour)
	must(w.t, w.act(&third, "restart", twice))
}

func TestSnapshotGivesEveryPause(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	want := []guard.Pause{
		{Scope: guard.Fleet, Actor: "ann", Reason: "r", Since: noon},
		{Scope: guard.Rule, Name: "restart", Actor: "ben", Reason: "s", Since: noon, Until: noon.Add(time.Hour)},
	}
	for _, p := range want {
		must(t, w.Pause(t.Context(), p))
	}
	w.reopen()
	if diff := cmp.Diff(want, w.snapshot("other", "api").Pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}
