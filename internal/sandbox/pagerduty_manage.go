package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// management is one incident's part of PUT /incidents.
type management struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	Status      string `json:"status"`
	Title       string `json:"title"`
	Resolution  string `json:"resolution"`
	Level       int    `json:"escalation_level"`
	Assignments []struct {
		Assignee struct {
			ID string `json:"id"`
		} `json:"assignee"`
	} `json:"assignments"`
	Policy *struct {
		ID string `json:"id"`
	} `json:"escalation_policy"`
	Priority *struct {
		ID string `json:"id"`
	} `json:"priority"`
}

// manageIncidents judges all parts before it applies any.
func manageIncidents(p *pagerDuty, c *call) (int, object, *problem) {
	var req struct {
		Incidents []management `json:"incidents"`
	}
	if json.Unmarshal(c.body, &req) != nil || len(req.Incidents) == 0 {
		return 0, nil, invalid("Incidents cannot be empty.")
	}
	if len(req.Incidents) > 250 {
		return 0, nil, &problem{http.StatusRequestEntityTooLarge, 2001, "Invalid Input Provided", []string{"Cannot update more than 250 incidents."}}
	}
	for _, m := range req.Incidents {
		if trouble := p.judge(m); trouble != nil {
			return 0, nil, trouble
		}
	}
	out := []any{}
	for _, m := range req.Incidents {
		inc := p.find(m.ID)
		p.manage(inc, m, c.by)
		out = append(out, inc.rest())
	}
	return http.StatusOK, object{"incidents": out, "limit": 100, "offset": 0, "more": false, "total": nil}, nil
}

func (p *pagerDuty) judge(m management) *problem {
	inc := p.find(m.ID)
	switch {
	case inc == nil:
		return notFound()
	case m.Type != "incident" && m.Type != "incident_reference":
		return invalid("Type must be incident or incident_reference")
	case !slices.Contains([]string{"", "triggered", "acknowledged", "resolved"}, m.Status):
		return invalid("Status is not valid")
	case inc.Status == "resolved" && (m.Status == "resolved" || m.Level > 0 || len(m.Assignments) > 0 || !p.reopens):
		return &problem{http.StatusBadRequest, 1001, "Incident Already Resolved", []string{"Incident Already Resolved"}}
	case inc.Status == "acknowledged" && m.Status == "acknowledged":
		return &problem{http.StatusBadRequest, 1002, "Incident Already Acknowledged", []string{"Incident Already Acknowledged"}}
	case m.Priority != nil && priorityName(m.Priority.ID) == "":
		return invalid("Priority not found")
	case m.Policy != nil && accountPolicies()[m.Policy.ID] == nil:
		return invalid("Escalation policy not found")
	case m.Level > len(accountPolicies()[inc.Policy]) || m.Level < 0:
		return &problem{http.StatusBadRequest, 1006, "Incident Cannot Be Escalated", nil}
	}
	return nil
}

func (p *pagerDuty) manage(inc *Incident, m management, by actor) {
	if m.Title != "" {
		inc.Title = m.Title
	}
	switch {
	case m.Status == "resolved":
		p.resolve(inc, by, m.Resolution)
	case m.Status != "" && inc.Status == "resolved":
		p.setStatus(inc, m.Status, by)
		p.record(inc, by, "incident_reopened", "incident.reopened", nil)
	case m.Status == "acknowledged":
		p.acknowledge(inc, by)
	case m.Status == "triggered":
		p.unacknowledge(inc, by)
	}
	if m.Priority != nil {
		inc.Priority = priorityName(m.Priority.ID)
		p.record(inc, by, "priority_updated", "incident.priority_updated", map[string]any{"priority": inc.Priority})
	}
	p.reassign(inc, m, by)
}

func priorityName(id string) string {
	for _, p := range accountPriorities() {
		if p.id == id {
			return p.name
		}
	}
	return ""
}

// reassign pages somebody else; an acknowledged incident goes back to triggered.
func (p *pagerDuty) reassign(inc *Incident, m management, by actor) {
	if m.Policy != nil {
		inc.Policy, inc.Level = m.Policy.ID, 1
		p.page(inc, []string{accountPolicies()[inc.Policy][0]}, by)
		p.record(inc, by, "incident_delegated", "incident.delegated", map[string]any{"escalation_policy": inc.Policy})
	}
	if m.Level > 0 {
		inc.Level = m.Level
		p.page(inc, []string{accountPolicies()[inc.Policy][m.Level-1]}, by)
		p.record(inc, by, "incident_escalated", "incident.escalated", map[string]any{"level": m.Level, "assignees": strings.Join(inc.Assignees, ",")})
	}
	if len(m.Assignments) > 0 {
		var ids []string
		for _, a := range m.Assignments {
			ids = append(ids, a.Assignee.ID)
		}
		p.page(inc, ids, by)
		p.record(inc, by, "incident_reassigned", "incident.reassigned", map[string]any{"assignees": strings.Join(ids, ",")})
	}
}

func (p *pagerDuty) page(inc *Incident, users []string, by actor) {
	if inc.Status == "acknowledged" {
		p.setStatus(inc, "triggered", by)
	}
	inc.Assignees = users
}
