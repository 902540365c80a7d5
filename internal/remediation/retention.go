package remediation

import (
	"cmp"
	"time"
)

// Retention says how long things are kept. Open runs, debts, breakers, acts that a budget counts, and the links of the fleet's chain are
// kept whatever it says.
type Retention struct {
	Bodies time.Duration // bodies and look-ups of events; 0: KeepBodies
	Runs   time.Duration // finished runs with journal, acts and messages, from their end, and events; 0: KeepRuns; at least LeastKept
}

const (
	// KeepBodies is how long bodies are kept where nothing else is said.
	KeepBodies = 30 * 24 * time.Hour
	// KeepRuns is the same of runs.
	KeepRuns = 400 * 24 * time.Hour
	// LeastKept is the shortest time for which a finished run is kept, whatever is asked for: the budgets' windows reach so far back.
	// Who deletes a younger run cannot pass it off as retention.
	LeastKept = 32 * 24 * time.Hour
)

// Filled is the retention with its defaults and its least.
func (r Retention) Filled() Retention {
	return Retention{Bodies: cmp.Or(r.Bodies, KeepBodies), Runs: max(cmp.Or(r.Runs, KeepRuns), LeastKept)}
}
