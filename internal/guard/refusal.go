// Package guard holds the pure decisions that can refuse an action before anything is touched. A guard is given a snapshot
// and answers with a Refusal or nothing; it reads no clock, store or network.
package guard

import "fmt"

// Reason says why a guard refused. It is also the value of the metric's label, so the set is closed.
type Reason string

// The reasons, each with what makes it pass.
const (
	Paused          Reason = "paused"             // somebody pressed pause; passes on resume
	TargetBusy      Reason = "target_busy"        // another run holds the target; passes when it is done
	Cooldown        Reason = "cooldown"           // a run acted on the target a short while ago
	BudgetExhausted Reason = "budget_exhausted"   // too many acts in a window
	Storm           Reason = "storm"              // too many targets want action at once
	BreakerOpen     Reason = "breaker_open"       // the rule did not help this target before; needs a release
	UnknownFacts    Reason = "unknown_facts"      // a fact that decides could not be had
	Stale           Reason = "stale"              // the event is older than its max age
	NotFiring       Reason = "not_firing"         // the alert has resolved meanwhile
	UnknownTarget   Reason = "unknown_target"     // a label names no declared target
	HumanHand       Reason = "human_hand"         // somebody else changed the target
	Reconciling     Reason = "reconciling"        // a deploy is under way
	SplitTraffic    Reason = "split_traffic"      // more than one revision serves
	AlreadyPinned   Reason = "already_pinned"     // an earlier rollback still pins traffic; needs unpin
	NoDestination   Reason = "no_destination"     // no revision may be rolled back to
	NoCause         Reason = "no_cause"           // no deploy explains the alert
	Migrations      Reason = "migrations"         // the target does not say that its code can go back
	OutOfBounds     Reason = "out_of_bounds"      // the change would leave the declared bounds
	NothingToDo     Reason = "nothing_to_do"      // the target already is as wished
	NeedsApproval   Reason = "needs_approval"     // no human has approved the plan
	PlanChanged     Reason = "plan_changed"       // the target kept changing under the plan
	SystemDown      Reason = "system_unavailable" // the system's breaker is open, or it cannot be asked
	RulesChanged    Reason = "rules_changed"      // the rule is gone from the rules now in force
	GuardFailed     Reason = "guard_failed"       // a guard itself failed; refusing is the safe answer
)

// Reasons lists every reason, so that metrics can show their zeros.
func Reasons() []Reason {
	return []Reason{
		Paused, TargetBusy, Cooldown, BudgetExhausted, Storm, BreakerOpen, UnknownFacts, Stale, NotFiring, UnknownTarget,
		HumanHand, Reconciling, SplitTraffic, AlreadyPinned, NoDestination, NoCause, Migrations, OutOfBounds, NothingToDo,
		NeedsApproval, PlanChanged, SystemDown, RulesChanged, GuardFailed,
	}
}

// Passing reports whether the refusal can end by itself, so that the next delivery of the same episode may try again.
func (r Reason) Passing() bool {
	switch r {
	case Paused, TargetBusy, Cooldown, Storm, UnknownFacts, Reconciling, SystemDown:
		return true
	default:
		return false
	}
}

// Refusal is a guard's "no": a typed reason and one sentence for people. It is an error, so that a plan can return it.
type Refusal struct {
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
}

// Error gives the sentence that notes and logs show.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Refuse makes a Refusal with a formatted detail.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
