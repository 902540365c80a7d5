package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// Errors of taking a body in.
var (
	errTooLarge = errors.New("the body is too large")
	errFull     = errors.New("too many deliveries at once")
)

// kept is the answer to a delivery that is stored.
type kept struct {
	Event     string   `json:"event"`
	Duplicate bool     `json:"duplicate"`
	Runs      []string `json:"runs"`
	Note      string   `json:"note,omitempty"`
}

func (e *edge) webhook(w nethttp.ResponseWriter, r *nethttp.Request) {
	received := e.cfg.Now()
	if k, ok := e.cfg.Intake.(Known); ok && !k.Known(chi.URLParam(r, "source")) {
		w.Header().Set("Connection", "close") // the body is not read
		e.refuseDelivery(w, r, remediation.ErrUnknownSource)
		return
	}
	loan := &loan{of: e.held}
	defer loan.repay()
	body, err := e.body(r, loan)
	if err != nil {
		e.refuseBody(w, r, err)
		return
	}
	if err := e.turn(r.Context()); err != nil {
		busy(w, err.Error())
		return
	}
	defer func() { <-e.turns }()
	got, err := e.cfg.Intake.Accept(r.Context(), remediation.Inbound{
		Source: chi.URLParam(r, "source"), Request: proof(r, body), ReceivedAt: received,
	})
	if err != nil {
		e.refuseDelivery(w, r, err)
		return
	}
	answer(w, accepted, keptAs(got))
}

// proof is what the sender of a request may be known by.
func proof(r *nethttp.Request, body []byte) sources.Request {
	p := sources.Request{Header: r.Header, Query: r.URL.Query(), Body: body}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		p.Client = r.TLS.PeerCertificates[0]
	}
	return p
}

func keptAs(a remediation.Accepted) kept {
	k := kept{Event: a.Event, Duplicate: a.Duplicate, Runs: make([]string, 0, len(a.Runs)), Note: noteOf(a)}
	for _, hint := range a.Runs {
		k.Runs = append(k.Runs, hint.Run)
	}
	return k
}

// noteOf tells the reader of the answer what the rules said without a run.
func noteOf(a remediation.Accepted) string {
	if a.Duplicate {
		return "this delivery was known already"
	}
	const shown = 10
	var said []string
	if a.Note != "" {
		said = append(said, a.Note)
	}
	for i, ruling := range a.Rulings {
		if i == shown {
			said = append(said, fmt.Sprintf("and %d more", len(a.Rulings)-shown))
			break
		}
		said = append(said, strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", ruling.Rule, ruling.Verdict, ruling.Detail), ": "))
	}
	return strings.Join(said, "; ")
}

// turn waits a little for one of the places; whoever gets it must give it back.
func (e *edge) turn(ctx context.Context) error {
	select {
	case e.turns <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(e.cfg.Patience)
	defer patience.Stop()
	select {
	case e.turns <- struct{}{}:
		return nil
	case <-patience.C:
		return errFull
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errFull, ctx.Err())
	}
}

// refuseBody answers a body that did not come in whole. One that came too slowly is the network's fault, or an attack: the sender may
// come again.
func (e *edge) refuseBody(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	e.cfg.Log.WarnContext(r.Context(), "a webhook's body was refused", "source", shown(r), "remote", r.RemoteAddr, "error", err)
	w.Header().Set("Connection", "close")
	switch {
	case errors.Is(err, errTooLarge):
		refuse(w, tooLarge, fmt.Sprintf("the body is larger than %d bytes", e.cfg.MaxBody))
	case errors.Is(err, errFull), errors.Is(err, os.ErrDeadlineExceeded):
		busy(w, "the body could not be taken in time")
	default:
		refuse(w, badRequest, "the body was cut off")
	}
}

// refuseDelivery answers an error of the intake. Whoever asks is not known to be a friend: only the source's own reason, which names
// no secret, is told.
func (e *edge) refuseDelivery(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	log := e.cfg.Log.With("source", shown(r), "remote", r.RemoteAddr, "error", err)
	switch {
	case errors.Is(err, sources.ErrUnauthenticated):
		log.WarnContext(r.Context(), "a webhook was not authenticated")
		refuse(w, unsigned, err.Error())
	case errors.Is(err, remediation.ErrUnknownSource):
		log.WarnContext(r.Context(), "a webhook for a source that is not configured")
		refuse(w, notFound, "no such source is configured")
	default:
		log.ErrorContext(r.Context(), "a webhook could not be kept")
		busy(w, "the delivery cannot be kept now; send it again")
	}
}

// shown bounds a name out of a URL for the log.
func shown(r *nethttp.Request) string { return fmt.Sprintf("%.64s", chi.URLParam(r, "source")) }

// body reads the request's body whole. Memory is borrowed as bytes arrive, so that those who send slowly hold little of it.
func (e *edge) body(r *nethttp.Request, l *loan) ([]byte, error) {
	if r.ContentLength > e.cfg.MaxBody {
		return nil, errTooLarge
	}
	var buf []byte
	for {
		if len(buf) == cap(buf) {
			grown := min(max(2*int64(cap(buf)), 4<<10), e.cfg.MaxBody+1)
			if !l.borrow(grown - int64(cap(buf))) {
				return nil, errFull
			}
			buf = append(make([]byte, 0, grown), buf...)
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > e.cfg.MaxBody:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, fmt.Errorf("reading the body: %w", err)
		}
	}
}

// allowance bounds the memory that bodies hold together, in bytes.
type allowance struct {
	most int64
	held atomic.Int64
}

// loan is one body's part of the allowance. For one goroutine.
type loan struct {
	of   *allowance
	size int64
}

func (l *loan) borrow(n int64) bool {
	if l.of.held.Add(n) > l.of.most {
		l.of.held.Add(-n)
		return false
	}
	l.size += n
	return true
}

func (l *loan) repay() { l.of.held.Add(-l.size) }
