package http

import (
	"encoding/json"
	"errors"
	nethttp "net/http"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// retryAfter is what a sender is asked to wait, in seconds.
const retryAfter = "5"

// answer writes a value as JSON. Once the status is out a failure to write can only be the client's going away.
func answer(w nethttp.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		code, body = failed, []byte(`{"error":"the answer could not be encoded"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}

func refuse(w nethttp.ResponseWriter, code int, why string) {
	answer(w, code, map[string]string{"error": why})
}

// busy asks the caller to come again.
func busy(w nethttp.ResponseWriter, why string) {
	w.Header().Set("Retry-After", retryAfter)
	refuse(w, unavailable, why)
}

// fail answers an API call that went wrong. Its caller is an operator, who is told the reason.
func (e *edge) fail(w nethttp.ResponseWriter, r *nethttp.Request, err error) {
	var refusal *guard.Refusal
	switch {
	case errors.As(err, &refusal):
		answer(w, conflict, map[string]string{"error": refusal.Error(), "reason": string(refusal.Reason)})
	case errors.Is(err, remediation.ErrNotFound):
		refuse(w, notFound, err.Error())
	case errors.Is(err, remediation.ErrStaleHint):
		refuse(w, conflict, err.Error())
	case errors.Is(err, remediation.ErrUnavailable):
		busy(w, err.Error())
	default:
		e.cfg.Log.ErrorContext(r.Context(), "an API call failed", "path", r.URL.Path, "error", err)
		refuse(w, failed, err.Error())
	}
}
