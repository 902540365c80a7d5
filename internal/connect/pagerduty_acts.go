package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

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
	in, err := p.readOpen(ctx, doing, id)
	if err != nil {
		return err
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

// StatusUpdate tells the incident's subscribers something. Called twice it tells them twice, and nothing marks the second as a repeat: look
// at what is known of the first call before making another: Logged finds its message. An empty message is refused without a call. PagerDuty
// takes updates on resolved incidents too.
func (p *PagerDuty) StatusUpdate(ctx context.Context, id, message string) error {
	if err := checkMessage("publishing a status update", id, message); err != nil {
		return err
	}
	c := call{doing: "publishing a status update on incident " + id, mutates: true}
	return p.do(ctx, c, func(ctx context.Context, api *pagerduty.Client) error {
		_, err := api.CreateIncidentStatusUpdate(ctx, id, p.cfg.From, message)
		return err
	})
}

// checkMessage refuses a message for people that says nothing.
func checkMessage(doing, id, message string) error {
	if strings.TrimSpace(message) == "" {
		return refused(systemPagerDuty, doing, "the message is empty")
	}
	return checkID(doing, id)
}

// People are those whom a call is meant for, by their ids.
type People struct {
	Users    []string `json:"users,omitempty"`
	Policies []string `json:"escalation_policies,omitempty"` // whoever is on call on their first levels
}

// None reports whether nobody is named.
func (who People) None() bool { return len(who.Users) == 0 && len(who.Policies) == 0 }

// check refuses nobody, and what is no id.
func (who People) check(doing string) error {
	ids := slices.Concat(who.Users, who.Policies)
	if who.None() {
		return refused(systemPagerDuty, doing, "neither a user nor an escalation policy is named")
	}
	for _, id := range ids {
		if err := checkID(doing, id); err != nil {
			return err
		}
	}
	return nil
}

// Reassign gives an incident to users, or to one escalation policy, which begins anew on its first level; users and a policy together, or
// several policies, are refused without a call. An acknowledged incident becomes triggered thereby and pages its new assignees. Called
// twice it leaves the same people assigned and may page them twice; an incident that users are to have and already have is left alone
// without a call, so that a repeat after an ambiguous error is safe for users, but not for a policy. A resolved incident is
// ErrIncidentResolved: PagerDuty would reopen it.
func (p *PagerDuty) Reassign(ctx context.Context, id string, to People) error {
	doing := "reassigning incident " + id
	if err := to.check(doing); err != nil {
		return err
	}
	if len(to.Policies) > 1 || len(to.Policies) == 1 && len(to.Users) > 0 {
		return refused(systemPagerDuty, doing, "an incident is given to users or to one escalation policy")
	}
	in, err := p.readOpen(ctx, doing, id)
	if err != nil || len(to.Users) > 0 && has(in, to.Users) {
		return err
	}
	change := pagerduty.ManageIncidentsOptions{ID: id}
	if len(to.Policies) > 0 {
		change.EscalationPolicy = &pagerduty.APIReference{ID: to.Policies[0], Type: "escalation_policy_reference"}
	}
	for _, user := range to.Users {
		change.Assignments = append(change.Assignments, pagerduty.Assignee{Assignee: pagerduty.APIObject{ID: user, Type: "user_reference"}})
	}
	return resolvedMeanwhile(p.manage(ctx, doing, change))
}

// readOpen reads an incident and refuses a resolved one.
func (p *PagerDuty) readOpen(ctx context.Context, doing, id string) (*pagerduty.Incident, error) {
	in, err := p.read(ctx, doing, id)
	if err == nil && in.Status == StatusResolved {
		return nil, &CallError{System: systemPagerDuty, Doing: doing, Err: ErrIncidentResolved, permanent: true}
	}
	return in, err
}

// has reports whether exactly these users are assigned.
func has(in *pagerduty.Incident, users []string) bool {
	var assigned []string
	for _, a := range in.Assignments {
		assigned = append(assigned, a.Assignee.ID)
	}
	slices.Sort(assigned)
	wanted := slices.Sorted(slices.Values(users))
	return slices.Equal(slices.Compact(assigned), slices.Compact(wanted))
}

func (who People) targets() []pagerduty.ResponderRequestTargetWrapper {
	var all []pagerduty.ResponderRequestTargetWrapper
	add := func(kind string, ids []string) {
		for _, id := range ids {
			target := pagerduty.ResponderRequestTarget{APIObject: pagerduty.APIObject{ID: id, Type: kind}}
			all = append(all, pagerduty.ResponderRequestTargetWrapper{Target: target})
		}
	}
	add("user_reference", who.Users)
	add("escalation_policy_reference", who.Policies)
	return all
}

// RequestResponders asks people to help with an incident beside its assignees; they are paged as for high urgency until they answer. The
// message, which is required, goes with it. Called twice it asks, and pages, twice; Logged finds the request by its message where PagerDuty
// shows that. An account without the ability coordinated_responding is refused
// (402), a resolved incident is ErrIncidentResolved. The request is made in the name of Me.
func (p *PagerDuty) RequestResponders(ctx context.Context, id string, who People, message string) error {
	doing := "asking responders to incident " + id
	if err := errors.Join(who.check(doing), checkMessage(doing, id, message)); err != nil {
		return err
	}
	if _, err := p.readOpen(ctx, doing, id); err != nil {
		return err
	}
	me, err := p.Me(ctx)
	if err != nil {
		return err
	}
	options := pagerduty.ResponderRequestOptions{From: p.cfg.From, Message: message, RequesterID: me.ID, Targets: who.targets()}
	return resolvedMeanwhile(p.do(ctx, call{doing: doing, mutates: true}, func(ctx context.Context, api *pagerduty.Client) error {
		_, err := api.ResponderRequestWithContext(ctx, id, options)
		return err
	}))
}

// SetPriority sets an incident's priority by its name, in any case, as the account has it: P1. An unknown name is a permanent error that
// tells the known ones. Called twice it changes nothing the second time: an incident that has the priority is left alone. A resolved
// incident is ErrIncidentResolved.
func (p *PagerDuty) SetPriority(ctx context.Context, id, name string) error {
	doing := "setting the priority of incident " + id
	in, err := p.readOpen(ctx, doing, id)
	if err != nil {
		return err
	}
	all, err := p.priorities(ctx, doing)
	if err != nil {
		return err
	}
	var known []string
	for _, one := range all {
		if strings.EqualFold(one.Name, name) && name != "" {
			if in.Priority != nil && in.Priority.ID == one.ID {
				return nil
			}
			priority := &pagerduty.APIReference{ID: one.ID, Type: "priority_reference"}
			return resolvedMeanwhile(p.manage(ctx, doing, pagerduty.ManageIncidentsOptions{ID: id, Priority: priority}))
		}
		known = append(known, one.Name)
	}
	return refused(systemPagerDuty, doing, "the account has no priority %.80q, but %.200q", name, known)
}

// longestSnooze is PagerDuty's own bound.
const longestSnooze = 7 * 24 * time.Hour

// Snooze silences an incident for whole seconds, from one to seven days; then it is triggered, and pages, again. It acknowledges the
// incident meanwhile, in the name of From, so that it must never be used where an acknowledgement would be a lie. Called twice the time
// begins anew with the second call. A resolved incident is ErrIncidentResolved.
func (p *PagerDuty) Snooze(ctx context.Context, id string, d time.Duration) error {
	doing := "snoozing incident " + id
	if d < time.Second || d > longestSnooze {
		return refused(systemPagerDuty, doing, "it must be for between 1s and 7 days, not %s", d)
	}
	if _, err := p.readOpen(ctx, doing, id); err != nil {
		return err
	}
	// The library's call leaves the header From out, which PagerDuty asks for.
	duration := map[string]int64{"duration": int64(d / time.Second)}
	var answer struct {
		Incident pagerduty.Incident `json:"incident"`
	}
	return resolvedMeanwhile(p.direct(ctx, call{doing: doing, mutates: true}, http.MethodPost, "/incidents/"+id+"/snooze", duration, &answer))
}

// manage changes one incident.
func (p *PagerDuty) manage(ctx context.Context, doing string, change pagerduty.ManageIncidentsOptions) error {
	return p.do(ctx, call{doing: doing, mutates: true}, func(ctx context.Context, api *pagerduty.Client) error {
		_, err := api.ManageIncidentsWithContext(ctx, p.cfg.From, []pagerduty.ManageIncidentsOptions{change})
		return err
	})
}
