package http

import (
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// RunFilter selects runs, newest first. Empty fields select all.
type RunFilter struct {
	State  remediation.State
	Target string
	Before string // id: only runs older than it
	Limit  int    // 1 to 500
}

// RunView is one run with everything that is known of it.
type RunView struct {
	Run      remediation.Run       `json:"run"`
	Steps    []remediation.Step    `json:"steps"`
	Rulings  []remediation.Ruling  `json:"rulings"`
	Journal  []remediation.Entry   `json:"journal"`
	Messages []remediation.Message `json:"messages"`
}

// EventView is one event with what the rules said of it. The body stays in the store: it may hold what only its sender may show.
type EventView struct {
	Event   remediation.Event    `json:"event"`
	Rulings []remediation.Ruling `json:"rulings"`
}

// Status is what holds the automation back now, and how much there is to do.
type Status struct {
	Version   string                   `json:"version"` // filled in by this package
	RulesHash string                   `json:"rules_hash"`
	Pauses    []guard.Pause            `json:"pauses"`
	Breakers  []remediation.BreakerRow `json:"breakers"`
	Debts     []remediation.Debt       `json:"debts"`
	Latches   []remediation.LatchRow   `json:"latches"`
	Marks     []remediation.Mark       `json:"marks"`
	StormAt   time.Time                `json:"storm_at,omitzero"` // when a run was last refused for a storm that nobody has ended
	Counts    Counts                   `json:"counts"`
}

// Counts of what is stored.
type Counts struct {
	Events   map[string]int `json:"events"`   // by state
	Runs     map[string]int `json:"runs"`     // by state
	Messages int            `json:"messages"` // not told yet
}

// Release names the breakers to close: of a rule, of a target, or of a rule on a target. With a target its latches are opened too.
// Storm ends a storm instead.
type Release struct {
	Rule   string
	Target string
	Storm  bool
	Actor  string
}

// Unpin asks to let the latest deploy of a target serve again after a rollback.
type Unpin struct {
	Target string
	Reason string
	Actor  string
}

// list keeps an empty list from becoming null.
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
