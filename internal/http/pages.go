package http

import (
	"fmt"
	nethttp "net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (e *edge) about(w nethttp.ResponseWriter, _ *nethttp.Request) {
	text(w, ok, fmt.Sprintf(`remediator %s

It receives alerts, matches them against rules, and runs guarded, verified actions.

POST /v1/webhooks/{source}   deliver an alert
GET  /-/healthy, /-/ready    is it alive, can it keep deliveries
GET  /metrics                for Prometheus
     /v1/...                 the API: on the unix socket, or with a token
`, e.cfg.Version))
}

func (e *edge) healthy(w nethttp.ResponseWriter, _ *nethttp.Request) {
	text(w, ok, "remediator is alive.\n")
}

func (e *edge) ready(w nethttp.ResponseWriter, _ *nethttp.Request) {
	if err := e.cfg.Ready(); err != nil {
		w.Header().Set("Retry-After", retryAfter)
		text(w, unavailable, "remediator is not ready: "+err.Error()+"\n")
		return
	}
	text(w, ok, "remediator is ready.\n")
}

func (e *edge) exposition() nethttp.HandlerFunc {
	return promhttp.HandlerFor(e.cfg.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP
}

// reload reads the rules again. Rules that are wrong are told to the caller, and the former stay in force.
func (e *edge) reload(w nethttp.ResponseWriter, r *nethttp.Request) {
	e.cfg.Log.InfoContext(r.Context(), "a reload of the rules was asked for", "actor", actor(r))
	if err := e.cfg.Reload(r.Context()); err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	answer(w, ok, map[string]bool{"reloaded": true})
}

func text(w nethttp.ResponseWriter, code int, s string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(s))
}
