package sandbox

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// write accepts a change of a policy: what becomes of it shows when the operation is done.
func (c *compute) write(p *ArmorPolicy, kind string, rule ArmorRule, effect func()) object {
	now := time.Now()
	op := &computeOperation{
		name: "operation-" + c.dice.uuid(), kind: kind, rule: rule.Priority, target: p.Name, effect: effect, failure: c.failNext,
		due: now.Add(c.cfg.scaled(c.dice.between(c.low, c.high))),
	}
	c.failNext = ""
	c.operations = append(c.operations, op)
	c.record(kind, p.Name, c.cfg.Caller, rule)
	return c.shown(op)
}

func (c *compute) record(verb, policy, by string, rule ArmorRule) {
	c.ledger.add(Entry{System: "cloud_armor", Verb: verb, Resource: policy, By: by, Detail: map[string]any{
		"priority": rule.Priority, "action": rule.Action, "networks": rule.networks(), "description": rule.Description, "preview": rule.Preview,
	}})
}

// interrupt lets what was scripted for the moment before a write happen.
func (c *compute) interrupt() {
	if f := c.before; f != nil {
		c.before = nil
		f()
	}
}

func (c *compute) addRule(r *http.Request) (any, *computeProblem) {
	c.interrupt()
	p, problem := c.policy(r)
	if problem != nil {
		return nil, problem
	}
	var rule ArmorRule
	if problem := decodeRule(r, &rule); problem != nil {
		return nil, problem
	}
	if problem := rule.judge(); problem != nil {
		return nil, problem
	}
	switch {
	case p.has(rule.Priority) || c.adding(p.Name, rule.Priority):
		return nil, invalidField("resource.priority", rule.Priority, "Cannot have rules with the same priorities.")
	case len(p.Rules) >= armorMostRules:
		return nil, &computeProblem{http.StatusForbidden, "quotaExceeded", fmt.Sprintf("Quota 'SECURITY_POLICY_RULES' exceeded. Limit: %d.0 globally.", armorMostRules)}
	}
	return c.write(p, "add_rule", rule, func() { p.Rules = append(p.Rules, rule) }), nil
}

// adding reports whether a rule of that priority is on its way.
func (c *compute) adding(policy string, priority int32) bool {
	return slices.ContainsFunc(c.operations, func(op *computeOperation) bool {
		return !op.done && op.target == policy && op.kind == "add_rule" && op.rule == priority
	})
}

func (c *compute) patchRule(r *http.Request) (any, *computeProblem) {
	c.interrupt()
	p, i, problem := c.rule(r)
	if problem != nil {
		return nil, problem
	}
	next := p.Rules[i].clone()
	if problem := decodeRule(r, &next); problem != nil {
		return nil, problem
	}
	next.Priority = p.Rules[i].Priority
	if mask := r.URL.Query().Get("updateMask"); next.Description == "" && !strings.Contains(mask, "description") {
		next.Description = p.Rules[i].Description // an empty field is one that is not given, unless the mask names it
	}
	if problem := next.judge(); problem != nil {
		return nil, problem
	}
	return c.write(p, "patch_rule", next, func() { p.set(next) }), nil
}

func (c *compute) removeRule(r *http.Request) (any, *computeProblem) {
	c.interrupt()
	p, i, problem := c.rule(r)
	if problem != nil {
		return nil, problem
	}
	rule := p.Rules[i]
	if rule.Priority == lastPriority {
		return nil, invalidField("priority", lastPriority, "Cannot remove the default rule.")
	}
	return c.write(p, "remove_rule", rule, func() { p.remove(rule.Priority) }), nil
}

func (p *ArmorPolicy) has(priority int32) bool {
	return slices.ContainsFunc(p.Rules, func(r ArmorRule) bool { return r.Priority == priority })
}

func (p *ArmorPolicy) set(rule ArmorRule) {
	p.remove(rule.Priority)
	p.Rules = append(p.Rules, rule)
}

func (p *ArmorPolicy) remove(priority int32) {
	p.Rules = slices.DeleteFunc(p.Rules, func(r ArmorRule) bool { return r.Priority == priority })
}

func (r ArmorRule) networks() []string {
	if r.Match == nil || r.Match.Config == nil {
		return nil
	}
	return r.Match.Config.SrcIPRanges
}

func (r ArmorRule) clone() ArmorRule {
	if r.Match != nil {
		m := *r.Match
		r.Match = &m
	}
	if r.RateLimitOptions != nil {
		o := *r.RateLimitOptions
		if o.RateLimitThreshold != nil {
			t := *o.RateLimitThreshold
			o.RateLimitThreshold = &t
		}
		r.RateLimitOptions = &o
	}
	return r
}

// judge refuses what the API would.
func (r ArmorRule) judge() *computeProblem {
	throttles := r.Action == "throttle" || r.Action == "rate_based_ban"
	switch {
	case r.Priority < 0:
		return invalidField("resource.priority", r.Priority, "Must be greater than or equal to 0.")
	case !slices.Contains([]string{"allow", "deny(403)", "deny(404)", "deny(502)", "throttle", "rate_based_ban", "redirect"}, r.Action):
		return invalidField("resource.action", r.Action, "Invalid action.")
	case throttles != (r.RateLimitOptions != nil):
		return invalidField("resource.rateLimitOptions", "", "Rate limit options must be specified if the action is 'fairshare', 'rate_based_ban' or "+
			"'throttle'. It cannot be specified for any other actions")
	case len(r.Description) > armorMostDescription:
		return invalidField("resource.description", r.Description, "Must be no longer than 64 characters.")
	case len(r.networks()) > armorMostAddresses:
		return invalidField("resource.match.config.srcIpRanges", len(r.networks()), "The number of IP ranges exceeds the limit of 10.")
	case r.Match == nil:
		return invalidField("resource.match", "", "Match must be specified.")
	}
	for _, text := range r.networks() {
		if n, err := netip.ParsePrefix(text); text != "*" && (err != nil || n != n.Masked()) {
			return invalidField("resource.match.config.srcIpRanges[0]", text, "Must be a valid IP address range.")
		}
	}
	return nil
}
