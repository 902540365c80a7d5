package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "redis.info",
		Doc:  "Asks a Redis server for its account of itself: memory, evictions, hit rate, clients, role, keys. It is asked twice, for rates.",
		New:  func() executors.Probe { return &info{} },
		Fact: InfoFact{},
	})
}

const (
	defaultSample  = time.Second
	longestSample  = 8 * time.Second
	defaultLookups = 20
)

// info reads the counters twice: those since the server's start tell nothing of now.
type info struct {
	// Sample is how long the rates are measured; default 1s.
	Sample time.Duration `yaml:"sample"`
	// MinLookups is how many lookups in that time the hit rate must rest on to be known; default 20.
	MinLookups int `yaml:"min_lookups"`
}

// InfoFact is what redis.info finds.
type InfoFact struct {
	// Address is the server's host:port.
	Address string `cel:"address"`
	// Version of the server.
	Version string `cel:"version"`
	// Role is master or slave, as the server calls it.
	Role string `cel:"role"`
	// Replicas is how many are connected to it.
	Replicas int64 `cel:"replicas"`
	// Uptime since the server's start.
	Uptime time.Duration `cel:"uptime"`
	// UsedMemory is what the data takes, in bytes.
	UsedMemory int64 `cel:"used_memory"`
	// MaxMemory is the bound above which keys are evicted or writes refused, in bytes; 0: there is none.
	MaxMemory int64 `cel:"max_memory"`
	// MemoryRatio is UsedMemory as a part of MaxMemory, 0 to 1 and a little more; unknown without a bound.
	MemoryRatio float64 `cel:"memory_ratio"`
	// EvictionPolicy is what is done at the bound: noeviction refuses writes.
	EvictionPolicy string `cel:"eviction_policy"`
	// Fragmentation is the memory that the process holds as a multiple of UsedMemory.
	Fragmentation float64 `cel:"fragmentation"`
	// Evicted is how many keys were evicted since the server's start.
	Evicted int64 `cel:"evicted"`
	// EvictedPerSecond over the sample.
	EvictedPerSecond float64 `cel:"evicted_per_second"`
	// Hits is how many lookups found their key since the server's start.
	Hits int64 `cel:"hits"`
	// Misses is how many did not.
	Misses int64 `cel:"misses"`
	// Lookups is how many there were in the sample.
	Lookups int64 `cel:"lookups"`
	// HitRate is the part of them that found their key, 0 to 1; unknown with fewer than min_lookups.
	HitRate float64 `cel:"hit_rate"`
	// Clients is how many are connected, this probe's own connection included.
	Clients int64 `cel:"clients"`
	// MaxClients is how many may be.
	MaxClients int64 `cel:"max_clients"`
	// BlockedClients is how many wait for a list, a stream or the like.
	BlockedClients int64 `cel:"blocked_clients"`
	// RejectedConnections is how many found MaxClients reached since the server's start.
	RejectedConnections int64 `cel:"rejected_connections"`
	// Keys of all databases together.
	Keys int64 `cel:"keys"`
	// KeysByDatabase by the number of the database; those without keys are left out.
	KeysByDatabase map[string]any `cel:"keys_by_database"`
	// Sampled is how long the sample was.
	Sampled time.Duration `cel:"sampled"`
}

// Claims implements executors.Claiming: who is asked for its state and answers is not down.
func (f *InfoFact) Claims() map[string]string { return claims(f.Address, true) }

// Validate tells in plain words what is wrong with the parameters.
func (p *info) Validate(t executors.Target) error {
	switch {
	case p.Sample < 0 || p.Sample > longestSample:
		return fmt.Errorf("sample must be between 1ms and %s", longestSample)
	case p.MinLookups < 0:
		return errors.New("min_lookups must not be negative")
	}
	_, err := section(t)
	return err
}

// Ask implements executors.Probe.
func (p *info) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	_, server, err := opened(env)
	if err != nil {
		return executors.Answer{}, err
	}
	var first, second map[string]string
	var apart time.Duration
	err = server.Session(ctx, server.Database(), func(ctx context.Context, s *connect.Session) (err error) {
		if first, err = s.Info(ctx); err != nil {
			return err
		}
		began := time.Now()
		pause(ctx.Done(), cmp.Or(p.Sample, env.Scale(defaultSample)))
		second, err = s.Info(ctx)
		apart = time.Since(began)
		return err
	})
	if err != nil {
		return executors.Answer{}, fmt.Errorf("asking %s: %w", server.Address(), err)
	}
	return p.answer(server.Address(), first, second, apart)
}

// answer needs what every server tells; anything else that is not told is unknown.
func (p *info) answer(address string, first, second map[string]string, apart time.Duration) (executors.Answer, error) {
	r := reading{lines: second}
	fact := r.fact()
	if slices.Contains(r.unknown, "role") || slices.Contains(r.unknown, "used_memory") {
		return executors.Answer{}, fmt.Errorf("asking %s: the answer is not a server's account of itself", address)
	}
	fact.Address, fact.Sampled = address, apart
	r.rates(&fact, reading{lines: first}, int64(cmp.Or(p.MinLookups, defaultLookups)))
	slices.Sort(r.unknown)
	return executors.Answer{Fact: &fact, Unknown: slices.Compact(r.unknown), Summary: fact.summary(r.unknown)}, nil
}

// summary tells the numbers that are known.
func (f *InfoFact) summary(unknown []string) string {
	known := func(name string) bool { return !slices.Contains(unknown, name) }
	parts := []string{fmt.Sprintf("Redis at %s (%s) uses %s", f.Address, f.Role, size(f.UsedMemory))}
	add := func(yes bool, format string, args ...any) {
		if yes {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(known("memory_ratio"), "that is %.0f %% of its bound (%s)", 100*f.MemoryRatio, f.EvictionPolicy)
	add(known("max_memory") && f.MaxMemory == 0, "without a bound")
	add(known("keys"), "%d keys", f.Keys)
	add(known("evicted_per_second"), "%.1f evictions a second", f.EvictedPerSecond)
	add(known("hit_rate"), "%.0f %% of %d lookups hit", 100*f.HitRate, f.Lookups)
	add(known("lookups") && !known("hit_rate"), "too few lookups for a hit rate (%d)", f.Lookups)
	add(known("clients"), "%d clients", f.Clients)
	return strings.Join(parts, ", ")
}

func size(bytes int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}
