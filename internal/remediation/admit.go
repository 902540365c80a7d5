package remediation

import (
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// Admission is what Admit decides about a proposal.
type Admission struct {
	New   bool   // insert the proposed run
	Joins string // otherwise: the run it is a repeat of, or evidence for
	// Anew: the alert of the run it joins had ended, and fires anew while the run is at work: it has not ended any more.
	Anew bool
	// Since is when the firing that joins began, where it is a later one than the run's own: an end that lies before it is told late, and is none.
	Since time.Time
	Why   string
}

// over reports whether the sender itself has said that the alert has ended. A person's word is none on its health.
func (r Related) over() bool { return !r.EndedAt.IsZero() && r.EndedBy == "" }

// endWords say how the alert ended.
func (r Related) endWords() string {
	if r.EndedBy != "" {
		return fmt.Sprintf("%s resolved the incident at %s", r.EndedBy, clock(r.EndedAt))
	}
	return "the alert resolved at " + clock(r.EndedAt)
}

// incidentSkew is how much later than PagerDuty's incident the alert that opened it may claim to have started: two clocks.
const incidentSkew = time.Minute

// Admit decides whether a proposal becomes a run. related are the runs of the same target with the same episode, incident key or
// incident, newest first. One outage makes at most one open run per incident and target; a new attempt on an episode is made only while
// none acted and the last refusal was a passing one.
func Admit(p Proposal, related []Related) Admission {
	for _, r := range related {
		if r.State != Done && sameIncident(p.Run, r) {
			return Admission{Joins: r.ID, Anew: firesAnew(p.Run.Alert, r), Since: laterFiring(p.Run.Alert, r), Why: "an open run of the incident is at work on the target"}
		}
	}
	a := Admission{New: true}
	for _, r := range related {
		if !sameOutage(p.Run, r) {
			continue
		}
		if r.Acted || !passing(r) {
			return Admission{Joins: r.ID, Why: "the episode already has its run"}
		}
		a.Why = first(a.Why, "the last attempt came to nothing for a passing reason: "+first(string(r.Reason), "no rule's condition held"))
	}
	return a
}

// firesAnew tells a firing after the end of the one that the run is about. PagerDuty's next incident of the key is told by its sender too, whose
// word for the end is the one that ends the run again.
func firesAnew(a alert.Alert, r Related) bool {
	return a.IncidentID == "" && !r.EndedAt.IsZero() && a.StartsAt.After(r.EndedAt)
}

// laterFiring is when a firing began that is told by its own sender and is not the run's own; else the zero time.
func laterFiring(a alert.Alert, r Related) (began time.Time) {
	if a.IncidentID == "" && a.StartsAt.After(r.StartsAt) {
		began = a.StartsAt
	}
	return began
}

// passing: the run did nothing, and the next delivery may find things otherwise.
func passing(r Related) bool {
	return r.Outcome == NoOutcome || r.Outcome == RefusedRun && r.Reason.Passing()
}

func sameIncident(run Run, r Related) bool {
	a := run.Alert
	return a.Episode == r.Episode ||
		a.IncidentID != "" && a.IncidentID == r.IncidentID ||
		a.IncidentKey != "" && a.IncidentKey == r.IncidentKey
}

// sameOutage tells whether the related run was for the same firing: the same episode, the same incident, or the same incident key by
// the other road while it was firing. Keys recur, so the times must fit: an alert starts before the incident it opens.
func sameOutage(run Run, r Related) bool {
	a := run.Alert
	switch {
	case a.Source == r.Source && a.IncidentID != "" && a.IncidentID == r.IncidentID:
		return a.Episode == r.Episode || a.StartsAt.Equal(r.StartsAt)
	case a.Source == r.Source || a.IncidentKey == "" || a.IncidentKey != r.IncidentKey:
		return a.Episode == r.Episode
	case a.IncidentID != "": // by PagerDuty, after the sender's own delivery
		return !r.StartsAt.After(a.StartsAt.Add(incidentSkew)) && (r.EndedAt.IsZero() || r.EndedAt.After(a.StartsAt))
	default: // by the sender, after PagerDuty's delivery
		return !a.StartsAt.After(r.StartsAt.Add(incidentSkew)) && (r.EndedAt.IsZero() || r.EndedAt.After(a.StartsAt))
	}
}
