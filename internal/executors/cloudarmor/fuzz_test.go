package cloudarmor

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/mixillo/remediator/internal/guard"
)

// networks reads a list of them from bytes, 18 each: the family, the prefix, the address.
func networks(b []byte) (all []netip.Prefix) {
	for ; len(b) >= 18; b = b[18:] {
		address := netip.AddrFrom16([16]byte(b[2:18]))
		if b[0]%2 == 0 {
			address = netip.AddrFrom4([4]byte(b[2:6]))
		}
		all = append(all, netip.PrefixFrom(address, int(b[1])))
	}
	return all
}

func written(texts ...string) (b []byte) {
	for _, n := range prefixes(texts...) {
		address := n.Addr().As16()
		if n.Addr().Is4() {
			four := n.Addr().As4()
			address = [16]byte(append(four[:], make([]byte, 12)...))
		}
		family := byte(1)
		if n.Addr().Is4() {
			family = 0
		}
		b = append(append(b, family, byte(n.Bits())), address[:]...)
	}
	return b
}

// Whoever is chosen is public, narrow, none of those that are never blocked or let in by people, and named once; one network that is too
// wide leaves nobody chosen.
func FuzzOffenders(f *testing.F) {
	f.Add(written("8.8.8.8/32", "9.9.9.0/24", "2a00::/64", "::ffff:9.9.9.9/128"), written("9.9.0.0/16"), uint8(24), uint8(64), uint8(3))
	f.Add(written("35.191.4.4/32", "130.211.1.0/24", "10.1.2.3/32"), written(), uint8(0), uint8(0), uint8(20))
	f.Add(append([]byte{0, 33}, make([]byte, 16)...), []byte{}, uint8(0), uint8(0), uint8(20)) // no network
	f.Add(written("::ffff:0:0/95"), written("::/0"), uint8(32), uint8(128), uint8(0))
	rules := []*computepb.SecurityPolicyRule{
		byAddress(10, "allow", false, "198.51.100.0/25"), byAddress(11, "deny(404)", false, "203.0.113.128/25"), byAddress(12, "allow", false, "*", "x"),
	}
	allowed, denied := netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("203.0.113.128/25")
	f.Fuzz(func(t *testing.T, offenders, never []byte, least4, least6, most uint8) {
		b := bounds{Least4: int(least4 % 33), Least6: int(least6 % 129), Most: int(most % 21), Never: networks(never)}
		named := networks(offenders)
		chosen, left, err := choose(named, rules, b)
		if err != nil {
			var no *guard.Refusal
			if !errors.As(err, &no) || no.Reason != guard.TooWide || len(chosen)+len(left) > 0 {
				t.Fatalf("%v, with %v chosen and %q left", err, chosen, left)
			}
			return
		}
		if len(chosen) > b.Most || len(chosen)+len(left) > len(named) {
			t.Fatalf("%d chosen and %d left of %d", len(chosen), len(left), len(named))
		}
		for i, n := range chosen {
			least := map[bool]int{true: b.Least4, false: b.Least6}[n.Addr().Is4()]
			switch {
			case n != n.Masked() || n.Addr().Is4In6() || n.Bits() < least:
				t.Fatalf("%s is wider than allowed, or written another way", n)
			case private(n) || meets(allowed, n) || holds(denied, n) || slices.ContainsFunc(b.Never, func(o netip.Prefix) bool { return meets(o, n) }):
				t.Fatalf("%s was chosen", n)
			case slices.ContainsFunc(googleFrontEnds, func(o netip.Prefix) bool { return meets(o, n) }):
				t.Fatalf("%s is Google's", n)
			case slices.ContainsFunc(chosen[:i], func(o netip.Prefix) bool { return meets(o, n) }):
				t.Fatalf("%s is chosen twice: %v", n, chosen)
			case !slices.ContainsFunc(named, func(o netip.Prefix) bool { return o.Addr().Unmap() == n.Addr() || o.Masked() == n || holds(n, o) }):
				t.Fatalf("%s was not named", n)
			}
		}
	})
}

// span is the first and the last address of a network, in the form that both families have.
func span(n netip.Prefix) (first, last netip.Addr) {
	n = n.Masked()
	from := n.Addr().As16()
	until := from
	for bit := range n.Addr().BitLen() - n.Bits() {
		until[15-bit/8] |= 1 << (bit % 8)
	}
	return netip.AddrFrom16(from), netip.AddrFrom16(until)
}

func meets(a, b netip.Prefix) bool {
	if !a.IsValid() || !b.IsValid() || a.Addr().Is4() != b.Addr().Is4() {
		return false
	}
	from, until := span(a)
	first, last := span(b)
	return from.Compare(last) <= 0 && first.Compare(until) <= 0
}

func holds(a, b netip.Prefix) bool {
	if !meets(a, b) {
		return false
	}
	from, until := span(a)
	first, last := span(b)
	return from.Compare(first) <= 0 && last.Compare(until) <= 0
}

// private are the networks that nobody on the internet is in (IANA's special-purpose registries).
func private(n netip.Prefix) bool {
	return slices.ContainsFunc(prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/32", "255.255.255.255/32",
		"fc00::/7", "fe80::/10", "ff00::/8", "::/128", "::1/128",
	), func(o netip.Prefix) bool { return holds(o, n) })
}
