package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"
)

// health is what the backend's /health answers.
type health struct {
	Status  string `json:"status"`
	MongoDB struct {
		Connected bool `json:"connected"`
	} `json:"mongodb"`
}

// backendHandler answers for every service under /SERVICE/.
func (p *platform) backendHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{service}/control", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/{service}/", p.serveHealth)
	return mux
}

// serveHealth answers as the revision that gets this request does.
func (p *platform) serveHealth(w http.ResponseWriter, r *http.Request) {
	reply, err := p.ask(r.PathValue("service"))
	if err != nil {
		http.Error(w, "no such service", http.StatusNotFound)
		return
	}
	if err := sleep(r.Context(), reply.delay); err != nil {
		return
	}
	if reply.text != "" {
		http.Error(w, reply.text, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Revision", reply.revision)
	w.WriteHeader(reply.status)
	_ = json.NewEncoder(w).Encode(reply.body)
}

type reply struct {
	status   int
	revision string
	text     string // of the platform's own answer, when no container could
	body     health
	delay    time.Duration
}

func (p *platform) ask(service string) (reply, error) {
	now := p.lock()
	defer p.mu.Unlock()
	s, err := p.find(service)
	if err != nil {
		return reply{}, err
	}
	rev := s.pick(p.dice.float())
	if rev == nil || rev.health() == NeverReady || now.Before(rev.warmAt) {
		return reply{text: "Service Unavailable"}, nil
	}
	out := reply{status: http.StatusOK, revision: rev.name}
	out.body.Status, out.body.MongoDB.Connected = "ok", !s.dependencyDown
	if s.sick(rev) {
		out.status, out.body.Status = http.StatusServiceUnavailable, "error"
	}
	if rev.health() == Slow {
		out.delay = p.cfg.scaled(rev.code.p95)
	}
	return out, nil
}

// pick draws a revision by its share of the traffic; x is in [0, 1).
func (s *runService) pick(x float64) *runRevision {
	x *= 100
	for _, name := range slices.Sorted(maps.Keys(s.serving)) {
		if x -= float64(s.serving[name]); x < 0 {
			return s.revisions[name]
		}
	}
	return nil
}
