package atlas

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sandbox"
)

// TestAllPages: an entry on a later page is there.
func TestAllPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetAtlas(sandbox.AtlasBehaviour{PageSize: 2})
	for i := range 7 {
		must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: fmt.Sprintf("198.51.100.%d", i)}))
	}
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: ours, Comment: "hid\u202eden"}))
	answer, err := (&accessList{}).Ask(t.Context(), f.env)
	must(t, err)
	fact, _ := answer.Fact.(*AccessList)
	if !fact.Allowed || len(fact.Missing) != 0 || fact.Entries != 8 {
		t.Errorf("%+v", fact)
	}
	if by, _ := fact.AllowedBy["203.0.113.7"].(map[string]any); by["comment"] != "hidden" || by["entry"] != ours {
		t.Errorf("%v", by)
	}
}

// TestExpiredIsGone: Atlas may show an entry for a while after its end; it lets nobody in for sure.
func TestExpiredIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: ours, Lasts: time.Hour}))
	for later, allowed := range map[time.Duration]bool{0: true, 61 * time.Minute: false} {
		f.env.Now = time.Now().Add(later)
		answer, err := (&accessList{}).Ask(t.Context(), f.env)
		must(t, err)
		if fact, _ := answer.Fact.(*AccessList); fact.Allowed != allowed || (len(fact.Missing) == 0) != allowed || slices.Contains(answer.Unknown, "expires_in") == allowed {
			t.Errorf("%s later: %+v, unknown %v", later, fact, answer.Unknown)
		}
	}
}

func TestClusterProbe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cluster sandbox.AtlasCluster
		spoiled string // path that fails
		healthy bool
		unknown []string
		summary string
	}{
		"well":         {healthy: true, summary: "Atlas cluster Main is IDLE, MongoDB 8.0.12, 3 hosts; 3 members are heard of, with a primary"},
		"being worked": {cluster: sandbox.AtlasCluster{State: "UPDATING"}, summary: "is UPDATING"},
		"paused":       {cluster: sandbox.AtlasCluster{Paused: true}, unknown: []string{"primary"}, summary: "0 hosts, paused; whether it has a primary is not known"},
		"no primary":   {cluster: sandbox.AtlasCluster{NoPrimary: true}, summary: "none of its 3 members is primary"},
		"no news":      {cluster: sandbox.AtlasCluster{SeenAgo: time.Hour}, unknown: []string{"primary", "healthy"}, summary: "whether it has a primary is not known"},
		"no processes": {spoiled: "/processes", unknown: []string{"primary", "members", "healthy"}, summary: "not known"},
		"no processes, and broken": {
			cluster: sandbox.AtlasCluster{State: "REPAIRING"}, spoiled: "/processes", unknown: []string{"primary", "members"}, summary: "REPAIRING",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			tc.cluster.Name = "Main"
			f.SetAtlasCluster(tc.cluster)
			f.SetAtlasCluster(sandbox.AtlasCluster{Name: "Other"})
			if tc.spoiled != "" {
				must(t, f.Spoil("atlas", sandbox.Fault{Path: "/api/atlas/v2/groups/" + sandbox.AtlasProject + tc.spoiled, Status: 500}))
			}
			answer, err := (&clusterProbe{}).Ask(t.Context(), f.env)
			must(t, err)
			fact, _ := answer.Fact.(*ClusterFact)
			if fact.Healthy != tc.healthy || fact.DiskGB != 40 || !fact.Backup || fact.Members > 3 || !strings.Contains(answer.Summary, tc.summary) {
				t.Errorf("%+v: %s", fact, answer.Summary)
			}
			if diff := cmp.Diff(tc.unknown, answer.Unknown); diff != "" {
				t.Error(diff)
			}
		})
	}
	f := newFixture(t)
	f.section.Cluster = "Gone"
	if _, err := (&clusterProbe{}).Ask(t.Context(), f.env); !connect.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, q := range []sandbox.AtlasSlowQuery{
		{Namespace: "shop.orders", Took: time.Second, Ago: time.Minute}, {Namespace: "shop.orders", Took: 9 * time.Second, Ago: time.Minute, NoMetrics: true},
		{Namespace: "shop.users", Took: 2 * time.Second, Ago: time.Minute}, {Namespace: "shop.old", Took: time.Hour, Ago: 2 * time.Hour},
		{Cluster: "Other", Namespace: "other.x", Took: time.Hour, Ago: time.Minute},
	} {
		if q.Cluster == "" {
			q.Cluster = "Main"
		}
		f.AddAtlasSlowQuery(q)
	}
	f.SetAtlasCluster(sandbox.AtlasCluster{Name: "Other"})
	f.SuggestAtlasIndex(sandbox.AtlasIndex{Cluster: "Main", Namespace: "shop.users", Fields: []string{"email"}, Weight: 1})
	f.SuggestAtlasIndex(sandbox.AtlasIndex{Cluster: "Main", Namespace: "shop.orders", Fields: []string{"user", "-created"}, Weight: 5})
	answer, err := (&advisor{}).Ask(t.Context(), f.env)
	must(t, err)
	want := &Advice{
		SlowQueries: 3, Slowest: 9 * time.Second, Worst: "shop.orders", ByNamespace: map[string]any{"shop.orders": int64(2), "shop.users": int64(1)},
		Suggested: 2, Indexes: []string{"shop.orders {user: 1, created: -1}", "shop.users {email: 1}"},
	}
	if diff := cmp.Diff(want, answer.Fact); diff != "" || answer.Unknown != nil {
		t.Error(diff, answer.Unknown)
	}
	if answer.Summary != "3 slow operations, the slowest of 9s, most on shop.orders (2); 2 indexes are suggested, first shop.orders {user: 1, created: -1}" {
		t.Errorf("said %q", answer.Summary)
	}
	f.env.Since = f.env.Now.Add(-30 * time.Second) // what came before the act does not count
	answer, err = (&advisor{Window: 2 * time.Hour}).Ask(t.Context(), f.env)
	must(t, err)
	if fact, _ := answer.Fact.(*Advice); fact.SlowQueries != 0 || !slices.Equal(answer.Unknown, []string{"slowest"}) {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
}

// TestAdviceInPart: what one call does not tell is unknown, and the other's answer stands.
func TestAdviceInPart(t *testing.T) {
	t.Parallel()
	group := "/api/atlas/v2/groups/" + sandbox.AtlasProject
	for path, unknown := range map[string][]string{
		"/clusters/Main/performanceAdvisor": {"suggested", "indexes", "slowest"},
		"/processes/":                       {"slow_queries", "more", "slowest", "by_namespace", "worst"},
		"/processes":                        {"slow_queries", "more", "slowest", "by_namespace", "worst"},
	} {
		f := newFixture(t)
		must(t, f.Spoil("atlas", sandbox.Fault{Path: group + path, Status: 500}))
		answer, err := (&advisor{}).Ask(t.Context(), f.env)
		must(t, err)
		if diff := cmp.Diff(unknown, answer.Unknown); diff != "" || !strings.Contains(answer.Summary, "could not be had") {
			t.Errorf("%s: %s %s", path, diff, answer.Summary)
		}
	}
	f := newFixture(t)
	f.SetAtlasCluster(sandbox.AtlasCluster{Name: "Main", Paused: true})
	answer, err := (&advisor{}).Ask(t.Context(), f.env)
	must(t, err)
	if !slices.Contains(answer.Unknown, "slow_queries") {
		t.Errorf("a cluster without members has %v", answer.Fact)
	}
}
