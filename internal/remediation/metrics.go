package remediation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// Metrics are the engine's instruments. Their labels come from configuration and closed sets alone.
type Metrics struct {
	events      *prometheus.CounterVec
	runs        *prometheus.CounterVec
	steps       *prometheus.CounterVec
	stepSeconds *prometheus.HistogramVec
	refusals    *prometheus.CounterVec
	systems     *prometheus.GaugeVec
	drills      *prometheus.CounterVec
	toAction    prometheus.Histogram
	feeds       feedMetrics
}

// Verdicts of a whole event, beside those of rules.
const (
	eventUnauthenticated = "unauthenticated"
	eventTooMany         = "too_many"
	eventRepeated        = "repeated"
)

// NewMetrics registers the instruments.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_events_total", Help: "Deliveries and the verdicts of rules on them, by source.",
		}, []string{"source", "verdict"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_runs_total", Help: "Runs that are done, by rule and outcome.",
		}, []string{"rule", "outcome"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_steps_total", Help: "Calls of probes and actions, by kind and result.",
		}, []string{"kind", "result"}),
		stepSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "remediator_step_duration_seconds", Help: "Duration of calls of probes and actions.",
			Buckets: []float64{.005, .02, .1, .5, 1, 2.5, 5, 10},
		}, []string{"kind"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_refusals_total", Help: "Runs refused by a guard, by reason.",
		}, []string{"reason"}),
		systems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remediator_system_breaker_open", Help: "Whether the breaker of an outside system is open (1), half open (0.5) or closed (0).",
		}, []string{"system"}),
		drills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_drills_total", Help: "Drills that are over, by rule and outcome. They count as no events, runs or refusals.",
		}, []string{"rule", "outcome"}),
		toAction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "remediator_webhook_to_action_seconds", Help: "Time from the webhook to the end of the first call that acts.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
	}
	m.feeds = newFeedMetrics()
	r.MustRegister(m.events, m.runs, m.steps, m.stepSeconds, m.refusals, m.systems, m.drills, m.toAction)
	r.MustRegister(m.feeds.delivered, m.feeds.polled, m.feeds.failed, m.feeds.found, m.feeds.alarms)
	return m
}

// Init creates the series that the rules can lead to, so that their zeros show. Call it again after a reload.
func (m *Metrics) Init(set *rules.Set) {
	verdicts := []string{
		string(NotMatched), string(IfFalse), string(Undecided), string(Shadowed), string(Refused), string(Duplicate), string(StaleEvent),
		string(Chosen), eventUnauthenticated, eventTooMany, eventRepeated,
		string(EventIgnored), string(EventInvalid), string(EventFailed), string(EventPending),
	}
	for source, kind := range set.Sources {
		m.feeds.init(source, kind)
		for _, verdict := range verdicts {
			m.events.WithLabelValues(source, verdict)
		}
	}
	for _, rule := range set.Rules {
		for _, outcome := range Outcomes() {
			m.runs.WithLabelValues(rule.Name, string(outcome))
		}
	}
	for _, kind := range append(executors.Actions(), executors.Probes()...) {
		m.stepSeconds.WithLabelValues(kind)
		for _, result := range []string{"ok", "refused", "error"} {
			m.steps.WithLabelValues(kind, result)
		}
		m.systems.WithLabelValues(executors.System(kind))
	}
	for _, reason := range guard.Reasons() {
		m.refusals.WithLabelValues(string(reason))
	}
}

// turnedAway counts a delivery that is not stored, by why.
func (m *Metrics) turnedAway(source, why string) { m.events.WithLabelValues(source, why).Inc() }

// accepted counts a stored event by what became of it.
func (m *Metrics) accepted(a Acceptance, r Accepted) {
	if a.Event.Delivery.Drill != "" {
		return
	}
	source := a.Event.Source
	switch {
	case r.Duplicate:
		m.events.WithLabelValues(source, eventRepeated).Inc()
	case a.Event.State != EventMatched:
		m.events.WithLabelValues(source, string(a.Event.State)).Inc()
	case len(r.Rulings) == 0 && len(a.Resolved) == 0:
		m.events.WithLabelValues(source, string(NotMatched)).Inc()
	}
	for _, ruling := range r.Rulings {
		if ruling.Verdict == Candidate {
			continue // counted when its run has decided
		}
		m.events.WithLabelValues(source, string(ruling.Verdict)).Inc()
	}
}

func (m *Metrics) step(kind, result string, took time.Duration) {
	m.steps.WithLabelValues(kind, result).Inc()
	m.stepSeconds.WithLabelValues(kind).Observe(took.Seconds())
}

func (m *Metrics) firstAction(since time.Duration) { m.toAction.Observe(since.Seconds()) }

// committed counts the verdicts a commit has given, and the run it has ended.
func (m *Metrics) committed(c Commit) {
	if !c.Run.MayAffect() {
		m.drilled(c.Run)
		return
	}
	if c.Run.Phase != PhaseDecide { // a run that waits for facts judges all its candidates again
		for _, ruling := range c.Rulings {
			m.events.WithLabelValues(c.Run.Alert.Source, string(ruling.Verdict)).Inc()
		}
	}
	if c.Run.State == Done && c.Run.Reason != "" {
		m.refusals.WithLabelValues(string(c.Run.Reason)).Inc()
	}
	if c.Run.State == Done && c.Run.Outcome != NoOutcome && c.Run.Rule != "" {
		m.runs.WithLabelValues(c.Run.Rule, string(c.Run.Outcome)).Inc()
	}
}

// drilled counts a drill that is over, apart from what is real.
func (m *Metrics) drilled(r Run) {
	if r.State == Done {
		m.drills.WithLabelValues(r.Rule, string(r.Outcome)).Inc()
	}
}

// systemBreaker is told by gobreaker, under its lock: it must not ask the breaker anything.
func (m *Metrics) systemBreaker(system, state string) {
	open := map[string]float64{"open": 1, "half-open": 0.5}
	m.systems.WithLabelValues(system).Set(open[state])
}
