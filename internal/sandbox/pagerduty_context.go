package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// PagerDutyChange is a change event: a deploy or the like that was told to PagerDuty.
type PagerDutyChange struct {
	Service string        `json:"service"` // default PSVC001
	Summary string        `json:"summary"`
	Source  string        `json:"source"`
	Ago     time.Duration `json:"ago"` // divided by Speed

	id string
	at time.Time
}

// Shift is who is on call on one level of an escalation policy.
type Shift struct {
	Policy string        `json:"policy"` // default PEP0001
	Level  int           `json:"level"`  // default 1
	User   string        `json:"user"`   // user id; "" leaves the level empty
	Ends   time.Duration `json:"ends"`   // from now, divided by Speed; 0 never does
}

// shift is a Shift under way.
type shift struct {
	user string
	ends time.Time
}

// daySchedule stands on the first level of the default policy.
const daySchedule = "PSCH001"

type priority struct{ id, name string }

func accountPriorities() []priority {
	return []priority{{"PPRI001", "P1"}, {"PPRI002", "P2"}, {"PPRI003", "P3"}}
}

// contextRoutes are what is asked around an incident, and the snooze. Paths and shapes are those of github.com/PagerDuty/api-schema,
// reference/REST/openapiv3.json.
func contextRoutes() map[string]answer {
	return map[string]answer{
		"GET /oncalls":    listOnCalls,
		"GET /priorities": listPriorities,
		"GET /incidents/{id}/related_change_events": relatedChanges,
		"GET /services/{id}/change_events":          serviceChanges,
		"GET /incidents/{id}/log_entries":           listLogEntries,
		"POST /incidents/{id}/snooze":               snooze,
		"GET /users/{id}/contact_methods":           listContactMethods,
	}
}

func (c PagerDutyChange) rest() object {
	return object{
		"id": c.id, "type": "change_event", "summary": c.Summary, "source": c.Source, "timestamp": c.at.Format(time.RFC3339),
		"services": []any{serviceReference(c.Service)}, "integration": object{"id": "PINT002", "type": "inbound_integration_reference"},
		"custom_details": object{}, "links": []any{},
	}
}

// relatedChanges are those of the incident's service before it was opened, newest first.
func relatedChanges(p *pagerDuty, c *call) (int, object, *problem) {
	out := []any{}
	for _, one := range slices.Backward(p.changes) {
		if one.Service != c.inc.ServiceID || one.at.After(c.inc.CreatedAt) {
			continue
		}
		body := one.rest()
		body["correlation_reason"] = object{"reason": pick(len(out) == 0, "most_recent", "related_service")}
		out = append(out, body)
	}
	return http.StatusOK, object{"change_events": out, "limit": nil, "offset": nil, "total": nil, "more": false}, nil
}

func serviceChanges(p *pagerDuty, c *call) (int, object, *problem) {
	id := c.PathValue("id")
	if id != defaultService && !slices.ContainsFunc(p.changes, func(one PagerDutyChange) bool { return one.Service == id }) {
		return 0, nil, notFound()
	}
	bounds := map[string]time.Time{"since": {}, "until": time.Now().UTC()}
	for name := range bounds {
		text := c.URL.Query().Get(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || !strings.HasSuffix(text, "Z") {
			return 0, nil, invalid("%s must be a UTC datetime", name)
		}
		bounds[name] = at
	}
	var out []any
	for _, one := range slices.Backward(p.changes) {
		if one.Service == id && !one.at.Before(bounds["since"]) && !one.at.After(bounds["until"].Add(time.Second)) {
			out = append(out, one.rest())
		}
	}
	return listing("change_events", out, c)
}

// listOnCalls tells one entry for each level that somebody is on.
func listOnCalls(p *pagerDuty, c *call) (int, object, *problem) {
	var out []any
	q := c.URL.Query()
	policies, schedules, users := q["escalation_policy_ids[]"], q["schedule_ids[]"], q["user_ids[]"]
	for _, policy := range []string{defaultPolicy, "PEP0002"} {
		for i := range accountPolicies()[policy] {
			on := p.onLevel(policy, i+1)
			schedule := pick(policy == defaultPolicy && i == 0, daySchedule, "")
			if on.user == "" || len(policies) > 0 && !slices.Contains(policies, policy) ||
				len(schedules) > 0 && !slices.Contains(schedules, schedule) || len(users) > 0 && !slices.Contains(users, on.user) {
				continue
			}
			out = append(out, on.rest(policy, schedule, i+1))
		}
	}
	return listing("oncalls", out, c)
}

func (p *pagerDuty) onLevel(policy string, level int) shift {
	if s, ok := p.shifts[fmt.Sprintf("%s/%d", policy, level)]; ok {
		return s
	}
	return shift{user: accountPolicies()[policy][level-1]}
}

func (s shift) rest(policy, schedule string, level int) object {
	out := object{
		"user": userReference(s.user), "schedule": nil, "escalation_policy": policyReference(policy), "escalation_level": level,
		"start": nil, "end": nil,
	}
	if schedule != "" {
		out["schedule"] = reference("schedule", "schedules", schedule, "Day")
	}
	if !s.ends.IsZero() {
		out["start"], out["end"] = s.ends.Add(-24*time.Hour).Format(time.RFC3339), s.ends.Format(time.RFC3339)
	}
	return out
}

func listPriorities(_ *pagerDuty, c *call) (int, object, *problem) {
	var out []any
	for _, p := range accountPriorities() {
		out = append(out, p.rest())
	}
	return listing("priorities", out, c)
}

func (p priority) rest() object {
	out := reference("priority", "priorities", p.id, p.name)
	out["type"], out["name"], out["description"] = "priority", p.name, ""
	return out
}

// priorityBy gives the REST form of an incident's priority, nil for none.
func priorityBy(name string) any {
	for _, p := range accountPriorities() {
		if p.name == name {
			return p.rest()
		}
	}
	return nil
}

// snooze acknowledges the incident for a time; World.SnoozeEnds lets the time pass.
func snooze(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		Duration *int64 `json:"duration"`
	}
	switch {
	case json.Unmarshal(c.body, &req) != nil || req.Duration == nil || *req.Duration < 1 || *req.Duration > 604800:
		return 0, nil, invalid("Duration must be between 1 and 604800")
	case c.inc.Status == "resolved":
		return 0, nil, &problem{http.StatusBadRequest, 1001, "Incident Already Resolved", []string{"Incident Already Resolved"}}
	}
	p.snooze(c.inc, c.by, time.Duration(*req.Duration)*time.Second)
	return http.StatusCreated, object{"incident": c.inc.rest()}, nil
}

func (p *pagerDuty) snooze(inc *Incident, by actor, d time.Duration) {
	p.setStatus(inc, "acknowledged", by)
	inc.SnoozedUntil = time.Now().UTC().Add(d)
	p.record(inc, by, "incident_snoozed", "incident.acknowledged", map[string]any{"seconds": int64(d / time.Second)})
}

// listLogEntries shows what was told on the incident, newest first; of the log's other entries nothing is asked.
func listLogEntries(_ *pagerDuty, c *call) (int, object, *problem) {
	kinds := map[string]string{}
	told := slices.Concat(c.inc.StatusUpdates, c.inc.Requests)
	for _, n := range c.inc.Requests {
		kinds[n.ID] = "responder_request_log_entry"
	}
	slices.SortStableFunc(told, func(a, b Note) int { return b.At.Compare(a.At) })
	all := []any{}
	for _, n := range told {
		all = append(all, object{
			"id": n.ID, "type": pick(kinds[n.ID] == "", "status_update_log_entry", kinds[n.ID]), "created_at": n.At.Format(time.RFC3339),
			"agent": userReference(n.User), "message": n.Content,
		})
	}
	return listing("log_entries", all, c)
}

// ReportChange tells PagerDuty of a deploy or the like.
func (w *World) ReportChange(c PagerDutyChange) {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	if c.Service == "" {
		c.Service = defaultService
	}
	c.id, c.at = w.pager.dice.id("C"), time.Now().UTC().Add(-w.cfg.scaled(c.Ago))
	w.pager.changes = append(w.pager.changes, c)
	slices.SortStableFunc(w.pager.changes, func(a, b PagerDutyChange) int { return a.at.Compare(b.at) })
	w.ledger.add(Entry{System: "pagerduty", Verb: "change_reported", Resource: c.Service, By: Human, Detail: map[string]any{"summary": c.Summary}})
}

// SetShift says who is on call on a level.
func (w *World) SetShift(s Shift) error {
	s.Policy, s.Level = pick(s.Policy == "", defaultPolicy, s.Policy), max(s.Level, 1)
	if s.Level > len(accountPolicies()[s.Policy]) {
		return fmt.Errorf("escalation policy %q has no level %d", s.Policy, s.Level)
	}
	on := shift{user: s.User}
	if s.Ends > 0 {
		on.ends = time.Now().UTC().Add(w.cfg.scaled(s.Ends))
	}
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	if w.pager.shifts == nil {
		w.pager.shifts = map[string]shift{}
	}
	w.pager.shifts[fmt.Sprintf("%s/%d", s.Policy, s.Level)] = on
	w.ledger.add(Entry{System: "pagerduty", Verb: "shift_set", Resource: s.Policy, By: Human, Detail: map[string]any{"level": s.Level, "user": s.User}})
	return nil
}

// SnoozeEnds lets the time pass for which the incident was snoozed: it is triggered again. One that is not snoozed stays as it is.
func (w *World) SnoozeEnds(incident string) error {
	return w.pager.as(incident, func(inc *Incident) {
		if !inc.SnoozedUntil.IsZero() {
			w.pager.unacknowledge(inc, actor{})
		}
	})
}

func contextVerbs() map[string]verb {
	return map[string]verb{
		"report-change": quiet((*World).ReportChange),
		"set-shift":     only((*World).SetShift),
		"human-snoozes": only(func(w *World, a aboutSnooze) error { return w.HumanSnoozes(a.Incident, a.Lasts) }),
		"merge":         only(func(w *World, a aboutMerge) error { return w.MergeIncident(a.Incident, a.Into) }),
		"account-key":   quiet(func(w *World, a flag) { w.SetAccountKey(a.On) }),
		"snooze-ends":   only(func(w *World, a aboutIncident) error { return w.SnoozeEnds(a.Incident) }),
	}
}
