package executors_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	_ "github.com/mixillo/remediator/internal/executors/pagerduty"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	for _, name := range []string{"pagerduty.incident", "pagerduty.changes", "pagerduty.on_call"} {
		questions[name] = question{stand: newPagerDutyStand}
	}
}

func newPagerDutyStand(t *testing.T) stand {
	s := newReadStand(t)
	client, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: s.PagerDutyURL(), Token: tokenFile(t, sandbox.PagerDutyToken), From: "remediator-bot@example.com", Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	s.ReportChange(sandbox.PagerDutyChange{Summary: "deploy backend 7", Source: "ci"})
	s.env.Incident = executors.Incident{ID: s.TriggerIncident(sandbox.Incident{Title: "backend is down", Key: "k"}), Key: "k"}
	s.env.Connections = connect.Set{"pagerduty": client}
	s.spoil = func(f sandbox.Fault) error {
		s.SetPagerDuty(f)
		return nil
	}
	return s
}
