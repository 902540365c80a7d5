package guard

import (
	"net/netip"
	"testing"
	"time"
	"unicode"
)

// No change that names networks passes unless each is narrow in its own family, for a time that is bounded, and few of them.
func FuzzReaches(f *testing.F) {
	f.Add([]byte{9, 9, 9, 0}, uint8(24), []byte{0x2a}, uint8(48), int64(time.Hour), "api")
	f.Add([]byte{10: 0xff, 11: 0xff, 12: 9}, uint8(96), []byte{1: 0x64, 2: 0xff, 3: 0x9b}, uint8(112), int64(24*time.Hour), "a/*/b")
	f.Add([]byte{}, uint8(0), []byte{0x20, 1}, uint8(128), int64(-1), "\u2003\x00\u200b/")
	f.Fuzz(func(t *testing.T, one []byte, bits uint8, other []byte, otherBits uint8, lasts int64, selects string) {
		all := []netip.Prefix{network(one, bits), network(other, otherBits)}
		r := Reach{Target: "api", Changes: "api", Networks: all, Lasts: time.Duration(lasts), Reversible: true}
		no := Reaches(r)
		wide := !narrow(all[0]) || !narrow(all[1])
		if endless := lasts <= 0 || lasts > int64(24*time.Hour); (no != nil) != (wide || endless) {
			t.Fatalf("%v for %s: %v", all, time.Duration(lasts), no)
		}
		if no != nil && no.Reason != TooWide {
			t.Fatalf("refused for %s", no.Reason)
		}
		r = Reach{Target: "api", Changes: "api", Selects: []string{selects}, Reversible: true}
		if no := Reaches(r); no == nil && !named(selects) {
			t.Fatalf("%q is selected", selects)
		}
		if r.Changes = selects; selects != "api" && Reaches(r) == nil {
			t.Fatalf("a change of %q on api", selects)
		}
	})
}

// network is an address of the length of its bytes, and a prefix; it may be none.
func network(b []byte, bits uint8) netip.Prefix {
	var four [4]byte
	var sixteen [16]byte
	if copy(sixteen[:], b); len(b) > len(four) {
		return netip.PrefixFrom(netip.AddrFrom16(sixteen), int(bits))
	}
	copy(four[:], b)
	return netip.PrefixFrom(netip.AddrFrom4(four), int(bits))
}

// narrow counts by the addresses at a network's ends: it holds at most 256 of IPv4, written in whatever family, and otherwise one site's.
func narrow(n netip.Prefix) bool {
	if !n.IsValid() {
		return false
	}
	first := n.Masked().Addr().As16()
	last := first
	hosts := n.Addr().BitLen() - n.Bits()
	for bit := range hosts {
		last[15-bit/8] |= 1 << (bit % 8)
	}
	if n.Addr().Is4() {
		return hosts <= 8
	}
	for _, holder := range []string{"::", "::ffff:0:0", "64:ff9b::"} {
		from := netip.MustParseAddr(holder).As16()
		until := from
		until[12], until[13], until[14], until[15] = 255, 255, 255, 255
		if netip.AddrFrom16(first).Compare(netip.AddrFrom16(until)) <= 0 && netip.AddrFrom16(from).Compare(netip.AddrFrom16(last)) <= 0 {
			return hosts <= 8
		}
	}
	return hosts <= 80
}

// named: a letter or digit at least, and no sign that stands for others.
func named(selects string) bool {
	plain := false
	for _, r := range selects {
		if r == '*' || r == '?' || r == '%' {
			return false
		}
		plain = plain || unicode.In(r, unicode.L, unicode.Nd)
	}
	return plain
}
