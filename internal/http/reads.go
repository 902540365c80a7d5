package http

import (
	"fmt"
	nethttp "net/http"
	"slices"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/mixillo/remediator/internal/remediation"
)

// How many runs are listed at once.
const (
	defaultLimit = 50
	maxLimit     = 500
)

func (e *edge) run(w nethttp.ResponseWriter, r *nethttp.Request) {
	v, err := e.cfg.Reader.Run(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		e.fail(w, r, err)
		return
	}
	v.Steps, v.Rulings, v.Journal, v.Messages = list(v.Steps), list(v.Rulings), list(v.Journal), list(v.Messages)
	answer(w, ok, v)
}

func (e *edge) runs(w nethttp.ResponseWriter, r *nethttp.Request) {
	filter, err := filterOf(r)
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	all, err := e.cfg.Reader.Runs(r.Context(), filter)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	answer(w, ok, map[string]any{"runs": list(all)})
}

func filterOf(r *nethttp.Request) (RunFilter, error) {
	q := r.URL.Query()
	f := RunFilter{State: remediation.State(q.Get("state")), Target: q.Get("target"), Before: q.Get("before"), Limit: defaultLimit}
	states := []remediation.State{"", remediation.Queued, remediation.Running, remediation.Waiting, remediation.Done}
	if !slices.Contains(states, f.State) {
		return f, fmt.Errorf("state is one of queued, running, waiting and done, not %.40q", f.State)
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return f, fmt.Errorf("limit is a number from 1 to %d, not %.40q", maxLimit, s)
		}
		f.Limit = n
	}
	return f, nil
}

func (e *edge) event(w nethttp.ResponseWriter, r *nethttp.Request) {
	v, err := e.cfg.Reader.Event(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		e.fail(w, r, err)
		return
	}
	v.Rulings = list(v.Rulings)
	answer(w, ok, v)
}

func (e *edge) status(w nethttp.ResponseWriter, r *nethttp.Request) {
	s, err := e.cfg.Reader.Status(r.Context())
	if err != nil {
		e.fail(w, r, err)
		return
	}
	s.Version = e.cfg.Version
	s.Pauses, s.Breakers, s.Debts = list(s.Pauses), list(s.Breakers), list(s.Debts)
	s.Latches, s.Marks = list(s.Latches), list(s.Marks)
	answer(w, ok, s)
}
