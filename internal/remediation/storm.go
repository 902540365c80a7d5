package remediation

import (
	"github.com/mixillo/remediator/internal/guard"
)

// callStorm pages once for a storm, on an incident of its own: the store leaves the page out when the storm has had it. The page stands in
// no run's lane, so that it names no run's incident.
func (v *visit) callStorm(r *guard.Refusal) {
	if v.rule == nil {
		return
	}
	key := "remediator-storm-" + v.run.ID
	page := Message{
		ID: key, Run: key, Channel: PagerDuty, Kind: Note, IncidentKey: key, Connection: pagerDutyConnection(v.set), Open: true, Own: true,
		Summary: "remediator stands still: many targets want action at once", Severity: "critical",
		Text:  "remediator starts nothing: " + r.Detail + ".\nRuns under way go on. Every refused run leaves its note on the incident that its sender has opened.",
		State: MessageQueued, CreatedAt: v.out.Now,
	}
	v.out.Storm = &StormCall{Since: v.out.Now.Add(-v.rule.Limits.Storm.Within), Page: page}
}
