package guard_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func TestFresh(t *testing.T) {
	t.Parallel()
	f := guard.Freshness{Plan: time.Minute, Facts: 2 * time.Minute}
	for name, c := range map[string]struct {
		plan, facts time.Duration // ago
		rules       string
		want        guard.Reason
	}{
		"all new":                   {0, 0, "h", ""},
		"as old as may be":          {time.Minute, 2 * time.Minute, "h", ""},
		"an old plan":               {time.Minute + 1, 0, "h", guard.PlanChanged},
		"old facts":                 {0, 2*time.Minute + 1, "h", guard.StaleFacts},
		"other rules":               {0, 0, "i", guard.RulesChanged},
		"a plan of the future":      {-time.Minute - 1, 0, "h", guard.PlanChanged},
		"facts of the future":       {0, -2*time.Minute - 1, "h", guard.StaleFacts},
		"a clock that is a bit off": {-time.Second, -time.Second, "h", ""},
	} {
		no := guard.Fresh(guard.Plan{At: noon.Add(-c.plan), Facts: noon.Add(-c.facts), Rules: "h"}, f, c.rules, noon)
		if no == nil && c.want != "" || no != nil && (no.Reason != c.want || no.Detail == "") {
			t.Errorf("%s: %v, want %q", name, no, c.want)
		}
	}
	if no := guard.Fresh(guard.Plan{At: noon, Rules: "h"}, f, "h", noon); no != nil {
		t.Errorf("a plan that rests on no facts: %v", no)
	}
	if no := guard.Fresh(guard.Plan{Facts: noon, Rules: "h"}, f, "h", noon); no == nil {
		t.Error("a plan that nobody knows the age of is fresh")
	}
	if no := guard.Fresh(guard.Plan{At: minute(-1), Rules: "h"}, guard.Freshness{}, "h", noon); no == nil {
		t.Error("a plan is fresh where nothing is said of how old it may be")
	}
}

// A plan is fresh while the clock is near both times that count, and the rules are the same. What is near is nearer with looser bounds.
func TestFreshProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := func(what string) int { return rapid.IntRange(0, 20).Draw(t, what) }
		at, facts, now := n("plan"), n("facts"), n("now")
		bound := [2]int{n("plan's bound"), n("facts' bound")}
		p := guard.Plan{At: minute(at), Facts: minute(facts), Rules: "h"}
		if rapid.Bool().Draw(t, "no facts") {
			p.Facts = time.Time{}
		}
		rules := of([]string{"h", "i"}).Draw(t, "rules")
		near := func(moment, bound int) bool { return moment-bound <= now && now <= moment+bound }
		want := rules == "h" && near(at, bound[0]) && (p.Facts.IsZero() || near(facts, bound[1]))
		judge := func(more int) *guard.Refusal {
			return guard.Fresh(p, guard.Freshness{Plan: minutes(bound[0] + more), Facts: minutes(bound[1] + more)}, rules, minute(now))
		}
		if no := judge(0); (no == nil) != want {
			t.Fatalf("%v, want fresh: %t", no, want)
		}
		if judge(0) == nil && judge(n("more")) != nil {
			t.Fatal("looser bounds made it stale")
		}
	})
}

func TestAgree(t *testing.T) {
	t.Parallel()
	says := func(by string, pairs ...string) guard.Claims {
		c := guard.Claims{By: by, Says: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			c.Says[pairs[i]] = pairs[i+1]
		}
		return c
	}
	for name, c := range map[string]struct {
		all     []guard.Claims
		refuses bool
	}{
		"nothing":                {},
		"one fact":               {[]guard.Claims{says("a", "serving", "6")}, false},
		"of different things":    {[]guard.Claims{says("a", "serving", "6"), says("b", "latest", "7")}, false},
		"the same":               {[]guard.Claims{says("a", "serving", "6"), says("b", "serving", "6"), {By: "c"}}, false},
		"two things":             {[]guard.Claims{says("a", "serving", "6"), says("b", "serving", "7")}, true},
		"the third":              {[]guard.Claims{says("a", "serving", "6"), says("b", "serving", "6"), says("c", "serving", "7")}, true},
		"of the second of two":   {[]guard.Claims{says("a", "latest", "7", "serving", "6"), says("b", "latest", "7", "serving", "7")}, true},
		"something and that not": {[]guard.Claims{says("a", "serving", "6"), says("b", "serving", "")}, true},
	} {
		no := guard.Agree(c.all)
		if (no != nil) != c.refuses || no != nil && no.Reason != guard.Conflicting {
			t.Errorf("%s: %v, want a refusal: %t", name, no, c.refuses)
		}
		if no != nil && !strings.Contains(no.Detail, "serving") {
			t.Errorf("%s: %v does not say of what", name, no)
		}
	}
}

func someClaims(t *rapid.T) []guard.Claims {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) guard.Claims {
		return guard.Claims{
			By:   of([]string{"health", "deploy", "service"}).Draw(t, "by"),
			Says: rapid.MapOfN(of([]string{"serving", "latest", "sick"}), of([]string{"", "6", "7"}), 0, 3).Draw(t, "says"),
		}
	}), 0, 4).Draw(t, "claims")
}

// Facts conflict when any two do, in whatever order they come and however often one is repeated, and one more never makes peace.
func TestAgreeProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := someClaims(t)
		pairs := false
		for _, one := range all {
			for _, other := range all {
				for thing, says := range one.Says {
					said, both := other.Says[thing]
					pairs = pairs || both && said != says
				}
			}
		}
		agreesOn := func(all []guard.Claims, want bool) {
			if no := guard.Agree(all); (no != nil) != want {
				t.Fatalf("%v of %v, want a conflict: %t", no, all, want)
			}
		}
		agreesOn(all, pairs)
		agreesOn(rapid.Permutation(all).Draw(t, "order"), pairs)
		agreesOn(append(slices.Clone(all), all...), pairs)
		if pairs {
			agreesOn(append(someClaims(t), all...), true)
		}
	})
}
