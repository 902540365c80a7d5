package remediation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/sources"
)

// feedMetrics tell how the sources' words come. Times are of this process: of several take the latest.
type feedMetrics struct {
	delivered *prometheus.GaugeVec
	polled    *prometheus.GaugeVec
	failed    *prometheus.CounterVec
	found     *prometheus.CounterVec
	alarms    *prometheus.GaugeVec
}

func newFeedMetrics() feedMetrics {
	return feedMetrics{
		delivered: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remediator_source_last_delivery_timestamp_seconds", Help: "When this process last took a delivery of the source; 0 for never.",
		}, []string{"source"}),
		polled: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remediator_poll_last_success_timestamp_seconds", Help: "When this process last polled the source and got a whole answer; 0 for never.",
		}, []string{"source"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_poll_errors_total", Help: "Polls of the source that failed, or got no whole answer.",
		}, []string{"source"}),
		found: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_poll_found_total", Help: "Episodes that a poll has found before any delivery brought them.",
		}, []string{"source"}),
		alarms: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remediator_feed_alarm", Help: "Whether people were told that the source's watchdog stays away (silent) or its webhooks do not come (unsent).",
		}, []string{"source", "alarm"}),
	}
}

func (m feedMetrics) init(name string, source sources.Source) {
	m.delivered.WithLabelValues(name)
	if _, how := polling(source); how.Every > 0 {
		m.polled.WithLabelValues(name)
		m.failed.WithLabelValues(name)
		m.found.WithLabelValues(name)
		m.alarms.WithLabelValues(name, string(Unsent))
	}
	if watchdog(source) != nil {
		m.alarms.WithLabelValues(name, string(Silent))
	}
}

func (m *Metrics) delivered(source string, at time.Time) {
	m.feeds.delivered.WithLabelValues(source).Set(seconds(at))
}

func (m *Metrics) polled(source string, at time.Time) {
	m.feeds.polled.WithLabelValues(source).Set(seconds(at))
}

func (m *Metrics) pollFailed(source string) { m.feeds.failed.WithLabelValues(source).Inc() }

func (m *Metrics) foundByPoll(source string, episodes int) {
	m.feeds.found.WithLabelValues(source).Add(float64(episodes))
}

func (m *Metrics) feedAlarm(source string, kind AlarmKind, raised bool) {
	value := 0.0
	if raised {
		value = 1
	}
	m.feeds.alarms.WithLabelValues(source, string(kind)).Set(value)
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
