package http

import (
	nethttp "net/http"

	"github.com/go-chi/chi/v5"
)

// right is what a route asks of its caller. The zero right lets nobody in.
type right int

const (
	nobody right = iota
	public       // anybody who reaches the port; a webhook's source authenticates its deliveries itself
	api          // the unix socket's user, or the bearer of the token
)

// road is the way a request came in.
type road int

const (
	byTCP road = iota
	bySocket
)

// route is one line of the table that everything served is in.
type route struct {
	method  string
	pattern string
	right   right
	handle  nethttp.HandlerFunc
	codes   []int // the answers whose counts show from the start
}

// elsewhere is the metrics' name of every request that fits no route.
const elsewhere = "elsewhere"

const (
	ok          = nethttp.StatusOK
	accepted    = nethttp.StatusAccepted
	badRequest  = nethttp.StatusBadRequest
	unsigned    = nethttp.StatusUnauthorized
	forbidden   = nethttp.StatusForbidden
	notFound    = nethttp.StatusNotFound
	notAllowed  = nethttp.StatusMethodNotAllowed
	conflict    = nethttp.StatusConflict
	tooLarge    = nethttp.StatusRequestEntityTooLarge
	failed      = nethttp.StatusInternalServerError
	unavailable = nethttp.StatusServiceUnavailable
)

func (e *edge) routes() []route {
	get, post := nethttp.MethodGet, nethttp.MethodPost
	return []route{
		{get, "/", public, e.about, []int{ok}},
		{get, "/-/healthy", public, e.healthy, []int{ok}},
		{get, "/-/ready", public, e.ready, []int{ok, unavailable}},
		{get, "/metrics", public, e.exposition(), []int{ok}},
		{post, "/v1/webhooks/{source}", public, e.webhook,
			[]int{accepted, badRequest, unsigned, notFound, tooLarge, unavailable}},
		{post, "/v1/slack/{connection}", public, e.click, []int{ok, badRequest, unsigned, notFound, unavailable}},
		{post, "/-/reload", api, e.reload, []int{ok, badRequest, forbidden}},
		{get, "/v1/status", api, e.status, []int{ok, forbidden}},
		{get, "/v1/runs", api, e.runs, []int{ok, badRequest, forbidden}},
		{get, "/v1/runs/{id}", api, e.run, []int{ok, forbidden, notFound}},
		{get, "/v1/events/{id}", api, e.event, []int{ok, forbidden, notFound}},
		{get, "/v1/audit", api, e.audit, []int{ok, forbidden, notFound}},
		{get, "/v1/audit/head", api, e.head, []int{ok, forbidden, notFound}},
		{get, "/v1/audit/anchors/{anchor}", api, e.anchor, []int{ok, badRequest, forbidden, notFound}},
		{post, "/v1/pause", api, e.pause, []int{ok, badRequest, forbidden, notFound}},
		{post, "/v1/resume", api, e.resume, []int{ok, badRequest, forbidden}},
		{post, "/v1/release", api, e.release, []int{ok, badRequest, forbidden}},
		{post, "/v1/declare", api, e.declare, []int{ok, forbidden}},
		{post, "/v1/approve", api, e.approve, []int{ok, badRequest, forbidden, notFound, conflict}},
		{post, "/v1/deny", api, e.deny, []int{ok, badRequest, forbidden, notFound, conflict}},
		{post, "/v1/mark", api, e.mark, []int{ok, badRequest, forbidden, notFound}},
		{post, "/v1/unmark", api, e.unmark, []int{ok, badRequest, forbidden, notFound}},
		{post, "/v1/run", api, e.start, []int{accepted, badRequest, forbidden, notFound, conflict}},
		{post, "/v1/unpin", api, e.unpin, []int{accepted, badRequest, forbidden, notFound, conflict}},
	}
}

// router serves the table to those who come by the road.
func (e *edge) router(by road) nethttp.Handler {
	mux := chi.NewRouter()
	for _, r := range e.routes() {
		mux.Method(r.method, r.pattern, e.measured(r.pattern, e.allowed(r.right, by, e.inRole(r))))
	}
	mux.NotFound(e.measured(elsewhere, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		refuse(w, notFound, "there is nothing here")
	}))
	mux.MethodNotAllowed(e.measured(elsewhere, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		refuse(w, notAllowed, r.Method+" is not served here")
	}))
	return mux
}
