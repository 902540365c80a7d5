package guard

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The least prefixes of networks that a change may name, and the longest it may name them for: wider ones hold strangers.
const (
	minPrefix4 = 24
	minPrefix6 = 48
	maxSelects = 20
)

// Reach is what a planned change touches and how it came about.
type Reach struct {
	Target     string
	Changes    string         // the target that the change itself names
	Selects    []string       // what it selects by name; nil where the kind selects nothing beside the target
	Networks   []netip.Prefix // networks it opens or blocks
	Lasts      time.Duration  // how long the networks stay; 0: for ever
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
		if own != "" && (own == r.Target || identifies(own, r.Identity)) {
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
	case len(r.Selects) > maxSelects:
		return Refuse(TooWide, "the change selects %d things, more than %d", len(r.Selects), maxSelects)
	}
	if i := slices.IndexFunc(r.Selects, wildcard); i >= 0 {
		return Refuse(TooWide, "the change selects %q, which is nothing in particular", r.Selects[i])
	}
	return nil
}

func wildcard(name string) bool {
	return strings.TrimSpace(name) == "" || strings.ContainsAny(name, "*?%") || slices.Contains(strings.Split(name, "/"), "-")
}

func networks(r Reach) *Refusal {
	for _, n := range r.Networks {
		least := minPrefix6
		if n.Addr().Is4() {
			least = minPrefix4
		}
		switch {
		case !n.IsValid() || n.Bits() < least:
			return Refuse(TooWide, "the network %s is wider than /%d", n, least)
		case r.Lasts <= 0:
			return Refuse(TooWide, "the network %s is named for ever: it needs an end", n)
		}
	}
	return nil
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

// Fresh judges a plan right before it becomes an act: a process that stood still meanwhile must not act on what was.
func Fresh(p Plan, f Freshness, rules string, now time.Time) *Refusal {
	switch {
	case p.Rules != rules:
		return Refuse(RulesChanged, "the rules were reloaded after the plan was made")
	case !p.Facts.IsZero() && now.Sub(p.Facts) > f.Facts:
		return Refuse(StaleFacts, "the facts are %s old, older than %s", now.Sub(p.Facts).Round(time.Second), f.Facts)
	case now.Sub(p.At) > f.Plan:
		return Refuse(PlanChanged, "the plan is %s old, older than %s", now.Sub(p.At).Round(time.Second), f.Plan)
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
