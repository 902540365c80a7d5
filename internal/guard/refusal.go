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
	Cooldown        Reason = "cooldown"           // a run set out to act on the target a short while ago
	BudgetExhausted Reason = "budget_exhausted"   // too many acts in a window
	Storm           Reason = "storm"              // too many targets want action at once
	Settling        Reason = "settling"           // the last act is so young that the alert may still tell of the time before it
	Frozen          Reason = "freeze"             // a maintenance window or freeze is in force
	Held            Reason = "held"               // a person has taken the incident or the target over
	AwaitsRelease   Reason = "awaits_release"     // an act of this kind was made before; needs a release
	Oscillation     Reason = "oscillation"        // it would take back what another run did a short while ago
	RulesDiffer     Reason = "rules_differ"       // replicas go by different rules and none are declared current
	BreakerOpen     Reason = "breaker_open"       // the rule did not help this target before; needs a release
	UnknownFacts    Reason = "unknown_facts"      // a fact that decides could not be had
	Conflicting     Reason = "conflicting_facts"  // two facts say different things of the same
	StaleFacts      Reason = "stale_facts"        // the facts are older than a decision may rest on
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
	TooWide         Reason = "too_wide"           // the change selects nothing in particular, or too much
	Itself          Reason = "itself"             // the target is remediator, its store or its way out
	NothingToDo     Reason = "nothing_to_do"      // the target already is as wished
	NeedsApproval   Reason = "needs_approval"     // no human has approved the plan
	Denied          Reason = "denied"             // a human said no to the plan
	ApprovalExpired Reason = "approval_expired"   // nobody answered in time; asking again needs a new delivery
	PlanChanged     Reason = "plan_changed"       // the target kept changing under the plan
	SystemDown      Reason = "system_unavailable" // the system's breaker is open, or it cannot be asked
	RulesChanged    Reason = "rules_changed"      // the rule is gone from the rules now in force
	GuardFailed     Reason = "guard_failed"       // a guard itself failed; refusing is the safe answer
)

// Reasons lists every reason, so that metrics can show their zeros.
func Reasons() []Reason {
	return []Reason{
		Paused, TargetBusy, Cooldown, BudgetExhausted, Storm, BreakerOpen, UnknownFacts, Stale, NotFiring, UnknownTarget,
		Conflicting, StaleFacts, Settling, Frozen, Held, AwaitsRelease, Oscillation, RulesDiffer,
		HumanHand, Reconciling, SplitTraffic, AlreadyPinned, NoDestination, NoCause, Migrations, OutOfBounds, NothingToDo, TooWide, Itself,
		NeedsApproval, Denied, ApprovalExpired, PlanChanged, SystemDown, RulesChanged, GuardFailed,
	}
}

// Passing reports whether the refusal can end by itself, so that the next delivery of the same episode may try again.
func (r Reason) Passing() bool {
	switch r {
	case Paused, TargetBusy, Cooldown, Storm, UnknownFacts, Conflicting, StaleFacts, Settling, Frozen, Held, RulesDiffer, Reconciling, SystemDown:
		return true
	default:
		return false
	}
}

// Parks reports whether the refusal waits for a human's word, after which the run is judged again.
func (r Reason) Parks() bool { return r == Paused || r == RulesDiffer }

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
