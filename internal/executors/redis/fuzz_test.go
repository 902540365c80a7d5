package redis

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever a server says of itself becomes a fact whose numbers are finite and not negative, or are named unknown.
func FuzzInfo(f *testing.F) {
	const usual = "role:master\nused_memory:1000\nmaxmemory:2000\ndb0:keys=3,expires=0\nkeyspace_hits:10\nkeyspace_misses:2\nevicted_keys:1\nrun_id:a\nuptime_in_seconds:9"
	f.Add(usual, usual+"\nkeyspace_hits:2000", int64(time.Second))
	f.Add(usual, "role:x\nused_memory:9223372036854775807\ndb0:keys=9223372036854775807\ndb1:keys=9223372036854775807", int64(0))
	f.Add("role:\x1b[31m\u202e\nused_memory:1\nmem_fragmentation_ratio:inf\nmaxmemory:1\nuptime_in_seconds:9223372036854775807", "", int64(-1))
	p := &info{}
	f.Fuzz(func(t *testing.T, first, second string, apart int64) {
		a, err := p.answer("redis:6379", told(first), told(second), time.Duration(apart))
		if err != nil {
			return
		}
		fact, _ := a.Fact.(*InfoFact)
		for name, n := range map[string]float64{
			"keys": float64(fact.Keys), "used_memory": float64(fact.UsedMemory), "memory_ratio": fact.MemoryRatio, "fragmentation": fact.Fragmentation,
			"lookups": float64(fact.Lookups), "uptime": float64(fact.Uptime), "hit_rate": fact.HitRate,
		} {
			if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 || name == "hit_rate" && n > 1 {
				t.Fatalf("%s is %v", name, n)
			}
		}
		if !slices.IsSorted(a.Unknown) || len(a.Unknown) != len(slices.Compact(slices.Clone(a.Unknown))) {
			t.Fatalf("unknown: %v", a.Unknown)
		}
		if strings.ContainsAny(a.Summary, "\r\n\x1b\u202e") || len(a.Summary) > 2000 {
			t.Fatalf("the summary is %q", a.Summary)
		}
	})
}

func told(text string) map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); found {
			lines[name] = value
		}
	}
	return lines
}
