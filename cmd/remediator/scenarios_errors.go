package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

const highErrorRate = "HighErrorRate"

func errorScenarios() []scenario {
	return []scenario{
		{name: "failing-deploy", title: "A deploy fails four of ten requests", moral: "one rollback, because the new revision is worse than the old", play: playFailingDeploy},
		{name: "both-revisions-fail", title: "Requests fail after a deploy, before which they failed as well", moral: "the deploy is not the cause: nothing was touched", play: playBothFail},
		{name: "stale-metrics", title: "Requests fail, and the newest metrics are an hour old", moral: "what is not known decides nothing", play: playStaleMetrics},
		{name: "slow-database-errors", title: "Requests fail because an operation blocks MongoDB", moral: "a change of the database is a human's", play: playBlockedDatabase},
	}
}

func playFailingDeploy(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{ErrorRatio: 0.4}); err != nil {
		return err
	}
	if err := s.untilSeen(ctx, "roll-back-a-deploy-that-fails", backend); err != nil {
		return err
	}
	return s.goes(ctx, highErrorRate, backend, ending{
		rule: "roll-back-a-deploy-that-fails", outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed,
	})
}

func playBothFail(ctx context.Context, s *stage) error {
	before := s.serving(backend)
	if err := s.world.SetErrorRatio(backend, before, 0.4); err != nil {
		return fmt.Errorf("letting the former revision fail: %w", err)
	}
	if err := s.passes(ctx, failsBefore); err != nil {
		return err
	}
	if err := s.deploys(ctx, sandbox.Revision{ErrorRatio: 0.4}); err != nil {
		return err
	}
	if err := s.untilJudged(ctx, "roll-back-a-deploy-that-fails", backend); err != nil {
		return err
	}
	return s.goes(ctx, highErrorRate, backend, ending{
		rule: "errors-of-an-unknown-cause", outcome: remediation.Observed, told: toldLeft, called: 1,
	})
}

// failsBefore is how long requests failed before the deploy: longer than what a rollback looks at "just before" one.
const failsBefore = 8 * time.Minute

func playStaleMetrics(ctx context.Context, s *stage) error {
	if err := s.deploys(ctx, sandbox.Revision{ErrorRatio: 0.4}); err != nil {
		return err
	}
	s.world.SetMetricLag(time.Duration(float64(time.Hour) * s.speed))
	return s.goes(ctx, highErrorRate, backend, ending{outcome: remediation.RefusedRun, reason: guard.UnknownFacts, told: toldLeft})
}

func playBlockedDatabase(ctx context.Context, s *stage) error {
	err := s.world.SetMongoOperations([]sandbox.MongoOperation{
		{Namespace: "mixillo.orders", Op: "command", Command: `{"createIndexes": "orders"}`, Running: ago, WaitingForLock: true},
	})
	if err != nil {
		return fmt.Errorf("blocking MongoDB: %w", err)
	}
	if err := s.world.SetErrorRatio(backend, s.serving(backend), 0.4); err != nil {
		return fmt.Errorf("letting requests fail: %w", err)
	}
	s.logs(ctx, visitors)
	if err := s.untilSeen(ctx, "errors-come-from-the-database", backend); err != nil {
		return err
	}
	return s.goes(ctx, highErrorRate, backend, ending{
		rule: "errors-come-from-the-database", outcome: remediation.Observed, told: toldLeft, called: 1, says: "A change of the database",
	})
}

// The attack: who sends what.
var (
	visitors = []sandbox.LogLine{
		visit("198.51.100.7", 200), visit("192.0.2.11", 200), visit("192.0.2.12", 200), visit("192.0.2.13", 200), visit("192.0.2.14", 200),
	}
	fewAttackers = []sandbox.LogLine{manyTimes(visit("203.0.113.66", 422)), manyTimes(visit("203.0.113.67", 400))}
)

func visit(from string, status int32) sandbox.LogLine {
	return sandbox.LogLine{Request: &sandbox.LoggedRequest{Method: "POST", URL: "https://backend.mixillo.com/api/orders", Status: status, RemoteIP: from}, Count: 2}
}

func manyTimes(line sandbox.LogLine) sandbox.LogLine {
	line.Count = 30
	return line
}

// manyAttackers come from addresses of which none sends much.
func manyAttackers() (lines []sandbox.LogLine) {
	for i := range 40 {
		line := visit(fmt.Sprintf("203.0.113.%d", 100+i), 422)
		line.Count = 1
		lines = append(lines, line)
	}
	return lines
}

// logs lets requests reach the service's log until the scenario is over.
func (s *stage) logs(ctx context.Context, lines []sandbox.LogLine) {
	s.meanwhile(ctx, func() { _ = s.world.Log(backend, lines...) })
}

// attack is logged until a change of Cloud Armor keeps it out.
func (s *stage) attack(ctx context.Context, lines []sandbox.LogLine) {
	s.meanwhile(ctx, func() {
		if !slices.ContainsFunc(s.changes(), func(c string) bool { return strings.HasPrefix(c, "cloud_armor ") }) {
			_ = s.world.Log(backend, lines...)
		}
	})
}

func attackScenarios() []scenario {
	return []scenario{
		{name: "attack-of-few", title: "Few addresses send most requests, all refused as invalid", moral: "they are blocked for an hour, approved by a human", play: playAttackOfFew},
		{name: "attack-of-many", title: "Many addresses send requests that are refused as invalid", moral: "the prepared rate limit is in force for half an hour", play: playAttackOfMany},
		{name: "attack-around-the-armor", title: "The same, on a service that the whole internet reaches without Cloud Armor", moral: "nothing was touched: it would not help", play: playAroundTheArmor},
	}
}

func (s *stage) underAttack(ctx context.Context, lines []sandbox.LogLine, behindArmor bool, rule string) error {
	if err := s.world.SetIngress(backend, behindArmor); err != nil {
		return fmt.Errorf("setting the ingress: %w", err)
	}
	s.logs(ctx, visitors)
	s.attack(ctx, lines)
	s.say("  attack   requests come that are refused as invalid")
	return s.untilSeen(ctx, rule, backend)
}

func playAttackOfFew(ctx context.Context, s *stage) error {
	if err := s.underAttack(ctx, fewAttackers, true, "block-the-attackers"); err != nil {
		return err
	}
	return s.goesAsked(ctx, highErrorRate, approved, ending{
		rule: "block-the-attackers", outcome: remediation.Fixed, changes: []string{"cloud_armor add_rule " + armorPolicy}, told: toldFixedAsked, called: 1,
	})
}

func playAttackOfMany(ctx context.Context, s *stage) error {
	if err := s.underAttack(ctx, manyAttackers(), true, "limit-the-rate"); err != nil {
		return err
	}
	return s.goes(ctx, highErrorRate, backend, ending{
		rule: "limit-the-rate", outcome: remediation.Fixed, changes: []string{"cloud_armor patch_rule " + armorPolicy}, told: toldFixed,
	})
}

func playAroundTheArmor(ctx context.Context, s *stage) error {
	if err := s.underAttack(ctx, manyAttackers(), false, "limit-the-rate"); err != nil {
		return err
	}
	return s.goes(ctx, highErrorRate, backend, ending{rule: "limit-the-rate", outcome: remediation.RefusedRun, reason: guard.OutOfBounds, told: toldLeft})
}
