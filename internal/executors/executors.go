// Package executors declares what actions and probes are and keeps the registry of their kinds. Each system has a folder below
// this one, each kind one file in it; everything else (decoding, guards, timeouts, journal, notes, metrics) comes from the floors above.
package executors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// Target is what is acted on: a name, and per system the section the rules file declares for it.
type Target struct {
	Name       string
	Health     string         // URL of its health check, "" if none is declared
	Control    string         // URL that answers while the target is down, "" if none: tells a dead target from a dead network
	Migrations string         // "marked", "none", or "" when nothing is promised about schema changes
	Systems    map[string]any // registered target sections by system, e.g. "cloud_run" -> *cloudrun.Service
}

// Env is what a kind is given beside its parameters. Kinds draw time from here and nowhere else.
type Env struct {
	Target      Target
	Connections connect.Set
	Now         time.Time
	Onset       time.Time // when the alert began to fire; zero for a run by hand
	Incident    Incident  // what people are told on; both its names are empty where no incident is known
	Since       time.Time // metric windows start no earlier (verification looks only at what came after the act); zero: no bound
	// Marks are the target's revisions whose release cannot be gone back past, with the reason a human gave.
	Marks map[string]string
	// Facts are what the rule's probes found in this visit, by their names under `gather`; nil where none were asked.
	Facts map[string]any
	// Unknown are the fields of Facts that could not be had, by the facts' names: their values mean nothing.
	Unknown map[string][]string
	Speed   float64 // how much faster than real the world runs (1, except in the demo): waits a kind knows of itself divide by it
}

// Incident names the PagerDuty incident that a run is about. Both names come from outside: they are asked for exactly, and never part of
// a pattern.
type Incident struct {
	ID  string // PagerDuty's, where the sender knew it or a message of the run has found it
	Key string // its dedup key; keys recur, so that it means the newest open incident
}

// Scale shortens a duration that is a property of the outside world (metric lag, alignment) by the world's speed.
func (e Env) Scale(d time.Duration) time.Duration {
	if e.Speed <= 0 || e.Speed == 1 {
		return d
	}
	return time.Duration(float64(d) / e.Speed)
}

// Answer is what a probe found. Fact is a pointer to the kind's fact struct (`cel` tags name its fields); fields named in Unknown
// could not be had, and what depends on them decides nothing.
type Answer struct {
	Fact    any
	Unknown []string
	Summary string // one sentence for notes: "GET /health answered 503 three times"
}

// Probe is a read-only question. Its struct fields are the parameters in rules.yaml. An error means that nothing is known. A 503 of a
// health check is a fact, not an error. Safe for concurrent use: parameters are read only.
type Probe interface {
	Ask(ctx context.Context, env Env) (Answer, error)
}

// Action is one kind of change. Its struct fields are the parameters in rules.yaml; the methods never alter them.
type Action interface {
	// Plan reads the target and says what Apply would do. A *guard.Refusal as error means that it must not be done.
	Plan(ctx context.Context, env Env) (Change, error)
	// Apply makes the change under its precondition and leaves the operation id where the system can show it. It returns as soon as
	// the system has accepted the call; Observe tells the rest. connect.IsConflict tells a lost precondition, connect.IsAmbiguous a
	// call that may have taken effect.
	Apply(ctx context.Context, env Env, c Change, operation string) (Receipt, error)
	// Observe reads back what became of the change. It changes nothing. The receipt is empty when Apply never answered.
	Observe(ctx context.Context, env Env, c Change, operation string, r Receipt) (Observation, error)
	// Undo plans the way back, if the target is exactly as the change left it; a *guard.Refusal if it is not.
	Undo(ctx context.Context, env Env, c Change) (Change, error)
}

// Identified is implemented by target sections that can say which thing in the world they are, such as
// "cloud_run/PROJECT/REGION/SERVICE"; what a section leaves to its connection is filled in from there.
type Identified interface {
	Identity(set connect.Set) string
}

// Claiming is implemented by facts that say something of which other facts may speak too: the thing's name and what is said of it.
// Facts of one decision that contradict each other decide nothing.
type Claiming interface {
	Claims() map[string]string
}

// State is what people see of a target before and after a change: few short keys and values, no secrets.
type State map[string]string

// Change is what Plan returns: all that Apply, Observe and Undo need, and all that a note says. It is stored as JSON.
type Change struct {
	Kind    string `json:"kind"`
	Target  string `json:"target"`
	Summary string `json:"summary"` // imperative, one line: "route all traffic of api from api-7 to api-6"
	Before  State  `json:"before"`
	After   State  `json:"after"`
	// Selects are the system's names of all that the change touches, never a pattern; nil where it selects nothing beside the target.
	Selects []string `json:"selects,omitempty"`
	// Networks are those that the change opens or blocks.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Lasts is for how long the change is made; 0: until somebody changes it again. When that is over the engine takes the change back by
	// Undo, unless EndsItself says that the system ends it by itself.
	Lasts      time.Duration   `json:"lasts,omitempty"`
	EndsItself bool            `json:"ends_itself,omitempty"`
	Etag       string          `json:"etag"` // the precondition: what the target's version was when planned
	Data       json.RawMessage `json:"data,omitempty"`
	UndoHint   string          `json:"undo_hint,omitempty"` // a command or sentence for people; empty: there is no known inverse
	Reversible bool            `json:"reversible"`          // Undo is known and safe to try
	Evidence   []string        `json:"evidence,omitempty"`  // sentences that made the plan legal
	Debt       string          `json:"debt,omitempty"`      // what the change leaves to be settled, such as DebtPinnedTraffic; "": nothing
	Settles    string          `json:"settles,omitempty"`   // the debt that the change takes back
	PlannedAt  time.Time       `json:"planned_at"`
}

// Digest identifies what a change would do, and not when or against which version it was planned.
func (c Change) Digest() string {
	b, err := json.Marshal(struct {
		Kind, Target  string
		Before, After State
	}{c.Kind, c.Target, c.Before, c.After})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Receipt is what the system answered to Apply.
type Receipt struct {
	Handle string `json:"handle,omitempty"` // the system's own name of the operation, e.g. of a long-running one
}

// Progress of a change, as the system shows it.
type Progress string

// Applied means read back and complete. Pending: accepted, under way. NotApplied: provably nothing happened. Failed: the system
// tried and gave up. Foreign: the target is neither as before nor as wished, by another hand. Unclear: cannot be told.
const (
	Applied    Progress = "applied"
	Pending    Progress = "pending"
	NotApplied Progress = "not_applied"
	Failed     Progress = "failed"
	Foreign    Progress = "foreign"
	Unclear    Progress = "unclear"
)

// Observation is what Observe read back.
type Observation struct {
	Progress Progress `json:"progress"`
	Detail   string   `json:"detail,omitempty"`
	State    State    `json:"state,omitempty"` // the target as it was read
	// Next is set with Applied when the change has a further part, to be applied as a call of its own.
	Next *Change `json:"next,omitempty"`
}
