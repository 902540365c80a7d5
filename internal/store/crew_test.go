package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

func runTask(id string, version int64) task {
	return task{kind: advanceTask, hint: remediation.Hint{Run: id, Version: version}}
}

func TestCrewNeverVisitsOneKeyTwiceAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var visits, together atomic.Int64
		var at sync.Map
		c := newCrew(func(_ context.Context, t task) error {
			if _, taken := at.LoadOrStore(t.key(), true); taken {
				together.Add(1)
			}
			time.Sleep(time.Second)
			at.Delete(t.key())
			visits.Add(1)
			return nil
		})
		for i := range int64(10) {
			c.offer(runTask("a", i)) // before the start: one visit, of the newest
			c.offer(runTask("b", i))
		}
		c.start(t.Context())
		synctest.Wait()
		if ran, _ := c.try(t.Context(), runTask("a", 1)); ran {
			t.Error("tried a key that is being visited")
		}
		c.offer(runTask("a", 11)) // comes after the visit under way
		time.Sleep(10 * time.Second)
		if visits.Load() != 3 || together.Load() != 0 {
			t.Errorf("%d visits, %d of them together", visits.Load(), together.Load())
		}
		if ran, _ := c.try(t.Context(), runTask("a", 12)); !ran {
			t.Error("did not try a key that is free")
		}
		if err := c.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCrewMakesManyVisitsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		c := newCrew(func(context.Context, task) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		})
		c.start(t.Context())
		for i := range 10 * hands {
			c.offer(task{kind: matchTask, event: time.Duration(i).String()})
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if most.Load() != hands || now.Load() != 0 {
			t.Errorf("at most %d visits at once, want %d; %d never ended", most.Load(), hands, now.Load())
		}
	})
}

func TestCrewWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		fail := errors.New("failed")
		c := newCrew(func(context.Context, task) error {
			at = append(at, time.Since(began))
			return fail
		})
		c.start(t.Context())
		c.offerAfter(runTask("a", 1), time.Hour)
		c.offerAfter(runTask("a", 2), 10*time.Second) // the newest wish
		time.Sleep(11 * time.Second)
		for range 100 {
			c.offerOverdue(runTask("a", 3))
			time.Sleep(time.Second)
		}
		want := []time.Duration{10 * time.Second, 11 * time.Second, 13 * time.Second, 17 * time.Second, 25 * time.Second, 41 * time.Second, 73 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("visits at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] < want[i] || at[i] > want[i]+time.Second {
				t.Errorf("visits at %v, want %v", at, want)
			}
		}
		time.Sleep(time.Hour)
		c.forgive()
		if len(c.penalty) != 0 {
			t.Errorf("penalties kept: %v", c.penalty)
		}
	})
}
