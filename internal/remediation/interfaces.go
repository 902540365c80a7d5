package remediation

import (
	"context"
	"errors"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Errors that a store answers with.
var (
	// ErrStaleHint: the run is not at the hinted version any more, or somebody else works on it. Nothing to do.
	ErrStaleHint = errors.New("the hint is stale")
	// ErrFenced: somebody else has claimed the run since; what was to be committed is void.
	ErrFenced = errors.New("fenced off by a newer claim")
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrUnknownSource: the rules file declares no such source.
	ErrUnknownSource = errors.New("no such source")
	// ErrRulesGone: the rules of that hash are not kept any more, or this version cannot read them.
	ErrRulesGone = errors.New("the rules are gone")
	// ErrTooMany: a source delivers faster than the rules file allows; it must keep its delivery.
	ErrTooMany = errors.New("too many deliveries")
	// ErrUnavailable: the store cannot keep anything now; a sender must keep its delivery.
	ErrUnavailable = errors.New("the store is unavailable")
)

// Hint says that a run may be advanced. It may come early, late or twice.
type Hint struct {
	Run     string `json:"run"`
	Version int64  `json:"version"`
	Epoch   int64  `json:"epoch,omitempty"` // set when the run was born claimed by this process
}

// Inbound is one webhook as it came in: nothing of it is trusted yet.
type Inbound struct {
	Source     string // the name in the path
	Request    sources.Request
	ReceivedAt time.Time
}

// Proposal is one run that an event asks for: one alert on one target with the rules that matched.
type Proposal struct {
	Run     Run // as it will be inserted when it is admitted
	Rulings []Ruling
}

// Resolution says that a firing has ended.
type Resolution struct {
	Source      string
	Episode     string
	IncidentID  string
	IncidentKey string
	Fingerprint string
	At          time.Time
	Drill       bool   // it ends firings of drills alone; any other ends none of those
	By          string // the person who said so, which is no word on anybody's health; "" for the sender
}

// Move says that an incident was merged into another one: what was made for it is about that one from now on, and nobody looks at the old.
type Move struct {
	From, To string
	Key      string    // of the incident that was merged, "" if it had none
	At       time.Time // by key it moves only what began before: keys recur
}

// Acceptance is all that one event leads to, to be stored in one transaction.
type Acceptance struct {
	Event     Event
	Looked    bool // the event is stored already, as pending: this completes it
	Proposals []Proposal
	Rulings   []Ruling // decided without a run: stale, unknown target
	Stale     []StaleAlert
	Resolved  []Resolution
	Moves     []Move
	Holds     []Hold
	Messages  []Message // e.g. the escalation of a look-up that failed for good
	// Sightings and Push are what it says of its source's feed; empty and nil where nobody watches that.
	Sightings []Sighting
	Push      *Push
	// Again is the parked run that this is the next attempt of: its event is stored already. Nothing is stored when the run is not
	// parked any more, or when another run has taken its place.
	Again string
}

// StaleAlert is an alert that came too late for each rule that concerns it on a target. No run looks after it; until its sender tells its end
// it keeps its incident open.
type StaleAlert struct {
	Target string
	Alert  alert.Alert
}

// Hold is a person's word that they are at an incident: runs by themselves leave it alone until it is lifted.
type Hold struct {
	IncidentID  string    `json:"incident_id,omitempty"`
	IncidentKey string    `json:"incident_key,omitempty"`
	By          string    `json:"by"`
	At          time.Time `json:"at"`
	Lifted      bool      `json:"lifted,omitempty"`
}

// Mark is a human's word that a revision of a target cannot be gone back past, such as after a change of the schema.
type Mark struct {
	Target   string    `json:"target"`
	Revision string    `json:"revision"`
	Reason   string    `json:"reason"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
}

// Approval is a human's answer to a plan.
type Approval struct {
	Run      string    `json:"run"`
	Digest   string    `json:"digest"` // of the plan that was shown
	Actor    string    `json:"actor"`
	Reason   string    `json:"reason,omitempty"`
	Approved bool      `json:"approved"`
	At       time.Time `json:"at"`
}

// Accepted is what became of an Acceptance.
type Accepted struct {
	Event     string
	Duplicate bool   // the delivery was known; nothing was stored
	Note      string // why nothing was matched, "" otherwise; the store leaves it empty
	Rulings   []Ruling
	Runs      []Hint
}

// Related is a run that a proposal may be a repeat of.
type Related struct {
	ID          string
	Source      string
	Episode     string
	IncidentKey string
	IncidentID  string
	StartsAt    time.Time
	EndedAt     time.Time // when its episode resolved; zero while it fires
	EndedBy     string    // the person who said so; "" while only its sender did
	State       State
	Outcome     Outcome
	Reason      guard.Reason
	Acted       bool
}

// Intake keeps events.
type Intake interface {
	// Accept stores all of it or nothing. For each proposal it loads the related runs of the same target and asks Admit. Drills are related to
	// drills alone.
	Accept(ctx context.Context, a Acceptance) (Accepted, error)
	// Event reads one event with its body and delivery.
	Event(ctx context.Context, id string) (Event, error)
	// Postpone records that a pending event could not be looked up and is tried again.
	Postpone(ctx context.Context, id string, until time.Time, why string) error
	// Parked gives the runs that were refused while they waited for a human's word, and whose alert still fires, those of some rules on
	// some targets left out: oldest first, at most a few hundred.
	Parked(ctx context.Context, except []Bond) ([]Run, error)
}

// Bond is a rule on a target.
type Bond struct{ Rule, Target string }

// Claim asks for the right to work on a run.
type Claim struct {
	Hint  Hint
	Owner string
	Now   time.Time
	Lease time.Duration
}

// Claimed is a run with all that a visit needs.
type Claimed struct {
	Run     Run
	Steps   []Step
	Episode Related // of the run's own episode: whether it has resolved
	// Incident is the id of the incident that the run's messages, or its parent's, were told on; empty when none was.
	Incident string
	// Approval is the answer to what the run has asked, nil before there is one.
	Approval *Approval
	// Marks are the revisions of the target that cannot be gone back past, with the reason.
	Marks map[string]string
	// Fleet is the head of the fleet's chain as it was last seen here; zero when there is none. The notes carry it outside.
	Fleet Anchor
}

// Runs keeps runs.
type Runs interface {
	// Claim grants the run for the lease if the version fits and nobody holds it: epoch+1. A hint that carries the epoch the run
	// was born with is granted without a write. ErrStaleHint otherwise.
	Claim(ctx context.Context, c Claim) (Claimed, error)
	// Renew prolongs the lease; ErrFenced when it is lost.
	Renew(ctx context.Context, run string, epoch int64, until time.Time) error
	// Snapshot reads what the shared guards judge, outside any lock.
	Snapshot(ctx context.Context, q SnapshotQuery) (guard.Snapshot, error)
	// Commit applies all of it or nothing. ErrFenced when the epoch is not the run's; a *guard.Refusal when the intent is refused
	// by the shared guards under the lock.
	Commit(ctx context.Context, c Commit) error
}

// SnapshotQuery names what a snapshot is about.
type SnapshotQuery struct {
	Now    time.Time
	Run    string
	Rule   string
	Target string
	First  bool // no act of this run yet
	// MustFire: the run's alert must not have resolved.
	MustFire bool
	Breaker  breaker.Policy
	// Auto: no human has approved, so that a hold on the incident counts.
	Auto bool
	Act  guard.Act // what is about to be done; its kind, From and To are empty before it is planned
	// Once: a second act of this kind on the target waits for a release.
	Once bool
	// RulesHash is of the rules in force in this process; Pauses are those pressed outside the store.
	RulesHash string
	Pauses    []guard.Pause
}

// Commit is the value a visit ends in.
type Commit struct {
	Now      time.Time
	Run      Run // the row as it shall be; Epoch is the fence, Version is raised by the store
	Steps    []Step
	Rulings  []Ruling
	Entries  []Entry
	Messages []Message
	Intent   *Intent
	// Effect feeds the breaker of the run's rule and target when the run is done.
	Effect  breaker.Effect
	Breaker breaker.Policy
	Unlock  bool
	Unlatch bool         // nothing that the run did has had an effect: it leaves no latch
	Want    *guard.Want  // the run wants to act, whatever becomes of it
	Storm   *StormCall   // the run was refused for a storm
	Pause   *guard.Pause // all automation on the run's target is to stop
	Debts   []Debt       // opened, or settled when SettledAt is set
	Spawn   []Run        // follow-ups
	Lease   time.Time    // until when the claim goes on; zero: release it
}

// StormCall pages once for a storm: the messages are told when no run was refused for one since Since, or since the last release.
type StormCall struct {
	Since time.Time
	Pages []Message
}

// Intent asks for lock, debit and shared guards in the commit's transaction.
type Intent struct {
	Query  SnapshotQuery
	Limits guard.Limits
	Act    guard.Act // the debit; none when its Run is empty (the same rung tried again, or a part of a change)
	// Exempt: an undo or a settling of debt takes the lock and is debited, and is not judged by budgets, breaker or pause.
	Exempt bool
}

// RuleBook gives the rules in force and those a run was decided by.
type RuleBook interface {
	Current() *rules.Set
	ByHash(ctx context.Context, hash string) (*rules.Set, error)
}

// Due lists what should have been done by now, for the sweeper.
type Due struct {
	Runs   []Hint
	Events []string
	Lanes  []Lane
}

// Lane is the ordered queue of one run's messages on one channel.
type Lane struct {
	Run     string
	Channel Channel
}

// Sent is how the telling of a message ended.
type Sent struct {
	ID        string
	State     MessageState // MessageQueued: try again at NotBefore
	RemoteID  string
	Error     string
	At        time.Time
	NotBefore time.Time
}

// Outbox keeps messages until they are told.
type Outbox interface {
	// Next takes the first message of the lane that is neither ended nor waiting, counts the attempt durably before it returns, and
	// keeps others off it for the lease. thread is the Root of the lane's first sent message, else of the run's that comes before it: keys
	// recur, and the open incident of its key may be another one by now. In Slack it is else that of the other runs of the incident (one id,
	// or one key while both fired and no ids say otherwise) that were told in the same room; while the first of them is being told, the rest
	// wait for the thread that it begins.
	Next(ctx context.Context, l Lane, now time.Time, lease time.Duration) (m Message, thread string, ok bool, err error)
	// End records how it ended.
	End(ctx context.Context, s Sent) error
	// OtherRuns reports how many other runs of the incident are open, or done without being fixed or resolved by themselves, or fixed
	// while an alert of which the sender tells the end still fires; and how many stale alerts of it fire on other targets. The incident is
	// the message's or, where it names none, the run's.
	OtherRuns(ctx context.Context, m Message) (int, error)
}
