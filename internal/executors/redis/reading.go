package redis

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// reading is one answer to INFO, and what was looked for in it and not found. The names of the lines are those of
// https://redis.io/docs/latest/commands/info/.
type reading struct {
	lines   map[string]string
	unknown []string
}

func (r *reading) lacks(field string) { r.unknown = append(r.unknown, field) }

func (r *reading) text(field, line string) string {
	value, ok := r.lines[line]
	if !ok || value == "" {
		r.lacks(field)
	}
	return shown(value)
}

// count reads a number that is never negative.
func (r *reading) count(field, line string) int64 {
	n, err := strconv.ParseInt(r.lines[line], 10, 64)
	if err != nil || n < 0 {
		r.lacks(field)
		return 0
	}
	return n
}

// ratio reads a number that may be written nan before anything was measured.
func (r *reading) ratio(field, line string) float64 {
	v, err := strconv.ParseFloat(r.lines[line], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		r.lacks(field)
		return 0
	}
	return v
}

func (r *reading) fact() InfoFact {
	f := InfoFact{
		Version: r.text("version", "redis_version"), Role: r.text("role", "role"), Replicas: r.count("replicas", "connected_slaves"),
		Uptime: r.uptime(), UsedMemory: r.count("used_memory", "used_memory"), MaxMemory: r.count("max_memory", "maxmemory"),
		EvictionPolicy: r.text("eviction_policy", "maxmemory_policy"), Fragmentation: r.ratio("fragmentation", "mem_fragmentation_ratio"),
		Evicted: r.count("evicted", "evicted_keys"), Hits: r.count("hits", "keyspace_hits"), Misses: r.count("misses", "keyspace_misses"),
		Clients: r.count("clients", "connected_clients"), MaxClients: r.count("max_clients", "maxclients"),
		BlockedClients: r.count("blocked_clients", "blocked_clients"), RejectedConnections: r.count("rejected_connections", "rejected_connections"),
	}
	if f.MaxMemory > 0 {
		f.MemoryRatio = float64(f.UsedMemory) / float64(f.MaxMemory)
	} else {
		r.lacks("memory_ratio")
	}
	f.Keys, f.KeysByDatabase = r.keys()
	return f
}

func (r *reading) uptime() time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(min(r.count("uptime", "uptime_in_seconds"), most)) * time.Second
}

// keys reads the lines "db0:keys=3,expires=0,avg_ttl=0"; a database without keys has none, so that without a word that is read they are 0.
func (r *reading) keys() (total int64, by map[string]any) {
	by = map[string]any{}
	for line, value := range r.lines {
		number, is := strings.CutPrefix(line, "db")
		if _, err := strconv.ParseUint(number, 10, 16); !is || err != nil {
			continue
		}
		written, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
		n, err := strconv.ParseInt(written, 10, 64)
		if err != nil || n < 0 || total > math.MaxInt64-n {
			r.lacks("keys")
			r.lacks("keys_by_database")
			continue
		}
		by[number], total = n, total+n
	}
	return total, by
}

// rates compares two readings of one process.
func (r *reading) rates(f *InfoFact, before reading, least int64) {
	if n, ok := r.grown(before, "evicted_keys"); ok && f.Sampled > 0 {
		f.EvictedPerSecond = float64(n) / f.Sampled.Seconds()
	} else {
		r.lacks("evicted_per_second")
	}
	hits, told := r.grown(before, "keyspace_hits")
	misses, also := r.grown(before, "keyspace_misses")
	f.Lookups = hits + misses
	if !told || !also || f.Lookups < 0 {
		f.Lookups = 0
		r.lacks("lookups")
	}
	if f.Lookups < max(least, 1) {
		r.lacks("hit_rate")
		return
	}
	f.HitRate = float64(hits) / float64(f.Lookups)
}

// grown is what a counter has grown by. One that went back was reset, and what came between cannot be told.
func (r *reading) grown(before reading, line string) (int64, bool) {
	now, err := strconv.ParseInt(r.lines[line], 10, 64)
	then, earlier := strconv.ParseInt(before.lines[line], 10, 64)
	if err != nil || earlier != nil || then < 0 || now < then || r.lines["run_id"] != before.lines["run_id"] {
		return 0, false
	}
	return now - then, true
}
