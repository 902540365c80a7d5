package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

const noManualOrders = "Do not process manual orders"

func paymentScenarios() []scenario {
	return []scenario{
		{name: "stripe-is-down", title: "Payments fail, and Stripe's API does not answer", moral: "a human is called: do not process manual orders", play: playStripeDown},
		{name: "stripe-page-is-frozen", title: "Payments fail, Stripe's page says that all is well, and its API does not answer", moral: "the API counts, not the page", play: playStripeFrozen},
		{name: "webhook-disabled", title: "Payments fail because Stripe has disabled our webhook endpoint", moral: "a human is called: do not process manual orders", play: playWebhookDisabled},
		{name: "payments-declined", title: "Payments fail, and Stripe takes and delivers them", moral: "codes and stuck orders are told, and a human called", play: playPaymentsDeclined},
	}
}

func (s *stage) paymentsFail(ctx context.Context, rule string) error {
	return s.goes(ctx, "PaymentsFailed", backend, ending{rule: rule, outcome: remediation.Observed, told: toldLeft, called: 1, says: noManualOrders})
}

func playStripeDown(ctx context.Context, s *stage) error {
	s.world.SetStripeStatus(sandbox.StripeStatus{Page: "down", APIStatus: 503})
	return s.paymentsFail(ctx, "payments-fail-at-stripe")
}

func playStripeFrozen(ctx context.Context, s *stage) error {
	s.world.SetStripeStatus(sandbox.StripeStatus{Page: "up", APIStatus: 503})
	return s.paymentsFail(ctx, "payments-fail-at-stripe")
}

func playWebhookDisabled(ctx context.Context, s *stage) error {
	s.world.AddWebhookEndpoint(sandbox.StripeEndpoint{URL: "https://backend.mixillo.com/api/webhooks/stripe", Disabled: true})
	s.world.Happen(sandbox.StripeEvents{Type: "payment_intent.succeeded", Pending: 1, Count: 12, Ago: 10 * ago})
	return s.paymentsFail(ctx, "payments-do-not-reach-us")
}

func playPaymentsDeclined(ctx context.Context, s *stage) error {
	s.world.Pay(sandbox.StripePayments{Status: "requires_payment_method", Code: "card_declined", Count: 9, Ago: ago})
	s.world.Pay(sandbox.StripePayments{Count: 3, Ago: ago})
	s.world.SetBackend(sandbox.Backend{MongoDB: true, Redis: true, Pending: 7})
	if err := s.paymentsFail(ctx, "payments-fail-for-another-reason"); err != nil {
		return err
	}
	notes := s.notes()
	return expect(slices.ContainsFunc(notes, func(n string) bool { return says(n, "card_declined") && says(n, "stuck_orders: 7") }),
		"no note tells of the codes and the stuck orders: %q", notes)
}

func slowScenarios() []scenario {
	return []scenario{
		{name: "slow-service", title: "The 95th percentile is over one second", moral: "more instances, verified, noted, resolved", play: playSlowService},
		{name: "slow-database", title: "The 95th percentile is over one second, because queries scan a collection", moral: "the missing index is told: a database is a human's to change", play: playSlowDatabase},
		{name: "memory-leak", title: "Instances use nearly all of their memory", moral: "one restart, verified, noted, resolved", play: playMemoryLeak},
	}
}

func (s *stage) isSlow(ctx context.Context) error {
	if err := s.world.SetLoad(backend, 4*busy); err != nil {
		return fmt.Errorf("raising the load: %w", err)
	}
	s.say("  load     four times the usual requests reach %s", backend)
	return s.untilSeen(ctx, "scale-up-when-slow", backend)
}

func playSlowService(ctx context.Context, s *stage) error {
	if err := s.isSlow(ctx); err != nil {
		return err
	}
	return s.goes(ctx, "HighLatency", backend, ending{rule: "scale-up-when-slow", outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed})
}

func playSlowDatabase(ctx context.Context, s *stage) error {
	scan := sandbox.MongoRecord{
		Namespace: "mixillo.orders", Command: `{"find": "orders", "filter": {"status": "new"}}`, Took: time.Second,
		DocsExamined: 500_000, Returned: 20, PlanSummary: "COLLSCAN",
	}
	s.meanwhile(ctx, func() {
		_ = s.world.SetMongoProfile(sandbox.MongoProfiler{Level: 1, SlowMS: 100}, slices.Repeat([]sandbox.MongoRecord{scan}, 25))
	})
	if err := s.isSlow(ctx); err != nil {
		return err
	}
	return s.goes(ctx, "HighLatency", backend, ending{
		rule: "slow-because-of-the-database", outcome: remediation.Observed, told: toldLeft, called: 1, says: "build the index",
	})
}

func playMemoryLeak(ctx context.Context, s *stage) error {
	if err := s.world.SetMemory(backend, 0.95); err != nil {
		return fmt.Errorf("filling the memory: %w", err)
	}
	s.once(ctx, func() bool { return len(s.changes()) > 0 }, func() { _ = s.world.SetMemory(backend, 0.4) })
	if err := s.untilSeen(ctx, "restart-when-memory-leaks", backend); err != nil {
		return err
	}
	return s.goes(ctx, "HighMemory", backend, ending{rule: "restart-when-memory-leaks", outcome: remediation.Fixed, changes: []string{updated}, told: toldFixed})
}

const flushed = "redis unlink keys"

func cacheScenarios() []scenario {
	return []scenario{
		{name: "full-cache", title: "Redis is full and evicts keys", moral: "the cache is emptied, approved by a human, and nothing else", redis: true, play: playFullCache},
		{name: "cache-is-down", title: "Redis does not answer", moral: "a human is called", play: playCacheDown},
	}
}

// fillsCache fills Redis nearly up to its bound, in parts: what the sandbox hears of a large one would itself take the memory.
func (s *stage) fillsCache() error {
	parts := []sandbox.RedisKeys{{Prefix: "order:", Count: 10, Bytes: 10}}
	for i := range 33 {
		parts = append(parts, sandbox.RedisKeys{Prefix: fmt.Sprintf("cache:%d:", i), Count: 50, Bytes: 4000})
	}
	for _, keys := range parts {
		if err := s.world.FillRedis(keys); err != nil {
			return fmt.Errorf("filling Redis: %w", err)
		}
	}
	return nil
}

func playFullCache(ctx context.Context, s *stage) error {
	if err := s.fillsCache(); err != nil {
		return err
	}
	return s.goesAsked(ctx, "RedisMemoryHigh", approved, ending{
		rule: "empty-a-full-cache", outcome: remediation.Fixed, changes: []string{flushed}, told: toldFixedAsked, called: 1,
	})
}

func playCacheDown(ctx context.Context, s *stage) error {
	return s.goes(ctx, "RedisDown", backend, ending{rule: "cache-is-down", outcome: remediation.Observed, told: toldLeft, called: 1})
}

func frontEndScenarios() []scenario {
	return []scenario{
		{name: "bad-front-end", title: "The admin front end fails after a deploy", moral: "the deployment before it serves again", play: playBadFrontEnd},
		{name: "front-end-without-deploy", title: "The admin front end fails and nothing was deployed", moral: "a human is called", play: playOldFrontEnd},
	}
}

func playBadFrontEnd(ctx context.Context, s *stage) error {
	if err := s.world.DeployVercel(admin, sandbox.VercelDeployment{ID: "dpl_3", CreatedAgo: lately, Sick: true}); err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	return s.goes(ctx, "FrontEndFailed", admin, ending{
		rule: "roll-back-the-front-end", outcome: remediation.Fixed, changes: []string{"vercel rollback " + admin}, told: toldFixed,
	})
}

func playOldFrontEnd(ctx context.Context, s *stage) error {
	s.world.AddVercelProject(sandbox.VercelProject{ID: "prj_admin", Name: admin, Deployments: []sandbox.VercelDeployment{
		{ID: "dpl_1", CreatedAgo: 600 * ago}, {ID: "dpl_2", CreatedAgo: 300 * ago, Sick: true},
	}})
	return s.goes(ctx, "FrontEndFailed", admin, ending{rule: "front-end-failed-for-another-reason", outcome: remediation.Observed, told: toldLeft, called: 1})
}
