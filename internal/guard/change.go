package guard

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The least prefixes of networks that a change may name, for wider ones hold strangers; how many things and networks it may name, and how
// long the networks may stay.
const (
	minPrefix4 = 24
	minPrefix6 = 48
	maxNamed   = 20
	maxLasts   = 24 * time.Hour
)

// Reach is what a planned change touches and how it came about.
type Reach struct {
	Target     string
	Changes    string         // the target that the change itself names
	Selects    []string       // the names of all that it touches; nil where the kind selects nothing beside the target
	Networks   []netip.Prefix // networks it opens or blocks
	Lasts      time.Duration  // how long these stay; 0: for ever
	Identity   string         // of the target, e.g. "cloud_run/project/region/service"
	Protected  []string       // identities and names of targets that are remediator's own
	Reversible bool
	Auto       bool // no human has approved it
}

// Reaches judges a plan by itself: empty is not all, nothing of our own, and nothing irreversible without a human.
func Reaches(r Reach) *Refusal {
	for _, judge := range []func(Reach) *Refusal{itself, selects, networks, irreversible} {
		if no := judge(r); no != nil {
			return no
		}
	}
	return nil
}

func itself(r Reach) *Refusal {
	for _, own := range r.Protected {
		if own != "" && (own == r.Target || own == r.Changes || identifies(own, r.Identity)) {
			return Refuse(Itself, "%s is remediator, its store or its way out", r.Target)
		}
	}
	return nil
}

// identifies compares identities part by part; * stands for a part that is not known.
func identifies(own, identity string) bool {
	parts := strings.Split(identity, "/")
	return slices.EqualFunc(strings.Split(own, "/"), parts, func(a, b string) bool { return a == b || a == "*" })
}

// selects: an empty selection once meant everything (Google's Diskerase, Site Reliability Engineering, chapter 7).
func selects(r Reach) *Refusal {
	switch {
	case r.Changes != r.Target:
		return Refuse(TooWide, "the change names target %q, and the run is on %q", r.Changes, r.Target)
	case r.Selects != nil && len(r.Selects) == 0:
		return Refuse(TooWide, "the change selects nothing, which some systems read as everything")
	case len(r.Selects) > maxNamed:
		return Refuse(TooWide, "the change selects %d things, more than %d", len(r.Selects), maxNamed)
	}
	if i := slices.IndexFunc(r.Selects, wildcard); i >= 0 {
		return Refuse(TooWide, "the change selects %q, which is nothing in particular", r.Selects[i])
	}
	return nil
}

func wildcard(name string) bool {
	return !strings.ContainsFunc(name, speaks) || strings.ContainsAny(name, "*?%") || slices.Contains(strings.Split(name, "/"), "-")
}

// speaks: a name without any letter or digit, be it of characters that nobody sees, is one of nothing or of all.
func speaks(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func networks(r Reach) *Refusal {
	switch {
	case len(r.Networks) > maxNamed:
		return Refuse(TooWide, "the change names %d networks, more than %d", len(r.Networks), maxNamed)
	case len(r.Networks) > 0 && (r.Lasts <= 0 || r.Lasts > maxLasts):
		return Refuse(TooWide, "networks are named for at most %s, and these for %s (0s: for ever)", maxLasts, r.Lasts)
	}
	for _, n := range r.Networks {
		if least := leastPrefix(n); n.Bits() < least {
			return Refuse(TooWide, "the network %s is wider than /%d", n, least)
		}
	}
	return nil
}

// leastPrefix is the least prefix of networks of this kind. Where addresses of IPv6 hold those of IPv4, an innocent /48 may be all of these.
func leastPrefix(n netip.Prefix) int {
	if n.Addr().Is4() {
		return minPrefix4
	}
	holds := func(first [16]byte) bool { return netip.PrefixFrom(netip.AddrFrom16(first), 96).Overlaps(n) }
	if holds([16]byte{}) || holds([16]byte{10: 0xff, 11: 0xff}) || holds([16]byte{1: 0x64, 2: 0xff, 3: 0x9b}) {
		return 96 + minPrefix4
	}
	return minPrefix6
}

func irreversible(r Reach) *Refusal {
	if r.Reversible || !r.Auto {
		return nil
	}
	return Refuse(NeedsApproval, "there is no known way back from this: a human has to approve it")
}

// Plan is what a change was planned on.
type Plan struct {
	At    time.Time // when it was planned
	Facts time.Time // when the oldest fact was asked that it rests on; zero: on none
	Rules string    // hash of the rules
}

// Freshness bounds what a call may rest on.
type Freshness struct {
	Plan  time.Duration
	Facts time.Duration
}

// Fresh judges a plan right before it becomes an act: a process that stood still meanwhile must not act on what was. After a clock went
// back an age is as unknown as it looks odd, so that its size counts.
func Fresh(p Plan, f Freshness, rules string, now time.Time) *Refusal {
	facts, plan := now.Sub(p.Facts), now.Sub(p.At)
	switch {
	case p.Rules != rules:
		return Refuse(RulesChanged, "the rules were reloaded after the plan was made")
	case !p.Facts.IsZero() && facts.Abs() > f.Facts:
		return Refuse(StaleFacts, "the facts are %s old, older than %s", facts.Round(time.Second), f.Facts)
	case plan.Abs() > f.Plan:
		return Refuse(PlanChanged, "the plan is %s old, older than %s", plan.Round(time.Second), f.Plan)
	default:
		return nil
	}
}

// Claims are what one fact says of things that other facts may speak of too, by the name of the thing.
type Claims struct {
	By   string // the probe
	Says map[string]string
}

// Agree refuses when two facts say different things of the same: one of them is old or wrong, and nobody knows which.
func Agree(all []Claims) *Refusal {
	type word struct{ by, says string }
	heard := map[string]word{}
	for _, c := range all {
		for _, thing := range slices.Sorted(maps.Keys(c.Says)) {
			says := c.Says[thing]
			if first, known := heard[thing]; known && first.says != says {
				return Refuse(Conflicting, "%s says that %s is %q, and %s that it is %q", first.by, thing, first.says, c.By, says)
			}
			heard[thing] = word{c.By, says}
		}
	}
	return nil
}
