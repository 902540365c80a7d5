package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/PagerDuty/go-pagerduty"
)

// PagerDuty's error codes that need an answer of their own, from its page on REST API errors.
const (
	codeAlreadyResolved     = 1001
	codeAlreadyAcknowledged = 1002
)

// Acknowledge acknowledges a triggered incident. One already acknowledged or resolved is left alone without an error: PagerDuty
// would reopen a resolved one.
func (p *PagerDuty) Acknowledge(ctx context.Context, id string) error {
	doing := "acknowledging incident " + id
	in, err := p.read(ctx, doing, id)
	if err != nil {
		return err
	}
	if in.Status != StatusTriggered {
		return nil
	}
	err = p.manage(ctx, doing, pagerduty.ManageIncidentsOptions{ID: id, Status: StatusAcknowledged})
	return p.unless(ctx, err, id, StatusAcknowledged, StatusResolved)
}

// Resolve resolves an incident; one already resolved is no error. The resolution is kept in the incident's log.
func (p *PagerDuty) Resolve(ctx context.Context, id, resolution string) error {
	if err := checkID("resolving an incident", id); err != nil {
		return err
	}
	err := p.manage(ctx, "resolving incident "+id,
		pagerduty.ManageIncidentsOptions{ID: id, Status: StatusResolved, Resolution: resolution})
	return p.unless(ctx, err, id, StatusResolved)
}

// unless forgives a refusal when the incident already is in one of the statuses: PagerDuty answers "already" with several codes.
func (p *PagerDuty) unless(ctx context.Context, err error, id string, statuses ...string) error {
	var failed *CallError
	if !errors.As(err, &failed) || failed.Status != http.StatusBadRequest {
		return err
	}
	if failed.Code == codeAlreadyResolved || failed.Code == codeAlreadyAcknowledged && slices.Contains(statuses, StatusAcknowledged) {
		return nil
	}
	in, readErr := p.read(ctx, failed.Doing, id)
	if readErr != nil {
		return errors.Join(err, fmt.Errorf("reading the incident after the refusal: %w", readErr))
	}
	if slices.Contains(statuses, in.Status) {
		return nil
	}
	return err
}

// Escalate makes PagerDuty notify a human: the next level of the incident's escalation policy, or its first again when there is no
// next one or the present one cannot be told (a level that is a schedule does not say whom it stands for). An acknowledged
// incident becomes triggered thereby. A resolved one is ErrIncidentResolved. Called twice it notifies twice.
func (p *PagerDuty) Escalate(ctx context.Context, id string) error {
	doing := "escalating incident " + id
	in, err := p.read(ctx, doing, id)
	if err != nil {
		return err
	}
	if in.Status == StatusResolved {
		return &CallError{System: systemPagerDuty, Doing: doing, Err: ErrIncidentResolved, permanent: true}
	}
	if next := p.nextLevel(ctx, in); next > 0 {
		err := p.manage(ctx, doing, pagerduty.ManageIncidentsOptions{ID: id, EscalationLevel: next})
		if !mayReassign(err) {
			return resolvedMeanwhile(err)
		}
	}
	policy := pagerduty.APIReference{ID: in.EscalationPolicy.ID, Type: "escalation_policy_reference"}
	if policy.ID == "" {
		return refused(systemPagerDuty, doing, "the incident has no escalation policy")
	}
	return resolvedMeanwhile(p.manage(ctx, doing, pagerduty.ManageIncidentsOptions{ID: id, EscalationPolicy: &policy}))
}

// mayReassign: the level was refused (1006 among others) and nothing was done, so the policy may be tried.
func mayReassign(err error) bool {
	var failed *CallError
	return errors.As(err, &failed) && failed.Status == http.StatusBadRequest && failed.Code != codeAlreadyResolved
}

func resolvedMeanwhile(err error) error {
	var failed *CallError
	if errors.As(err, &failed) && failed.Code == codeAlreadyResolved {
		return errors.Join(err, ErrIncidentResolved)
	}
	return err
}

// nextLevel is the number of the level after the one that the incident's assignees stand on, 0 when it cannot be told or there is
// none. A failure is no reason not to page: the caller has another way.
func (p *PagerDuty) nextLevel(ctx context.Context, in *pagerduty.Incident) uint {
	if checkID("reading an escalation policy", in.EscalationPolicy.ID) != nil {
		return 0
	}
	var policy *pagerduty.EscalationPolicy
	err := p.do(ctx, call{doing: "reading the escalation policy"}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		policy, err = api.GetEscalationPolicyWithContext(ctx, in.EscalationPolicy.ID, &pagerduty.GetEscalationPolicyOptions{})
		return err
	})
	if err != nil {
		return 0
	}
	return levelAfter(policy.EscalationRules, in.Assignments)
}

func levelAfter(rules []pagerduty.EscalationRule, assignments []pagerduty.Assignment) uint {
	assigned := map[string]bool{}
	for _, a := range assignments {
		assigned[a.Assignee.ID] = true
	}
	level, last := uint(0), uint(0)
	for _, rule := range rules {
		last++
		if slices.ContainsFunc(rule.Targets, func(t pagerduty.APIObject) bool { return assigned[t.ID] }) {
			level = last
		}
	}
	if level == 0 || level == last {
		return 0
	}
	return level + 1
}

// Note writes a note on an incident.
func (p *PagerDuty) Note(ctx context.Context, id, text string) error {
	if err := checkID("writing a note", id); err != nil {
		return err
	}
	c := call{doing: "writing a note on incident " + id, mutates: true}
	return p.do(ctx, c, func(ctx context.Context, api *pagerduty.Client) error {
		// The library takes the From header from the summary of the note's user.
		note := pagerduty.IncidentNote{Content: text, User: pagerduty.APIObject{Summary: p.cfg.From}}
		_, err := api.CreateIncidentNoteWithContext(ctx, id, note)
		return err
	})
}

// StatusUpdate tells the incident's subscribers something.
func (p *PagerDuty) StatusUpdate(ctx context.Context, id, message string) error {
	if err := checkID("publishing a status update", id); err != nil {
		return err
	}
	c := call{doing: "publishing a status update on incident " + id, mutates: true}
	return p.do(ctx, c, func(ctx context.Context, api *pagerduty.Client) error {
		_, err := api.CreateIncidentStatusUpdate(ctx, id, p.cfg.From, message)
		return err
	})
}

// manage changes one incident.
func (p *PagerDuty) manage(ctx context.Context, doing string, change pagerduty.ManageIncidentsOptions) error {
	return p.do(ctx, call{doing: doing, mutates: true}, func(ctx context.Context, api *pagerduty.Client) error {
		_, err := api.ManageIncidentsWithContext(ctx, p.cfg.From, []pagerduty.ManageIncidentsOptions{change})
		return err
	})
}
