package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// StatusPage scripts a page of Atlassian Statuspage, such as status.mongodb.com.
type StatusPage struct {
	Name        string              `json:"name"`                // /pages/NAME/api/v2/summary.json
	Indicator   string              `json:"indicator,omitempty"` // none, minor, major, critical; default none
	UpdatedAgo  time.Duration       `json:"updated_ago,omitempty"`
	Components  []StatusComponent   `json:"components,omitempty"`
	Incidents   []StatusIncident    `json:"incidents,omitempty"`
	Maintenance []StatusMaintenance `json:"maintenance,omitempty"`
}

// StatusComponent is one part of what a page tells about.
type StatusComponent struct {
	Name   string `json:"name"`
	Status string `json:"status,omitempty"` // default operational
	Group  string `json:"group,omitempty"`  // the name of the group it belongs to
}

// StatusIncident is one incident of a Statuspage.
type StatusIncident struct {
	Name       string        `json:"name"`
	Impact     string        `json:"impact"`
	Status     string        `json:"status,omitempty"` // default investigating
	StartedAgo time.Duration `json:"started_ago,omitempty"`
	UpdatedAgo time.Duration `json:"updated_ago,omitempty"`
	Components []string      `json:"components,omitempty"` // names of those concerned
}

// StatusMaintenance is a scheduled maintenance; Status in_progress says that it is under way.
type StatusMaintenance struct {
	Name       string   `json:"name"`
	Status     string   `json:"status"`
	Components []string `json:"components,omitempty"`
}

// GoogleIncident scripts one incident of status.cloud.google.com.
type GoogleIncident struct {
	ID         string        `json:"id"`
	Text       string        `json:"text"`
	Products   []string      `json:"products"`
	Locations  []string      `json:"locations"`
	Severity   string        `json:"severity,omitempty"` // low, medium, high; default medium
	Impact     string        `json:"impact,omitempty"`   // default SERVICE_DISRUPTION
	BegunAgo   time.Duration `json:"begun_ago,omitempty"`
	UpdatedAgo time.Duration `json:"updated_ago,omitempty"`
	Ended      bool          `json:"ended,omitempty"`
}

// StripeStatus scripts Stripe: what its page says, how old that is, and how its API answers.
type StripeStatus struct {
	Page      string        `json:"page,omitempty"` // up, degraded, down; default up
	PageAgo   time.Duration `json:"page_ago,omitempty"`
	NoTime    bool          `json:"no_time,omitempty"`    // the page tells no time
	APIStatus int           `json:"api_status,omitempty"` // every call answers with it; default 401 without a key and 200 with one
}

// statusPages stands in for the three pages, and for what of Stripe's API tells that it is up: as documented at status.mongodb.com/api, by
// status.cloud.google.com/incidents.schema.json, and by stripe-cli's pkg/status.
type statusPages struct {
	ledger *ledger

	mu     sync.Mutex
	pages  map[string]StatusPage
	google []GoogleIncident
	stripe StripeStatus
}

func newStatusPages(l *ledger) *statusPages {
	return &statusPages{ledger: l, pages: map[string]StatusPage{}, stripe: StripeStatus{Page: "up"}}
}

func (s *statusPages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pages/{page}/api/v2/summary.json", s.summary)
	mux.HandleFunc("GET /google/incidents.json", s.incidents)
	mux.HandleFunc("GET /stripe/current", s.stripePage)
	mux.HandleFunc("GET /stripe-api/v1/balance", s.stripeAPI)
	return mux
}

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *statusPages) summary(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pages[r.PathValue("page")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	indicator := cmp.Or(p.Indicator, "none")
	incidents, maintenance := []object{}, []object{}
	for i, inc := range p.Incidents {
		incidents = append(incidents, inc.show(i))
	}
	for i, m := range p.Maintenance {
		maintenance = append(maintenance, object{"id": fmt.Sprintf("m%d", i), "name": m.Name, "status": m.Status, "impact": "maintenance", "components": named(m.Components)})
	}
	writeJSON(w, http.StatusOK, object{
		"page":       object{"id": p.Name, "name": p.Name, "url": "https://" + p.Name, "time_zone": "Etc/UTC", "updated_at": ago(p.UpdatedAgo)},
		"status":     object{"indicator": indicator, "description": pick(indicator == "none", "All Systems Operational", "Trouble")},
		"components": p.components(), "incidents": incidents, "scheduled_maintenances": maintenance,
	})
}

func (i StatusIncident) show(n int) object {
	return object{
		"id": fmt.Sprintf("i%d", n), "name": i.Name, "impact": i.Impact, "status": cmp.Or(i.Status, "investigating"),
		"started_at": ago(i.StartedAgo), "created_at": ago(i.StartedAgo), "updated_at": ago(i.UpdatedAgo), "resolved_at": nil, "components": named(i.Components),
	}
}

func named(names []string) []object {
	out := []object{}
	for _, n := range names {
		out = append(out, object{"id": "c-" + n, "name": n})
	}
	return out
}

// components lists the parts, each group before its own.
func (p StatusPage) components() []object {
	out, seen := []object{}, []string{}
	for _, c := range p.Components {
		if c.Group != "" && !slices.Contains(seen, c.Group) {
			seen = append(seen, c.Group)
			out = append(out, object{"id": "g-" + c.Group, "name": c.Group, "status": "operational", "group": true, "group_id": nil})
		}
		group := any(nil)
		if c.Group != "" {
			group = "g-" + c.Group
		}
		out = append(out, object{"id": "c-" + c.Name, "name": c.Name, "status": cmp.Or(c.Status, "operational"), "group": false, "group_id": group})
	}
	return out
}

func (s *statusPages) incidents(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The feed is an archive: it is never without incidents that are over.
	all := []object{GoogleIncident{ID: "archive", Text: "It is over.", Products: []string{"Cloud Run"}, Locations: []string{"us-east1"}, BegunAgo: 72 * time.Hour, UpdatedAgo: 70 * time.Hour, Ended: true}.show()}
	for _, i := range s.google {
		all = append(all, i.show())
	}
	writeJSON(w, http.StatusOK, all)
}

func (i GoogleIncident) show() object {
	products, places := []object{}, []object{}
	for _, p := range i.Products {
		products = append(products, object{"title": p, "id": strings.ReplaceAll(p, " ", "")})
	}
	for _, l := range i.Locations {
		places = append(places, object{"title": l, "id": l})
	}
	at := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format("2006-01-02T15:04:05+00:00") }
	out := object{
		"id": i.ID, "begin": at(i.BegunAgo), "created": at(i.BegunAgo), "modified": at(i.UpdatedAgo), "external_desc": i.Text,
		"most_recent_update": object{"when": at(i.UpdatedAgo), "modified": at(i.UpdatedAgo), "text": i.Text, "status": cmp.Or(i.Impact, "SERVICE_DISRUPTION")},
		"status_impact":      cmp.Or(i.Impact, "SERVICE_DISRUPTION"), "severity": cmp.Or(i.Severity, "medium"), "affected_products": products,
		"uri": "incidents/" + i.ID, "currently_affected_locations": places, "previously_affected_locations": []object{},
	}
	if i.Ended {
		out["end"] = at(i.UpdatedAgo)
		out["currently_affected_locations"], out["previously_affected_locations"] = []object{}, places
	}
	return out
}

func (s *statusPages) stripePage(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	says := cmp.Or(s.stripe.Page, "up")
	out := object{
		"largestatus": says, "message": pick(says == "up", "All services are online.", "Some services are impaired."),
		"statuses": object{"api": says, "dashboard": "up", "stripejs": "up", "checkoutjs": "up", "webhooks": "up", "emails": "up"},
	}
	if !s.stripe.NoTime {
		out["time"] = time.Now().Add(-s.stripe.PageAgo).UTC().Format("January 02, 2006 @ 03:04PM MST")
	}
	writeJSON(w, http.StatusOK, out)
}

// stripeAPI answers as Stripe's does without a key, with a wrong one and with ours (docs.stripe.com/api/errors).
func (s *statusPages) stripeAPI(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case s.stripe.APIStatus != 0:
		writeJSON(w, s.stripe.APIStatus, object{"error": object{"type": "api_error", "message": "Sorry! There was an error."}})
	case key == StripeKey:
		writeJSON(w, http.StatusOK, object{"object": "balance"})
	default:
		writeJSON(w, http.StatusUnauthorized, object{"error": object{"type": "invalid_request_error", "message": "You did not provide an API key."}})
	}
}

// SetStatusPage adds a page of Statuspage or replaces the one of that name.
func (w *World) SetStatusPage(p StatusPage) {
	w.status.mu.Lock()
	defer w.status.mu.Unlock()
	w.status.pages[p.Name] = p
	w.status.ledger.add(Entry{System: "status", Verb: "set_page", Resource: p.Name, By: Human, Detail: object{"indicator": p.Indicator}})
}

// SetGoogleIncidents replaces what status.cloud.google.com tells.
func (w *World) SetGoogleIncidents(all ...GoogleIncident) {
	w.status.mu.Lock()
	defer w.status.mu.Unlock()
	w.status.google = all
	w.status.ledger.add(Entry{System: "status", Verb: "set_google_incidents", Resource: "google", By: Human, Detail: object{"incidents": len(all)}})
}

// SetStripeStatus replaces what is told of Stripe.
func (w *World) SetStripeStatus(s StripeStatus) {
	w.status.mu.Lock()
	defer w.status.mu.Unlock()
	w.status.stripe = s
	w.status.ledger.add(Entry{System: "status", Verb: "set_stripe", Resource: "stripe", By: Human, Detail: object{"page": s.Page, "api": s.APIStatus}})
}

func statusVerbs() map[string]verb {
	return map[string]verb{
		"set-status-page": quiet((*World).SetStatusPage),
		"set-google-incidents": quiet(func(w *World, a struct {
			Incidents []GoogleIncident `json:"incidents"`
		}) {
			w.SetGoogleIncidents(a.Incidents...)
		}),
		"set-stripe-status": quiet((*World).SetStripeStatus),
	}
}
