package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
)

// act is one scene of the story. It fails unless the ledger says that it ended as it should.
type act struct {
	title, moral string
	play         func(ctx context.Context, s *stage) error
}

func acts() []act {
	return []act{
		{"A bad deploy: health answers 503", "one rollback, verified, noted, resolved", badDeploy},
		{"A slow service: p95 over one second", "scaled up, p95 back under a second, noted, resolved", slowService},
		{"A rollback that does not heal", "escalated, breaker open, no second try", unhealed},
		{"A human deploys in between", "nothing was touched, and the incident says so", humanFirst},
	}
}

func badDeploy(ctx context.Context, s *stage) error {
	before := s.serving(backend)
	bad, err := s.world.Deploy(backend, sandbox.Revision{Health: sandbox.Sick503})
	if err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	s.say("  deploy   %s -> %s", before, bad)
	if err := s.untilHealth(ctx, backend, false); err != nil {
		return err
	}
	incident := s.alert("HealthCheckFailed", backend)
	run, err := s.follow(ctx, backend, incident)
	if err != nil {
		return err
	}
	return errors.Join(
		s.expectOutcome(run, remediation.Fixed),
		s.expectUpdates(backend, 1),
		expect(s.serving(backend) == before, "traffic is on %s, not back on %s", s.serving(backend), before),
		s.untilHealth(ctx, backend, true),
		s.expectTold(incident, map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 1, "incident_escalated": 0}),
	)
}

func slowService(ctx context.Context, s *stage) error {
	if err := s.world.SetLoad(search, 2400); err != nil {
		return fmt.Errorf("raising the load: %w", err)
	}
	s.say("  load     four times the usual requests reach %s", search)
	if err := s.untilSeen(ctx, "scale-up-when-slow", search); err != nil {
		return err
	}
	incident := s.alert("HighLatency", search)
	run, err := s.follow(ctx, search, incident)
	if err != nil {
		return err
	}
	least := s.world.CloudRun(search).GetScaling().GetMinInstanceCount()
	return errors.Join(
		s.expectOutcome(run, remediation.Fixed),
		s.expectUpdates(search, 1),
		expect(least >= 5, "at least %d instances are kept, not 5", least),
		s.expectTold(incident, map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 1}),
	)
}

func unhealed(ctx context.Context, s *stage) error {
	before := s.serving(checkout)
	if _, err := s.world.Deploy(checkout, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	if err := s.world.SetHealth(checkout, before, sandbox.Sick503); err != nil {
		return fmt.Errorf("breaking the former revision: %w", err)
	}
	s.say("  deploy   a bad revision; something else broke the former one too")
	if err := s.untilHealth(ctx, checkout, false); err != nil {
		return err
	}
	first := s.alert("HealthCheckFailed", checkout)
	run, err := s.follow(ctx, checkout, first)
	if err != nil {
		return err
	}
	if err := s.expectOutcome(run, remediation.NotFixed); err != nil {
		return err
	}
	if err := s.world.HumanResolves(first); err != nil {
		return fmt.Errorf("resolving: %w", err)
	}
	if _, err := s.world.Deploy(checkout, sandbox.Revision{Health: sandbox.Sick503, NoTraffic: true}); err != nil {
		return fmt.Errorf("deploying again: %w", err)
	}
	if err := s.world.Split(checkout, sandbox.Share{Percent: 100}); err != nil {
		return fmt.Errorf("routing to it: %w", err)
	}
	s.say("  again    a new deploy is as bad, and the same alert fires once more")
	second := s.alert("HealthCheckFailed", checkout)
	again, err := s.follow(ctx, checkout, second)
	if err != nil {
		return err
	}
	return errors.Join(
		s.expectOutcome(again, remediation.RefusedRun),
		expect(again.Reason == guard.BreakerOpen, "the second try was refused for %s, not by the breaker", again.Reason),
		s.expectUpdates(checkout, 1),
		s.expectEscalated(first),
		s.expectTold(second, map[string]int{"incident_acknowledged": 0, "note_added": 1}),
	)
}

func humanFirst(ctx context.Context, s *stage) error {
	if _, err := s.world.Deploy(media, sandbox.Revision{Health: sandbox.Sick503}); err != nil {
		return fmt.Errorf("deploying: %w", err)
	}
	if err := s.untilHealth(ctx, media, false); err != nil {
		return err
	}
	if err := s.world.DeployBeforeNextUpdate(media, sandbox.Revision{}); err != nil {
		return fmt.Errorf("arranging the human's deploy: %w", err)
	}
	incident := s.alert("HealthCheckFailed", media)
	run, err := s.follow(ctx, media, incident)
	if err != nil {
		return err
	}
	return errors.Join(
		s.expectOutcome(run, remediation.RefusedRun),
		expect(run.Reason == guard.HumanHand, "it was refused for %s, not for the human's hand", run.Reason),
		s.expectUpdates(media, 0),
		s.expectTold(incident, map[string]int{"note_added": 1, "incident_resolved": 0}),
		s.expectEscalated(incident),
	)
}

// alert opens an incident, of which PagerDuty sends a signed webhook.
func (s *stage) alert(name, service string) string {
	incident := sandbox.Incident{
		Title: name + " on " + service, Key: fmt.Sprintf("%s/%s/%d", name, service, len(s.world.Incidents())), Severity: "critical",
		Details: map[string]any{"alertname": name, "service": service, "severity": "critical"},
	}
	if s.dressed.incident != nil {
		s.dressed.incident(&incident)
	}
	id := s.world.TriggerIncident(incident)
	s.say("  alert    incident %s: %s on %s; PagerDuty sends a signed webhook", id, name, service)
	return id
}

func (s *stage) serving(service string) string {
	for revision, percent := range s.world.Serving(service) {
		if percent == 100 {
			return revision
		}
	}
	return ""
}

const (
	actTimeout = 25 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// until polls a condition of the world.
func (s *stage) until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain until %s", s.patience, what)
		case <-tick.C:
		}
	}
	return nil
}

func (s *stage) untilHealth(ctx context.Context, service string, healthy bool) error {
	url, code := s.world.BackendURL(service)+"/health", 0
	err := s.until(ctx, fmt.Sprintf("%s is healthy: %t", service, healthy), func() bool {
		code = statusOf(ctx, url)
		return (code == http.StatusOK) == healthy
	})
	if err == nil {
		s.say("  health   GET %s/health: %d", service, code)
	}
	return err
}

func statusOf(ctx context.Context, url string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// untilSeen waits until the metrics show what the rule's condition asks for, as the monitoring that sends the alert would.
func (s *stage) untilSeen(ctx context.Context, rule, target string) error {
	return s.untilRule(ctx, rule, target, "the metrics show it", func(j rules.Judgement) bool { return j.Holds })
}

// untilJudged waits until the metrics suffice to judge the rule's condition.
func (s *stage) untilJudged(ctx context.Context, rule, target string) error {
	return s.untilRule(ctx, rule, target, "the metrics suffice", func(j rules.Judgement) bool { return j.Known })
}

func (s *stage) untilRule(ctx context.Context, rule, target, what string, is func(rules.Judgement) bool) error {
	r, ok := s.app.book.Current().Rule(rule)
	if !ok {
		return fmt.Errorf("there is no rule %s", rule)
	}
	return s.until(ctx, what, func() bool { return is(s.app.engine.Holds(ctx, r, target)) })
}

// follow tells of the run that the incident leads to until it is done and told.
func (s *stage) follow(ctx context.Context, target, incident string) (remediation.Run, error) {
	return s.followView(ctx, "a run for incident "+incident+" on "+target, func() (edge.RunView, bool) { return s.runOf(ctx, target, incident) })
}

// followView tells of a run until it is done and told.
func (s *stage) followView(ctx context.Context, what string, look func() (edge.RunView, bool)) (remediation.Run, error) {
	var run remediation.Run
	told := 0
	err := s.until(ctx, what+" is done", func() bool {
		view, ok := look()
		if !ok {
			return false
		}
		for _, e := range view.Journal[min(told, len(view.Journal)):] {
			s.say("  %-8s %s", e.Kind, e.Text)
			told++
		}
		run = view.Run
		return run.State == remediation.Done && allTold(view.Messages)
	})
	return run, err
}

func allTold(messages []remediation.Message) bool {
	for _, m := range messages {
		if m.State == remediation.MessageQueued {
			return false
		}
	}
	return true
}

func expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func (s *stage) expectOutcome(run remediation.Run, want remediation.Outcome) error {
	return expect(run.Outcome == want, "run %s ended %q, not %q: %s", run.ID, run.Outcome, want, run.Detail)
}

// expectUpdates counts, in the sandbox's ledger, the changes of the service that were not a human's.
func (s *stage) expectUpdates(service string, want int) error {
	n := 0
	for _, e := range s.world.Ledger() {
		if e.System == "cloud_run" && e.Verb == "update_service" && e.Resource == service && e.By != sandbox.Human {
			n++
		}
	}
	return expect(n == want, "the ledger has %d change(s) of %s, not %d", n, service, want)
}

func (s *stage) told(incident, verb string) int {
	n := 0
	for _, e := range s.world.Ledger() {
		if e.System == "pagerduty" && e.Resource == incident && e.Verb == verb {
			n++
		}
	}
	return n
}

func (s *stage) expectTold(incident string, want map[string]int) error {
	var all []error
	for verb, n := range want {
		got := s.told(incident, verb)
		all = append(all, expect(got == n, "incident %s has %d x %s in the ledger, not %d", incident, got, verb, n))
	}
	return errors.Join(all...)
}

func (s *stage) expectEscalated(incident string) error {
	n := s.called(incident)
	return expect(n == 1, "incident %s was escalated %d time(s), not once", incident, n)
}

// called counts how often a human was paged after the incident began.
func (s *stage) called(incident string) int {
	return s.told(incident, "incident_escalated") + s.told(incident, "incident_delegated") + s.told(incident, "incident_reassigned")
}

// runOf finds the newest run of an incident on a target.
func (s *stage) runOf(ctx context.Context, target, incident string) (edge.RunView, bool) {
	runs, err := (&api{app: s.app}).Runs(ctx, edge.RunFilter{Target: target, Limit: 20})
	if err != nil {
		return edge.RunView{}, false
	}
	for _, r := range runs {
		if r.Alert.IncidentID == incident && r.Origin == remediation.ByAlert {
			view, err := (&api{app: s.app}).Run(ctx, r.ID)
			return view, err == nil
		}
	}
	return edge.RunView{}, false
}
