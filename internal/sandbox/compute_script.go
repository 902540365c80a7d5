package sandbox

import (
	"fmt"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
)

// AddSecurityPolicy scripts a Cloud Armor policy. Without a default rule it gets one that allows all.
func (w *World) AddSecurityPolicy(p ArmorPolicy) {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	if p.Type == "" {
		p.Type = "CLOUD_ARMOR"
	}
	if !p.has(lastPriority) {
		all := &ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &ArmorAddresses{SrcIPRanges: []string{"*"}}}
		p.Rules = append(p.Rules, ArmorRule{Priority: lastPriority, Action: "allow", Description: "default rule", Match: all})
	}
	w.compute.policies[p.Name] = &p
	w.compute.touch(p.Name)
}

// SecurityPolicy is a copy of a policy as it is now, with what is done of the operations under way.
func (w *World) SecurityPolicy(name string) (ArmorPolicy, error) {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	w.compute.settle(time.Now())
	p, ok := w.compute.policies[name]
	if !ok {
		return ArmorPolicy{}, fmt.Errorf("reading security policy %q: there is none", name)
	}
	return p.shown(w.cfg.Project), nil
}

// SetArmorRule is a human's change: it adds the rule, or replaces the one of its priority. It is effective at once.
func (w *World) SetArmorRule(policy string, rule ArmorRule) error {
	return w.armor(policy, func(p *ArmorPolicy) {
		p.set(rule)
		w.compute.record("set_rule", policy, Human, rule)
	})
}

// RemoveArmorRule is a human's removal of a rule, effective at once.
func (w *World) RemoveArmorRule(policy string, priority int32) error {
	return w.armor(policy, func(p *ArmorPolicy) {
		p.remove(priority)
		w.compute.record("remove_rule", policy, Human, ArmorRule{Priority: priority})
	})
}

func (w *World) armor(policy string, change func(*ArmorPolicy)) error {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	w.compute.settle(time.Now())
	p, ok := w.compute.policies[policy]
	if !ok {
		return fmt.Errorf("changing security policy %q: there is none", policy)
	}
	change(p)
	w.compute.touch(policy)
	return nil
}

// ArmorRuleBeforeNextWrite lets a human set the rule after the next write was sent and before it is taken.
func (w *World) ArmorRuleBeforeNextWrite(policy string, rule ArmorRule) error {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	p, ok := w.compute.policies[policy]
	if !ok {
		return fmt.Errorf("changing security policy %q: there is none", policy)
	}
	w.compute.before = func() {
		p.set(rule)
		w.compute.record("set_rule", policy, Human, rule)
		w.compute.touch(policy)
	}
	return nil
}

// FailNextArmorOperation lets the operation of the next write be accepted and then fail with this sentence.
func (w *World) FailNextArmorOperation(message string) {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	w.compute.failNext = message
}

// SetArmorOperationTime sets how long a write takes, divided by Speed; default 1 to 4 seconds.
func (w *World) SetArmorOperationTime(low, high time.Duration) {
	w.compute.mu.Lock()
	defer w.compute.mu.Unlock()
	w.compute.low, w.compute.high = low, max(low, high)
}

// SetIngress says from where a Cloud Run service is reached: true for load balancers and the inside alone, false for the whole internet.
func (w *World) SetIngress(service string, loadBalancerOnly bool) error {
	return w.platform.with(service, func(s *runService, _ time.Time) {
		s.pb.Ingress = pick(loadBalancerOnly, runpb.IngressTraffic_INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER, runpb.IngressTraffic_INGRESS_TRAFFIC_ALL)
	})
}

// aboutArmor are the arguments of the verbs on Cloud Armor.
type aboutArmor struct {
	Policy   string    `json:"policy"`
	Rule     ArmorRule `json:"rule"`
	Priority int32     `json:"priority"`
	Message  string    `json:"message"`
	Service  string    `json:"service"`
	On       bool      `json:"on"`
}

func computeVerbs() map[string]verb {
	return map[string]verb{
		"add-security-policy":          quiet((*World).AddSecurityPolicy),
		"security-policy":              does(func(w *World, a aboutArmor) (any, error) { return w.SecurityPolicy(a.Policy) }),
		"set-armor-rule":               only(func(w *World, a aboutArmor) error { return w.SetArmorRule(a.Policy, a.Rule) }),
		"remove-armor-rule":            only(func(w *World, a aboutArmor) error { return w.RemoveArmorRule(a.Policy, a.Priority) }),
		"armor-rule-before-next-write": only(func(w *World, a aboutArmor) error { return w.ArmorRuleBeforeNextWrite(a.Policy, a.Rule) }),
		"fail-next-armor-operation":    quiet(func(w *World, a aboutArmor) { w.FailNextArmorOperation(a.Message) }),
		"set-armor-operation-time":     quiet(func(w *World, a span) { w.SetArmorOperationTime(a.Min, a.Max) }),
		"set-ingress":                  only(func(w *World, a aboutArmor) error { return w.SetIngress(a.Service, a.On) }),
	}
}
