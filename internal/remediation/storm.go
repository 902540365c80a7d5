package remediation

import (
	"github.com/mixillo/remediator/internal/guard"
)

// callStorm pages once for a storm, on an incident of its own, and says so in Slack: the store leaves both out when the storm has had them.
// They stand in no run's lane, so that they name no run's incident.
func (v *visit) callStorm(r *guard.Refusal) {
	if v.rule == nil {
		return
	}
	key := "remediator-storm-" + v.run.ID
	page := Message{
		ID: key, Run: key, Channel: PagerDuty, Kind: Note, IncidentKey: key, Connection: pagerDutyConnection(v.set), Open: true, Own: true,
		Summary: "remediator stands still: many targets want action at once", Severity: "critical",
		Text:  "remediator starts nothing: " + r.Detail + ".\nRuns under way go on. What PagerDuty sent of leaves its note there; all of it is in `remediator runs`.",
		State: MessageQueued, CreatedAt: v.out.Now,
	}
	pages := []Message{page}
	if to := v.telling().Slack; to != nil {
		post := Message{
			ID: key + "-slack", Run: key, Channel: Slack, Kind: Escalate, Connection: to.Connection, Room: to.Channel, Mentions: to.Mention,
			Text: page.Summary + "\n" + page.Text, State: MessageQueued, CreatedAt: v.out.Now,
		}
		pages = append(pages, post)
	}
	v.out.Storm = &StormCall{Since: v.out.Now.Add(-v.rule.Limits.Storm.Within), Pages: pages}
}
