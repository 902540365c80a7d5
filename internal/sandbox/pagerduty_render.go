package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"time"
)

const apiBase = "https://api.pagerduty.com/"

// object is a JSON object under construction.
type object map[string]any

func reference(kind, collection, id, summary string) object {
	return object{
		"id": id, "type": kind + "_reference", "summary": summary,
		"self": apiBase + collection + "/" + id, "html_url": "https://sandbox.pagerduty.com/" + collection + "/" + id,
	}
}

func userReference(id string) any {
	if id == "" {
		return nil
	}
	return reference("user", "users", id, userByID(id).name)
}

func serviceReference(id string) object { return reference("service", "services", id, id) }
func policyReference(id string) object {
	return reference("escalation_policy", "escalation_policies", id, "Default")
}

func incidentReference(inc *Incident) object {
	return reference("incident", "incidents", inc.ID, inc.Title)
}

// rest renders the incident as the REST API does.
func (inc *Incident) rest() object {
	out := reference("incident", "incidents", inc.ID, fmt.Sprintf("[#%d] %s", inc.Number, inc.Title))
	open := 0
	for _, a := range inc.Alerts {
		open += pick(a.Status == "triggered", 1, 0)
	}
	maps.Copy(out, object{
		"type": "incident", "incident_number": inc.Number, "title": inc.Title, "description": inc.Title,
		"created_at": inc.CreatedAt.Format(time.RFC3339), "updated_at": inc.ChangedAt.Format(time.RFC3339),
		"status": inc.Status, "urgency": inc.Urgency, "incident_key": emptyIsNil(inc.Key), "service": serviceReference(inc.ServiceID),
		"assignments": inc.assignments(), "assigned_via": "escalation_policy", "acknowledgements": inc.acknowledgements(),
		"last_status_change_at": inc.ChangedAt.Format(time.RFC3339), "last_status_change_by": inc.changer(),
		"escalation_policy": policyReference(inc.Policy), "teams": []any{}, "priority": priorityBy(inc.Priority), "resolve_reason": inc.resolveReason(),
		"alert_counts": object{"all": len(inc.Alerts), "triggered": open, "resolved": len(inc.Alerts) - open},
		"is_mergeable": true, "incident_type": object{"name": "incident_default"}, "pending_actions": inc.pending(),
		"first_trigger_log_entry": reference("trigger_log_entry", "log_entries", "R"+inc.ID, "Triggered through the API."),
	})
	if inc.Status == "resolved" {
		out["resolved_at"] = inc.ChangedAt.Format(time.RFC3339)
	}
	return out
}

// resolveReason tells the incident that this one was merged into.
func (inc *Incident) resolveReason() any {
	if inc.MergedInto == "" {
		return nil
	}
	into := Incident{ID: inc.MergedInto}
	return object{"type": "merge_resolve_reason", "incident": incidentReference(&into)}
}

// pending is what PagerDuty will do by itself: a snooze ends.
func (inc *Incident) pending() []any {
	if inc.SnoozedUntil.IsZero() {
		return []any{}
	}
	return []any{object{"type": "unacknowledge", "at": inc.SnoozedUntil.Format(time.RFC3339)}}
}

func (inc *Incident) changer() any {
	if inc.ChangedBy == "" {
		return serviceReference(inc.ServiceID)
	}
	return userReference(inc.ChangedBy)
}

func (inc *Incident) assignments() []any {
	out := []any{}
	for _, id := range inc.Assignees {
		out = append(out, object{"at": inc.ChangedAt.Format(time.RFC3339), "assignee": userReference(id)})
	}
	return out
}

func (inc *Incident) acknowledgements() []any {
	out := []any{}
	for _, a := range inc.Acknowledgers {
		by := any(serviceReference(inc.ServiceID))
		if a.By != "" {
			by = userReference(a.By)
		}
		out = append(out, object{"at": a.At.Format(time.RFC3339), "acknowledger": by})
	}
	return out
}

func (a Alert) rest(inc *Incident) object {
	out := reference("alert", "incidents/"+inc.ID+"/alerts", a.ID, a.Summary)
	maps.Copy(out, object{
		"type": "alert", "created_at": a.CreatedAt.Format(time.RFC3339), "status": a.Status, "severity": a.Severity, "alert_key": a.Key,
		"suppressed": false, "service": serviceReference(inc.ServiceID), "incident": object{"id": inc.ID, "type": "incident_reference"},
		"body":        object{"type": "alert_body", "contexts": []any{}, "details": a.Details},
		"integration": reference("events_api_v2_inbound_integration", "services/"+inc.ServiceID+"/integrations", "PINT001", "Events API v2"),
	})
	return out
}

func (n Note) rest() object {
	return object{
		"id": n.ID, "content": n.Content, "user": userReference(n.User), "created_at": n.At.Format(time.RFC3339),
		"channel": object{"summary": "The PagerDuty website or APIs"},
	}
}

func (u user) rest() object {
	out := reference("user", "users", u.id, u.name)
	out["type"], out["name"], out["email"], out["role"], out["time_zone"] = "user", u.name, u.email, "user", "Europe/Berlin"
	return out
}

func policyREST(id string) object {
	rules := []any{}
	for i, uid := range accountPolicies()[id] {
		rules = append(rules, object{"id": fmt.Sprintf("%sR%d", id, i+1), "escalation_delay_in_minutes": 30, "targets": []any{userReference(uid)}})
	}
	out := policyReference(id)
	out["type"], out["name"], out["num_loops"], out["escalation_rules"] = "escalation_policy", "Default", 2, rules
	out["services"], out["teams"] = []any{serviceReference(defaultService)}, []any{}
	return out
}

func emptyIsNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// problem is PagerDuty's error answer.
type problem struct {
	status, code int
	message      string
	errors       []string
}

func (p *problem) body() object {
	e := object{"code": p.code, "message": p.message}
	if len(p.errors) > 0 {
		e["errors"] = p.errors
	}
	return object{"error": e}
}

func invalid(format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, 2001, "Invalid Input Provided", []string{fmt.Sprintf(format, args...)}}
}

func notFound() *problem { return &problem{http.StatusNotFound, 2100, "Not Found", nil} }

// event renders a v3 webhook. It carries neither labels nor details: who wants
// them must ask for the incident's alerts.
func (p *pagerDuty) event(kind string, inc *Incident, by actor, detail map[string]any) object {
	e := object{
		"id": p.dice.letters("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26), "event_type": kind, "resource_type": "incident",
		"occurred_at": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "agent": userReference(by.id), "client": nil,
	}
	switch kind {
	case "incident.annotated":
		e["data"] = object{"incident": incidentReference(inc), "id": detail["note_id"], "content": detail["content"], "trimmed": false, "type": "incident_note"}
	case "incident.status_update_published":
		e["data"] = object{"incident": incidentReference(inc), "id": detail["id"], "message": detail["message"], "trimmed": false, "type": "incident_status_update"}
	case "incident.responder.added":
		e["data"] = object{
			"incident": incidentReference(inc), "user": userReference(fmt.Sprint(detail["user"])), "escalation_policy": nil,
			"message": detail["message"], "state": "pending", "type": "incident_responder",
		}
	default:
		e["data"] = inc.webhook()
	}
	return object{"event": e}
}

func (inc *Incident) webhook() object {
	assignees := []any{}
	for _, id := range inc.Assignees {
		assignees = append(assignees, userReference(id))
	}
	return object{
		"id": inc.ID, "type": "incident", "self": apiBase + "incidents/" + inc.ID, "html_url": "https://sandbox.pagerduty.com/incidents/" + inc.ID,
		"number": inc.Number, "status": inc.Status, "incident_key": emptyIsNil(inc.Key), "created_at": inc.CreatedAt.Format(time.RFC3339),
		"title": inc.Title, "incident_type": object{"name": "incident_default"}, "service": serviceReference(inc.ServiceID),
		"assignees": assignees, "escalation_policy": policyReference(inc.Policy), "teams": []any{}, "priority": priorityBy(inc.Priority),
		"urgency": inc.Urgency, "conference_bridge": nil, "resolve_reason": inc.resolveReason(),
	}
}
