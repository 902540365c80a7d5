package sandbox

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// dice is the world's only source of chance.
type dice struct {
	mu   sync.Mutex
	seed uint64
	rng  *rand.Rand
}

func newDice(seed uint64) *dice {
	return &dice{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed))} //nolint:gosec // chance that can be repeated, no secret
}

func (d *dice) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64()
}

func (d *dice) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(d.float()*float64(high-low))
}

func (d *dice) letters(alphabet string, n int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[d.rng.IntN(len(alphabet))]
	}
	return string(out)
}

func (d *dice) suffix() string { return d.letters("bcdfghjkmnpqrstvwxz", 3) }

// id has the shape of PagerDuty's identifiers.
func (d *dice) id(prefix string) string {
	return prefix + d.letters("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 12)
}

func (d *dice) uuid() string {
	h := d.letters("0123456789abcdef", 32)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

func (d *dice) digest() string { return "sha256:" + d.letters("0123456789abcdef", 64) }

// rank is a fixed pseudo-random place of a name: an order that is stable over
// pages but promises nothing.
func (d *dice) rank(name string) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s", d.seed, name)
	return h.Sum64()
}
