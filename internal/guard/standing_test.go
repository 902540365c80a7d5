package guard_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// The guards below have one fact each that stands in the way until somebody takes it away.

func TestEnded(t *testing.T) {
	t.Parallel()
	judge(t, guard.NotFiring, map[string]example{
		"it fires":                      {},
		"it has resolved":               {snapshot: func(s *guard.Snapshot) { s.EndedAt = minute(-1) }, refuses: true},
		"it resolves at a time to come": {snapshot: func(s *guard.Snapshot) { s.EndedAt = minute(1) }, refuses: true},
	})
}

func TestHeld(t *testing.T) {
	t.Parallel()
	judge(t, guard.Held, map[string]example{
		"nobody is at it":      {},
		"a person is at it":    {snapshot: func(s *guard.Snapshot) { s.HeldBy = "ann" }, refuses: true},
		"a person approved it": {snapshot: func(s *guard.Snapshot) { s.HeldBy, s.Auto = "ann", false }},
	})
}

func TestLocked(t *testing.T) {
	t.Parallel()
	judge(t, guard.TargetBusy, map[string]example{
		"nobody holds the target":   {},
		"another run holds it":      {snapshot: func(s *guard.Snapshot) { s.LockedBy = "r0" }, refuses: true},
		"the run itself holds it":   {snapshot: func(s *guard.Snapshot) { s.LockedBy = "r1" }},
		"held, and people approved": {snapshot: func(s *guard.Snapshot) { s.LockedBy, s.Auto = "r0", false }, refuses: true},
	})
}

func TestLatched(t *testing.T) {
	t.Parallel()
	latch := func(run string) func(*guard.Snapshot) {
		return func(s *guard.Snapshot) { s.Latch = &guard.Latch{Kind: "cloud_run.rollback", Run: run, At: minute(-9)} }
	}
	judge(t, guard.AwaitsRelease, map[string]example{
		"no act of the kind":        {},
		"another run made one":      {snapshot: latch("r0"), refuses: true},
		"the run itself made it":    {snapshot: latch("r1")},
		"nobody knows who made one": {snapshot: latch(""), refuses: true},
	})
}

func TestOpened(t *testing.T) {
	t.Parallel()
	judge(t, guard.BreakerOpen, map[string]example{
		"closed": {},
		"open":   {snapshot: func(s *guard.Snapshot) { s.Breaker = "3 in a row did not help" }, refuses: true},
	})
}

func modelEnded(_ guard.Limits, s guard.Snapshot) bool  { return s.EndedAt != guard.Snapshot{}.EndedAt }
func modelHeld(_ guard.Limits, s guard.Snapshot) bool   { return s.Auto && len(s.HeldBy) > 0 }
func modelOpened(_ guard.Limits, s guard.Snapshot) bool { return len(s.Breaker) > 0 }

func modelLocked(_ guard.Limits, s guard.Snapshot) bool {
	free := map[string]bool{"": true, s.Run: true}
	return !free[s.LockedBy]
}

func modelLatched(_ guard.Limits, s guard.Snapshot) bool {
	if s.Latch == nil {
		return false
	}
	return s.Run != s.Latch.Run
}

func (s *scene) resolve(t *rapid.T) {
	at := s.now + rapid.IntRange(-5, 5).Draw(t, "off")
	s.ended = &at
}
func (s *scene) fire(*rapid.T) { s.ended = nil }

func TestEndedProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"resolve": w.resolve, "fire": w.fire, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				if w.ended != nil {
					s.EndedAt = minute(*w.ended)
				}
				agrees(t, guard.Shared(guard.Limits{}, s), w.ended != nil, guard.NotFiring)
			},
		})
	})
}

func (s *scene) acknowledge(t *rapid.T) { s.heldBy = of([]string{"ann", "bob"}).Draw(t, "who") }
func (s *scene) letGo(*rapid.T)         { s.heldBy = "" }

// While a person is at the incident nothing acts by itself, and all that people approve does.
func TestHeldProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"acknowledge": w.acknowledge, "let go": w.letGo,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.HeldBy = w.heldBy
				agrees(t, guard.Shared(guard.Limits{}, s), modelHeld(guard.Limits{}, s), guard.Held)
			},
		})
	})
}

// Runs that take the lock when the guard lets them, and give it back when they are done, never hold a target together.
func TestLockedProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, holders := &scene{}, map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				s := w.ask(t)
				s.LockedBy = w.lockedBy
				no := guard.Shared(guard.Limits{}, s)
				agrees(t, no, modelLocked(guard.Limits{}, s), guard.TargetBusy)
				if no == nil {
					w.lockedBy = s.Run
					holders[s.Run] = true
				}
				if len(holders) > 1 {
					t.Fatalf("%v hold the target together", holders)
				}
			},
			"give back": func(*rapid.T) {
				delete(holders, w.lockedBy)
				w.lockedBy = ""
			},
		})
	})
}

// Of an act that only a release allows again, there is one run's between two releases.
func TestLatchedProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, made := &scene{}, map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"act": func(t *rapid.T) {
				s := w.ask(t)
				s.Latch = w.latch
				no := guard.Shared(guard.Limits{}, s)
				agrees(t, no, modelLatched(guard.Limits{}, s), guard.AwaitsRelease)
				if no == nil {
					w.latch = &guard.Latch{Kind: "cloud_run.rollback", Run: s.Run, At: s.Now}
					made[s.Run] = true
				}
				if len(made) > 1 {
					t.Fatalf("%v have acted without a release between them", made)
				}
			},
			"release": func(*rapid.T) {
				w.latch = nil
				clear(made)
			},
			"clock": w.clock,
		})
	})
}

func TestOpenedProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"open":  func(t *rapid.T) { w.breaker = of([]string{"3 in a row", "needs a human"}).Draw(t, "why") },
			"close": func(*rapid.T) { w.breaker = "" },
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Breaker = w.breaker
				agrees(t, guard.Shared(guard.Limits{}, s), modelOpened(guard.Limits{}, s), guard.BreakerOpen)
			},
		})
	})
}
