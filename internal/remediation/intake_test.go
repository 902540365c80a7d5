package remediation_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

func (w *world) event(id string) remediation.Event {
	w.t.Helper()
	e, err := w.store.Event(context.Background(), id)
	must(w.t, err)
	return e
}

func (w *world) verdictsOn(event string) verdicts {
	w.t.Helper()
	rulings, err := w.store.EventRulings(context.Background(), event)
	must(w.t, err)
	got := verdicts{}
	for _, r := range rulings {
		got[r.Rule+" on "+r.Target] = r.Verdict
	}
	return got
}

func TestAcceptSortsDeliveries(t *testing.T) {
	t.Parallel()
	unmatched, strange, old, merged := down(api), down(api), down(api), down(api)
	unmatched.Labels = map[string]string{"alertname": "Else"}
	strange.Labels = map[string]string{"alertname": "Down", "service": "billing"}
	merged.Status, merged.Merged = alert.Resolved, true
	for name, c := range map[string]struct {
		delivery sources.Delivery
		state    remediation.EventState
		verdicts verdicts
		runs     int
	}{
		"firing":           {sources.Delivery{Alerts: []alert.Alert{down(api)}}, remediation.EventMatched, verdicts{"cure on api": remediation.Candidate}, 1},
		"two targets":      {sources.Delivery{Alerts: []alert.Alert{down(api), down(web)}}, remediation.EventMatched, verdicts{"cure on api": remediation.Candidate, "cure on web": remediation.Candidate}, 2},
		"no rule matches":  {sources.Delivery{Alerts: []alert.Alert{unmatched}}, remediation.EventMatched, verdicts{}, 0},
		"no such target":   {sources.Delivery{Alerts: []alert.Alert{strange}}, remediation.EventMatched, verdicts{"cure on ": remediation.Refused}, 0},
		"too old":          {sources.Delivery{Alerts: []alert.Alert{old}, OccurredAt: noon.Add(-11 * time.Minute)}, remediation.EventMatched, verdicts{"cure on api": remediation.StaleEvent}, 0},
		"just not too old": {sources.Delivery{Alerts: []alert.Alert{old}, OccurredAt: noon.Add(-10 * time.Minute)}, remediation.EventMatched, verdicts{"cure on api": remediation.Candidate}, 1},
		"from the future":  {sources.Delivery{Alerts: []alert.Alert{old}, OccurredAt: noon.Add(time.Hour)}, remediation.EventMatched, verdicts{"cure on api": remediation.Candidate}, 1},
		"merged":           {sources.Delivery{Alerts: []alert.Alert{merged}}, remediation.EventMatched, verdicts{}, 0},
		"ignored":          {sources.Delivery{Ignored: "a ping"}, remediation.EventIgnored, verdicts{}, 0},
		"to be looked up":  {sources.Delivery{Alerts: []alert.Alert{down(api)}, Incomplete: true}, remediation.EventPending, verdicts{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			got := w.deliver("am", c.delivery)
			if state := w.event(got.Event).State; state != c.state || len(got.Runs) != c.runs {
				t.Errorf("state %s with %d runs, want %s with %d", state, len(got.Runs), c.state, c.runs)
			}
			if diff := cmp.Diff(c.verdicts, w.verdictsOn(got.Event)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAcceptRefusesAtTheDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	accept := func(source string, h http.Header, body string) (remediation.Accepted, error) {
		return w.engine.Accept(t.Context(), remediation.Inbound{Source: source, Request: sources.Request{Header: h, Body: []byte(body)}})
	}
	if _, err := accept("nobody", nil, "{}"); !errors.Is(err, remediation.ErrUnknownSource) {
		t.Errorf("an unknown source: %v", err)
	}
	if _, err := accept("am", http.Header{"Forged": {"1"}}, "{}"); !errors.Is(err, sources.ErrUnauthenticated) {
		t.Errorf("a forged delivery: %v", err)
	}
	got, err := accept("am", http.Header{}, "{")
	must(t, err)
	if e := w.event(got.Event); e.State != remediation.EventInvalid || e.Note == "" || len(got.Runs) != 0 {
		t.Errorf("a body that cannot be read is stored as %+v", e)
	}
}

// A stranger is turned away, and counted, before its body is read; who may be a sender is heard.
func TestExpects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	expects := func(source string, h http.Header) error {
		return w.engine.Expects(remediation.Inbound{Source: source, Request: sources.Request{Header: h}})
	}
	if err := expects("nobody", nil); !errors.Is(err, remediation.ErrUnknownSource) {
		t.Errorf("an unknown source: %v", err)
	}
	if err := expects("am", http.Header{"Forged": {"1"}}); !errors.Is(err, sources.ErrUnauthenticated) {
		t.Errorf("a forged delivery: %v", err)
	}
	must(t, expects("am", nil))
	w.wantSeries(map[string]float64{"remediator_events_total am,unauthenticated": 1})
}

func TestRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"))
	first := w.deliver("am", sources.Delivery{DedupKey: "d1", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
	again := w.deliver("am", sources.Delivery{DedupKey: "d1", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
	if !again.Duplicate || again.Event != first.Event || len(again.Runs) != 0 {
		t.Errorf("the same delivery again: %+v, want a duplicate of event %s", again, first.Event)
	}
	repeat := w.deliver("am", sources.Delivery{DedupKey: "d2", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
	want := verdicts{"cure on api": remediation.Duplicate, "next on api": remediation.Duplicate}
	if diff := cmp.Diff(want, w.verdictsOn(repeat.Event)); diff != "" || len(repeat.Runs) != 0 {
		t.Errorf("the same episode again: %d runs, verdicts (-want +got):\n%s", len(repeat.Runs), diff)
	}
	v := w.finish(first.Runs[0].Run)
	if diff := cmp.Diff(verdicts{"cure": remediation.Chosen, "next": remediation.Shadowed}, endOf(v).Rulings); diff != "" {
		t.Errorf("the run's verdicts (-want +got):\n%s", diff)
	}
	late := w.deliver("am", sources.Delivery{DedupKey: "d3", Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
	if diff := cmp.Diff(want, w.verdictsOn(late.Event)); diff != "" || len(late.Runs) != 0 {
		t.Errorf("after the run: %d runs, verdicts (-want +got):\n%s", len(late.Runs), diff)
	}
}

func TestTwoAlertsOfOneEventOnOneTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	second := other(api)
	second.IncidentKey = down(api).IncidentKey
	got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{down(api), second, down(web)}, OccurredAt: w.now()})
	if len(got.Runs) != 2 {
		t.Fatalf("%d runs, want one per target", len(got.Runs))
	}
	for _, hint := range got.Runs {
		w.expect(w.finish(hint.Run), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
	}
	rulings, err := w.store.EventRulings(t.Context(), got.Event)
	must(t, err)
	var have []remediation.Verdict
	for _, r := range rulings {
		have = append(have, r.Verdict)
	}
	if diff := cmp.Diff([]remediation.Verdict{remediation.Chosen, remediation.Duplicate, remediation.Chosen}, have); diff != "" {
		t.Errorf("verdicts in order (-want +got):\n%s", diff)
	}
}

func TestMergedIsNoRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	id := w.fire(down(api))
	merged := down(api)
	merged.Status, merged.Merged = alert.Resolved, true
	w.deliver("am", sources.Delivery{Alerts: []alert.Alert{merged}, OccurredAt: w.now()})
	w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	incomplete := down(api)
	incomplete.Source, incomplete.Labels, incomplete.IncidentID = "pd", nil, "Q1"
	complete := incomplete
	complete.Labels = down(api).Labels
	pending := sources.Delivery{DedupKey: "e1", Alerts: []alert.Alert{incomplete}, Incomplete: true, OccurredAt: noon}
	setUp := func(t *testing.T, answer func() (sources.Delivery, error)) (*world, string) {
		w := newWorld(t, rule("cure"))
		lookUps.Store(w.name, func(sources.Delivery) (sources.Delivery, error) { return answer() })
		return w, w.deliver("pd", pending).Event
	}
	t.Run("completes the event", func(t *testing.T) {
		t.Parallel()
		tries := 0
		w, event := setUp(t, func() (sources.Delivery, error) {
			if tries++; tries < 3 {
				return sources.Delivery{}, errors.New("no answer")
			}
			return sources.Delivery{DedupKey: "e1", Alerts: []alert.Alert{complete}, OccurredAt: noon}, nil
		})
		for range 5 { // a repeated hint is a no-op
			must(t, w.engine.Match(t.Context(), event))
			w.advance(2 * time.Second)
		}
		if e := w.event(event); e.State != remediation.EventMatched || tries != 3 {
			t.Fatalf("state %s after %d tries", e.State, tries)
		}
		runs := w.open()
		if len(runs) != 1 {
			t.Fatalf("%d runs, want 1", len(runs))
		}
		w.advance(lease)
		w.expect(w.finish(runs[0]), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{"cure": remediation.Chosen}})
	})
	t.Run("fails for good", func(t *testing.T) {
		t.Parallel()
		w, event := setUp(t, func() (sources.Delivery, error) { return sources.Delivery{}, errors.New("no answer") })
		for range 30 {
			must(t, w.engine.Match(t.Context(), event))
			w.advance(30 * time.Second)
		}
		if e := w.event(event); e.State != remediation.EventFailed || !strings.Contains(e.Note, "no answer") {
			t.Errorf("the event is %s: %s", e.State, e.Note)
		}
		told := w.told(event)
		if diff := cmp.Diff(toldHuman, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
	t.Run("says that it is nothing", func(t *testing.T) {
		t.Parallel()
		w, event := setUp(t, func() (sources.Delivery, error) { return sources.Delivery{Ignored: "resolved meanwhile"}, nil })
		must(t, w.engine.Match(t.Context(), event))
		if e := w.event(event); e.State != remediation.EventIgnored || e.Note != "resolved meanwhile" {
			t.Errorf("the event is %s: %s", e.State, e.Note)
		}
	})
}

// open lists the runs that are not done.
func (w *world) open() (ids []string) {
	w.t.Helper()
	due, err := w.store.Due(context.Background(), w.now().Add(time.Hour))
	must(w.t, err)
	for _, hint := range due.Runs {
		ids = append(ids, hint.Run)
	}
	return ids
}

// told drains the outbox of a lane that belongs to no run.
func (w *world) told(lane string) (kinds []remediation.MessageKind) {
	w.t.Helper()
	for {
		m, _, ok, err := w.store.Next(context.Background(), remediation.Lane{Run: lane, Channel: remediation.PagerDuty}, w.now(), lease)
		must(w.t, err)
		if !ok {
			return kinds
		}
		if m.IncidentID == "" && !m.Open || m.Connection != "pagerduty" || m.Text == "" {
			w.t.Errorf("a message without an address or a text: %+v", m)
		}
		kinds = append(kinds, m.Kind)
		must(w.t, w.store.End(context.Background(), remediation.Sent{ID: m.ID, State: remediation.MessageSent, At: w.now()}))
	}
}

func TestBothRoadsOfOneOutage(t *testing.T) {
	t.Parallel()
	byPagerDuty := down(api)
	byPagerDuty.Source, byPagerDuty.Episode, byPagerDuty.IncidentID, byPagerDuty.StartsAt = "pd", "incident-Q1", "Q1", noon
	for name, roads := range map[string][2]alert.Alert{
		"PagerDuty first": {byPagerDuty, down(api)}, "Alertmanager first": {down(api), byPagerDuty},
	} {
		for _, finished := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, rule("cure"))
				id := w.fire(roads[0])
				if finished {
					w.finish(id)
				}
				second := w.deliver(roads[1].Source, sources.Delivery{Alerts: []alert.Alert{roads[1]}, OccurredAt: w.now()})
				if len(second.Runs) != 0 {
					t.Fatalf("the second road made a run: %+v", second)
				}
				w.expect(w.finish(id), end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed})
			})
		}
	}
}

func TestPassingRefusalsAreTriedAgainAndOthersAreNot(t *testing.T) {
	t.Parallel()
	for reason, again := range map[guard.Reason]bool{guard.Reconciling: true, guard.OutOfBounds: false} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			w.scene(api).hooks.plan = func() error { return guard.Refuse(reason, "not now") }
			w.expect(w.play(down(api)), end{Outcome: remediation.RefusedRun, Reason: string(reason), Messages: toldOnly})
			w.scene(api).hooks.plan = nil
			got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{down(api)}, OccurredAt: w.now()})
			if (len(got.Runs) == 1) != again {
				t.Errorf("the next delivery made %d runs", len(got.Runs))
			}
		})
	}
}

// Alerts of one incident on one target make one run; the rules of each are its candidates, in file order, and each gets its verdict.
func TestAlertsOfOneIncidentWithDifferentRules(t *testing.T) {
	t.Parallel()
	slow := rule("slow", `match: [alertname="Slow"]`, "if: health.value > 5.0")
	w := newWorld(t, rule("none", `match: [alertname="Else"]`), slow, rule("cure"))
	second := down(api)
	second.Labels["alertname"], second.Episode = "Slow", "episode-slow"
	got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{down(api), second}, OccurredAt: w.now()})
	if len(got.Runs) != 1 {
		t.Fatalf("%d runs, want 1", len(got.Runs))
	}
	v := w.finish(got.Runs[0].Run)
	if v.Run.Outcome != remediation.Fixed || v.Run.Rule != "cure" {
		t.Errorf("ended %s by %s\n%s", v.Run.Outcome, v.Run.Rule, story(v))
	}
	rulings, err := w.store.EventRulings(t.Context(), got.Event)
	must(t, err)
	final := map[string][]remediation.Verdict{}
	for _, r := range rulings {
		final[r.Rule] = append(final[r.Rule], r.Verdict)
	}
	want := map[string][]remediation.Verdict{"cure": {remediation.Chosen}, "slow": {remediation.IfFalse, remediation.Duplicate}}
	if diff := cmp.Diff(want, final); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// What comes too late for each rule of a target makes no run there, and is kept in mind as an alert of its incident that still fires.
func TestStaleAlertKeepsItsIncidentOpen(t *testing.T) {
	t.Parallel()
	const key = "of one group"
	on := func(target string) alert.Alert {
		a := down(target)
		a.IncidentKey = key
		return a
	}
	for name, c := range map[string]struct {
		late   alert.Alert
		age    time.Duration
		drill  string
		others int
	}{
		"too late for all":          {on(web), 30 * time.Minute, "", 1},
		"in time for one":           {on(web), 15 * time.Minute, "", 1}, // its run, which is open
		"on the target itself":      {on(api), 30 * time.Minute, "", 0},
		"of another incident":       {down(web), 30 * time.Minute, "", 0},
		"a drill":                   {on(web), 30 * time.Minute, "d", 0},
		"a resolved one":            {func() alert.Alert { a := on(web); a.Status = alert.Resolved; return a }(), 30 * time.Minute, "", 0},
		"no rule's business":        {func() alert.Alert { a := on(web); a.Labels = map[string]string{"alertname": "Else"}; return a }(), 30 * time.Minute, "", 0},
		"of no target that we know": {func() alert.Alert { a := on(web); a.Labels["service"] = "billing"; return a }(), 30 * time.Minute, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("short"), rule("long", "guard: {max_age: 20m}"))
			own := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{on(api)}, OccurredAt: w.now()})
			w.deliver("am", sources.Delivery{Alerts: []alert.Alert{c.late}, OccurredAt: w.now().Add(-c.age), Drill: c.drill})
			n, err := w.store.OtherRuns(t.Context(), remediation.Message{Run: own.Runs[0].Run})
			must(t, err)
			if n != c.others {
				t.Errorf("%d others keep the incident open, want %d", n, c.others)
			}
		})
	}
}
