package cloudarmor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_armor.policy",
		Doc:  "Asks which rules of a Cloud Armor policy are remediator's and when they end, whether the rate limit is on, and whether the policy sees all traffic.",
		New:  func() executors.Probe { return &policyProbe{} },
		Fact: PolicyFact{},
	})
}

// policyProbe reads the policy and the service's ingress.
type policyProbe struct{}

// Validate tells in plain words what is wrong with the target.
func (*policyProbe) Validate(t executors.Target) error { return needsSections(t) }

// PolicyFact is what cloud_armor.policy finds.
type PolicyFact struct {
	// Policy is the policy's name.
	Policy string `cel:"policy"`
	// Rules counts all rules, the default rule among them.
	Rules int64 `cel:"rules"`
	// Blocked are the networks that rules of ours block now.
	Blocked []string `cel:"blocked"`
	// Blocks counts these rules.
	Blocks int64 `cel:"blocks"`
	// Overdue counts rules of ours, the rate limit among them, whose time is over and that are still there.
	Overdue int64 `cel:"overdue"`
	// EndsIn is the time until the next rule of ours ends; unknown if none is going to.
	EndsIn time.Duration `cel:"ends_in"`
	// FreePriorities counts our priorities that have no rule.
	FreePriorities int64 `cel:"free_priorities"`
	// RateLimitOn says that the declared rate limit is enforced; unknown if the target declares none.
	RateLimitOn bool `cel:"rate_limit_on"`
	// RateLimitPerMinute is what the declared rate limit allows, in requests per minute, enforced or not.
	RateLimitPerMinute float64 `cel:"rate_limit_per_minute"`
	// RateLimitOurs says that the limit in force is one that a run has set for a time.
	RateLimitOurs bool `cel:"rate_limit_ours"`
	// DefaultAction is what becomes of requests that no rule matches, such as allow.
	DefaultAction string `cel:"default_action"`
	// LoadBalancerOnly says that the service takes no traffic past the load balancer, so that the policy sees all of it.
	LoadBalancerOnly bool `cel:"load_balancer_only"`
}

// Ask implements executors.Probe. An ingress that cannot be read is unknown; the policy is told all the same.
func (*policyProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	r, err := look(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, unknown := r.fact(env.Now)
	only, err := loadBalancerOnly(ctx, env, r.google)
	switch {
	case ctx.Err() != nil:
		return executors.Answer{}, fmt.Errorf("reading security policy %s: %w", fact.Policy, ctx.Err())
	case err != nil:
		unknown = append(unknown, "load_balancer_only")
	}
	fact.LoadBalancerOnly = only
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(unknown)}, nil
}

// fact is what the policy alone tells.
func (r reading) fact(now time.Time) (*PolicyFact, []string) {
	p := r.section.Priorities
	fact := &PolicyFact{Policy: r.section.Policy, Rules: int64(len(r.policy.GetRules())), Blocked: []string{}, FreePriorities: int64(p.To-p.From) + 1}
	next := time.Duration(math.MaxInt64)
	for _, rule := range r.policy.GetRules() {
		inside := rule.GetPriority() >= p.From && rule.GetPriority() <= p.To
		if inside {
			fact.FreePriorities--
		}
		end, ours := ends(rule)
		if !ours || !inside && rule.GetPriority() != r.section.RateLimit {
			continue
		}
		if inside && denies(rule) && !rule.GetPreview() {
			fact.Blocks++
			fact.Blocked = append(fact.Blocked, rule.GetMatch().GetConfig().GetSrcIpRanges()...)
		}
		if left := end.Sub(now); left <= 0 {
			fact.Overdue++
		} else {
			next = min(next, left)
		}
	}
	unknown := r.limit(fact)
	if fact.EndsIn = next; next == math.MaxInt64 {
		fact.EndsIn, unknown = 0, append(unknown, "ends_in")
	}
	if last := r.rule(lastPriority); last != nil {
		fact.DefaultAction = last.GetAction()
	} else {
		unknown = append(unknown, "default_action")
	}
	return fact, unknown
}

// limit reads the declared rate limit. Where none is declared, or the rule is none, nothing is known of it.
func (r reading) limit(fact *PolicyFact) []string {
	f := formOf(r.rule(r.section.RateLimit))
	if r.section.RateLimit == 0 || f == nil || f.Count == 0 || f.Interval == 0 {
		return []string{"rate_limit_on", "rate_limit_per_minute", "rate_limit_ours"}
	}
	_, ours := ends(r.rule(r.section.RateLimit))
	fact.RateLimitOn, fact.RateLimitOurs = !f.Preview, ours && !f.Preview
	fact.RateLimitPerMinute = float64(f.Count) * 60 / float64(f.Interval)
	return nil
}

func (f *PolicyFact) summary(unknown []string) string {
	text := fmt.Sprintf("policy %s: %d rule(s) of ours block %d network(s)", f.Policy, f.Blocks, len(f.Blocked))
	if !slices.Contains(unknown, "ends_in") {
		text += fmt.Sprintf(", the next ends in %s", f.EndsIn.Round(time.Second))
	}
	if f.Overdue > 0 {
		text += fmt.Sprintf(", %d should have ended", f.Overdue)
	}
	switch {
	case slices.Contains(unknown, "rate_limit_on"):
		text += "; no rate limit is declared"
	case f.RateLimitOn:
		text += fmt.Sprintf("; the rate limit is on, %g per minute", f.RateLimitPerMinute)
	default:
		text += fmt.Sprintf("; the rate limit of %g per minute is off", f.RateLimitPerMinute)
	}
	switch {
	case slices.Contains(unknown, "load_balancer_only"):
		text += "; whether it sees all traffic is not known"
	case !f.LoadBalancerOnly:
		text += "; it does not see traffic to the service's own address"
	}
	return strings.TrimSpace(text)
}
