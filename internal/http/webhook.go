package http

import (
	"errors"
	"fmt"
	nethttp "net/http"
	"os"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
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
	in := remediation.Inbound{Source: chi.URLParam(r, "source"), Request: proof(r), ReceivedAt: received}
	if err := e.expects(in); err != nil {
		if r.ContentLength != 0 { // net/http would wait for the body before it answers
			w.Header().Set("Connection", "close")
		}
		e.refuseDelivery(w, r, err)
		return
	}
	loan := e.loan(r)
	defer loan.repay()
	body, err := e.body(r, loan, int64(e.cfg.Limits().BodyOf(in.Source)))
	if err != nil {
		e.refuseBody(w, r, err)
		return
	}
	leave, err := e.turn(r.Context(), len(body))
	if err != nil {
		busy(w, errFull.Error())
		return
	}
	defer leave()
	in.Request.Body = body
	got, err := e.cfg.Intake.Accept(r.Context(), in)
	if err != nil {
		e.refuseDelivery(w, r, err)
		return
	}
	answer(w, accepted, keptAs(got))
}

// expects judges a delivery without its body while there is a place for that: secrets are read, and signatures judged. Where there is none it
// is judged with its body.
func (e *edge) expects(in remediation.Inbound) error {
	all := e.places.ofSize(e.cfg.Limits().InFlight)
	if !all.TryAcquire(1) {
		return nil
	}
	defer all.Release(1)
	return e.cfg.Intake.Expects(in)
}

// proof is what the sender of a request may be known by, without its body.
func proof(r *nethttp.Request) sources.Request {
	p := sources.Request{Header: r.Header, Query: r.URL.Query()}
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

// refuseBody answers a body that did not come in whole. One that came too slowly is the network's fault, or an attack: the sender may
// come again.
func (e *edge) refuseBody(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	e.cfg.Log.WarnContext(r.Context(), "a webhook's body was refused", "source", shown(r), "remote", r.RemoteAddr, "error", err)
	w.Header().Set("Connection", "close")
	switch {
	case errors.Is(err, errTooLarge):
		refuse(w, tooLarge, fmt.Sprintf("the body is larger than %s", e.cfg.Limits().BodyOf(chi.URLParam(r, "source"))))
	case errors.Is(err, errFull), errors.Is(err, os.ErrDeadlineExceeded):
		busy(w, "the body could not be taken in time")
	default:
		refuse(w, badRequest, "the body was cut off")
	}
}

// challenge asks for a password: Cloud Monitoring sends its own only after it was asked
// (https://cloud.google.com/monitoring/support/notification-options).
const challenge = `Basic realm="remediator"`

// refuseDelivery answers an error of the intake. Whoever asks is not known to be a friend: only the source's own reason, which names
// no secret, is told.
func (e *edge) refuseDelivery(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	log := e.cfg.Log.With("source", shown(r), "remote", r.RemoteAddr, "error", err)
	switch {
	case errors.Is(err, sources.ErrUnauthenticated):
		log.WarnContext(r.Context(), "a webhook was not authenticated")
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, unsigned, err.Error())
	case errors.Is(err, remediation.ErrUnknownSource):
		log.WarnContext(r.Context(), "a webhook for a source that is not configured")
		refuse(w, notFound, "no such source is configured")
	case errors.Is(err, remediation.ErrTooMany):
		log.WarnContext(r.Context(), "a webhook came faster than its source may send")
		busy(w, "the source sends more, or more large deliveries, than its rate allows; send it again")
	default:
		log.ErrorContext(r.Context(), "a webhook could not be kept")
		busy(w, "the delivery cannot be kept now; send it again")
	}
}

// shown bounds a name out of a URL for the log.
func shown(r *nethttp.Request) string { return fmt.Sprintf("%.64s", chi.URLParam(r, "source")) }
