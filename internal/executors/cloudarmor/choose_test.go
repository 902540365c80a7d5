package cloudarmor

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"github.com/mixillo/remediator/internal/guard"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func byAddress(priority int32, action string, preview bool, networks ...string) *computepb.SecurityPolicyRule {
	rule := blocking(priority, networks, "")
	rule.Action, rule.Preview = proto.String(action), proto.Bool(preview)
	return rule
}

func TestChoose(t *testing.T) {
	t.Parallel()
	limits := bounds{Least4: 24, Least6: 64, Most: 3, Never: prefixes("192.0.2.0/24", "2001:db8:ffff::/48")}
	rules := []*computepb.SecurityPolicyRule{
		byAddress(10, "allow", false, "198.51.100.0/25"), byAddress(11, "deny(404)", false, "203.0.113.128/25"),
		byAddress(12, "deny(403)", true, "203.0.113.0/25"), byAddress(lastPriority, "allow", false, "*"),
	}
	tests := []struct {
		name      string
		offenders []string
		want      []string
		refused   bool
	}{
		{"the worst first, and no more than allowed", []string{"8.8.8.8/32", "9.9.9.0/24", "2a00::/64", "1.1.1.1/32"}, []string{"8.8.8.8/32", "9.9.9.0/24", "2a00::/64"}, false},
		{"host bits are cleared", []string{"9.9.9.9/24"}, []string{"9.9.9.0/24"}, false},
		{"named twice", []string{"9.9.9.9/32", "9.9.9.9/32", "9.9.9.0/24"}, []string{"9.9.9.9/32"}, false},
		{"of the other family's form", []string{"::ffff:9.9.9.9/128"}, []string{"9.9.9.9/32"}, false},
		{"never: within, and around", []string{"192.0.2.9/32", "2001:db8:ffff:1::/64", "9.9.9.9/32"}, []string{"9.9.9.9/32"}, false},
		{"people let it in, be it in part", []string{"198.51.100.7/32", "198.51.100.0/24"}, nil, false},
		{"blocked already, but not in preview", []string{"203.0.113.200/32", "203.0.113.7/32"}, []string{"203.0.113.7/32"}, false},
		{"load balancers and their health checks", []string{"35.191.4.4/32", "130.211.1.0/24", "2600:2d00:1:b029::/64"}, nil, false},
		{"no public address", []string{"10.1.2.3/32", "127.0.0.1/32", "169.254.1.1/32", "fd00::/64", "0.0.0.0/32"}, nil, false},
		{"everybody", []string{"0.0.0.0/0"}, nil, true},
		{"everybody of the other family", []string{"::/0"}, nil, true},
		{"a provider", []string{"9.9.9.9/32", "8.0.0.0/9"}, nil, true},
		{"just too wide", []string{"9.9.8.0/23"}, nil, true},
		{"too wide of IPv6", []string{"2a00::/48"}, nil, true},
		{"both families in one", []string{"::ffff:0:0/95"}, nil, true},
		{"nobody", nil, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chosen, left, err := choose(prefixes(tt.offenders...), rules, limits)
			var no *guard.Refusal
			if refused := errors.As(err, &no) && no.Reason == guard.TooWide; refused != tt.refused || err != nil && !refused {
				t.Fatalf("refused %t: %v", refused, err)
			}
			if !tt.refused && !slices.Equal(chosen, prefixes(tt.want...)) {
				t.Errorf("chose %v, want %v; left %q", chosen, tt.want, left)
			}
		})
	}
	if _, _, err := choose([]netip.Prefix{{}}, nil, limits); err == nil {
		t.Error("what is no network was taken for one")
	}
}

func TestTightened(t *testing.T) {
	t.Parallel()
	limit := func(action, key string, count, interval int32, preview bool) *computepb.SecurityPolicyRule {
		rule := byAddress(1000, action, preview, "*")
		rule.RateLimitOptions = &computepb.SecurityPolicyRuleRateLimitOptions{
			EnforceOnKey:       proto.String(key),
			RateLimitThreshold: &computepb.SecurityPolicyRuleRateLimitOptionsThreshold{Count: proto.Int32(count), IntervalSec: proto.Int32(interval)},
		}
		return rule
	}
	tests := []struct {
		name      string
		rule      *computepb.SecurityPolicyRule
		perMinute int32
		want      int32
		reason    guard.Reason
	}{
		{"stricter", limit("throttle", "IP", 300, 60, false), 60, 60, ""},
		{"in its own interval", limit("throttle", "IP", 50, 10, false), 60, 10, ""},
		{"put in force as it is", limit("throttle", "IP", 60, 60, true), 60, 60, ""},
		{"put in force and stricter", limit("rate_based_ban", "IP", 60, 60, true), 30, 30, ""},
		{"the same", limit("throttle", "IP", 60, 60, false), 60, 0, guard.NothingToDo},
		{"looser", limit("throttle", "IP", 60, 60, false), 61, 0, guard.OutOfBounds},
		{"looser, put in force", limit("throttle", "IP", 60, 60, true), 61, 0, guard.OutOfBounds},
		{"far looser", limit("throttle", "IP", 60, 3600, false), 2147483647, 0, guard.OutOfBounds},
		{"less than one", limit("throttle", "IP", 60, 10, false), 5, 0, guard.OutOfBounds},
		{"another kind of limit", limit("throttle", "ALL", 300, 60, false), 60, 0, guard.OutOfBounds},
		{"no limit", byAddress(1000, "allow", false, "*"), 60, 0, guard.OutOfBounds},
		{"no rule", nil, 60, 0, guard.OutOfBounds},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wish, err := (&rateLimit{PerMinute: tt.perMinute, PerClientIP: true}).tightened(tt.rule, 1000)
			var no *guard.Refusal
			switch {
			case tt.reason != "" && (!errors.As(err, &no) || no.Reason != tt.reason):
				t.Errorf("got %v, want %s", err, tt.reason)
			case tt.reason == "" && (err != nil || wish.Count != tt.want || wish.Preview || wish.Interval != formOf(tt.rule).Interval):
				t.Errorf("got %v, %v, want %d", wish, err, tt.want)
			}
		})
	}
}

// TestMark: what Cloud Armor keeps of a description is enough to know the call, its run and the end again.
func TestMark(t *testing.T) {
	t.Parallel()
	const operation = "0192f3a4-5b6c-7d8e-9f01-23456789abcd-10-1"
	at := time.Date(2026, 11, 26, 12, 30, 1, 0, time.UTC)
	rule := &computepb.SecurityPolicyRule{Description: proto.String(mark(operation, endOf(at)))}
	if n := len(rule.GetDescription()); n > 64 {
		t.Errorf("%d characters: %s", n, rule.GetDescription())
	}
	if end, ours := ends(rule); !ours || end.Before(at) || end.Sub(at) > time.Minute {
		t.Errorf("it ends at %s, ours %t", end, ours)
	}
	for other, want := range map[string]bool{
		operation: true, "0192f3a4-5b6c-7d8e-9f01-23456789abcd-10-2": true, "0192f3a4-5b6c-7d8e-9f01-23456789abce-10-1": false, "r1-0-1": false,
	} {
		if got := sameRun(rule, other); got != want {
			t.Errorf("of the run of %s: %t", other, got)
		}
	}
	for _, text := range []string{"", "remediator", "remediator x soon", "not remediator r1-0-1 20261126T1230Z", "remediator r1-0-1 20261126T1230Z "} {
		if _, ours := ends(&computepb.SecurityPolicyRule{Description: proto.String(text)}); ours {
			t.Errorf("%q counts as ours", text)
		}
	}
	if strings.Contains(mark("r1-0-1", endOf(at)), "00Z00") {
		t.Error("the end is not in minutes")
	}
}
