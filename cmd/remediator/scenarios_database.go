package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	restoreRule = "restore-our-access-to-atlas"
	atlasDown   = "database-is-down-at-atlas"
)

func databaseScenarios() []scenario {
	return []scenario{
		{name: "atlas-is-down", title: "MongoDB is lost, and Atlas says so itself", moral: "nothing was touched; a human is called and told why", play: playAtlasDown},
		{name: "access-entry-gone", title: "MongoDB is lost because our entry has gone from Atlas's access list",
			moral: "the recorded entry is back for twelve hours, approved by a human", play: playEntryGone},
		{name: "access-entry-denied", title: "The same, and a human says no", moral: "nothing was touched", play: playEntryDenied},
		{name: "approval-expires", title: "The same, and nobody answers", moral: "nothing was touched; asking has paged a human", play: playApprovalExpires},
		{name: "mongodb-lost", title: "MongoDB is lost, and neither Atlas nor our access explains it", moral: "what was seen is told, and a human called", play: playMongoLost},
		{name: "system-check", title: "Health is fine, and the check of the whole system fails behind the login", moral: "the step that fails is told, and a human called", play: playSystemCheck},
	}
}

// losesMongoDB takes the database from the service.
func (s *stage) losesMongoDB(ctx context.Context) error {
	if err := s.world.SetDependency(backend, false); err != nil {
		return fmt.Errorf("taking the database away: %w", err)
	}
	return s.untilHealth(ctx, backend, false)
}

func playAtlasDown(ctx context.Context, s *stage) error {
	s.world.SetStatusPage(sandbox.StatusPage{
		Name: "mongodb", Indicator: "major", Components: []sandbox.StatusComponent{{Name: "MongoDB Atlas", Status: "major_outage"}},
		Incidents: []sandbox.StatusIncident{{Name: "Clusters in europe-west1 cannot be reached", Impact: "major", StartedAgo: ago, Components: []string{"MongoDB Atlas"}}},
	})
	if err := s.losesMongoDB(ctx); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: atlasDown, outcome: remediation.Observed, told: toldLeft, called: 1, says: "open a ticket with Atlas",
	})
}

// losesEntry takes our address from the access list, and with it the database from the service until it is back.
func (s *stage) losesEntry(ctx context.Context) error {
	if err := s.world.RemoveAtlasEntry(egress); err != nil {
		return fmt.Errorf("removing the entry: %w", err)
	}
	s.say("  atlas    somebody removed %s from the access list", egress)
	s.once(ctx, s.letIn, func() { _ = s.world.SetDependency(backend, true) })
	return s.losesMongoDB(ctx)
}

func (s *stage) letIn() bool {
	return slices.ContainsFunc(s.world.AtlasEntries(), func(e sandbox.AtlasEntry) bool { return e.Entry == egress || e.Entry == egress+"/32" })
}

func playEntryGone(ctx context.Context, s *stage) error {
	if err := s.losesEntry(ctx); err != nil {
		return err
	}
	return s.goesAsked(ctx, healthCheckFailed, approved, ending{
		rule: restoreRule, outcome: remediation.Fixed, changes: []string{"atlas access_entry_added " + egress + "/32"}, told: toldFixedAsked, called: 1,
	})
}

func playEntryDenied(ctx context.Context, s *stage) error {
	if err := s.losesEntry(ctx); err != nil {
		return err
	}
	return s.goesAsked(ctx, healthCheckFailed, denied, ending{
		rule: restoreRule, outcome: remediation.RefusedRun, reason: guard.Denied, told: toldLeftAsked, called: 1,
	})
}

func playApprovalExpires(ctx context.Context, s *stage) error {
	if err := s.losesEntry(ctx); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: restoreRule, outcome: remediation.RefusedRun, reason: guard.ApprovalExpired, told: toldLeftAsked, called: 2,
	})
}

func playMongoLost(ctx context.Context, s *stage) error {
	if err := s.world.SetMongoDoor(sandbox.MongoSlammed); err != nil {
		return fmt.Errorf("closing MongoDB: %w", err)
	}
	if err := s.losesMongoDB(ctx); err != nil {
		return err
	}
	return s.goes(ctx, healthCheckFailed, backend, ending{
		rule: "mongodb-connection-lost", outcome: remediation.Observed, told: toldLeft, called: 1, says: "use-the-new-database-connection",
	})
}

func playSystemCheck(ctx context.Context, s *stage) error {
	s.world.SetBackend(sandbox.Backend{MongoDB: false, Redis: true})
	return s.goes(ctx, "SystemCheckFailed", backend, ending{
		rule: "system-check-failed", outcome: remediation.Observed, told: toldLeft, called: 1, says: "in its step health",
	})
}
