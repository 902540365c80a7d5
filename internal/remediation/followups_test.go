package remediation_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

const scaling = "do: [{cloud_run.scale: {to: half}}, {cloud_run.scale: {to: good}}]"

func scaleBack(t *testing.T, do string) (w *world, parent, follow string) {
	t.Helper()
	w = newWorld(t, rule("grow", do, "afterwards: [{scale_back: {if: health.value < 0.5, hold: 10m, every: 1m, within: 2h}}]"))
	w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) {
		if w.now().Sub(noon) > 30*time.Minute {
			f.Value = 0
		}
		return nil, nil
	}
	v := w.play(down(api))
	if v.Run.Outcome != remediation.Fixed {
		t.Fatalf("ended %s\n%s", v.Run.Outcome, story(v))
	}
	return w, v.Run.ID, w.followUp(v.Run.ID)
}

func TestScaleBack(t *testing.T) {
	t.Parallel()
	const single = "do: [{cloud_run.scale: {to: good}}]"
	t.Run("when it is calm, the last act first", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, scaling)
		w.resolve(down(api))
		v := w.finish(follow)
		if state, _ := w.scene(api).now(); state != "bad" || v.Run.Outcome != remediation.Undone {
			t.Errorf("ended %s with the target %s, want it as before the acts\n%s", v.Run.Outcome, state, story(v))
		}
		if since := w.now().Sub(noon); since < 40*time.Minute {
			t.Errorf("taken back after %s, before it had been calm for 10m", since)
		}
		if len(v.Messages) > 0 && v.Messages[0].Kind == remediation.Acknowledge {
			t.Error("a follow-up acknowledged")
		}
	})
	t.Run("calm that breaks begins anew", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) {
			if since := w.now().Sub(noon); since > 30*time.Minute && (since < 35*time.Minute || since > 36*time.Minute) {
				f.Value = 0
			}
			return nil, nil
		}
		w.until(follow, func(remediation.Run) bool { return w.scene(api).made("apply") > 1 })
		if since := w.now().Sub(noon); since < 46*time.Minute {
			t.Errorf("taken back after %s, before it had been calm for 10m on end", since)
		}
		w.finish(follow)
	})
	t.Run("not over another hand", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.scene(api).set("theirs")
		v := w.finish(follow)
		if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.HumanHand || state != "theirs" {
			t.Errorf("ended %s %s with the target %s\n%s", v.Run.Outcome, v.Run.Reason, state, story(v))
		}
	})
	t.Run("waits while paused", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.pause(guard.Target, api)
		w.until(follow, func(remediation.Run) bool { return w.now().Sub(noon) > time.Hour })
		if n := w.scene(api).made("apply"); n != 1 {
			t.Fatalf("%d calls while paused", n)
		}
		_, err := w.store.Resume(context.Background(), guard.Target, api)
		must(t, err)
		if v := w.finish(follow); v.Run.Outcome != remediation.Undone {
			t.Errorf("ended %s\n%s", v.Run.Outcome, story(v))
		}
	})
	t.Run("paused under the lock", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.racing.before = func(remediation.Commit) { w.pause(guard.Target, api) }
		w.until(follow, func(remediation.Run) bool { return w.now().Sub(noon) > time.Hour })
		_, err := w.store.Resume(context.Background(), guard.Target, api)
		must(t, err)
		if v := w.finish(follow); v.Run.Outcome != remediation.Undone || w.scene(api).made("apply") != 2 {
			t.Errorf("ended %s\n%s", v.Run.Outcome, story(v))
		}
	})
	t.Run("a lost precondition is looked at again", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.scene(api).hooks.apply = func(n int) (bool, error) {
			if n == 2 {
				w.scene(api).set("good")
			}
			return true, nil
		}
		v := w.finish(follow)
		if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.Undone || state != "bad" {
			t.Errorf("ended %s with the target %s\n%s", v.Run.Outcome, state, story(v))
		}
	})
	t.Run("rejected: nothing is scaled up instead", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, scaling)
		w.scene(api).hooks.apply = failing(9, false, status.Error(codes.PermissionDenied, "no"))
		v := w.finish(follow)
		if w.scene(api).made("apply") != 3 || v.Run.Outcome != remediation.NotFixed {
			t.Errorf("ended %s after %d calls\n%s", v.Run.Outcome, w.scene(api).made("apply"), story(v))
		}
	})
	t.Run("never calm", func(t *testing.T) {
		t.Parallel()
		w, _, follow := scaleBack(t, single)
		w.scene(api).hooks.ask = nil
		if v := w.finish(follow); v.Run.Outcome != remediation.Observed || w.scene(api).made("apply") != 1 {
			t.Errorf("ended %s\n%s", v.Run.Outcome, story(v))
		}
	})
}

func TestRemindUntilSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("pin", "do: [{fake.pin: {to: good}}]", "afterwards: [{remind: {of: pinned_traffic, every: 24h}}]"))
	v := w.play(down(api))
	follow := w.followUp(v.Run.ID)
	if debts, err := w.store.Debts(context.Background()); err != nil || len(debts) != 1 {
		t.Fatalf("debts %+v, %v", debts, err)
	}
	w.advance(24 * time.Hour)
	must(t, w.visit(follow))
	w.advance(24 * time.Hour)
	must(t, w.visit(follow))
	if got := w.view(follow).Messages; len(got) != 2 || !strings.Contains(got[1].Text, "pinned for 48h") {
		t.Errorf("reminders %+v", got)
	}
	w.scene(api).set("unpinned")
	if v := w.finish(follow); v.Run.Outcome != remediation.Observed {
		t.Errorf("ended %s", v.Run.Outcome)
	}
	if debts, err := w.store.Debts(context.Background()); err != nil || len(debts) != 0 {
		t.Errorf("debts %+v, %v", debts, err)
	}
}

func TestSettleByHand(t *testing.T) {
	t.Parallel()
	settle := func(w *world) store.RunView {
		t.Helper()
		got, err := w.engine.Settle(t.Context(), "fake.unpin", api, "ann", "the fix is out")
		must(t, err)
		w.events = append(w.events, got.Event)
		return w.finish(got.Runs[0].Run)
	}
	pinned := func(t *testing.T) *world {
		w := newWorld(t, rule("pin", "do: [{fake.pin: {to: good}}]"))
		w.play(down(api))
		return w
	}
	t.Run("neither pause nor breaker nor budget holds it", func(t *testing.T) {
		w := pinned(t)
		w.pause(guard.Fleet, "")
		for range 5 {
			_ = w.systems.Do("fake", false, func() error { return errTimeout })
		}
		if v := settle(w); v.Run.Outcome != remediation.Undone || v.Run.Actor != "ann" {
			t.Errorf("ended %s: %s", v.Run.Outcome, story(v))
		}
		if debts, err := w.store.Debts(context.Background()); err != nil || len(debts) != 0 {
			t.Errorf("debts %+v, %v", debts, err)
		}
	})
	t.Run("the lock does", func(t *testing.T) {
		w := newWorld(t, rule("pin", "do: [{fake.pin: {to: good}}]"))
		w.until(w.fire(down(api)), inPhase(remediation.PhaseVerify))
		if v := settle(w); v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.TargetBusy || w.scene(api).made("apply") != 1 {
			t.Errorf("ended %s %s", v.Run.Outcome, v.Run.Reason)
		}
	})
	t.Run("an action that is not there", func(t *testing.T) {
		w := newWorld(t, rule("pin"))
		got, err := w.engine.Settle(t.Context(), "fake.nothing", api, "ann", "")
		must(t, err)
		if v := w.finish(got.Runs[0].Run); v.Run.Outcome != remediation.RefusedRun {
			t.Errorf("ended %s", v.Run.Outcome)
		}
	})
}
