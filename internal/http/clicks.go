package http

import (
	"errors"
	nethttp "net/http"

	"github.com/go-chi/chi/v5"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// maxClick bounds a request of Slack's, in bytes: it carries the message that the button stands in.
const maxClick = 256 << 10

// click takes a click on a button in Slack, which waits three seconds for an answer.
func (e *edge) click(w nethttp.ResponseWriter, r *nethttp.Request) {
	loan := e.loan(r)
	defer loan.repay()
	body, err := e.body(r, loan, maxClick)
	switch {
	case errors.Is(err, errFull):
		busy(w, err.Error())
		return
	case err != nil:
		refuse(w, badRequest, "the request must come whole and not be too large")
		return
	}
	err = e.cfg.Clicks.Click(r.Context(), chi.URLParam(r, "connection"), r.Header, body)
	var secret *connect.SecretError
	switch {
	case err == nil:
		answer(w, ok, map[string]bool{"ok": true})
	case errors.Is(err, connect.ErrUnsigned):
		refuse(w, unsigned, "the request is not signed as Slack signs")
	case errors.Is(err, remediation.ErrNotFound):
		refuse(w, notFound, "there is no such Slack connection")
	case errors.As(err, &secret):
		e.cfg.Log.ErrorContext(r.Context(), "a click could not be judged", "error", err)
		busy(w, "the signing secret cannot be read")
	default:
		refuse(w, badRequest, err.Error())
	}
}
