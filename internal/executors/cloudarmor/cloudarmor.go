// Package cloudarmor asks and changes Cloud Armor: which rules of a security policy are in force, blocks of single networks for a time, and
// a declared rate limit made stricter.
//
// Cloud Armor stands before a load balancer and sees nothing of requests to a service's own address, so nothing is planned unless the service
// takes traffic from its load balancer alone. Every write is of one rule, whose description carries the operation id and the end of its time.
// The API takes no precondition beside one: a priority that has a rule takes no second. A call therefore reads the policy once more right
// before; a change of another hand in the moment between is not noticed before Observe.
package cloudarmor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const (
	// System is the prefix of the kinds and the name of the target's section.
	System = "cloud_armor"
	// connection is the entry under `connections` that these kinds use.
	connection = "google_cloud"
	// lastPriority is the default rule's, which every policy has.
	lastPriority = 2147483647
	// hold is the label by which people keep automation off a policy. Its value does not matter.
	hold = "remediator-hold"
)

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The Cloud Armor policy before the target's load balancer, what may be done to it, and who is never blocked.",
		New:  func() any { return &Policy{} },
	})
}

// Policy is the section `cloud_armor` of a target.
type Policy struct {
	// Policy is the name of the global security policy.
	Policy string `yaml:"policy" rules:"required"`
	// NeverBlock are networks that are never blocked, nor anything that overlaps them: our own egress, health checks, the senders of alerts,
	// the office. Google's load balancers are among them without being named.
	NeverBlock []netip.Prefix `yaml:"never_block" rules:"required"`
	// Priorities are those of rules that belong to remediator; nobody else uses them.
	Priorities Priorities `yaml:"priorities" rules:"required"`
	// RateLimit is the priority of the rule that people have made for the rate limit, perhaps in preview; 0: there is none.
	RateLimit int32 `yaml:"rate_limit"`
}

// Priorities is a range, both ends included. Rules with lower numbers come first.
type Priorities struct {
	From int32 `yaml:"from" rules:"required"`
	To   int32 `yaml:"to" rules:"required"`
}

var policyName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Validate tells in plain words what is wrong with the section.
func (p *Policy) Validate(t executors.Target) error {
	switch {
	case !policyName.MatchString(p.Policy):
		return errors.New("policy must be the name of a security policy")
	case p.Priorities.From < 1 || p.Priorities.To < p.Priorities.From || p.Priorities.To == lastPriority:
		return errors.New("priorities must go from at least 1 to something higher, below the default rule's")
	case len(p.NeverBlock) == 0:
		return errors.New("never_block must name at least our own addresses")
	case p.RateLimit < 0 || p.RateLimit == lastPriority:
		return errors.New("rate_limit must be the priority of a rule that is not the default rule")
	case p.RateLimit >= p.Priorities.From && p.RateLimit <= p.Priorities.To:
		return errors.New("rate_limit must be the priority of a rule of people, outside of priorities")
	}
	for _, n := range p.NeverBlock {
		if n != n.Masked() {
			return fmt.Errorf("%s has bits set after its prefix; write %s", n, n.Masked())
		}
	}
	return nil
}

// Identity implements executors.Identified: cloud_armor/PROJECT/POLICY.
func (p *Policy) Identity(set connect.Set) string {
	project := ""
	if google, err := connect.Get[*connect.Google](set, connection); err == nil {
		project = google.Project
	}
	return strings.Join([]string{System, project, p.Policy}, "/")
}

func section(t executors.Target) (*Policy, error) {
	p, ok := t.Systems[System].(*Policy)
	if !ok || p == nil {
		return nil, fmt.Errorf("target %s has no section cloud_armor", t.Name)
	}
	return p, nil
}

// needsSections is what the kinds' Validate begins with.
func needsSections(t executors.Target) error {
	if _, err := section(t); err != nil {
		return errors.New("the target needs a section cloud_armor that names the policy")
	}
	if _, ok := t.Systems["cloud_run"].(executors.Identified); !ok {
		return errors.New("the target needs a section cloud_run, whose ingress tells whether the policy sees its traffic")
	}
	return nil
}

// reading is the policy as it is now.
type reading struct {
	section *Policy
	google  *connect.Google
	api     *connect.SecurityPolicies
	policy  *computepb.SecurityPolicy
}

// look reads the policy.
func look(ctx context.Context, env executors.Env) (reading, error) {
	s, err := section(env.Target)
	if err != nil {
		return reading{}, err
	}
	google, err := connect.Get[*connect.Google](env.Connections, connection)
	if err != nil {
		return reading{}, err
	}
	api, err := google.SecurityPolicies(ctx)
	if err != nil {
		return reading{}, err
	}
	policy, err := api.Get(ctx, s.Policy)
	if err != nil {
		return reading{}, err
	}
	if policy.GetName() != s.Policy || len(policy.GetRules()) == 0 {
		return reading{}, fmt.Errorf("the answer is no security policy %s with rules", s.Policy)
	}
	return reading{section: s, google: google, api: api, policy: policy}, nil
}

// rule finds the rule of a priority; nil if there is none.
func (r reading) rule(priority int32) *computepb.SecurityPolicyRule {
	i := slices.IndexFunc(r.policy.GetRules(), func(rule *computepb.SecurityPolicyRule) bool { return rule.GetPriority() == priority })
	if i < 0 {
		return nil
	}
	return r.policy.GetRules()[i]
}

// etag identifies all rules of the policy. The policy's own fingerprint is documented for its metadata, not for its rules.
func (r reading) etag() string {
	rules := slices.Clone(r.policy.GetRules())
	slices.SortFunc(rules, func(a, b *computepb.SecurityPolicyRule) int { return cmp.Compare(a.GetPriority(), b.GetPriority()) })
	h := sha256.New()
	for _, rule := range rules {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(rule)
		if err != nil {
			return ""
		}
		h.Write(fmt.Appendf(nil, "%d:", len(b)))
		h.Write(b)
	}
	return "rules:" + hex.EncodeToString(h.Sum(nil))[:32]
}

// open reads the policy for a plan, and refuses one that is people's now or does not see the service's traffic.
func open(ctx context.Context, env executors.Env) (reading, error) {
	r, err := look(ctx, env)
	if err != nil {
		return r, err
	}
	if v, held := r.policy.GetLabels()[hold]; held {
		return r, guard.Refuse(guard.Held, "security policy %s carries the label %s: %q", r.section.Policy, hold, v)
	}
	if kind := r.policy.GetType(); kind != "" && kind != "CLOUD_ARMOR" {
		return r, guard.Refuse(guard.OutOfBounds, "security policy %s is of type %s, whose rules are others", r.section.Policy, kind)
	}
	only, err := loadBalancerOnly(ctx, env, r.google)
	if err != nil {
		return r, err
	}
	if !only {
		return r, guard.Refuse(guard.OutOfBounds,
			"the service takes traffic from the whole internet, past the load balancer: what the policy blocks would still come in by its own address")
	}
	busy, err := r.api.Busy(ctx, r.section.Policy)
	if err == nil && busy {
		err = guard.Refuse(guard.Reconciling, "a change of security policy %s is under way", r.section.Policy)
	}
	return r, err
}

// loadBalancerOnly asks Cloud Run whether the target's service takes requests from load balancers (and the inside) alone.
func loadBalancerOnly(ctx context.Context, env executors.Env, google *connect.Google) (bool, error) {
	service, ok := env.Target.Systems["cloud_run"].(executors.Identified)
	if !ok {
		return false, fmt.Errorf("target %s has no section cloud_run", env.Target.Name)
	}
	parts := strings.Split(service.Identity(env.Connections), "/") // cloud_run/PROJECT/REGION/SERVICE
	if len(parts) != 4 {
		return false, fmt.Errorf("target %s does not say which service of Cloud Run it is", env.Target.Name)
	}
	services, err := google.Services(ctx)
	if err != nil {
		return false, err
	}
	s, err := services.GetService(ctx, &runpb.GetServiceRequest{Name: fmt.Sprintf("projects/%s/locations/%s/services/%s", parts[1], parts[2], parts[3])})
	if err != nil {
		return false, fmt.Errorf("reading the ingress of service %s: %w", parts[3], err)
	}
	return s.GetIngress() == runpb.IngressTraffic_INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER, nil
}
