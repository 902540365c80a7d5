package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	healthCheckFailed = "HealthCheckFailed"
	rollBackRule      = "roll-back-a-bad-deploy"
	noRollbackPast    = "no-rollback-past"
	updated           = "cloud_run update_service " + backend
)

func serviceScenarios() []scenario {
	return []scenario{
		{name: "bad-deploy", title: "The service is down after a deploy", moral: "one rollback, verified, noted, resolved", play: playBadDeploy},
		{name: "former-revision-fails-too", title: "The service is down after a deploy, and the revision before it fails as well",
			moral: "one rollback, seen not to help, a human called", play: playFormerFailsToo},
		{name: "migrated-deploy", title: "The service is down after a deploy that migrated the database",
			moral: "nothing was touched: code that does not know the schema must not serve", play: playMigratedDeploy},
		{name: "human-first", title: "A human deploys while the rollback is on its way", moral: "the human's hand wins, and the incident says so", play: playHumanFirst},
		{name: "sick-without-deploy", title: "The service is down and nothing was deployed", moral: "one restart, verified, noted, resolved", play: playSickWithoutDeploy},
		{name: "no-container-answers", title: "The platform answers for the service, and nothing was deployed", moral: "what was seen is told, and a human called", play: playNoContainer},
	}
}

// deploys puts a revision in service, and waits until health shows what it is.
func (s *stage) deploys(ctx context.Context, r sandbox.Revision) error {
	bad, err := s.world.Deploy(backend, r)
	if err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	s.say("  deploy   %s", bad)
	return s.untilHealth(ctx, backend, r.Health != sandbox.Sick503)
}

func playBadDeploy(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: rollBackRule, outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed, says: "Resolved:",
	})
}

func playFormerFailsToo(ctx context.Context, s *stage) error {
	before := s.serving(backend)
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	if err := s.world.SetHealth(backend, before, sandbox.Sick503); err != nil {
		return fmt.Errorf("breaking the former revision: %w", err)
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: rollBackRule, outcome: remediation.NotFixed, changes: []string{updated}, told: toldNotFixed, called: 1, says: "Tried: route all traffic",
	})
}

func playMigratedDeploy(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503, Labels: map[string]string{noRollbackPast: "orders-v2"}}); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: rollBackRule, outcome: remediation.RefusedRun, reason: guard.Migrations, told: toldLeft,
	})
}

func playHumanFirst(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return err
	}
	if err := s.world.DeployBeforeNextUpdate(backend, sandbox.Revision{}); err != nil {
		return fmt.Errorf("arranging the human's deploy: %w", err)
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: rollBackRule, outcome: remediation.RefusedRun, reason: guard.HumanHand, told: toldNotFixed, called: 1,
	})
}

func playSickWithoutDeploy(ctx context.Context, s *stage) error {
	if err := s.world.SetHealth(backend, s.serving(backend), sandbox.Sick503); err != nil {
		return fmt.Errorf("making the instances sick: %w", err)
	}
	if err := s.untilHealth(ctx, backend, false); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: "restart-a-sick-service", outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed,
	})
}

// playNoContainer: nobody says whether the database answers, and no deploy explains it.
func playNoContainer(ctx context.Context, s *stage) error {
	if err := s.world.SetHealth(backend, s.serving(backend), sandbox.NeverReady); err != nil {
		return fmt.Errorf("ending the containers: %w", err)
	}
	if err := s.untilHealth(ctx, backend, false); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: "health-failed-for-another-reason", outcome: remediation.Observed, told: toldLeft, called: 1,
	})
}

// ago is how long ago something began that has been so for a while; lately is how long ago something was that is new.
const (
	ago    = 2 * time.Minute
	lately = 3 * time.Second
)
