package cloudarmor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// edit is what a change's Data holds: one rule, before and after.
type edit struct {
	Policy   string `json:"policy"`
	Priority int32  `json:"priority"`
	Was      *form  `json:"was,omitempty"`  // nil: there is no rule
	Wish     *form  `json:"wish,omitempty"` // nil: there is to be none
	End      string `json:"end"`            // of the change's time, as its mark tells it
	Back     bool   `json:"back,omitempty"` // it takes another change back
}

// key names the rule in what people see.
func (e edit) key() string { return fmt.Sprintf("rule %d", e.Priority) }

// change fills in what all changes have.
func (e edit) change(env executors.Env, r reading, c executors.Change) (executors.Change, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return c, fmt.Errorf("planning %s of security policy %s: %w", e.key(), e.Policy, err)
	}
	c.Target, c.Data, c.Etag, c.Reversible, c.PlannedAt = env.Target.Name, data, r.etag(), true, env.Now
	c.Before, c.After = executors.State{e.key(): e.Was.String()}, executors.State{e.key(): e.Wish.String()}
	c.Selects = []string{fmt.Sprintf("projects/%s/global/securityPolicies/%s/rules/%d", r.google.Project, e.Policy, e.Priority)}
	return c, nil
}

// resume reads a change that was planned earlier, and the policy as it is now.
func resume(ctx context.Context, env executors.Env, c executors.Change) (edit, reading, error) {
	var e edit
	if err := json.Unmarshal(c.Data, &e); err != nil {
		return e, reading{}, connect.Lost(connection, "changing a rule", "the plan cannot be read: %v", err)
	}
	r, err := look(ctx, env)
	if err == nil && r.section.Policy != e.Policy {
		err = connect.Lost(connection, "changing a rule", "the plan is for security policy %s, but target %s has %s now", e.Policy, env.Target.Name, r.section.Policy)
	}
	return e, r, err
}

// apply makes the one call, if the policy is what it was when this was planned.
func apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	e, r, err := resume(ctx, env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	if r.etag() != c.Etag {
		return executors.Receipt{}, connect.Lost(connection, "changing "+e.key(), "the rules of security policy %s are no longer those of the plan", e.Policy)
	}
	var handle string
	switch {
	case e.Wish == nil:
		handle, err = r.api.RemoveRule(ctx, e.Policy, e.Priority)
	case e.Was == nil:
		handle, err = r.api.AddRule(ctx, e.Policy, e.added(operation))
	default:
		handle, err = r.api.PatchRule(ctx, e.Policy, e.patched(r.rule(e.Priority), operation), "description", "preview", "rateLimitOptions")
	}
	return executors.Receipt{Handle: handle}, err
}

// added is the rule that blocks.
func (e edit) added(operation string) *computepb.SecurityPolicyRule {
	return blocking(e.Priority, e.Wish.Networks, mark(operation, e.End))
}

func blocking(priority int32, networks []string, description string) *computepb.SecurityPolicyRule {
	return &computepb.SecurityPolicyRule{
		Priority: proto.Int32(priority), Action: proto.String(deny), Description: proto.String(description), Preview: proto.Bool(false),
		Match: &computepb.SecurityPolicyRuleMatcher{
			VersionedExpr: proto.String("SRC_IPS_V1"), Config: &computepb.SecurityPolicyRuleMatcherConfig{SrcIpRanges: networks},
		},
	}
}

// patched is what changes of the rule that limits the rate. Its options are given whole, for they are one field to the API.
func (e edit) patched(now *computepb.SecurityPolicyRule, operation string) *computepb.SecurityPolicyRule {
	options := proto.CloneOf(now.GetRateLimitOptions())
	options.RateLimitThreshold = &computepb.SecurityPolicyRuleRateLimitOptionsThreshold{
		Count: proto.Int32(e.Wish.Count), IntervalSec: proto.Int32(e.Wish.Interval),
	}
	description := e.Wish.Description
	if !e.Back {
		description = mark(operation, e.End)
	}
	return &computepb.SecurityPolicyRule{
		Priority: proto.Int32(e.Priority), Description: proto.String(description), Preview: proto.Bool(e.Wish.Preview), RateLimitOptions: options,
	}
}

// observe reads back what became of a change.
func observe(ctx context.Context, env executors.Env, c executors.Change, operation string, receipt executors.Receipt) (executors.Observation, error) {
	e, r, err := resume(ctx, env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	known, op, err := r.poll(ctx, receipt.Handle)
	if err != nil {
		return executors.Observation{}, err
	}
	busy, err := r.api.Busy(ctx, e.Policy)
	if err != nil {
		return executors.Observation{}, err
	}
	// Once more, after the operations: none of them can be done before what the policy then shows.
	if r, err = look(ctx, env); err != nil {
		return executors.Observation{}, err
	}
	o := executors.Observation{State: executors.State{e.key(): formOf(r.rule(e.Priority)).String()}}
	switch {
	case known && op.Failure != "":
		o.Progress, o.Detail = executors.Failed, op.Failure
	case known && !op.Done:
		o.Progress, o.Detail = executors.Pending, "the operation is under way"
	default:
		o.Progress, o.Detail = e.judge(r.rule(e.Priority), operation, busy, receipt.Handle != "")
	}
	return o, nil
}

// poll asks for an operation. Without the permission to read operations, or when it is gone, the policy has to tell.
func (r reading) poll(ctx context.Context, handle string) (known bool, op connect.ComputeOperation, err error) {
	if handle == "" {
		return false, op, nil
	}
	op, err = r.api.Operation(ctx, handle)
	var failed *connect.CallError
	if errors.As(err, &failed) && (failed.Status == http.StatusForbidden || failed.Status == http.StatusNotFound) {
		return false, op, nil
	}
	return err == nil, op, err
}

// judge compares the rule as it is now with what was and what was wished. Busy: some operation on the policy is under way.
func (e edit) judge(now *computepb.SecurityPolicyRule, operation string, busy, accepted bool) (executors.Progress, string) {
	marks := e.Back || sameRun(now, operation)
	switch {
	case e.Wish.same(now, e.End) && marks:
		return executors.Applied, fmt.Sprintf("%s is %s", e.key(), e.Wish)
	case busy:
		return executors.Pending, fmt.Sprintf("%s is %s, and a change of the policy is under way", e.key(), formOf(now))
	case e.Was.same(now, e.End) && accepted:
		return executors.Unclear, fmt.Sprintf("the change was accepted, and %s is %s as before", e.key(), e.Was)
	case e.Was.same(now, e.End):
		return executors.NotApplied, fmt.Sprintf("%s is %s as before", e.key(), e.Was)
	}
	return executors.Foreign, fmt.Sprintf("%s is %s by another hand", e.key(), formOf(now))
}

// undo plans the way back, if the rule is exactly as the change left it.
func undo(ctx context.Context, env executors.Env, c executors.Change, summary, hint func(edit) string) (executors.Change, error) {
	e, r, err := resume(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	now := r.rule(e.Priority)
	switch {
	case e.Back:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the way back is not taken back itself")
	case e.Was.same(now, e.End):
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s of security policy %s is %s already", e.key(), e.Policy, e.Was)
	case !e.Wish.same(now, e.End):
		return executors.Change{}, guard.Refuse(guard.HumanHand, "%s of security policy %s is no longer what the change left: it is %s", e.key(), e.Policy, formOf(now))
	}
	back := edit{Policy: e.Policy, Priority: e.Priority, Was: formOf(now), Wish: e.Was, End: e.End, Back: true}
	return back.change(env, r, executors.Change{Kind: c.Kind, Summary: summary(e), UndoHint: hint(e)})
}
