package simulation

import (
	"math/rand/v2"
	"time"
)

// dice are a source of chance that says the same for the same seed. Plot and luck have dice of their own, so that a change of the engine
// does not change what the world does to it.
type dice struct{ *rand.Rand }

func newDice(seed uint64, what uint64) *dice { return &dice{rand.New(rand.NewPCG(seed, what))} }

// chance is true in so many of a thousand cases.
func (d *dice) chance(permille int) bool { return permille > 0 && d.IntN(1000) < permille }

// between draws a duration in whole milliseconds.
func (d *dice) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64((most-least)/time.Millisecond)+1))*time.Millisecond
}

// pick draws one of the values, each as likely.
func pick[T any](d *dice, of ...T) T { return of[d.IntN(len(of))] }

// shuffled gives the values in an order by chance.
func shuffled[T any](d *dice, all []T) []T {
	out := append([]T(nil), all...)
	d.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
