package remediation

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/rules"
)

// ByPerson is a rule that somebody starts by hand on a target.
type ByPerson struct {
	Rule, Target  string
	Actor, Reason string
	// Pressed and At name a button and when it was shown: pressed twice it starts one run. Both are zero where no button was pressed.
	Pressed string
	At      time.Time
}

// Start begins a run of a rule for a person instead of an alert. Every guard is asked as for an alert, but for those that concern one. A rule or
// target that the rules do not declare together is ErrNotFound.
func (e *Engine) Start(ctx context.Context, p ByPerson) (Accepted, error) {
	set := e.Rules.Current()
	rule, ok := set.Rule(p.Rule)
	if !ok || !rule.Concerns(p.Target) {
		return Accepted{}, fmt.Errorf("%w: the rules file declares no rule %q for a target %q", ErrNotFound, p.Rule, p.Target)
	}
	event := Event{ID: e.NewID(), Source: string(ByHand), Type: "run", ReceivedAt: e.Now(), State: EventMatched, RulesHash: set.Hash}
	event.DedupKey, event.OccurredAt = p.Pressed, p.At
	sig := alert.Alert{
		Source: string(ByHand), Status: alert.Firing, Episode: event.ID, Labels: rule.Labels(p.Target),
		Annotations: map[string]string{"summary": fmt.Sprintf("started by %s: %s", p.Actor, p.Reason)},
	}
	proposal := e.proposal(set, event, sig, p.Target, []*rules.Rule{rule})
	proposal.Run.Origin, proposal.Run.Actor, proposal.Run.Note = ByHand, p.Actor, p.Reason
	a := Acceptance{Event: event, Proposals: []Proposal{proposal}}
	number(&a)
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return Accepted{}, fmt.Errorf("storing the run: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return accepted, nil
}

// Settle starts a run by hand that takes back what an earlier act left, such as pinned traffic. It is guarded by the target's lock alone:
// the way back is never blocked.
func (e *Engine) Settle(ctx context.Context, action, target, actor, reason string) (Accepted, error) {
	set := e.Rules.Current()
	now := e.Now()
	event := Event{ID: e.NewID(), Source: string(ByHand), Type: action, ReceivedAt: now, State: EventMatched, RulesHash: set.Hash}
	run := Run{
		ID: e.NewID(), Origin: ByHand, Event: event.ID, Target: target, RulesHash: set.Hash, Action: action, Actor: actor, Note: reason,
		Mode: string(rules.Auto), State: Running, Phase: PhaseDecide, CreatedAt: now, UpdatedAt: now, EventAt: now,
		Alert: alert.Alert{Source: string(ByHand), Episode: event.ID},
	}
	return e.Intake.Accept(ctx, Acceptance{Event: event, Proposals: []Proposal{{Run: run}}})
}
