package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

func securityScenarios() []scenario {
	return []scenario{
		{name: "breach", title: "A breach is suspected, then the service fails after a deploy", moral: "all automation on it is held, and a human called", play: playBreach},
	}
}

func playBreach(ctx context.Context, s *stage) error {
	err := s.goes(ctx, "SecurityBreach", backend, ending{
		rule: "hold-everything-after-a-breach", outcome: remediation.Observed, told: toldLeft, called: 1, says: "Call the security lead",
	})
	if err != nil {
		return err
	}
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{rule: rollBackRule, outcome: remediation.RefusedRun, reason: guard.Paused, told: toldLeft})
}

func handScenarios() []scenario {
	return []scenario{
		{name: "restart-by-hand", title: "Somebody restarts the service by hand", moral: "the same guards, in their name, verified", play: func(ctx context.Context, s *stage) error {
			return s.byHand(ctx, "restart-the-service", "", ending{outcome: remediation.Fixed, changes: []string{updated}})
		}},
		{name: "restart-by-button", title: "MongoDB was lost, a human is called, and the service stays sick when it is back", moral: "a button under the call restarts it, in the name of who pressed it", play: playButton},
		{name: "scale-by-hand", title: "Somebody keeps more instances ready by hand", moral: "scaled, verified, and scaled back when it is calm", play: func(ctx context.Context, s *stage) error {
			return s.byHand(ctx, "scale-the-service", "", ending{outcome: remediation.Fixed, changes: []string{updated}})
		}},
		{name: "clear-the-cache", title: "Somebody empties the cache by hand", moral: "only after somebody else has approved it", redis: true, play: func(ctx context.Context, s *stage) error {
			if err := s.fillsCache(); err != nil {
				return err
			}
			return s.byHand(ctx, "clear-the-cache", approved, ending{outcome: remediation.Fixed, changes: []string{flushed}})
		}},
		{name: "reset-the-admin-password", title: "Somebody has the admin password reset", moral: "the job ran once; nobody has seen the password", play: playPassword},
		{name: "new-database-connection", title: "Somebody gives the backend a new connection string", moral: "a named version of a secret, approved, verified", play: func(ctx context.Context, s *stage) error {
			return s.byHand(ctx, "use-the-new-database-connection", approved, ending{outcome: remediation.Fixed, changes: []string{updated}})
		}},
		{name: "switch-payments-off", title: "Somebody switches payments off by their flag", moral: "one signed call, read back", play: func(ctx context.Context, s *stage) error {
			return s.byHand(ctx, "switch-payments-off", "", ending{outcome: remediation.Fixed, changes: []string{"flags set_flag " + paymentsFlag}})
		}},
	}
}

func playButton(ctx context.Context, s *stage) error {
	if err := playMongoLost(ctx, s); err != nil {
		return err
	}
	if err := errors.Join(s.world.SetDependency(backend, true), s.world.SetHealth(backend, s.serving(backend), sandbox.Sick503)); err != nil {
		return fmt.Errorf("bringing the database back: %w", err)
	}
	calls := s.world.SlackMessages()
	i := slices.IndexFunc(calls, func(m sandbox.SlackMessage) bool { return says(string(m.Blocks), "start:restart-the-service") })
	if i < 0 {
		return errors.New("no call for help has the button")
	}
	s.say("  slack    U0ANN presses the button: restart-the-service")
	if _, err := s.world.ClickSlack(calls[i].TS, "start:restart-the-service", "U0ANN"); err != nil {
		return fmt.Errorf("pressing the button: %w", err)
	}
	run, err := s.followView(ctx, "the run by the button", func() (edge.RunView, bool) { return s.newest(ctx, "slack:U0ANN") })
	if err != nil {
		return err
	}
	return s.ended(run, "", ending{rule: "restart-the-service", outcome: remediation.Fixed, changes: []string{updated}})
}

// newest is the newest run that somebody has started.
func (s *stage) newest(ctx context.Context, actor string) (edge.RunView, bool) {
	runs, err := (&api{app: s.app}).Runs(ctx, edge.RunFilter{Limit: 20})
	i := slices.IndexFunc(runs, func(r remediation.Run) bool { return r.Actor == actor })
	if err != nil || i < 0 {
		return edge.RunView{}, false
	}
	view, err := (&api{app: s.app}).Run(ctx, runs[i].ID)
	return view, err == nil
}

// newPassword is what the job prints and puts into Secret Manager.
const newPassword = "correct-horse-battery"

func playPassword(ctx context.Context, s *stage) error {
	job := sandbox.Job{Name: passwordJob, Env: map[string]string{"PASSWORD": newPassword}, Takes: 20 * time.Second}
	if err := s.world.AddJob(job); err != nil {
		return fmt.Errorf("adding the job: %w", err)
	}
	err := s.byHand(ctx, "reset-the-admin-password", approved, ending{outcome: remediation.Fixed, changes: []string{"cloud_run run_job " + passwordJob}})
	return errors.Join(err, expect(!strings.Contains(s.thread()+strings.Join(s.notes(), "\n"), newPassword), "the password was told"))
}

func outageScenarios() []scenario {
	return []scenario{
		{name: "pagerduty-is-down", title: "The service is down after a deploy, and PagerDuty does not answer for ten minutes", moral: "mended meanwhile; everything is told afterwards, once, in order", play: playPagerDutyDown},
		{name: "slack-is-down", title: "The same, and Slack does not answer for ten minutes", moral: "mended meanwhile; everything is told afterwards, once, in order", play: playSlackDown},
	}
}

// outage is how long a system does not answer.
const outage = 10 * time.Minute

// silent is a system that answers no call for ten minutes of the world's time.
func (s *stage) silent() sandbox.Fault {
	return sandbox.Fault{Status: 503, For: time.Duration(float64(outage) / s.speed)}
}

func playPagerDutyDown(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	incident := s.alert(healthCheckFailed, backend)
	err := s.until(ctx, "the run has begun", func() bool { _, ok := s.runOf(ctx, backend, incident); return ok })
	if err != nil {
		return err
	}
	s.world.SetPagerDuty(s.silent())
	run, err := s.follow(ctx, backend, incident)
	if err != nil {
		return err
	}
	return errors.Join(
		s.ended(run, incident, ending{rule: rollBackRule, outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed}),
		s.inOrder(incident, "incident_acknowledged", "note_added", "incident_resolved"),
	)
}

// inOrder judges the order in which an incident was told.
func (s *stage) inOrder(incident string, verbs ...string) error {
	var told []string
	for _, e := range s.world.Ledger() {
		if e.System == "pagerduty" && e.Resource == incident && slices.Contains(verbs, e.Verb) {
			told = append(told, e.Verb)
		}
	}
	return expect(slices.Equal(told, verbs), "the incident was told %q, not %q", told, verbs)
}

func playSlackDown(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	s.world.SetSlack(s.silent())
	err := s.goes(ctx, healthCheckFailed, backend, ending{rule: rollBackRule, outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed})
	posts := s.world.SlackMessages()
	about := slices.IndexFunc(posts, func(m sandbox.SlackMessage) bool { return says(m.Text, "is about to") })
	resolved := slices.IndexFunc(posts, func(m sandbox.SlackMessage) bool { return says(m.Text, "Resolved:") })
	return errors.Join(err, expect(about >= 0 && resolved > about, "the thread is not in order:\n%s", s.thread()))
}

// notes are those of all incidents.
func (s *stage) notes() (all []string) {
	for _, i := range s.world.Incidents() {
		for _, n := range i.Notes {
			all = append(all, n.Content)
		}
	}
	return all
}

func says(text, part string) bool { return strings.Contains(text, part) }
