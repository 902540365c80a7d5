package cloudarmor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const rateLimitKind = "cloud_armor.rate_limit"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:     rateLimitKind,
		Doc:      "Puts the declared rate limit of a Cloud Armor policy in force, or makes it stricter, for a time; it never loosens one.",
		New:      func() executors.Action { return &rateLimit{} },
		Takeback: executors.IfNotFixed,
	})
}

// rateLimit changes the rule that the target's section names; how requests beyond the limit are answered stays as people wrote it.
type rateLimit struct {
	// PerMinute is how many requests may come per minute. The rule keeps its own interval, so that no short burst is let in that was not.
	PerMinute int32 `yaml:"per_minute" rules:"required"`
	// PerClientIP says that each client has this limit of its own; else all together have it. The declared rule must be of the same kind.
	PerClientIP bool `yaml:"per_client_ip"`
	// Lasts is how long the limit stays, at most 24h.
	Lasts time.Duration `yaml:"lasts" rules:"required"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *rateLimit) Validate(t executors.Target) error {
	switch {
	case a.PerMinute < 1:
		return errors.New("per_minute must be at least 1")
	case a.Lasts <= 0 || a.Lasts > longest:
		return errors.New("lasts must be at most 24h")
	}
	if err := needsSections(t); err != nil {
		return err
	}
	if s, _ := section(t); s.RateLimit == 0 {
		return errors.New("the target's section cloud_armor must name the priority of its rate_limit")
	}
	return nil
}

// Plan implements executors.Action.
func (a *rateLimit) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	r, err := open(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	rule := r.rule(r.section.RateLimit)
	wish, err := a.tightened(rule, r.section.RateLimit)
	if err != nil {
		return executors.Change{}, err
	}
	e := edit{Policy: r.section.Policy, Priority: r.section.RateLimit, Was: formOf(rule), Wish: wish, End: endOf(env.Now.Add(a.Lasts))}
	return e.change(env, r, executors.Change{
		Kind: rateLimitKind, Lasts: a.Lasts, UndoHint: loosening(e),
		Summary: fmt.Sprintf("limit %s in security policy %s to %d requests in %d s for %s", who(a.PerClientIP), e.Policy, wish.Count, wish.Interval, a.Lasts),
		Evidence: []string{
			fmt.Sprintf("rule %d was made for this and is %s", e.Priority, e.Was), "the service takes traffic from its load balancer alone",
		},
	})
}

func who(each bool) string {
	if each {
		return "each client"
	}
	return "all clients together"
}

// tightened is the rule as it is to be, if that is stricter than what is in force.
func (a *rateLimit) tightened(rule *computepb.SecurityPolicyRule, priority int32) (*form, error) {
	was := formOf(rule)
	switch {
	case was == nil:
		return nil, guard.Refuse(guard.OutOfBounds, "there is no rule %d, which the target declares for its rate limit", priority)
	case was.Action != "throttle" && was.Action != "rate_based_ban" || was.Count < 1 || was.Interval < 1:
		return nil, guard.Refuse(guard.OutOfBounds, "rule %d is %s and no rate limit", priority, was)
	case was.ours():
		return nil, guard.Refuse(guard.OutOfBounds, "rule %d is limited by an earlier run already, which ends it: one on top of it would outlast that", priority)
	case perClient(rule) != a.PerClientIP:
		return nil, guard.Refuse(guard.OutOfBounds, "rule %d does not limit %s", priority, who(a.PerClientIP))
	}
	wish, count := *was, int64(a.PerMinute)*int64(was.Interval)/60
	switch {
	case count < 1:
		return nil, guard.Refuse(guard.OutOfBounds, "%d requests per minute are less than one in the %d s of rule %d", a.PerMinute, was.Interval, priority)
	case count > int64(was.Count):
		return nil, guard.Refuse(guard.OutOfBounds, "%d requests per minute would loosen rule %d, which is %s", a.PerMinute, priority, was)
	case count == int64(was.Count) && !was.Preview:
		return nil, guard.Refuse(guard.NothingToDo, "rule %d already is %s", priority, was)
	}
	wish.Count, wish.Preview, wish.Marked, wish.Description = int32(count), false, true, "" //nolint:gosec // not above was.Count
	return &wish, nil
}

// perClient tells rules that count each address by itself.
func perClient(rule *computepb.SecurityPolicyRule) bool {
	options := rule.GetRateLimitOptions()
	keys := options.GetEnforceOnKeyConfigs()
	return options.GetEnforceOnKey() == "IP" || len(keys) == 1 && keys[0].GetEnforceOnKeyType() == "IP"
}

// loosening is what people type to put the limit back.
func loosening(e edit) string {
	preview := "--no-preview"
	if e.Was.Preview {
		preview = "--preview"
	}
	return fmt.Sprintf("gcloud compute security-policies rules update %d --security-policy=%s --rate-limit-threshold-count=%d "+
		"--rate-limit-threshold-interval-sec=%d %s", e.Priority, e.Policy, e.Was.Count, e.Was.Interval, preview)
}

// Apply implements executors.Action.
func (a *rateLimit) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *rateLimit) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: the rule as people wrote it, description included, if it is exactly as the change left it.
func (a *rateLimit) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return undo(ctx, env, c, func(e edit) string {
		return fmt.Sprintf("put the rate limit of security policy %s back: %s", e.Policy, e.Was)
	}, func(e edit) string { return loosening(edit{Policy: e.Policy, Priority: e.Priority, Was: e.Wish}) })
}
