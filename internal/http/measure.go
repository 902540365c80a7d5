package http

import (
	nethttp "net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics creates the series of every route, so that zeros show.
func newMetrics(r prometheus.Registerer, routes []route) *metrics {
	auto := promauto.With(r)
	m := &metrics{
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "remediator_http_requests_total",
			Help: "Requests by the pattern of their route and the status they were answered with.",
		}, []string{"route", "code"}),
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "remediator_http_request_duration_seconds",
			Help:    "Time from a request's header to its answer, by the pattern of its route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
	}
	for _, rt := range append(routes, route{pattern: elsewhere, codes: []int{notFound, notAllowed}}) {
		m.duration.WithLabelValues(rt.pattern)
		for _, code := range rt.codes {
			m.requests.WithLabelValues(rt.pattern, strconv.Itoa(code))
		}
	}
	return m
}

// watched remembers the status of an answer.
type watched struct {
	nethttp.ResponseWriter
	code int
}

// WriteHeader keeps the first status.
func (w *watched) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implies a status of 200, as net/http has it.
func (w *watched) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = nethttp.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watched) Unwrap() nethttp.ResponseWriter { return w.ResponseWriter }

// measured counts and times the requests of a route, and answers 503 where its handler panics: a sender keeps what it sent.
func (e *edge) measured(pattern string, next nethttp.HandlerFunc) nethttp.HandlerFunc {
	duration := e.metrics.duration.WithLabelValues(pattern)
	return func(inner nethttp.ResponseWriter, r *nethttp.Request) {
		w := &watched{ResponseWriter: inner}
		start := time.Now()
		defer func() {
			duration.Observe(time.Since(start).Seconds())
			e.metrics.requests.WithLabelValues(pattern, strconv.Itoa(max(w.code, nethttp.StatusOK))).Inc()
		}()
		defer e.recovered(w, r, pattern)
		next(w, r)
	}
}

// recovered must be deferred itself.
func (e *edge) recovered(w *watched, r *nethttp.Request, pattern string) {
	p := recover()
	if p == nil {
		return
	}
	e.cfg.Log.ErrorContext(r.Context(), "a handler panicked", "route", pattern, "panic", p, "stack", string(debug.Stack()))
	if w.code == 0 {
		busy(w, "an internal error; try again")
	}
}
