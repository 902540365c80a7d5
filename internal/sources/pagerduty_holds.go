package sources

import (
	"cmp"

	"github.com/mixillo/remediator/internal/connect"
)

// Events after which an incident may have come into a person's hand, or gone out of it.
const (
	incidentAcknowledged   = "incident.acknowledged"
	incidentUnacknowledged = "incident.unacknowledged"
	incidentEscalated      = "incident.escalated"
	incidentReassigned     = "incident.reassigned"
	incidentDelegated      = "incident.delegated"
)

// handled reports whether an event of the type can say in whose hand the incident is. Passing it to somebody else is no word of its own:
// it only ends an acknowledgement, when PagerDuty pages anew because of it.
func handled(eventType string) bool {
	switch eventType {
	case incidentAcknowledged, incidentUnacknowledged, incidentEscalated, incidentReassigned, incidentDelegated:
		return true
	default:
		return false
	}
}

// holds reads in whose hand the event leaves the incident; none when it says nothing about that. Only a user's acknowledgement counts:
// those of services, workflows and integrations are a machine's.
func (in pagerDutyIncident) holds(e pagerDutyEvent) []Hold {
	h := Hold{IncidentID: in.ID, At: e.OccurredAt.UTC()}
	if in.Key != nil {
		h.IncidentKey = *in.Key
	}
	if e.Agent.isUser() {
		h.By, h.ByID = e.Agent.name(), e.Agent.ID
	}
	h.Lifted = in.lifts(e.EventType)
	if !h.Lifted && (!in.acknowledges(e.EventType) || h.ByID == "") {
		return nil
	}
	return []Hold{h}
}

// acknowledges: a resolved incident can be reopened as acknowledged, in one step.
func (in pagerDutyIncident) acknowledges(eventType string) bool {
	return eventType == incidentAcknowledged || eventType == incidentReopened && in.Status == connect.StatusAcknowledged
}

func (in pagerDutyIncident) lifts(eventType string) bool {
	switch eventType {
	case incidentUnacknowledged, incidentResolved:
		return true
	case incidentReopened:
		return !in.acknowledges(eventType)
	case incidentEscalated, incidentReassigned, incidentDelegated:
		return in.Status == connect.StatusTriggered
	default:
		return false
	}
}

// name is what a reader knows the one by who is referred to.
func (r *pagerDutyReference) name() string { return clip(cmp.Or(r.Summary, r.ID)) }

func (r *pagerDutyReference) isUser() bool {
	return r != nil && r.ID != "" && (r.Type == "user_reference" || r.Type == "user")
}
