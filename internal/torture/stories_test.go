package torture

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// The alerts that rules are for.
const (
	alertDeploy = "BadDeploy"
	alertSick   = "Sick"
	alertMode   = "BadMode"
	alertSlow   = "Slow"
)

// story is a kind of outage: what happens to a service, and what nobody may say of it.
type story struct {
	name   string
	weight int
	alert  string
	before func(ctx context.Context, s *scene) error // breaks the service
	during func(ctx context.Context, s *scene)       // once the alert is on its way
	after  func(ctx context.Context, s *scene)       // once the run is done
	// heals: the rule's action can help. A run of a story that does not heal is never fixed.
	heals bool
	// touches: the rule may act at all.
	touches bool
	// meddles: somebody else changes the service meanwhile, so that a call may lose its precondition.
	meddles bool
	// likely is the outcome if nothing comes in between.
	likely remediation.Outcome
}

func stories() []story {
	return []story{
		{name: "bad deploy", weight: 20, alert: alertDeploy, before: deployed(sandbox.Revision{Health: sandbox.Sick503}), after: nextRelease, heals: true, touches: true, likely: remediation.Fixed},
		{name: "sick", weight: 12, alert: alertSick, before: fellSick, heals: true, touches: true, likely: remediation.Fixed},
		{name: "wrong mode", weight: 6, alert: alertMode, before: needs("MODE", "safe"), heals: true, touches: true, likely: remediation.Fixed},
		{name: "two alarms", weight: 6, alert: alertMode, before: needs("MODE", "safe"), during: alsoSick, heals: true, touches: true, likely: remediation.Fixed},
		{name: "slow", weight: 8, alert: alertSlow, before: loaded(2400), after: unloaded, heals: true, touches: true, likely: remediation.Fixed},
		{name: "very slow", weight: 4, alert: alertSlow, before: loaded(6000), after: unloaded, heals: true, touches: true, likely: remediation.Fixed},
		{name: "bad deploys in a row", weight: 3, alert: alertDeploy, before: deployedOntoSick, touches: true, likely: remediation.NotFixed},
		{name: "sick code", weight: 3, alert: alertSick, before: wasSick, touches: true, likely: remediation.NotFixed},
		{name: "another mode", weight: 4, alert: alertMode, before: needs("OTHER", "thing"), touches: true, likely: remediation.Undone},
		{name: "database down", weight: 3, alert: alertDeploy, before: lostDatabase, likely: remediation.Observed},
		{name: "migrated", weight: 3, alert: alertDeploy, before: deployed(sandbox.Revision{Health: sandbox.Sick503, Labels: map[string]string{"no-rollback-past": "yes"}}), likely: remediation.RefusedRun},
		{name: "over before it began", weight: 5, alert: alertDeploy, before: slowly(deployed(sandbox.Revision{Health: sandbox.Sick503})), during: endsAtOnce, heals: true, touches: true, likely: remediation.ResolvedItself},
		{name: "answer lost", weight: 6, alert: alertDeploy, before: then(deployed(sandbox.Revision{Health: sandbox.Sick503}), loseAnswer), after: nextRelease, heals: true, touches: true, likely: remediation.Fixed},
		{name: "etag bumped", weight: 5, alert: alertSick, before: then(fellSick, bumpEtag), heals: true, touches: true, meddles: true, likely: remediation.Fixed},
		{name: "operation fails", weight: 3, alert: alertDeploy, before: then(deployed(sandbox.Revision{Health: sandbox.Sick503}), failOperation), heals: true, touches: true, likely: remediation.NotFixed},
		{name: "deploy in between", weight: 4, alert: alertDeploy, before: then(deployed(sandbox.Revision{Health: sandbox.Sick503}), deployBefore), heals: true, touches: true, meddles: true, likely: remediation.RefusedRun},
		{name: "deploy afterwards", weight: 4, alert: alertSick, before: wasSick, during: deployAfter(300 * time.Millisecond), touches: true, meddles: true, likely: remediation.Inconclusive},
		{name: "answer lost, then a deploy", weight: 5, alert: alertDeploy, before: slowly(then(deployed(sandbox.Revision{Health: sandbox.Sick503}), loseAnswer)), during: deployAfter(0), heals: true, touches: true, meddles: true, likely: remediation.NeedsHuman},
	}
}

// hour is of real time: what the sandbox says of the past is not shortened.
const hour = time.Hour

// good is a history of one revision that has long served well.
func good() []sandbox.Revision { return []sandbox.Revision{{CreatedAgo: 20 * hour}} }

type prepare = func(ctx context.Context, s *scene) error

func then(steps ...prepare) prepare {
	return func(ctx context.Context, s *scene) error {
		for _, step := range steps {
			if err := step(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

func deployed(r sandbox.Revision) prepare {
	return func(ctx context.Context, s *scene) error {
		if err := s.world.revise(ctx, s.service, good()...); err != nil {
			return err
		}
		return s.world.do(ctx, "deploy", service(s.service, "deploy", r))
	}
}

// deployedOntoSick: the revision to go back to is sick too by now.
func deployedOntoSick(ctx context.Context, s *scene) error {
	name := s.service + "-old"
	if err := s.world.revise(ctx, s.service, sandbox.Revision{Name: name, CreatedAgo: 20 * hour}); err != nil {
		return err
	}
	if err := s.world.do(ctx, "deploy", service(s.service, "deploy", sandbox.Revision{Health: sandbox.Sick503})); err != nil {
		return err
	}
	return s.world.do(ctx, "set-health", service(s.service, "revision", name, "health", sandbox.Sick503))
}

// fellSick: the instances are sick and the code is not.
func fellSick(ctx context.Context, s *scene) error {
	name := s.service + "-old"
	if err := s.world.revise(ctx, s.service, sandbox.Revision{Name: name, CreatedAgo: 20 * hour}); err != nil {
		return err
	}
	return s.world.do(ctx, "set-health", service(s.service, "revision", name, "health", sandbox.Sick503))
}

func wasSick(ctx context.Context, s *scene) error {
	return s.world.revise(ctx, s.service, sandbox.Revision{CreatedAgo: 20 * hour, Health: sandbox.Sick503})
}

func needs(name, value string) prepare {
	return func(ctx context.Context, s *scene) error {
		if err := s.world.revise(ctx, s.service, good()...); err != nil {
			return err
		}
		return s.world.do(ctx, "require-env", service(s.service, "name", name, "value", value))
	}
}

// loaded gives the service more requests than it serves well, and waits until the metrics show them.
func loaded(perMinute float64) prepare {
	return func(ctx context.Context, s *scene) error {
		if err := s.world.revise(ctx, s.service, good()...); err != nil {
			return err
		}
		if err := s.world.do(ctx, "set-load", service(s.service, "requests_per_minute", perMinute)); err != nil {
			return err
		}
		pause(ctx, 3500*time.Millisecond)
		return nil
	}
}

func lostDatabase(ctx context.Context, s *scene) error {
	if err := s.world.revise(ctx, s.service, good()...); err != nil {
		return err
	}
	return s.world.do(ctx, "set-dependency", service(s.service, "up", false))
}

// slowly makes every call about the service take a while, so that something can happen meanwhile.
func slowly(first prepare) prepare {
	return then(first, func(ctx context.Context, s *scene) error {
		return s.world.do(ctx, "latency", service(s.service, "delay", "200ms"))
	})
}

func loseAnswer(ctx context.Context, s *scene) error {
	s.stats.count(&s.stats.Faults)
	return s.world.do(ctx, "apply-then-fail", service(s.service, "code", codes.Unavailable))
}

func bumpEtag(ctx context.Context, s *scene) error {
	s.stats.count(&s.stats.Faults)
	return s.world.do(ctx, "bump-etag-before-next-update", service(s.service))
}

func failOperation(ctx context.Context, s *scene) error {
	s.stats.count(&s.stats.Faults)
	return s.world.do(ctx, "fail-next-operation", service(s.service, "message", "the platform gave up"))
}

func deployBefore(ctx context.Context, s *scene) error {
	s.stats.count(&s.stats.Faults)
	return s.world.do(ctx, "deploy-before-next-update", service(s.service, "deploy", sandbox.Revision{}))
}

// endsAtOnce tells that the alert resolved while it is still being looked at.
func endsAtOnce(ctx context.Context, s *scene) {
	pause(ctx, 150*time.Millisecond)
	s.resolve()
}

// deployAfter lets a human deploy something well a while after the program has changed the service.
func deployAfter(d time.Duration) func(ctx context.Context, s *scene) {
	return func(ctx context.Context, s *scene) {
		_, changed := s.world.ledger.await(ctx, s.began, func(e sandbox.Entry) bool {
			m, ok := asMutation(e)
			return ok && m.Resource == s.service
		})
		if changed && pause(ctx, d) {
			s.stats.count(&s.stats.Faults)
			s.note(s.world.do(ctx, "deploy", service(s.service, "deploy", sandbox.Revision{})))
		}
	}
}

// alsoSick lets a second alert of another group come in about the same service, for another rule: both want the target.
func alsoSick(ctx context.Context, s *scene) {
	twin := &scene{
		director: s.director, service: s.service, outage: s.outage + "-too", starts: time.Now().UTC(), road: roadAlertmanager,
		story: story{name: "sick too", alert: alertSick, heals: true, touches: true, likely: remediation.NotFixed},
	}
	twin.learn(nil)
	twin.fire(ctx)
	<-ctx.Done()
	twin.resolve()
}

// nextRelease deploys what mends the fault, and lets it serve.
func nextRelease(ctx context.Context, s *scene) {
	s.note(s.world.do(ctx, "deploy", service(s.service, "deploy", sandbox.Revision{})))
	s.note(s.api.release(ctx, s.service))
	run, err := s.api.unpin(ctx, s.service)
	s.note(err)
	if run != "" {
		s.awaitRun(ctx, run)
	}
}

// unloaded makes it calm again, so that the bounds are put back.
func unloaded(ctx context.Context, s *scene) {
	s.note(s.world.do(ctx, "set-load", service(s.service, "requests_per_minute", 600)))
	s.awaitFollowUps(ctx)
}
