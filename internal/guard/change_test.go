package guard_test

import (
	"math/bits"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// narrow is a change that nothing can be said against.
func narrow() guard.Reach {
	return guard.Reach{
		Target: "api", Changes: "api", Selects: []string{"api"}, Identity: "cloud_run/p/r/api", Protected: []string{"own", "cloud_run/p/r/own"}, Reversible: true, Auto: true,
	}
}

func nets(texts ...string) func(*guard.Reach) {
	return func(r *guard.Reach) {
		r.Lasts = time.Hour
		for _, text := range texts {
			r.Networks = append(r.Networks, prefix(text))
		}
	}
}

// prefix also reads prefixes of IPv4 addresses within IPv6, which the standard library does not.
func prefix(text string) netip.Prefix {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p
	}
	address, length, _ := strings.Cut(text, "/")
	n := 0
	for _, digit := range length {
		n = 10*n + int(digit-'0')
	}
	return netip.PrefixFrom(netip.MustParseAddr(address), n)
}

func TestReaches(t *testing.T) {
	t.Parallel()
	selects := func(names ...string) func(*guard.Reach) { return func(r *guard.Reach) { r.Selects = names } }
	many := make([]string, 21)
	for i := range many {
		many[i] = "a"
	}
	for name, c := range map[string]struct {
		change func(*guard.Reach)
		want   guard.Reason
	}{
		"nothing wrong":                   {nil, ""},
		"the target is its own":           {func(r *guard.Reach) { r.Target, r.Changes = "own", "own" }, guard.Itself},
		"what it changes is its own":      {func(r *guard.Reach) { r.Changes = "own" }, guard.Itself},
		"the identity is its own":         {func(r *guard.Reach) { r.Identity = "cloud_run/p/r/own" }, guard.Itself},
		"an identity of a part unknown":   {func(r *guard.Reach) { r.Protected = []string{"cloud_run/*/*/api"} }, guard.Itself},
		"an identity of another system":   {func(r *guard.Reach) { r.Protected = []string{"redis/*/*/api", "cloud_run/*/api", "cloud_run/*"} }, ""},
		"no identity, and none protected": {func(r *guard.Reach) { r.Identity, r.Protected = "", []string{""} }, ""},
		"its own, and a human approved":   {func(r *guard.Reach) { r.Target, r.Changes, r.Auto = "own", "own", false }, guard.Itself},
		"of another target":               {func(r *guard.Reach) { r.Changes = "web" }, guard.TooWide},
		"of no target":                    {func(r *guard.Reach) { r.Changes = "" }, guard.TooWide},
		"selects nothing beside it":       {func(r *guard.Reach) { r.Selects = nil }, ""},
		"selects an empty list":           {func(r *guard.Reach) { r.Selects = []string{} }, guard.TooWide},
		"selects two":                     {selects("a", "b"), ""},
		"selects twenty":                  {selects(many[:20]...), ""},
		"selects more":                    {selects(many...), guard.TooWide},
		"selects no name":                 {selects("a", " "), guard.TooWide},
		"selects a pattern":               {selects("a*"), guard.TooWide},
		"selects all of a region":         {selects("-"), guard.TooWide},
		"selects all regions":             {selects("projects/p/locations/-/services/api"), guard.TooWide},
		"selects a name with a dash":      {selects("projects/p/locations/europe-west1/services/my-api"), ""},
		"selects a pattern of a database": {selects("a%"), guard.TooWide},
		"one network":                     {nets("192.0.2.0/24"), ""},
		"one address":                     {nets("192.0.2.7/32", "2001:db8::1/128"), ""},
		"a wider network":                 {nets("192.0.2.0/24", "198.51.0.0/23"), guard.TooWide},
		"the internet":                    {nets("0.0.0.0/0"), guard.TooWide},
		"half of it":                      {nets("128.0.0.0/1"), guard.TooWide},
		"a site":                          {nets("2001:db8::/48"), ""},
		"more than a site":                {nets("2001:db8::/47"), guard.TooWide},
		"all of IPv6":                     {nets("::/0"), guard.TooWide},
		"IPv4 within IPv6":                {nets("::ffff:192.0.2.0/120"), ""},
		"too much IPv4 within IPv6":       {nets("::ffff:192.0.2.0/119"), guard.TooWide},
		"all IPv4 within IPv6":            {nets("::ffff:0.0.0.0/96"), guard.TooWide},
		"a site that holds all IPv4":      {nets("::/48"), guard.TooWide},
		"all IPv4 behind a gateway":       {nets("64:ff9b::/96"), guard.TooWide},
		"a site that holds the gateway":   {nets("64:ff9b::/48"), guard.TooWide},
		"one network behind a gateway":    {nets("64:ff9b::c000:200/120"), ""},
		"a network that is none":          {func(r *guard.Reach) { r.Networks, r.Lasts = []netip.Prefix{{}}, 1 }, guard.TooWide},
		"a network for ever":              {func(r *guard.Reach) { nets("192.0.2.0/24")(r); r.Lasts = 0 }, guard.TooWide},
		"a network for less than no time": {func(r *guard.Reach) { nets("192.0.2.0/24")(r); r.Lasts = -1 }, guard.TooWide},
		"a network for a day":             {func(r *guard.Reach) { nets("192.0.2.0/24")(r); r.Lasts = 24 * time.Hour }, ""},
		"a network for longer":            {func(r *guard.Reach) { nets("192.0.2.0/24")(r); r.Lasts = 24*time.Hour + 1 }, guard.TooWide},
		"many networks":                   {nets(slices.Repeat([]string{"192.0.2.0/24"}, 21)...), guard.TooWide},
		"irreversible":                    {func(r *guard.Reach) { r.Reversible = false }, guard.NeedsApproval},
		"irreversible, and approved":      {func(r *guard.Reach) { r.Reversible, r.Auto = false, false }, ""},
		"too wide, and a human approved":  {func(r *guard.Reach) { r.Changes, r.Auto = "", false }, guard.TooWide},
		"for ever, but no network":        {func(r *guard.Reach) { r.Lasts = 0 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := narrow()
			if c.change != nil {
				c.change(&r)
			}
			no := guard.Reaches(r)
			if no == nil && c.want != "" || no != nil && (no.Reason != c.want || no.Detail == "") {
				t.Errorf("%v, want %q", no, c.want)
			}
		})
	}
}

func somePrefix(t *rapid.T) netip.Prefix {
	var a netip.Addr
	raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		a = netip.AddrFrom4([4]byte(raw[:4]))
		return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits"))
	case 1:
		a = netip.AddrFrom16([16]byte(append(make([]byte, 12), raw[:4]...)))
	case 2:
		a = netip.AddrFrom16(netip.AddrFrom4([4]byte(raw[:4])).As16())
	case 3:
		a = netip.AddrFrom16([16]byte(append([]byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, raw[:4]...)))
	default:
		a = netip.AddrFrom16([16]byte(raw))
	}
	return netip.PrefixFrom(a, rapid.IntRange(0, 128).Draw(t, "bits"))
}

// tooWide asks for one address that a narrow network could not hold beside its first: 256 addresses of IPv4 on, or one site of IPv6 on.
func tooWide(n netip.Prefix) bool {
	first := n.Masked().Addr()
	if first.Is4() {
		return n.Contains(further(first, 256, 0))
	}
	for _, v4 := range []string{"::", "::ffff:0:0", "64:ff9b::"} {
		from := netip.MustParseAddr(v4)
		switch all := netip.PrefixFrom(from, 96); {
		case contains(n, first, from): // the network holds all of these
		case contains(all, from, first): // the network is within these
			from = first
		default:
			continue
		}
		if contains(n, first, further(from, 256, 0)) {
			return true
		}
	}
	return contains(n, first, further(first, 0, 1<<16))
}

// contains compares bit by bit, as netip does not hold addresses of IPv4 within IPv6 for ordinary ones.
func contains(n netip.Prefix, first, a netip.Addr) bool {
	x, y := first.As16(), a.As16()
	for i := range 16 {
		if same := min(8, max(0, n.Bits()-8*i)); bits.LeadingZeros8(x[i]^y[i]) < same {
			return false
		}
	}
	return true
}

// further is an address so many addresses, and so many sites (in units of the last of 48 bits: 1<<16 in the upper half), further on.
func further(a netip.Addr, low, high uint64) netip.Addr {
	b := a.As16()
	add := func(half []byte, n uint64) {
		for i := len(half) - 1; i >= 0; i-- {
			n += uint64(half[i])
			half[i], n = byte(n), n>>8
		}
	}
	add(b[8:], low)
	add(b[:8], high)
	if a.Is4() {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func someReach(t *rapid.T) guard.Reach {
	name := func(what string) string { return of([]string{"api", "web", "own"}).Draw(t, what) }
	return guard.Reach{
		Target: name("target"), Changes: name("changes"),
		Selects:    rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(of([]string{"a", "b", "a/b", "*", "", "-", "a/-/b", "a-b"}), 0, 3)).Draw(t, "selects"),
		Networks:   rapid.SliceOfN(rapid.Custom(somePrefix), 0, 2).Draw(t, "networks"),
		Lasts:      time.Duration(rapid.IntRange(-1, 26).Draw(t, "hours")) * time.Hour,
		Identity:   of([]string{"", "cloud_run/p/r/api", "cloud_run/p/r/own"}).Draw(t, "identity"),
		Protected:  rapid.SliceOfN(of([]string{"", "own", "cloud_run/p/r/own", "cloud_run/*/r/own", "cloud_run/*"}), 0, 2).Draw(t, "protected"),
		Reversible: rapid.Bool().Draw(t, "reversible"), Auto: rapid.Bool().Draw(t, "auto"),
	}
}

var plainNames = regexp.MustCompile(`^( [ab]+(-[ab]+)*(/[ab]+(-[ab]+)*)*)+$`)

// modelReach collects all that can be said against a change.
func modelReach(r guard.Reach) map[guard.Reason]bool {
	against := map[guard.Reason]bool{}
	for _, word := range r.Protected {
		identity, err := path.Match(word, r.Identity)
		if word != "" && (identity || err != nil || strings.Contains("|"+r.Target+"|"+r.Changes+"|", "|"+word+"|")) {
			against[guard.Itself] = true
		}
	}
	plain := r.Selects == nil || plainNames.MatchString(" "+strings.Join(r.Selects, " "))
	wide := slices.ContainsFunc(r.Networks, tooWide) || len(r.Networks) > 0 && (r.Lasts < time.Nanosecond || r.Lasts.Hours() > 24)
	if !plain || wide || r.Changes != r.Target {
		against[guard.TooWide] = true
	}
	if r.Auto && !r.Reversible {
		against[guard.NeedsApproval] = true
	}
	return against
}

func TestReachesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := someReach(t)
		no, against := guard.Reaches(r), modelReach(r)
		if no == nil && len(against) > 0 || no != nil && !against[no.Reason] {
			t.Fatalf("it says %v, and the model %v", no, against)
		}
	})
}

// Whatever more a change names, however it is protected against, and whoever did not approve it: what was refused stays refused.
func TestMoreReachIsNeverAllowedProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		less := someReach(t)
		more := less
		switch rapid.IntRange(0, 6).Draw(t, "more") {
		case 0:
			more.Networks = append(slices.Clone(less.Networks), somePrefix(t))
		case 1:
			more.Protected = append(slices.Clone(less.Protected), of([]string{"own", "api", ""}).Draw(t, "protected"))
		case 2:
			more.Reversible = false
		case 3:
			more.Auto = true
		case 4:
			more.Selects = []string{}
		case 5:
			more.Networks = slices.Clone(less.Networks)
			for i, n := range more.Networks {
				more.Networks[i] = netip.PrefixFrom(n.Addr(), rapid.IntRange(0, n.Bits()).Draw(t, "fewer bits"))
			}
		default:
			more.Selects = append(slices.Repeat([]string{"*"}, rapid.IntRange(0, 2).Draw(t, "patterns")), less.Selects...)
		}
		if was, is := guard.Reaches(less), guard.Reaches(more); was != nil && is == nil {
			t.Fatalf("refused %v, and not with more: %+v", was, more)
		}
	})
}
