package store_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/store/memory"
)

func TestContractInMemory(t *testing.T) {
	t.Parallel()
	contract(t, memoryWorld)
}

// memoryWorld is the contract's subject in the process: opening it again is the next life of the same owner.
func memoryWorld(t *testing.T) *world {
	w := &world{t: t, clock: newClock()}
	s := memory.New(memory.Config{Now: w.clock.now, Lease: lease})
	w.subject = s.As(owner)
	w.reopen = func() { w.subject = s.TakeOver(owner) }
	return w
}
