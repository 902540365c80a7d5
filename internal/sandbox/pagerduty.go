package sandbox

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Incident is PagerDuty's incident as the sandbox keeps it. TriggerIncident
// reads Title, Key, Details, Severity and ServiceID only.
type Incident struct {
	ID             string         `json:"id"`
	Number         int            `json:"number"`
	Title          string         `json:"title"`
	Key            string         `json:"key"` // "" once it holds several alerts
	Details        any            `json:"details,omitempty"`
	Severity       string         `json:"severity"`
	ServiceID      string         `json:"service_id"`
	Status         string         `json:"status"` // triggered, acknowledged, resolved
	Urgency        string         `json:"urgency"`
	Priority       string         `json:"priority,omitempty"` // name; "" is none
	Level          int            `json:"escalation_level"`
	Policy         string         `json:"escalation_policy"`
	Assignees      []string       `json:"assignees"`     // user ids
	Acknowledgers  []Acknowledger `json:"acknowledgers"` // none unless it is acknowledged
	CreatedAt      time.Time      `json:"created_at"`
	ChangedAt      time.Time      `json:"last_status_change_at"`
	ChangedBy      string         `json:"last_status_change_by"` // user id; "" is automation
	Alerts         []Alert        `json:"alerts"`
	Notes          []Note         `json:"notes"`
	StatusUpdates  []Note         `json:"status_updates"`
	Responders     []string       `json:"responders"` // user ids asked to help
	Requests       []Note         `json:"responder_requests"`
	Log            []IncidentStep `json:"log"`
	ResolutionNote string         `json:"resolution_note,omitempty"`
	SnoozedUntil   time.Time      `json:"snoozed_until,omitzero"`
	MergedInto     string         `json:"merged_into,omitempty"` // id of the incident that its alerts went to
}

// Acknowledger is who took an incident in hand: a user id, or "" for the
// service's own automation.
type Acknowledger struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Alert is one alert of an incident. Key is the sender's dedup_key.
type Alert struct {
	ID        string    `json:"id"`
	Key       string    `json:"key"`
	Summary   string    `json:"summary"`
	Severity  string    `json:"severity"`
	Status    string    `json:"status"` // triggered, resolved
	Details   any       `json:"details,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Note is a note or a status update. User is a user id.
type Note struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Content string    `json:"content"`
	At      time.Time `json:"at"`
}

// IncidentStep says who did what to an incident, and when.
type IncidentStep struct {
	At  time.Time `json:"at"`
	By  string    `json:"by"` // e-mail, or "automation"
	Did string    `json:"did"`
}

type user struct{ id, name, email string }

// botEmail is the user the sandbox's REST token belongs to.
const botEmail = "remediator-bot@example.com"

// accountUsers and accountPolicies are the account: who exists and who is
// called on which level.
func accountUsers() []user {
	return []user{
		{"PBOT001", "remediator bot", botEmail}, {"PUSR001", "Ann", humanEmail},
		{"PUSR002", "Bo", "bo@example.com"}, {"PUSR003", "Cy", "cy@example.com"},
	}
}

func accountPolicies() map[string][]string {
	return map[string][]string{"PEP0001": {"PUSR001", "PUSR002", "PUSR003"}, "PEP0002": {"PUSR003"}}
}

const (
	defaultPolicy  = "PEP0001"
	defaultService = "PSVC001"
)

// pagerDuty is the account's state.
type pagerDuty struct {
	ledger *ledger
	dice   *dice
	hooks  *webhooks
	faults httpFaults

	mu        sync.Mutex
	incidents []*Incident
	reopens   bool
	keyOnly   bool              // the REST token is an account's and no user's
	phone     string            // how users can be reached beside e-mail; "" for not at all
	changes   []PagerDutyChange // oldest first
	shifts    map[string]shift  // by POLICY/LEVEL, where it is not the account's
}

func newPagerDuty(cfg Config, l *ledger, d *dice) *pagerDuty {
	p := &pagerDuty{ledger: l, dice: d, hooks: newWebhooks(cfg, l, d)}
	p.faults.retryHeader = "ratelimit-reset"
	p.faults.body = func(status int) string {
		if status == 429 {
			return `{"error":{"message":"Rate Limit Exceeded","code":2020}}`
		}
		return `{"error":{"message":"Internal Server Error","code":2000}}`
	}
	return p
}

// actor is who does something: a user, or automation when the id is empty.
type actor struct{ user }

func (a actor) name() string { return pick(a.email == "", "automation", a.email) }

func userBy(match func(user) bool) (user, bool) {
	users := accountUsers()
	i := slices.IndexFunc(users, match)
	if i < 0 {
		return user{}, false
	}
	return users[i], true
}

func userByID(id string) user {
	u, ok := userBy(func(u user) bool { return u.id == id })
	if !ok {
		return user{id: id, name: id}
	}
	return u
}

func (p *pagerDuty) find(id string) *Incident {
	i := slices.IndexFunc(p.incidents, func(i *Incident) bool { return i.ID == id })
	if i < 0 {
		return nil
	}
	return p.incidents[i]
}

// openAlert is the alert that holds the key open on the service, and its incident.
func (p *pagerDuty) openAlert(service, key string) (*Incident, *Alert) {
	for _, inc := range p.incidents {
		for i := range inc.Alerts {
			if a := &inc.Alerts[i]; inc.ServiceID == service && a.Key == key && a.Status != "resolved" && inc.Status != "resolved" {
				return inc, a
			}
		}
	}
	return nil, nil
}

// record writes down what happened: ledger, the incident's own log, webhook.
func (p *pagerDuty) record(inc *Incident, by actor, verb, event string, detail map[string]any) {
	inc.Log = append(inc.Log, IncidentStep{At: time.Now().UTC(), By: by.name(), Did: verb})
	p.ledger.add(Entry{System: "pagerduty", Verb: verb, Resource: inc.ID, By: by.name(), Detail: detail})
	if event != "" {
		p.hooks.send(inc.ID, event, p.event(event, inc, by, detail))
	}
}

// open creates an incident with one alert, or joins the alert that is open
// under the same key. A resolved key starts anew.
func (p *pagerDuty) open(wish Incident, by actor) *Incident {
	if inc, a := p.openAlert(wish.ServiceID, wish.Key); inc != nil && wish.Key != "" {
		a.Details, a.Summary, a.Severity = wish.Details, wish.Title, wish.Severity
		p.record(inc, by, "alert_repeated", "", map[string]any{"alert_key": wish.Key})
		return inc
	}
	now := time.Now().UTC()
	if wish.Key == "" {
		wish.Key = p.dice.letters("0123456789abcdef", 32)
	}
	inc := &Incident{
		ID: p.dice.id("Q"), Number: len(p.incidents) + 1, Title: wish.Title, Key: wish.Key, Details: wish.Details, Severity: wish.Severity,
		ServiceID: wish.ServiceID, Status: "triggered", Urgency: pick(wish.Severity == "info" || wish.Severity == "warning", "low", "high"),
		Level: 1, Policy: defaultPolicy, Assignees: []string{accountPolicies()[defaultPolicy][0]}, CreatedAt: now, ChangedAt: now,
	}
	inc.Alerts = []Alert{p.newAlert(wish, now)}
	p.incidents = append(p.incidents, inc)
	p.record(inc, by, "incident_created", "incident.triggered", map[string]any{"title": inc.Title, "incident_key": inc.Key})
	return inc
}

func (p *pagerDuty) newAlert(wish Incident, at time.Time) Alert {
	return Alert{ID: p.dice.id("A"), Key: wish.Key, Summary: wish.Title, Severity: wish.Severity, Status: "triggered", Details: wish.Details, CreatedAt: at}
}

func (p *pagerDuty) setStatus(inc *Incident, status string, by actor) {
	inc.Status, inc.ChangedAt, inc.ChangedBy = status, time.Now().UTC(), by.id
	if status != "acknowledged" {
		inc.Acknowledgers, inc.SnoozedUntil = nil, time.Time{}
	}
	switch status {
	case "acknowledged":
		inc.Acknowledgers = append(inc.Acknowledgers, Acknowledger{By: by.id, At: inc.ChangedAt})
		if by.id != "" {
			inc.Assignees = []string{by.id}
		}
	case "resolved":
		for i := range inc.Alerts {
			inc.Alerts[i].Status = "resolved"
		}
		inc.Assignees = nil
	}
}

func (p *pagerDuty) acknowledge(inc *Incident, by actor) {
	p.setStatus(inc, "acknowledged", by)
	p.record(inc, by, "incident_acknowledged", "incident.acknowledged", nil)
}

func (p *pagerDuty) resolve(inc *Incident, by actor, note string) {
	inc.ResolutionNote = note
	p.setStatus(inc, "resolved", by)
	detail := map[string]any{}
	if note != "" {
		detail["resolution"] = note
	}
	p.record(inc, by, "incident_resolved", "incident.resolved", detail)
}

func (p *pagerDuty) annotate(inc *Incident, by actor, content string) Note {
	n := Note{ID: p.dice.id("P"), User: by.id, Content: content, At: time.Now().UTC()}
	inc.Notes = append(inc.Notes, n)
	p.record(inc, by, "note_added", "incident.annotated", map[string]any{"note_id": n.ID, "content": content})
	return n
}

// TriggerIncident opens an incident as a monitoring tool would, or joins the
// open one with the same key, and returns its id.
func (w *World) TriggerIncident(i Incident) string {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	if i.ServiceID == "" {
		i.ServiceID = defaultService
	}
	if i.Severity == "" {
		i.Severity = "critical"
	}
	return w.pager.open(i, actor{}).ID
}

// AddAlert groups one more alert into an incident; an incident with several
// alerts has no incident_key of its own, and is found by those of its alerts.
func (w *World) AddAlert(incident string, a Alert) error {
	return w.pager.as(incident, func(inc *Incident) {
		added := w.pager.newAlert(Incident{Key: a.Key, Title: a.Summary, Severity: a.Severity, Details: a.Details}, time.Now().UTC())
		inc.Alerts, inc.Key = append(inc.Alerts, added), ""
		w.pager.record(inc, actor{}, "alert_grouped", "", map[string]any{"alert_key": a.Key})
	})
}

// SetReopening makes an acknowledgement of a resolved incident reopen it, as
// the vendor's API description says; otherwise it is answered with code 1001.
func (w *World) SetReopening(on bool) {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	w.pager.reopens = on
}

// Incident is a copy of an incident; the zero value if there is none.
func (w *World) Incident(id string) Incident {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	if inc := w.pager.find(id); inc != nil {
		return inc.copy()
	}
	return Incident{}
}

// Incidents are copies of all incidents, oldest first.
func (w *World) Incidents() []Incident {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	out := make([]Incident, 0, len(w.pager.incidents))
	for _, inc := range w.pager.incidents {
		out = append(out, inc.copy())
	}
	return out
}

func (inc *Incident) copy() Incident {
	c := *inc
	c.Assignees, c.Acknowledgers = slices.Clone(inc.Assignees), slices.Clone(inc.Acknowledgers)
	c.Alerts, c.Notes, c.StatusUpdates = slices.Clone(inc.Alerts), slices.Clone(inc.Notes), slices.Clone(inc.StatusUpdates)
	c.Responders, c.Requests, c.Log = slices.Clone(inc.Responders), slices.Clone(inc.Requests), slices.Clone(inc.Log)
	if m, ok := inc.Details.(map[string]any); ok {
		c.Details = maps.Clone(m)
	}
	return c
}
