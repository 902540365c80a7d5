package remediation_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	compare "github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

// drilled hands the engine a delivery with the mark of a drill.
func (w *world) drilled(id string, d sources.Delivery) remediation.Accepted {
	w.t.Helper()
	body, err := json.Marshal(d)
	must(w.t, err)
	body, err = sources.Drill{ID: id, Labels: down(api).Labels}.Marked(body)
	must(w.t, err)
	got, err := w.engine.Accept(w.t.Context(), remediation.Inbound{Source: "am", Request: sources.Request{Header: http.Header{}, Body: body}})
	must(w.t, err)
	w.events = append(w.events, got.Event)
	return got
}

// drill plays a drill of the alert to its end.
func (w *world) drill(id string, a alert.Alert) store.RunView {
	w.t.Helper()
	got := w.drilled(id, sources.Delivery{Alerts: []alert.Alert{a}, OccurredAt: w.now()})
	if len(got.Runs) != 1 || !strings.Contains(w.event(got.Event).Note, "drill "+id) {
		w.t.Fatalf("want one run of the drill and its mark on the event, got %+v", got)
	}
	return w.finish(got.Runs[0].Run)
}

// effects are what a run can leave behind, beside its own records.
func (w *world) effects() string {
	w.t.Helper()
	ctx := context.Background()
	s, err := w.store.Snapshot(ctx, remediation.SnapshotQuery{Now: w.now(), Target: api, Once: true, Act: guard.Act{Kind: "fake.act"}})
	must(w.t, err)
	breakers, err := w.store.Breakers(ctx)
	must(w.t, err)
	debts, err := w.store.Debts(ctx)
	must(w.t, err)
	latches, err := w.store.Latches(ctx)
	must(w.t, err)
	storm, _, err := w.store.Storm(ctx)
	must(w.t, err)
	for i := range s.Acts {
		s.Acts[i].Run = ""
	}
	slices.SortFunc(s.Wants, func(a, b guard.Want) int { return cmp.Compare(a.Target, b.Target) })
	return ids.ReplaceAllString(fmt.Sprintf("locked %t, acts %v, wants %v, pauses %v, breakers %v, debts %v, latches %v, storm %v",
		s.LockedBy != "", s.Acts, s.Wants, s.Pauses, breakers, debts, latches, storm), "a run")
}

var ids = regexp.MustCompile(`id-\d{4}`)

const everybody = "tell: {pagerduty: {open_incident: true, resolve_when: fixed, status_updates: true, every: 1m}, slack: {connection: chat, channel: ops, every: 1m}}"

// What a rule would do in earnest is said, and not done, whatever its mode is and whatever stands behind it.
func TestADrillTouchesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule, says, reason string
		outcome            remediation.Outcome
		would              string
		verdict            remediation.Verdict
	}{
		"auto":      {rule("r", everybody), "a drill, nothing was touched: it would set api from bad to good", "", remediation.Observed, "fake.act", remediation.Chosen},
		"approve":   {rule("r", everybody, "mode: approve"), "it would ask people whether it may set api", "", remediation.Observed, "fake.act", remediation.Chosen},
		"observe":   {rule("r", everybody, "mode: observe"), "in mode observe: it would set api", "", remediation.Observed, "fake.act", remediation.Chosen},
		"diagnosis": {rule("r", everybody, "-do", "-verify"), "it would call a human", "", remediation.Observed, "", remediation.Chosen},
		"hold":      {rule("r", everybody, "-do", "-verify", "hold: 24h"), "it would hold all automation on api until 2026-03-02", "", remediation.Observed, "", remediation.Chosen},
		"if false":  {rule("r", everybody, "if: health.ok"), "no rule's condition held", "", remediation.NoOutcome, "", remediation.IfFalse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.rule)
			before := w.effects()
			v := w.drill("d1", down(api))
			r := v.Run
			if r.Outcome != c.outcome || string(r.Reason) != c.reason || !strings.Contains(r.Detail, c.says) || v.Rulings[0].Verdict != c.verdict {
				t.Errorf("%s %s: %s\n%s", r.Outcome, r.Reason, r.Detail, story(v))
			}
			if kind := wouldOf(r); kind != c.would || r.Origin != remediation.ByDrill || r.Drill != "d1" || r.Acted {
				t.Errorf("it would %q: %+v", kind, r)
			}
			w.nothingOf(v, before)
			if !strings.HasPrefix(remediation.NewReport(remediation.Told{Run: r}).Title, "drill d1: ") {
				t.Error("its report does not say that it was a drill")
			}
		})
	}
}

func wouldOf(r remediation.Run) string {
	if r.Would == nil {
		return ""
	}
	return r.Would.Kind
}

// nothingOf fails the test when the run of a drill has left anything.
func (w *world) nothingOf(v store.RunView, before string) {
	w.t.Helper()
	if len(v.Steps)+len(v.Messages)+v.Run.Told > 0 || v.Run.Escalated || w.scene(api).made("apply") > 0 {
		w.t.Errorf("a drill acted or told somebody: %+v\n%+v", v.Steps, v.Messages)
	}
	if diff := compare.Diff(before, w.effects()); diff != "" {
		w.t.Errorf("a drill left something (-before +after):\n%s", diff)
	}
	runs, err := w.store.ListRuns(context.Background(), store.Filter{Limit: 100})
	must(w.t, err)
	for _, r := range runs {
		if r.Parent != "" {
			w.t.Errorf("a drill has a follow-up: %+v", r)
		}
	}
}

// Every guard judges a drill as it would judge the alert, and a refused drill leaves as little.
func TestADrillIsRefusedAsInEarnest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(w *world)
		reason guard.Reason
	}{
		"cooldown": {func(w *world) { w.play(down(api)); w.scene(api).set("bad"); w.advance(10 * time.Minute) }, guard.Cooldown},
		"paused": {func(w *world) {
			must(w.t, w.store.Pause(w.t.Context(), guard.Pause{Scope: guard.Fleet, Actor: "ann", Reason: "x", Since: w.now()}))
		}, guard.Paused},
		"busy": {func(w *world) { must(w.t, w.visit(w.fire(down(api)))); w.scene(api).set("bad") }, guard.TargetBusy},
		"storm": {func(w *world) {
			for _, target := range []string{web, mail} {
				w.play(down(target))
			}
		}, guard.Storm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("r", everybody))
			c.before(w)
			before, applied := w.effects(), w.scene(api).made("apply")
			v := w.drill("d", down(api))
			if v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != c.reason || v.Rulings[0].Verdict != remediation.Refused {
				t.Errorf("%s %s: %s", v.Run.Outcome, v.Run.Reason, v.Run.Detail)
			}
			if diff := compare.Diff(before, w.effects()); diff != "" || len(v.Messages) > 0 || w.scene(api).made("apply") != applied || v.Run.Parks() {
				t.Errorf("a refused drill left something (-before +after):\n%s\n%+v", diff, v.Messages)
			}
		})
	}
}

// A drill of a real delivery, before or after it, shares nothing with it.
func TestADrillIsNoDuplicate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	d := sources.Delivery{DedupKey: "01E", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()}
	early := w.drilled("d", d)
	got := w.deliver("am", d)
	late := w.drilled("later", d)
	for _, a := range []remediation.Accepted{early, got, late} {
		if a.Duplicate || len(a.Runs) != 1 {
			t.Fatalf("one of the drills and the alert is taken for another's repeat: %+v", a)
		}
	}
	if again := w.drilled("d", d); !again.Duplicate || again.Event != early.Event {
		t.Errorf("the drill's own repeat: %+v", again)
	}
	w.expect(w.finish(got.Runs[0].Run), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
}

// The end of a drill is none of the alert, nor the alert's one of the drill.
func TestADrillEndsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	a := down(api)
	over := a
	over.Status, over.EndsAt = alert.Resolved, w.now()
	drill := w.drilled("d", sources.Delivery{Alerts: []alert.Alert{a}, OccurredAt: w.now()}).Runs[0].Run
	earnest := w.fire(a)
	w.resolve(a)
	if v := w.finish(drill); v.Run.Outcome != remediation.Observed {
		t.Errorf("the alert's end was the drill's: %s", v.Run.Detail)
	}
	if v := w.finish(earnest); v.Run.Outcome != remediation.ResolvedItself {
		t.Errorf("the alert did not end: %s", v.Run.Detail)
	}
	b := down(web)
	earnest, over = w.fire(b), b
	over.Status, over.EndsAt = alert.Resolved, w.now()
	drill = w.drilled("d", sources.Delivery{Alerts: []alert.Alert{b}, OccurredAt: w.now()}).Runs[0].Run
	w.drilled("d", sources.Delivery{Alerts: []alert.Alert{over}, OccurredAt: w.now()})
	if v := w.finish(drill); v.Run.Outcome != remediation.ResolvedItself {
		t.Errorf("the drill did not end: %s", v.Run.Detail)
	}
	if v := w.finish(earnest); v.Run.Outcome != remediation.Fixed {
		t.Errorf("the drill's end was the alert's: %s", v.Run.Detail)
	}
}

// A drill looks nothing up: its labels stand for those that a real event would be asked for.
func TestADrillLooksNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	lookUps.Store(w.name, func(sources.Delivery) (sources.Delivery, error) {
		t.Error("it was looked up")
		return sources.Delivery{}, errTimeout
	})
	bare := down(api)
	bare.Labels = map[string]string{}
	got := w.drilled("d", sources.Delivery{Alerts: []alert.Alert{bare}, Incomplete: true, OccurredAt: w.now()})
	if len(got.Runs) != 1 || w.finish(got.Runs[0].Run).Run.Outcome != remediation.Observed {
		t.Errorf("got %+v, event %+v", got, w.event(got.Event))
	}
}

// What a drill finds of a system opens no breaker before what is real; an open one stops a drill too.
func TestADrillOpensNoBreaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	failing := true
	w.scene(api).hooks.ask = func(int, *fact) ([]string, error) {
		if failing {
			return nil, errTimeout
		}
		return nil, nil
	}
	for i := range 4 { // of three tries each
		if v := w.drill(fmt.Sprint("d", i), down(api)); v.Run.Reason != guard.UnknownFacts {
			t.Fatalf("%s %s", v.Run.Reason, v.Run.Detail)
		}
	}
	asked := w.scene(api).made("ask")
	if asked != 12 {
		t.Errorf("the system was asked %d times, not 12", asked)
	}
	failing = false
	a := down(api)
	a.StartsAt = w.now()
	w.expect(w.play(a), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
}

func TestAnOpenBreakerStopsADrill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	for range 5 {
		_ = w.systems.Do("look", false, func() error { return errTimeout })
	}
	v := w.drill("d", down(api))
	if n := w.scene(api).made("ask"); n > 0 || v.Run.Reason != guard.UnknownFacts {
		t.Errorf("an open breaker let a drill through: asked %d times, %s %s", n, v.Run.Reason, v.Run.Detail)
	}
}

func TestADrillIsNoFigure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	w.drill("d", down(api))
	w.wantSeries(map[string]float64{
		"remediator_drills_total observed,r": 1, "remediator_events_total am,chosen": -1,
		"remediator_runs_total observed,r": -1,
	})
}

// A mark that cannot be read makes its delivery neither a drill nor real: it is kept and flagged.
func TestAMarkThatCannotBeReadActsOnNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	body, err := json.Marshal(sources.Delivery{DedupKey: "01E", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
	must(t, err)
	body = append([]byte(`{"remediator_drill":true,`), body[1:]...)
	got, err := w.engine.Accept(t.Context(), remediation.Inbound{Source: "am", Request: sources.Request{Header: http.Header{}, Body: body}})
	must(t, err)
	if e := w.event(got.Event); e.State != remediation.EventInvalid || len(got.Runs) > 0 || !strings.Contains(got.Note, "remediator_drill") {
		t.Errorf("%+v, %+v", got, e)
	}
	if id := w.fire(down(api)); w.finish(id).Run.Outcome != remediation.Fixed {
		t.Error("the real delivery was lost with it")
	}
}
