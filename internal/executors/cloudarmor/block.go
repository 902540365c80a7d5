package cloudarmor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const blockKind = "cloud_armor.block"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:     blockKind,
		Doc:      "Blocks the networks that a gathered fact names as the worst offenders, by one rule of a Cloud Armor policy and for a time.",
		New:      func() executors.Action { return &block{} },
		Takeback: executors.IfNotFixed,
	})
}

const (
	deny         = "deny(403)"
	longest      = 24 * time.Hour
	mostNetworks = 10 // of one rule, by the API
	defaultMost  = 5
	defaultIPv4  = 24
	defaultIPv6  = 64
)

// block adds one rule.
type block struct {
	// From is the name under `gather` of the fact that names the offenders. Nothing else does: no word of the alert, and no list in the rule.
	From string `yaml:"from" rules:"required"`
	// Lasts is how long the block stays, at most 24h.
	Lasts time.Duration `yaml:"lasts" rules:"required"`
	// Most is how many networks are blocked, the worst first, at most 10; default 5.
	Most int `yaml:"most"`
	// PrefixIPv4 is the widest network of IPv4 that may be blocked, between 24 and 32; default 24.
	PrefixIPv4 int `yaml:"prefix_ipv4"`
	// PrefixIPv6 is the widest network of IPv6 that may be blocked, between 48 and 128; default 64.
	PrefixIPv6 int `yaml:"prefix_ipv6"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *block) Validate(t executors.Target) error {
	switch {
	case a.From == "":
		return errors.New("from must be the name of a gathered fact that names offenders")
	case a.Lasts <= 0 || a.Lasts > longest:
		return errors.New("lasts must be at most 24h: nothing is blocked for ever")
	case a.Most < 0 || a.Most > mostNetworks:
		return errors.New("most must be between 1 and 10")
	case a.PrefixIPv4 != 0 && (a.PrefixIPv4 < 24 || a.PrefixIPv4 > 32):
		return errors.New("prefix_ipv4 must be between 24 and 32")
	case a.PrefixIPv6 != 0 && (a.PrefixIPv6 < 48 || a.PrefixIPv6 > 128):
		return errors.New("prefix_ipv6 must be between 48 and 128")
	}
	return needsSections(t)
}

// Plan implements executors.Action.
func (a *block) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	offenders, err := a.offenders(env)
	if err != nil {
		return executors.Change{}, err
	}
	r, err := open(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	chosen, left, err := choose(offenders, r.policy.GetRules(), bounds{
		Least4: cmp.Or(a.PrefixIPv4, defaultIPv4), Least6: cmp.Or(a.PrefixIPv6, defaultIPv6), Most: cmp.Or(a.Most, defaultMost), Never: r.section.NeverBlock,
	})
	if err != nil {
		return executors.Change{}, err
	}
	if len(chosen) == 0 {
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "none of the %d offenders is to be blocked: %s", len(offenders), some(left))
	}
	priority, err := r.free()
	if err != nil {
		return executors.Change{}, err
	}
	return a.change(env, r, priority, chosen, left)
}

// offenders asks the fact for who is to be blocked.
func (a *block) offenders(env executors.Env) ([]netip.Prefix, error) {
	fact, known := env.Facts[a.From]
	if !known {
		return nil, guard.Refuse(guard.UnknownFacts, "the fact %s, which is to name the offenders, could not be had", a.From)
	}
	names, ok := fact.(executors.OffenderFact)
	if !ok {
		return nil, guard.Refuse(guard.UnknownFacts, "the fact %s names no offenders", a.From)
	}
	all := names.Offenders()
	if len(all) == 0 {
		return nil, guard.Refuse(guard.NothingToDo, "the fact %s names nobody", a.From)
	}
	return all, nil
}

// free finds the first priority of ours that has no rule, if a rule there takes effect at all.
func (r reading) free() (int32, error) {
	p := r.section.Priorities
	for priority := p.From; priority <= p.To; priority++ {
		if r.rule(priority) != nil {
			continue
		}
		if before := r.allows(priority); before != nil {
			return 0, guard.Refuse(guard.OutOfBounds, "rule %d lets everybody in before rule %d is looked at", before.GetPriority(), priority)
		}
		return priority, nil
	}
	return 0, guard.Refuse(guard.OutOfBounds, "all of our priorities from %d to %d have rules", p.From, p.To)
}

// allows finds a rule that decides for all addresses before the priority is looked at.
func (r reading) allows(priority int32) *computepb.SecurityPolicyRule {
	for _, rule := range r.policy.GetRules() {
		all := slices.Contains(rule.GetMatch().GetConfig().GetSrcIpRanges(), "*")
		if all && rule.GetAction() == "allow" && !rule.GetPreview() && rule.GetPriority() < priority {
			return rule
		}
	}
	return nil
}

// denies tells rules that turn requests away.
func denies(rule *computepb.SecurityPolicyRule) bool {
	return strings.HasPrefix(rule.GetAction(), "deny(")
}

func (a *block) change(env executors.Env, r reading, priority int32, chosen []netip.Prefix, left []string) (executors.Change, error) {
	slices.SortFunc(chosen, func(x, y netip.Prefix) int { return cmp.Compare(x.String(), y.String()) })
	names := make([]string, len(chosen))
	for i, n := range chosen {
		names[i] = n.String()
	}
	rule := formOf(blocking(priority, names, ""))
	rule.Marked = true
	e := edit{Policy: r.section.Policy, Priority: priority, Wish: rule, End: endOf(env.Now.Add(a.Lasts))}
	evidence := []string{
		fmt.Sprintf("the fact %s names them as the worst offenders", a.From),
		"the service takes traffic from its load balancer alone",
	}
	return e.change(env, r, executors.Change{
		Kind: blockKind, Networks: chosen, Lasts: a.Lasts, UndoHint: removal(e), Evidence: append(evidence, left[:min(len(left), someMost)]...),
		Summary: fmt.Sprintf("block %s in security policy %s for %s", some(names), r.section.Policy, a.Lasts),
	})
}

// removal is what people type to take the block back.
func removal(e edit) string {
	return fmt.Sprintf("gcloud compute security-policies rules delete %d --security-policy=%s", e.Priority, e.Policy)
}

// someMost bounds how many of a list's entries a sentence shows.
const someMost = 5

func some(all []string) string {
	if len(all) > someMost {
		return strings.Join(all[:someMost], ", ") + fmt.Sprintf(" and %d more", len(all)-someMost)
	}
	return strings.Join(all, ", ")
}

// Apply implements executors.Action. A priority that another hand has taken meanwhile is a conflict, told by the API itself.
func (a *block) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *block) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: the rule is removed, if it is exactly as the change left it.
func (a *block) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return undo(ctx, env, c, func(e edit) string {
		return fmt.Sprintf("end the block of %s in security policy %s", some(e.Wish.Networks), e.Policy)
	}, func(e edit) string {
		return fmt.Sprintf("gcloud compute security-policies rules create %d --security-policy=%s --action=deny-403 --src-ip-ranges=%s", e.Priority,
			e.Policy, strings.Join(e.Wish.Networks, ","))
	})
}
