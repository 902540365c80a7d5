package store

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// writeKind is what a transaction is for: the label of the commit counter.
type writeKind string

const (
	writeAccept    writeKind = "accept"
	writeBody      writeKind = "body"
	writeRun       writeKind = "run"
	writeOutbox    writeKind = "outbox"
	writeControl   writeKind = "control"
	writeChain     writeKind = "chain"
	writeRetention writeKind = "retention"
)

type metrics struct {
	commits  *prometheus.CounterVec
	batch    prometheus.Histogram
	failures *prometheus.CounterVec
	chain    prometheus.Gauge
}

func newMetrics() metrics {
	m := metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_store_commits_total",
			Help: "Committed transactions by what they were for.",
		}, []string{"kind"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remediator_store_accept_batch_deliveries",
			Help:    "Deliveries that were stored by one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_store_visit_failures_total",
			Help: "Visits that ended in an error and are tried again, by what was visited.",
		}, []string{"kind"}),
		chain: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "remediator_chain_length",
			Help: "Finished runs that are linked into the fleet's chain.",
		}),
	}
	for _, kind := range []writeKind{writeAccept, writeBody, writeRun, writeOutbox, writeControl, writeChain, writeRetention} {
		m.commits.WithLabelValues(string(kind))
	}
	for _, kind := range []taskKind{advanceTask, matchTask, deliverTask} {
		m.failures.WithLabelValues(string(kind))
	}
	return m
}

func (m metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.commits, m.batch, m.failures, m.chain} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("registering the store's metrics: %w", err)
		}
	}
	return nil
}
