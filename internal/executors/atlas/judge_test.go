package atlas

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/executors"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// entries reads "NETWORK" and "NETWORK+DURATION" for entries that end after noon.
func entries(t *testing.T, texts ...string) []entry {
	t.Helper()
	var all []entry
	for _, text := range texts {
		n, lasts, ends := strings.Cut(text, "+")
		e := entry{Network: netip.MustParsePrefix(n)}
		if ends {
			d, err := time.ParseDuration(lasts)
			if err != nil {
				t.Fatal(err)
			}
			e.Ends = noon.Add(d)
		}
		all = append(all, e)
	}
	return all
}

func TestCovering(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entries []string
		of      string
		by      []string
	}{
		"nothing":                           {of: "203.0.113.7/32"},
		"itself":                            {entries: []string{"203.0.113.7/32"}, of: "203.0.113.7/32", by: []string{"203.0.113.7/32"}},
		"a wider one":                       {entries: []string{"203.0.112.0/22"}, of: "203.0.113.7/32", by: []string{"203.0.112.0/22"}},
		"the neighbour":                     {entries: []string{"203.0.113.6/32"}, of: "203.0.113.7/32"},
		"a part of it":                      {entries: []string{"203.0.113.0/25"}, of: "203.0.113.0/24"},
		"its two halves":                    {entries: []string{"203.0.113.128/25", "203.0.113.0/25"}, of: "203.0.113.0/24", by: []string{"203.0.113.0/25", "203.0.113.128/25"}},
		"a half and a quarter":              {entries: []string{"203.0.113.128/25", "203.0.113.0/26"}, of: "203.0.113.0/24"},
		"the one that stays":                {entries: []string{"203.0.113.0/24+1h", "203.0.0.0/16"}, of: "203.0.113.7/32", by: []string{"203.0.0.0/16"}},
		"the one that stays longer":         {entries: []string{"203.0.113.0/24+1h", "203.0.0.0/16+2h"}, of: "203.0.113.7/32", by: []string{"203.0.0.0/16"}},
		"IPv6":                              {entries: []string{"2001:db8::/48"}, of: "2001:db8::7/128", by: []string{"2001:db8::/48"}},
		"IPv6 halves":                       {entries: []string{"2001:db8::/65", "2001:db8:0:0:8000::/65"}, of: "2001:db8::/64", by: []string{"2001:db8::/65", "2001:db8:0:0:8000::/65"}},
		"the whole of IPv4 lets no IPv6 in": {entries: []string{"0.0.0.0/0"}, of: "2001:db8::7/128"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var by []string
			for _, e := range covering(entries(t, tc.entries...), netip.MustParsePrefix(tc.of)) {
				by = append(by, e.Network.String())
			}
			if diff := cmp.Diff(tc.by, by); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWorld(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"0.0.0.0/0": true, "::/0": true, "0.0.0.0/1 128.0.0.0/1": true, "0.0.0.0/2 64.0.0.0/2 128.0.0.0/1": true, "::/1 8000::/1": true,
		"0.0.0.0/1": false, "0.0.0.0/2 64.0.0.0/2 128.0.0.0/2": false, "10.0.0.0/8": false,
	} {
		if got := world(entries(t, strings.Fields(text)...)); got != want {
			t.Errorf("%s: open to the world %t", text, got)
		}
	}
	if world(nil) {
		t.Error("an empty list is open to the world")
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "203.0.113.0/24": "203.0.113.0/24", "2001:db8::1": "2001:db8::1/128", "::ffff:203.0.113.7": "203.0.113.7/32",
		"203.0.113.7/24": "", "": "", "backend": "", "203.0.113.0/33": "", "203.0.113.0/-1": "", "fe80::1%eth0": "", "::ffff:0:0/96": "", "203.0.113.0/24 ": "",
	} {
		got, err := network(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestSection(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		section Cluster
		says    string
	}{
		"bare":             {section: Cluster{Cluster: "Main"}},
		"whole":            {section: Cluster{Cluster: "Main", Connection: "atlas-eu", Egress: []string{"203.0.113.7", "2001:db8::/64"}, AccessList: []Entry{{Entry: "10.0.0.0/8"}}}},
		"no cluster":       {says: "must be the name"},
		"a path":           {section: Cluster{Cluster: "a/b"}, says: "must be the name"},
		"no network":       {section: Cluster{Cluster: "M", AccessList: []Entry{{Entry: "office"}}}, says: "no address"},
		"the world":        {section: Cluster{Cluster: "M", AccessList: []Entry{{Entry: "0.0.0.0/0"}}}, says: "whole internet"},
		"the other world":  {section: Cluster{Cluster: "M", AccessList: []Entry{{Entry: "::/0"}}}, says: "whole internet"},
		"twice":            {section: Cluster{Cluster: "M", AccessList: []Entry{{Entry: "203.0.113.7"}, {Entry: "203.0.113.7/32"}}}, says: "recorded twice"},
		"back in time":     {section: Cluster{Cluster: "M", AccessList: []Entry{{Entry: "203.0.113.7", Lasts: -1}}}, says: "negative"},
		"egress no net":    {section: Cluster{Cluster: "M", Egress: []string{"here"}}, says: "no address"},
		"egress the world": {section: Cluster{Cluster: "M", Egress: []string{"0.0.0.0/0"}}, says: "whole internet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkSays(t, tc.section.Validate(executors.Target{}), tc.says)
		})
	}
}

func checkSays(t *testing.T, err error, says string) {
	t.Helper()
	if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %q", err, says)
	}
}

// TestRestoreIsRefusedAtLoad: what may never be let in is said when the rules are read, whatever is recorded.
func TestRestoreIsRefusedAtLoad(t *testing.T) {
	t.Parallel()
	section := &Cluster{Cluster: "Main", AccessList: []Entry{
		{Entry: "203.0.113.7"}, {Entry: "198.51.0.0/16"}, {Entry: "198.51.100.0/24", Lasts: 25 * time.Hour}, {Entry: "2001:db8::/47"}, {Entry: "0.0.0.0/0"}, {Entry: "::/0"},
	}}
	target := executors.Target{Name: "db", Systems: map[string]any{System: section}}
	for text, says := range map[string]string{
		"203.0.113.7": "", "203.0.113.7/32": "", "198.51.0.0/16": "wider than /24", "198.51.100.0/24": "at most 24h", "2001:db8::/47": "wider than /48",
		"0.0.0.0/0": "whole internet", "::/0": "whole internet", "192.0.2.1": "not recorded", "": "no address", "203.0.113.7/31": "bits set",
	} {
		checkSays(t, (&restore{Entry: text}).Validate(target), says)
	}
	checkSays(t, (&restore{Entry: "203.0.113.7"}).Validate(executors.Target{}), "section atlas")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	recorded := []Entry{{Entry: "203.0.113.7"}, {Entry: "198.51.100.0/24"}}
	for name, tc := range map[string]struct {
		egress, entries  []string
		blocked, missing []string
		unknown          []string
		allowed, open    bool
		expires          time.Duration
		summary          string
	}{
		"all is well": {
			egress: []string{"203.0.113.7"}, entries: []string{"203.0.113.7/32", "198.51.100.0/24"}, allowed: true, unknown: []string{"expires_in"},
			summary: "lets in all 1 of our addresses",
		},
		"ours is gone": {
			egress: []string{"203.0.113.7"}, entries: []string{"198.51.100.0/24"}, blocked: []string{"203.0.113.7"}, missing: []string{"203.0.113.7"},
			unknown: []string{"expires_in"}, summary: "keeps out 1 of our 1 addresses: 203.0.113.7; 1 of 2 recorded entries are missing: 203.0.113.7",
		},
		"let in by another entry, for a while": {
			egress: []string{"203.0.113.7"}, entries: []string{"203.0.113.0/24+90m", "198.51.100.0/24+1h"}, allowed: true, missing: []string{"203.0.113.7"},
			expires: 90 * time.Minute, summary: "the first of them for 1h30m0s more",
		},
		"open to the world": {
			egress: []string{"203.0.113.7"}, entries: []string{"0.0.0.0/0"}, allowed: true, open: true, missing: []string{"203.0.113.7", "198.51.100.0/24"},
			unknown: []string{"expires_in"}, summary: "open to the world",
		},
		"no address is declared": {
			entries: []string{"203.0.113.7/32", "198.51.100.0/24"}, allowed: true, unknown: []string{"allowed", "blocked", "allowed_by", "expires_in"},
			summary: "declares no address of ours",
		},
		"nothing is let in": {
			egress: []string{"203.0.113.7", "192.0.2.0/30"}, blocked: []string{"203.0.113.7", "192.0.2.0/30"}, missing: []string{"203.0.113.7", "198.51.100.0/24"},
			unknown: []string{"expires_in"}, summary: "keeps out 2 of our 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Cluster{Cluster: "Main", Egress: tc.egress, AccessList: recorded}
			f, unknown, err := c.judge(entries(t, tc.entries...), noon)
			if err != nil {
				t.Fatal(err)
			}
			got := []any{f.Allowed, f.OpenToTheWorld, f.ExpiresIn, len(f.Blocked), len(f.Missing), f.Entries}
			want := []any{tc.allowed, tc.open, tc.expires, len(tc.blocked), len(tc.missing), int64(len(tc.entries))}
			if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(f.Blocked, tc.blocked) || !slices.Equal(f.Missing, tc.missing) {
				t.Errorf("%s\n%+v", diff, f)
			}
			if diff := cmp.Diff(tc.unknown, unknown); diff != "" {
				t.Error(diff)
			}
			if said := f.summary(c); !strings.Contains(said, tc.summary) {
				t.Errorf("said %q", said)
			}
		})
	}
}

func TestOperationOfAComment(t *testing.T) {
	t.Parallel()
	const run = "0198f2a4-7c1e-7bb3-9c0a-3f8d2b6a1e55"
	for _, recorded := range []string{"", "office", strings.Repeat("a very long comment ", 20), "with: a colon", strings.Repeat("ü", 90), "remediator x: y"} {
		c := comment(run+"-0-1", recorded)
		if utf8.RuneCountInString(c) > commentMost || operationOf(c) != run+"-0-1" || runOf(operationOf(c)) != run {
			t.Errorf("%q leaves %q, which tells of %q", recorded, c, operationOf(c))
		}
	}
	for _, other := range []string{"", "office", "the remediator put it here", "remediator"} {
		if got := operationOf(other); got != "" {
			t.Errorf("%q is taken for ours: %q", other, got)
		}
	}
	if runOf("x") != "" || runOf("a-b") != "" {
		t.Error("an id of another form has a run")
	}
}

func TestClusterSeen(t *testing.T) {
	t.Parallel()
	member := func(set, kind string, ago time.Duration) process {
		return process{Set: set, Type: kind, Seen: noon.Add(-ago)}
	}
	for name, tc := range map[string]struct {
		all            []process
		primary, known bool
		members        int64
	}{
		"nobody":                     {},
		"a primary":                  {all: []process{member("a", "REPLICA_PRIMARY", 0), member("a", "REPLICA_SECONDARY", time.Minute)}, primary: true, known: true, members: 2},
		"none":                       {all: []process{member("a", "REPLICA_SECONDARY", 0), member("a", "REPLICA_SECONDARY", 0)}, known: true, members: 2},
		"a silent one":               {all: []process{member("a", "REPLICA_PRIMARY", time.Hour), member("a", "REPLICA_SECONDARY", 0)}, members: 1},
		"a primary and a silent one": {all: []process{member("a", "REPLICA_PRIMARY", 0), member("a", "REPLICA_SECONDARY", time.Hour)}, primary: true, known: true, members: 1},
		"one shard has none":         {all: []process{member("a", "SHARD_PRIMARY", 0), member("b", "SHARD_SECONDARY", 0), member("", "SHARD_MONGOS", 0)}, known: true, members: 2},
		"none, and a silent shard":   {all: []process{member("a", "SHARD_PRIMARY", time.Hour), member("b", "SHARD_SECONDARY", 0)}, known: true, members: 1},
		"routers alone say nothing":  {all: []process{member("", "SHARD_MONGOS", 0)}},
		"never heard of":             {all: []process{{Set: "a", Type: "REPLICA_PRIMARY"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &ClusterFact{}
			if known := f.seen(tc.all, noon); known != tc.known || f.Primary != tc.primary || f.Members != tc.members {
				t.Errorf("known %t, %+v", known, f)
			}
		})
	}
}
