package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const bodyLimit = 1 << 20

// call is one authenticated REST request under the account's lock.
type call struct {
	*http.Request
	by   actor // from the From header; automation on reads
	body []byte
	inc  *Incident // of the path, where it names one
}

// answer is what a REST operation gives: a body, or a problem.
type answer func(p *pagerDuty, c *call) (int, object, *problem)

func (p *pagerDuty) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]answer{
		"GET /incidents":                          listIncidents,
		"POST /incidents":                         createIncident,
		"PUT /incidents":                          manageIncidents,
		"GET /incidents/{id}":                     getIncident,
		"GET /incidents/{id}/alerts":              listAlerts,
		"GET /incidents/{id}/notes":               listNotes,
		"POST /incidents/{id}/notes":              createNote,
		"GET /users/me":                           getMe,
		"GET /users":                              listUsers,
		"GET /abilities":                          listAbilities,
		"GET /escalation_policies/{id}":           getPolicy,
		"POST /incidents/{id}/status_updates":     createStatusUpdate,
		"POST /incidents/{id}/responder_requests": createResponderRequest,
	} {
		mux.HandleFunc(pattern, p.serve(h))
	}
	for pattern, h := range contextRoutes() {
		mux.HandleFunc(pattern, p.serve(h))
	}
	mux.HandleFunc("POST /v2/enqueue", p.enqueue)
	return p.faults.wrap(mux)
}

func (p *pagerDuty) serve(h answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		c, trouble := p.admit(r)
		if trouble != nil {
			p.refuse(w, r, trouble)
			return
		}
		status, body, trouble := h(p, c)
		if trouble != nil {
			p.refuse(w, r, trouble)
			return
		}
		writeJSON(w, status, body)
	}
}

// refuse answers a problem; a refused change is recorded.
func (p *pagerDuty) refuse(w http.ResponseWriter, r *http.Request, trouble *problem) {
	if r.Method != http.MethodGet {
		p.ledger.add(Entry{
			System: "pagerduty", Verb: strings.ToLower(r.Method) + "_refused", Resource: r.URL.Path, By: r.Header.Get("From"),
			Detail: map[string]any{"status": trouble.status, "code": trouble.code, "message": trouble.message, "errors": trouble.errors},
		})
	}
	writeJSON(w, trouble.status, trouble.body())
}

func (p *pagerDuty) admit(r *http.Request) (*call, *problem) {
	c := &call{Request: r}
	if auth := r.Header.Get("Authorization"); auth != "Token token="+PagerDutyToken && auth != "Bearer "+PagerDutyToken {
		return nil, &problem{http.StatusUnauthorized, 2006, "Authentication failed", nil}
	}
	if r.Method != http.MethodGet {
		if trouble := c.identify(); trouble != nil {
			return nil, trouble
		}
	}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, bodyLimit)); err != nil {
		return nil, invalid("the body could not be read")
	}
	if id := r.PathValue("id"); id != "" && strings.HasPrefix(r.URL.Path, "/incidents/") {
		if c.inc = p.find(id); c.inc == nil {
			return nil, notFound()
		}
	}
	return c, nil
}

// identify finds the user of the From header, which every write needs but the
// responder request, whose body names its requester.
func (c *call) identify() *problem {
	from := c.Header.Get("From")
	if from == "" && strings.HasSuffix(c.URL.Path, "/responder_requests") {
		return nil
	}
	if from == "" {
		return invalid("From header is required")
	}
	u, ok := userBy(func(u user) bool { return strings.EqualFold(u.email, from) })
	if !ok {
		return &problem{http.StatusBadRequest, 1008, "Requester User Not Found", nil}
	}
	c.by = actor{u}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// listIncidents filters as the vendor does. The account has no teams. Without date_range=all or since it leaves out what was opened before
// the last month.
func listIncidents(p *pagerDuty, c *call) (int, object, *problem) {
	q := c.URL.Query()
	since, until, trouble := listedTimes(q)
	if trouble != nil {
		return 0, nil, trouble
	}
	var out []any
	for _, inc := range p.incidents {
		switch key, services := q.Get("incident_key"), q["service_ids[]"]; {
		case len(q["statuses[]"]) > 0 && !slices.Contains(q["statuses[]"], inc.Status):
		case key != "" && !inc.known(key):
		case len(services) > 0 && !slices.Contains(services, inc.ServiceID), len(q["team_ids[]"]) > 0:
		case inc.CreatedAt.Before(since), !until.IsZero() && !inc.CreatedAt.Before(until):
		default:
			out = append(out, inc.rest())
		}
	}
	if q.Get("sort_by") == "created_at:desc" {
		slices.Reverse(out)
	}
	return listing("incidents", out, c)
}

// listedTimes are the bounds of a list of incidents; zero for none.
func listedTimes(q url.Values) (since, until time.Time, trouble *problem) {
	if q.Get("date_range") == "all" {
		return since, until, nil
	}
	since = time.Now().AddDate(0, -1, 0)
	for key, at := range map[string]*time.Time{"since": &since, "until": &until} {
		text := q.Get(key)
		if text == "" {
			continue
		}
		var err error
		if *at, err = time.Parse(time.RFC3339, text); err != nil {
			return since, until, invalid("%s is no time", key)
		}
	}
	return since, until, nil
}

// known reports whether an incident is found by the key: by its own, or, when
// it holds several alerts and has none, by the alert_key of any of them.
func (inc *Incident) known(key string) bool {
	return inc.Key == key || slices.ContainsFunc(inc.Alerts, func(a Alert) bool { return a.Key == key })
}

// listing answers one page of a collection.
func listing(name string, all []any, c *call) (int, object, *problem) {
	limit, offset := 25, 0
	for key, n := range map[string]*int{"limit": &limit, "offset": &offset} {
		text := c.URL.Query().Get(key)
		if text == "" {
			continue
		}
		var err error
		if *n, err = strconv.Atoi(text); err != nil || *n < 0 {
			return 0, nil, invalid("%s must be a positive number", key)
		}
	}
	limit = min(limit, 100)
	start := min(offset, len(all))
	end := min(start+limit, len(all))
	page := append([]any{}, all[start:end]...)
	return http.StatusOK, object{name: page, "limit": limit, "offset": offset, "more": end < len(all), "total": nil}, nil
}

func getIncident(_ *pagerDuty, c *call) (int, object, *problem) {
	return http.StatusOK, object{"incident": c.inc.rest()}, nil
}

func listAlerts(_ *pagerDuty, c *call) (int, object, *problem) {
	var out []any
	statuses, key := c.URL.Query()["statuses[]"], c.URL.Query().Get("alert_key")
	for _, a := range c.inc.Alerts {
		if (len(statuses) == 0 || slices.Contains(statuses, a.Status)) && (key == "" || key == a.Key) {
			out = append(out, a.rest(c.inc))
		}
	}
	return listing("alerts", out, c)
}

func listNotes(_ *pagerDuty, c *call) (int, object, *problem) {
	notes := []any{}
	for _, n := range c.inc.Notes {
		notes = append(notes, n.rest())
	}
	return http.StatusOK, object{"notes": notes}, nil
}

func createNote(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		Note struct {
			Content string `json:"content"`
		} `json:"note"`
	}
	if json.Unmarshal(c.body, &req) != nil || req.Note.Content == "" {
		return 0, nil, invalid("Content cannot be empty.")
	}
	return http.StatusOK, object{"note": p.annotate(c.inc, c.by, req.Note.Content).rest()}, nil
}

func createStatusUpdate(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(c.body, &req) != nil || req.Message == "" {
		return 0, nil, invalid("Message cannot be empty.")
	}
	n := Note{ID: p.dice.id("P"), User: c.by.id, Content: req.Message, At: time.Now().UTC()}
	c.inc.StatusUpdates = append(c.inc.StatusUpdates, n)
	p.record(c.inc, c.by, "status_update_published", "incident.status_update_published", map[string]any{"id": n.ID, "message": n.Content})
	return http.StatusOK, object{"status_update": object{
		"id": n.ID, "message": n.Content, "created_at": n.At.Format(time.RFC3339), "sender": userReference(n.User),
	}}, nil
}

func createResponderRequest(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		RequesterID string `json:"requester_id"`
		Message     string `json:"message"`
		Targets     []struct {
			Target struct {
				ID   string `json:"id"`
				Type string `json:"type"`
			} `json:"responder_request_target"`
		} `json:"responder_request_targets"`
	}
	if json.Unmarshal(c.body, &req) != nil || req.RequesterID == "" || req.Message == "" || len(req.Targets) == 0 {
		return 0, nil, invalid("requester_id, message and responder_request_targets are required")
	}
	c.inc.Requests = append(c.inc.Requests, Note{ID: p.dice.id("P"), User: req.RequesterID, Content: req.Message, At: time.Now().UTC()})
	targets := []any{}
	for _, t := range req.Targets {
		id := t.Target.ID
		c.inc.Responders = append(c.inc.Responders, id)
		p.record(c.inc, c.by, "responder_requested", "incident.responder.added", map[string]any{"user": id, "message": req.Message})
		targets = append(targets, object{"responder_request_target": object{"id": id, "type": t.Target.Type, "incidents_responders": []any{}}})
	}
	return http.StatusOK, object{"responder_request": object{
		"incident": incidentReference(c.inc), "requester": userReference(req.RequesterID), "message": req.Message,
		"requested_at": time.Now().UTC().Format(time.RFC3339), "responder_request_targets": targets,
	}}, nil
}

func getMe(p *pagerDuty, _ *call) (int, object, *problem) {
	if p.keyOnly {
		return 0, nil, invalid("User can't be found for an account-level token")
	}
	u, _ := userBy(func(u user) bool { return u.email == botEmail })
	return http.StatusOK, object{"user": u.rest()}, nil
}

func listUsers(_ *pagerDuty, c *call) (int, object, *problem) {
	var out []any
	query := strings.ToLower(c.URL.Query().Get("query"))
	for _, u := range accountUsers() {
		if strings.Contains(strings.ToLower(u.name+" "+u.email), query) {
			out = append(out, u.rest())
		}
	}
	return listing("users", out, c)
}

func getPolicy(_ *pagerDuty, c *call) (int, object, *problem) {
	id := c.PathValue("id")
	if accountPolicies()[id] == nil {
		return 0, nil, notFound()
	}
	return http.StatusOK, object{"escalation_policy": policyREST(id)}, nil
}

func listAbilities(*pagerDuty, *call) (int, object, *problem) {
	return http.StatusOK, object{"abilities": []string{"coordinated_responding", "event_rules"}}, nil
}

func createIncident(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		Incident struct {
			Title   string `json:"title"`
			Urgency string `json:"urgency"`
			Key     string `json:"incident_key"`
			Service struct {
				ID string `json:"id"`
			} `json:"service"`
			Body struct {
				Details any `json:"details"`
			} `json:"body"`
		} `json:"incident"`
	}
	if json.Unmarshal(c.body, &req) != nil || req.Incident.Title == "" || req.Incident.Service.ID == "" {
		return 0, nil, invalid("Title and Service are required")
	}
	wish := req.Incident
	if inc, _ := p.openAlert(wish.Service.ID, wish.Key); inc != nil && wish.Key != "" {
		return 0, nil, invalid("Open incident already exists, matching incident key")
	}
	inc := p.open(Incident{Title: wish.Title, Key: wish.Key, Details: wish.Body.Details, Severity: "critical", ServiceID: wish.Service.ID}, c.by)
	if wish.Urgency != "" {
		inc.Urgency = wish.Urgency
	}
	return http.StatusCreated, object{"incident": inc.rest()}, nil
}
