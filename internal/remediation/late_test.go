package remediation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// loseFirst lets the first call of api be answered by nobody and leave no trace.
func loseFirst(w *world) {
	w.scene(api).hooks.apply = func(n int) (bool, error) { return n > 1, map[bool]error{true: errTimeout}[n == 1] }
}

// A look that cannot be understood is none: the call has its whole time to arrive after the first one that shows no trace of it.
func TestLostCallHasItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	loseFirst(w)
	var missed time.Time
	w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
		if n == 1 {
			return executors.Observation{Progress: executors.Unclear, Detail: "no sense"}, nil
		}
		if missed.IsZero() {
			missed = w.now()
		}
		return o, nil
	}
	v := w.until(w.fire(down(api)), func(r remediation.Run) bool { return r.Attempt == 2 })
	if again := v.Steps[1].StartedAt.Sub(missed); again < 5*time.Second {
		t.Errorf("the call was made again %s after the first look that missed it", again)
	}
}

// A run that ends while a call of it may still arrive cannot say that nothing was changed.
func TestLostCallMayArriveAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(w *world){
		"the alert resolves": func(w *world) { w.resolve(down(api)) },
		"the next plan is refused": func(w *world) {
			w.scene(api).hooks.plan = func() error { return guard.Refuse(guard.NoCause, "none") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			loseFirst(w)
			id := w.fire(down(api))
			w.until(id, inPhase(remediation.PhaseObserve))
			ends(w)
			v := w.finish(id)
			text := v.Messages[len(v.Messages)-1].Text
			if v.Run.Outcome != remediation.NeedsHuman || !strings.Contains(text, "may still arrive") || strings.Contains(text, "not done") {
				t.Errorf("ended as %s, and the note says:\n%s", v.Run.Outcome, text)
			}
		})
	}
}

// A clock that is behind the sender's does not keep an alert from ending: PagerDuty's word is known by the incident and the times alone.
func TestTheEndIsHeardThoughOurClockIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	a := down(api)
	a.IncidentID, a.StartsAt = "Q1", noon.Add(time.Hour)
	id := w.fire(a)
	end := alert.Alert{Source: "pd", Status: alert.Resolved, Episode: "Q1", IncidentID: "Q1", StartsAt: a.StartsAt, EndsAt: noon.Add(2 * time.Hour)}
	w.deliver("pd", sources.Delivery{Alerts: []alert.Alert{end}, OccurredAt: end.EndsAt})
	if v := w.finish(id); v.Run.Outcome != remediation.ResolvedItself {
		t.Errorf("ended as %s\n%s", v.Run.Outcome, story(v))
	}
}

// Nor where the alert's own sender tells of the end of what PagerDuty's incident is about: it was opened after the alert began.
func TestTheSendersEndIsHeardThoughOurClockIsBehind(t *testing.T) {
	t.Parallel()
	for name, occurred := range map[string]time.Time{"it says when it tells": noon.Add(2 * time.Hour), "it does not": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			a := down(api)
			a.Source, a.Episode, a.IncidentID, a.StartsAt = "pd", "Q1/api", "Q1", noon.Add(time.Hour)
			id := w.fire(a)
			end := down(api)
			end.Status, end.StartsAt, end.EndsAt = alert.Resolved, a.StartsAt.Add(-time.Minute), noon.Add(2*time.Hour)
			w.deliver("am", sources.Delivery{Alerts: []alert.Alert{end}, OccurredAt: occurred})
			if v := w.finish(id); v.Run.Outcome != remediation.ResolvedItself {
				t.Errorf("ended as %s\n%s", v.Run.Outcome, story(v))
			}
		})
	}
}

// A call that a crash has cut off may be on its way too: it has the same time to arrive.
func TestACallCutOffByACrashHasItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.scene(api).hooks.apply = func(n int) (bool, error) {
		if n == 1 {
			w.racing.dieBefore = w.racing.commits + 1
		}
		return n > 1, nil
	}
	var missed time.Time
	w.scene(api).hooks.observe = func(_ int, o executors.Observation) (executors.Observation, error) {
		if missed.IsZero() {
			missed = w.now()
		}
		return o, nil
	}
	id := w.fire(down(api))
	if !w.visitUntilDeath(id) {
		t.Fatal("nobody died")
	}
	w.restart()
	v := w.until(id, func(r remediation.Run) bool { return r.Attempt == 2 })
	if again := v.Steps[1].StartedAt.Sub(missed); again < 5*time.Second {
		t.Errorf("the call was made again %s after the first look that missed it", again)
	}
}
