package remediation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// series reads the value of one series, given as it is exposed; -1 when there is none.
func (w *world) series(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	must(w.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if f.GetName() != name || strings.Join(have, ",") != strings.Join(labels, ",") {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				return float64(m.GetHistogram().GetSampleCount())
			default:
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// wantSeries are values by "name label,label", labels in the order of their names.
func (w *world) wantSeries(want map[string]float64) {
	w.t.Helper()
	for series, value := range want {
		name, labels, _ := strings.Cut(series, " ")
		var parts []string
		if labels != "" {
			parts = strings.Split(labels, ",")
		}
		if got := w.series(name, parts...); got != value {
			w.t.Errorf("%s is %g, want %g", series, got, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), rule("next"))
	w.clock.Store(time.Now().UnixMicro()) // the gauges judge the stored state by the clock of the scrape
	w.metrics.Init(w.book.current)
	w.registry.MustRegister(remediation.NewGauges(w.store, w.book))
	w.wantSeries(map[string]float64{
		"remediator_runs_total fixed,cure": 0, "remediator_runs_total needs_human,next": 0, "remediator_events_total am,not_matched": 0,
		"remediator_events_total pd,repeated": 0, "remediator_refusals_total paused": 0, "remediator_steps_total fake.act,ok": 0,
		"remediator_system_breaker_open fake": 0, "remediator_breaker_open cure,api": 0, "remediator_budget_left cure,1h0m0s": 2,
		"remediator_pinned_targets": 0, "remediator_pins_older_than_day": 0, "remediator_pauses": 0, "remediator_webhook_to_action_seconds": 0,
	})
	w.play(down(api))
	w.deliver("am", deliveryOf(down(api)))
	w.pause(guard.Target, web)
	w.play(down(web))
	w.wantSeries(map[string]float64{
		"remediator_runs_total fixed,cure": 1, "remediator_runs_total refused,cure": 1, "remediator_runs_total fixed,next": 0,
		"remediator_events_total am,chosen": 1, "remediator_events_total am,refused": 1, "remediator_events_total am,shadowed": 2, "remediator_events_total am,duplicate": 2, "remediator_refusals_total paused": 1,
		"remediator_steps_total fake.act,ok": 1, "remediator_budget_left cure,1h0m0s": 1, "remediator_budget_left cure,24h0m0s": 3,
		"remediator_budget_left next,1h0m0s": 2, "remediator_pauses": 1, "remediator_webhook_to_action_seconds": 1,
	})
	for range 5 {
		_ = w.systems.Do("fake", false, func() error { return errTimeout })
	}
	w.wantSeries(map[string]float64{"remediator_system_breaker_open fake": 1})
	problems, err := testutil.GatherAndLint(w.registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestAVerdictIsCountedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("no", "if: health.value > 5.0"), rule("cure"))
	w.metrics.Init(w.book.current)
	w.scene(api).hooks.ask = func(int, *fact) ([]string, error) { return []string{"ok"}, nil }
	w.play(down(api))
	w.wantSeries(map[string]float64{
		"remediator_events_total am,if_false": 1, "remediator_events_total am,refused": 1, "remediator_events_total am,undecided": 0,
		"remediator_refusals_total unknown_facts": 1,
	})
}

func TestEveryReasonIsAZeroAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.metrics.Init(w.book.current)
	for _, reason := range guard.Reasons() {
		w.wantSeries(map[string]float64{"remediator_refusals_total " + string(reason): 0})
	}
	for _, outcome := range remediation.Outcomes() {
		w.wantSeries(map[string]float64{"remediator_runs_total " + string(outcome) + ",cure": 0})
	}
}

func TestAnOldPinIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("pin", "do: [{fake.pin: {to: good}}]"))
	w.clock.Store(time.Now().Add(-25 * time.Hour).UnixMicro())
	w.registry.MustRegister(remediation.NewGauges(w.store, w.book))
	w.play(down(api))
	w.wantSeries(map[string]float64{"remediator_pinned_targets": 1, "remediator_pins_older_than_day": 1})
}

func deliveryOf(a ...alert.Alert) sources.Delivery { return sources.Delivery{Alerts: a} }
