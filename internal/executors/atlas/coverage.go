package atlas

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// permission is an entry of the access list as the API shows and takes it (NetworkPermissionEntry). A single address is shown in both ways;
// a security group of AWS stands for addresses that nobody can tell.
type permission struct {
	CIDR    string     `json:"cidrBlock,omitempty"`
	Address string     `json:"ipAddress,omitempty"`
	Comment string     `json:"comment,omitempty"`
	Ends    *time.Time `json:"deleteAfterDate,omitempty"`
}

// entry is one that lets a network in. Ends is zero where it stays.
type entry struct {
	Network netip.Prefix
	Comment string
	Ends    time.Time
}

// list reads the entries that are in force now. Expired ones may be shown until Atlas has removed them.
func list(ctx context.Context, api *connect.Atlas, now time.Time) ([]entry, error) {
	shown, err := connect.AtlasList[permission](ctx, api, "listing the IP access list", "/accessList", nil)
	if err != nil {
		return nil, err
	}
	all := make([]entry, 0, len(shown))
	for _, p := range shown {
		e := entry{Comment: p.Comment}
		text := p.CIDR
		if text == "" {
			text = p.Address
		}
		if e.Network, err = netip.ParsePrefix(text); err != nil {
			if e.Network, err = network(text); err != nil {
				continue // a security group, or nothing that lets one of our addresses in for sure
			}
		}
		e.Network = e.Network.Masked()
		if p.Ends != nil {
			e.Ends = *p.Ends
		}
		if e.Ends.IsZero() || now.Before(e.Ends) {
			all = append(all, e)
		}
	}
	return all, nil
}

// at finds the entry for exactly this network.
func at(all []entry, n netip.Prefix) (entry, bool) {
	i := slices.IndexFunc(all, func(e entry) bool { return e.Network == n })
	if i < 0 {
		return entry{}, false
	}
	return all[i], true
}

// covering gives the entries that together let all of a network in; nil if a part of it stays outside. Where several do, the one that stays
// longest is given.
func covering(all []entry, n netip.Prefix) []entry {
	var whole *entry
	inside := slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return !e.Network.Overlaps(n) })
	for i, e := range inside {
		if e.Network.Bits() <= n.Bits() && (whole == nil || outlasts(e, *whole)) {
			whole = &inside[i]
		}
	}
	switch {
	case whole != nil:
		return []entry{*whole}
	case len(inside) == 0 || n.IsSingleIP():
		return nil
	}
	low, high := halves(n)
	first := covering(inside, low)
	if first == nil {
		return nil
	}
	second := covering(inside, high)
	if second == nil {
		return nil
	}
	return append(first, second...)
}

func outlasts(a, b entry) bool { return !b.Ends.IsZero() && (a.Ends.IsZero() || a.Ends.After(b.Ends)) }

// halves splits a network that holds more than one address.
func halves(n netip.Prefix) (low, high netip.Prefix) {
	bits := n.Bits()
	b := n.Addr().AsSlice()
	b[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(n.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}

// world reports that the entries let in all of IPv4 or of IPv6, at once or in parts.
func world(all []entry) bool {
	return covering(all, netip.PrefixFrom(netip.IPv4Unspecified(), 0)) != nil || covering(all, netip.PrefixFrom(netip.IPv6Unspecified(), 0)) != nil
}

// ends is when the first of the entries ends; zero if none does.
func ends(all []entry) time.Time {
	var first time.Time
	for _, e := range all {
		if !e.Ends.IsZero() && (first.IsZero() || e.Ends.Before(first)) {
			first = e.Ends
		}
	}
	return first
}
