package redis

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// account is what a server tells of itself.
func account(changes map[string]string) map[string]string {
	lines := map[string]string{
		"run_id": "a", "redis_version": "7.0.15", "role": "master", "connected_slaves": "1", "uptime_in_seconds": "60", "used_memory": "900",
		"maxmemory": "1000", "maxmemory_policy": "allkeys-lru", "mem_fragmentation_ratio": "1.50", "evicted_keys": "10", "keyspace_hits": "1000",
		"keyspace_misses": "0", "connected_clients": "7", "maxclients": "100", "blocked_clients": "0", "rejected_connections": "0",
		"db0": "keys=3,expires=1,avg_ttl=0", "db12": "keys=4,expires=0,avg_ttl=0",
	}
	maps.Copy(lines, changes)
	maps.DeleteFunc(lines, func(_, value string) bool { return value == "" })
	return lines
}

func TestReadings(t *testing.T) {
	t.Parallel()
	counted := map[string]string{"evicted_keys": "30", "keyspace_hits": "1010", "keyspace_misses": "30"}
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(counted)
		maps.Copy(all, more)
		return all
	}
	for name, tt := range map[string]struct {
		changes map[string]string
		unknown []string
		says    string
	}{
		"all is told":         {counted, nil, "25 % of 40 lookups hit"},
		"few lookups":         {map[string]string{"keyspace_hits": "1019"}, []string{"hit_rate"}, "too few lookups for a hit rate (19)"},
		"no bound":            {with(map[string]string{"maxmemory": "0"}), []string{"memory_ratio"}, "without a bound"},
		"no bound told":       {with(map[string]string{"maxmemory": ""}), []string{"max_memory", "memory_ratio"}, "7 keys"},
		"not a number":        {with(map[string]string{"mem_fragmentation_ratio": "-nan"}), []string{"fragmentation"}, ""},
		"another process":     {with(map[string]string{"run_id": "b"}), []string{"evicted_per_second", "hit_rate", "lookups"}, ""},
		"counters were reset": {map[string]string{"evicted_keys": "0", "keyspace_hits": "5"}, []string{"evicted_per_second", "hit_rate", "lookups"}, ""},
		"no counters":         {with(map[string]string{"keyspace_misses": ""}), []string{"hit_rate", "lookups", "misses"}, ""},
		"counters unreadable": {with(map[string]string{"evicted_keys": "x"}), []string{"evicted", "evicted_per_second"}, ""},
		"keys unreadable":     {with(map[string]string{"db0": "keys=x"}), []string{"keys", "keys_by_database"}, ""},
	} {
		answer, err := (&info{}).answer("r:6379", account(nil), account(tt.changes), 10*time.Second)
		if err != nil || !slices.Equal(answer.Unknown, tt.unknown) || !strings.Contains(answer.Summary, tt.says) {
			t.Errorf("%s: unknown %q, %q, %v", name, answer.Unknown, answer.Summary, err)
		}
		if f, ok := answer.Fact.(*InfoFact); tt.unknown == nil && (!ok || f.EvictedPerSecond != 2 || f.HitRate != 0.25 || f.Lookups != 40 || f.MemoryRatio != 0.9 || f.Keys != 7) {
			t.Errorf("%s: %+v", name, answer.Fact)
		}
	}
	if _, err := (&info{}).answer("r:6379", account(nil), map[string]string{"a": "b"}, time.Second); err == nil {
		t.Error("what is no account was taken for one")
	}
}
