package cloudarmor

import (
	"fmt"
	"net/netip"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/mixillo/remediator/internal/guard"
)

// googleFrontEnds are the addresses that Google's load balancers and their health checks come from ("Health checks overview", probe IP
// ranges): who takes a proxy for the client would block everybody.
var googleFrontEnds = []netip.Prefix{
	netip.MustParsePrefix("35.191.0.0/16"), netip.MustParsePrefix("130.211.0.0/22"), netip.MustParsePrefix("2600:2d00:1:b029::/64"),
	netip.MustParsePrefix("2600:2d00:1:1::/64"),
}

// bounds of what may be blocked.
type bounds struct {
	Least4, Least6 int // prefixes, the widest allowed
	Most           int // networks
	Never          []netip.Prefix
}

// choose takes the worst offenders that may be blocked, and says of those before them why they are left out. One that is wider than allowed
// refuses everything: what names whole providers does not name offenders.
func choose(offenders []netip.Prefix, rules []*computepb.SecurityPolicyRule, b bounds) (chosen []netip.Prefix, left []string, err error) {
	for _, n := range offenders {
		if n, err = plainNetwork(n, b); err != nil {
			return nil, nil, err
		}
		if len(chosen) == b.Most {
			continue
		}
		if why := b.spares(n, rules); why != "" {
			left = append(left, fmt.Sprintf("%s is left alone: %s", n, why))
			continue
		}
		if !slices.ContainsFunc(chosen, n.Overlaps) {
			chosen = append(chosen, n)
		}
	}
	return chosen, left, nil
}

// plainNetwork is the network in its own family, its host bits cleared, if it is not too wide.
func plainNetwork(n netip.Prefix, b bounds) (netip.Prefix, error) {
	if addr := n.Addr(); addr.Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(addr.Unmap(), n.Bits()-96)
	}
	least := b.Least6
	if n.Addr().Is4() {
		least = b.Least4
	}
	switch {
	case !n.IsValid():
		return n, guard.Refuse(guard.TooWide, "one of the offenders is no network")
	case n.Addr().Is4In6():
		return n, guard.Refuse(guard.TooWide, "%s holds addresses of both families", n)
	case n.Bits() < least:
		return n, guard.Refuse(guard.TooWide, "the network %s is wider than /%d", n, least)
	}
	return n.Masked(), nil
}

// spares tells why a network is not blocked, "" if it may be.
func (b bounds) spares(n netip.Prefix, rules []*computepb.SecurityPolicyRule) string {
	switch {
	case !n.Addr().IsGlobalUnicast() || n.Addr().IsPrivate():
		return "it is no public address"
	case slices.ContainsFunc(googleFrontEnds, n.Overlaps):
		return "Google's load balancers come from there"
	case slices.ContainsFunc(b.Never, n.Overlaps):
		return "never_block names it"
	}
	for _, rule := range rules {
		for _, text := range rule.GetMatch().GetConfig().GetSrcIpRanges() {
			have, err := netip.ParsePrefix(text)
			if err != nil || rule.GetPreview() {
				continue // "*"
			}
			if rule.GetAction() == "allow" && have.Overlaps(n) {
				return fmt.Sprintf("rule %d lets %s in", rule.GetPriority(), have)
			}
			if denies(rule) && have.Bits() <= n.Bits() && have.Contains(n.Addr()) {
				return fmt.Sprintf("rule %d blocks it already", rule.GetPriority())
			}
		}
	}
	return ""
}
