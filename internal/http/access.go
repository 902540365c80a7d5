package http

import (
	"crypto/sha256"
	"crypto/subtle"
	nethttp "net/http"
	"regexp"
	"slices"
	"strings"
)

// actorHeader names the person at the other end of the unix socket, as the command line says.
const actorHeader = "X-Remediator-Actor"

// anonymous is the actor of a verb whose caller has no name.
const anonymous = "api"

var actorName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// allowed lets a request through that has the right. What is not expressly let through is refused.
func (e *edge) allowed(need right, by road, next nethttp.HandlerFunc) nethttp.HandlerFunc {
	switch {
	case need == public:
		return next
	case need == api && by == bySocket:
		return next
	case need == api && !e.cfg.Token.IsZero():
		return e.withToken(next)
	default:
		return func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			refuse(w, forbidden, "this is served on the unix socket only: no API token is configured")
		}
	}
}

// Roles of a process that the edge knows. Health, readiness, metrics and the reload are served in every role.
const (
	IngestRole = "ingest" // takes webhooks, and clicks on buttons
	UIRole     = "ui"     // serves the API
)

// inRole refuses what this process was not started for, in words that let a sender keep its delivery.
func (e *edge) inRole(r route) nethttp.HandlerFunc {
	switch {
	case strings.HasPrefix(r.pattern, "/v1/webhooks/"), strings.HasPrefix(r.pattern, "/v1/slack/"):
		if !e.plays(IngestRole) {
			return func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				busy(w, "this process takes no webhooks: it lacks the role "+IngestRole)
			}
		}
	case strings.HasPrefix(r.pattern, "/v1/"):
		if !e.plays(UIRole) {
			return func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				refuse(w, forbidden, "this process does not serve the API: it lacks the role "+UIRole)
			}
		}
	}
	return r.handle
}

func (e *edge) plays(role string) bool {
	return e.cfg.Roles == nil || slices.Contains(e.cfg.Roles, role)
}

// withToken reads the token on every request, so that it can be rotated without a restart.
func (e *edge) withToken(next nethttp.HandlerFunc) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		r.Header.Del(actorHeader) // a name is believed on the socket only
		want, err := e.cfg.Token.Read()
		if err != nil {
			e.cfg.Log.ErrorContext(r.Context(), "the API token cannot be read", "error", err)
			busy(w, "the API token cannot be read")
			return
		}
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !same(strings.TrimSpace(got), want.Reveal()) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="remediator"`)
			refuse(w, unsigned, "the API needs the header Authorization: Bearer with the configured token")
			return
		}
		next(w, r)
	}
}

// same compares in a time that tells nothing, not even the length.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// actor names who asks for a verb.
func actor(r *nethttp.Request) string {
	if name := r.Header.Get(actorHeader); actorName.MatchString(name) {
		return name
	}
	return anonymous
}
