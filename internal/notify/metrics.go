package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/mixillo/remediator/internal/remediation"
)

// Results of an attempt, as the metric's label shows them.
const (
	resultSent    = "sent"
	resultSkipped = "skipped"
	resultDead    = "dead"
	resultRetry   = "retry"
)

// kinds of message by channel. Nothing else is told, so the label set is closed.
var kinds = map[remediation.Channel][]remediation.MessageKind{
	remediation.PagerDuty: {
		remediation.Acknowledge, remediation.Note, remediation.Resolve, remediation.Escalate,
		remediation.Prioritise, remediation.AskResponders, remediation.StatusUpdate,
	},
	remediation.Slack: {remediation.Post, remediation.Escalate, remediation.Replace, remediation.ReportRun},
}

type metrics struct {
	messages *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	auto := promauto.With(r)
	m := &metrics{
		messages: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_messages_total",
			Help: "Attempts to tell a message, by how they ended: sent, skipped, dead (given up) or retry.",
		}, []string{"channel", "kind", "result"}),
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "remediator_message_duration_seconds",
			Help:    "Time from a message's entry into the outbox until it was told.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 3600, 86400},
		}, []string{"channel", "kind"}),
	}
	m.start()
	return m
}

// start creates every series, so that zeros show.
func (m *metrics) start() {
	for channel, all := range kinds {
		for _, kind := range all {
			m.duration.WithLabelValues(string(channel), string(kind))
			for _, result := range []string{resultSent, resultSkipped, resultDead, resultRetry} {
				m.messages.WithLabelValues(string(channel), string(kind), result)
			}
		}
	}
}

func (m *metrics) count(msg remediation.Message, s remediation.Sent) {
	channel, kind := string(msg.Channel), string(msg.Kind)
	m.messages.WithLabelValues(channel, kind, result(s.State)).Inc()
	if s.State == remediation.MessageSent {
		m.duration.WithLabelValues(channel, kind).Observe(s.At.Sub(msg.CreatedAt).Seconds())
	}
}

func result(s remediation.MessageState) string {
	switch s {
	case remediation.MessageSent:
		return resultSent
	case remediation.MessageSkipped:
		return resultSkipped
	case remediation.MessageDead:
		return resultDead
	default:
		return resultRetry
	}
}
