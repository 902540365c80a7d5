package remediation

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// EventState tells how far an accepted delivery is.
type EventState string

// Pending waits for a look-up; Matched is done; Ignored has nothing to match; Invalid could not be read; Failed could not be looked up.
const (
	EventPending EventState = "pending"
	EventMatched EventState = "matched"
	EventIgnored EventState = "ignored"
	EventInvalid EventState = "invalid"
	EventFailed  EventState = "failed"
)

// Event is one accepted delivery, stored once with its raw body before it is answered.
type Event struct {
	ID         string           `json:"id"`
	Source     string           `json:"source"`
	DedupKey   string           `json:"dedup_key,omitempty"`
	Type       string           `json:"type,omitempty"`
	ReceivedAt time.Time        `json:"received_at"`
	OccurredAt time.Time        `json:"occurred_at,omitzero"`
	State      EventState       `json:"state"`
	Note       string           `json:"note,omitempty"` // why it is ignored, invalid or failed
	RulesHash  string           `json:"rules_hash"`
	Body       []byte           `json:"-"`
	Delivery   sources.Delivery `json:"-"` // what Parse read; kept for the look-up of a pending event
	Attempts   int              `json:"attempts,omitempty"`
	WakeAt     time.Time        `json:"wake_at,omitzero"` // when a pending event is looked up next
}

// Verdict of one rule on one event.
type Verdict string

// The verdicts. Candidate is the only passing one: it becomes another when its run has chosen.
const (
	Candidate  Verdict = "candidate"
	IfFalse    Verdict = "if_false"
	Shadowed   Verdict = "shadowed"
	Refused    Verdict = "refused"
	Duplicate  Verdict = "duplicate"
	StaleEvent Verdict = "stale"
	Chosen     Verdict = "chosen"
	NotMatched Verdict = "not_matched" // recomputed, never stored
	Undecided  Verdict = "undecided"   // the facts its `if` needs could not be had
)

// Ruling is the stored verdict of a rule on an event for one target.
type Ruling struct {
	Event   string  `json:"event"`
	Seq     int     `json:"seq"` // place within the event
	Run     string  `json:"run,omitempty"`
	Rule    string  `json:"rule"`
	Target  string  `json:"target,omitempty"`
	Mode    string  `json:"mode"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// State of a run.
type State string

// A run is queued until somebody claims it, running during a visit, waiting between visits, and done for good.
const (
	Queued  State = "queued"
	Running State = "running"
	Waiting State = "waiting"
	Done    State = "done"
)

// Outcome of a run that is done.
type Outcome string

// The outcomes. None is a run whose candidates' conditions were all false.
const (
	NoOutcome      Outcome = ""
	Fixed          Outcome = "fixed"
	NotFixed       Outcome = "not_fixed"
	Inconclusive   Outcome = "inconclusive"
	RefusedRun     Outcome = "refused"
	Undone         Outcome = "undone"
	NeedsHuman     Outcome = "needs_human"
	Observed       Outcome = "observed"
	ResolvedItself Outcome = "resolved_itself"
)

// Outcomes lists the outcomes a run can end with, so that metrics can show their zeros.
func Outcomes() []Outcome {
	return []Outcome{Fixed, NotFixed, Inconclusive, RefusedRun, Undone, NeedsHuman, Observed, ResolvedItself}
}

// Origin says what a run was made for.
type Origin string

// Runs are made for an alert, in earnest or as a drill, by a human's hand, or as a follow-up of another run.
const (
	ByAlert    Origin = "alert"
	ByDrill    Origin = "drill" // see Run.MayAffect
	ByHand     Origin = "hand"
	ByFollowUp Origin = "follow_up"
)

// Answer is what the system said to the call of a step.
type Answer string

// NoAnswer: the call was not made, or nobody lived to hear the answer. Conflict: the precondition was lost. Ambiguous: it may have
// taken effect. Rejected: provably not.
const (
	NoAnswer  Answer = ""
	Taken     Answer = "accepted"
	Conflict  Answer = "conflict"
	Ambiguous Answer = "ambiguous"
	Rejected  Answer = "rejected"
)

// Phase is where in its work a run is; it decides what the next visit does.
type Phase string

// Decide covers gather, choose, plan and guards up to the intent. Apply makes the call the intent names, Observe reads back,
// Verify samples, Undo plans the way back. Ask waits for a human's answer to a plan. Calm, Remind, Await and Expire are the phases of
// follow-ups.
const (
	PhaseDecide  Phase = "decide"
	PhaseApply   Phase = "apply"
	PhaseObserve Phase = "observe"
	PhaseVerify  Phase = "verify"
	PhaseUndo    Phase = "undo"
	PhaseAsk     Phase = "ask"
	PhaseCalm    Phase = "calm"
	PhaseRemind  Phase = "remind"
	PhaseAwait   Phase = "await"
	PhaseExpire  Phase = "expire"
	PhaseDone    Phase = "done"
)

// Run is the decision for one episode on one target, and its carrying out. The stored row is the truth.
type Run struct {
	ID     string        `json:"id"`
	Origin Origin        `json:"origin"`
	Parent string        `json:"parent,omitempty"` // the run a follow-up belongs to
	Event  string        `json:"event,omitempty"`
	Alert  alert.Alert   `json:"alert"`
	Others []alert.Alert `json:"others,omitempty"` // alerts of the same delivery on the same target
	Target string        `json:"target"`
	Rules  []string      `json:"candidates"` // names, in file order
	// Places are the Seq of each candidate's ruling on the event: it stays the same when a verdict changes.
	Places    map[string]int `json:"places,omitempty"`
	Rule      string         `json:"rule,omitempty"`
	Mode      string         `json:"mode,omitempty"`
	Severity  string         `json:"severity,omitempty"` // as the rules name it
	Gravest   bool           `json:"gravest,omitempty"`  // it is the most severe
	RulesHash string         `json:"rules_hash"`
	Drill     string         `json:"drill,omitempty"` // the id of the drill that the run belongs to
	Actor     string         `json:"actor,omitempty"` // who started a run by hand
	Note      string         `json:"note,omitempty"`  // the reason a human gave

	State   State   `json:"state"`
	Phase   Phase   `json:"phase"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Reason is the typed reason of a refusal; Detail the sentence that explains the outcome.
	Reason guard.Reason `json:"reason,omitempty"`
	Detail string       `json:"detail,omitempty"`

	Rung    int       `json:"rung"`    // index into the rule's `do`
	Attempt int       `json:"attempt"` // how often the rung was applied
	Step    int       `json:"step"`    // seq of the act in progress
	Undoing bool      `json:"undoing,omitempty"`
	Action  string    `json:"action,omitempty"` // kind of a run by hand
	Of      *Step     `json:"of,omitempty"`     // the act a follow-up looks after
	Behind  []Step    `json:"behind,omitempty"` // the acts before that one, to be taken back after it, last first
	Expires time.Time `json:"expires,omitzero"` // of a follow-up that ends what was made for a time: when that is over
	Acted   bool      `json:"acted"`            // an intent was recorded
	// Would is what a drill would have done.
	Would     *executors.Change `json:"would,omitempty"`
	Asked     string            `json:"asked,omitempty"`     // digest of the plan that a human was shown
	Approved  string            `json:"approved,omitempty"`  // digest of the plan that a human has approved
	Question  string            `json:"question,omitempty"`  // the post that asks, until its buttons are replaced
	Yes       []string          `json:"yes,omitempty"`       // who has said yes to the plan that was asked about
	Granted   string            `json:"granted,omitempty"`   // the rule whose plan that is
	Acked     bool              `json:"acked,omitempty"`     // an acknowledgement was sent to the outbox
	Escalated bool              `json:"escalated,omitempty"` // an escalation was sent to the outbox
	PostedAt  time.Time         `json:"posted_at,omitzero"`  // when people were last told on Slack
	// PublishedAt is when the incident's subscribers were last told.
	PublishedAt time.Time `json:"published_at,omitzero"`
	Tries       int       `json:"tries,omitempty"`     // of the phase, e.g. unclear observations
	Until       time.Time `json:"until,omitzero"`      // deadline of the phase
	HeldFrom    time.Time `json:"held_from,omitzero"`  // since when the verification holds
	Sampled     string    `json:"sampled,omitempty"`   // what the last sample said, so that only changes are journalled
	SampledAt   time.Time `json:"sampled_at,omitzero"` // when the last sample was taken
	AppliedAt   time.Time `json:"applied_at,omitzero"` // when the last act was read back as complete
	DecidedAt   time.Time `json:"decided_at,omitzero"` // when the first intent was recorded

	Version    int64     `json:"version"` // grows with every commit; hints name it
	Epoch      int64     `json:"epoch"`   // grows with every claim; commits are fenced by it
	LeaseOwner string    `json:"-"`
	LeaseUntil time.Time `json:"-"`
	WakeAt     time.Time `json:"wake_at,omitzero"`
	EventAt    time.Time `json:"event_at"` // when the event occurred, by its sender's clock if that tells
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	DoneAt     time.Time `json:"done_at,omitzero"`

	Entries int    `json:"entries"` // number of journal records
	Head    string `json:"head"`    // hash of the newest journal record
	Told    int    `json:"told"`    // number of outbox messages
	Seen    []Seen `json:"seen,omitempty"`
	Looks   int    `json:"looks,omitempty"` // how many of Seen were before the first act
}

// ByRule tells a run that goes by the rules, for an alert or because somebody asked for it, from one that goes on with what another run has
// left: a follow-up, or an action started by hand.
func (r Run) ByRule() bool { return r.ForAlert() || r.Origin == ByHand && r.Action == "" }

// ForAlert tells a run that an alert has made, in earnest or as a drill: the guards that concern an alert judge both alike.
func (r Run) ForAlert() bool { return r.Origin == ByAlert || r.Origin == ByDrill }

// Ends tells a follow-up that ends what another run has made for a time.
func (r Run) Ends() bool { return !r.Expires.IsZero() }

// Heard reports whether the run has taken note of the answer already, and waits for another person's.
func (r Run) Heard(a Approval) bool { return a.Approved && slices.Contains(r.Yes, a.Actor) }

// Seen is one thing a probe found, kept for notes and the timeline.
type Seen struct {
	At      time.Time       `json:"at"`
	Probe   string          `json:"probe"`
	Kind    string          `json:"kind"`
	Summary string          `json:"summary"`
	Err     string          `json:"error,omitempty"`
	Sick    bool            `json:"sick,omitempty"`
	Fact    json.RawMessage `json:"fact,omitempty"`
}

// StepState tells how far an act is.
type StepState string

// Intent is recorded before the call; Accepted when the system took it; the others are ends.
const (
	StepIntent   StepState = "intent"
	StepAccepted StepState = "accepted"
	StepApplied  StepState = "applied"
	StepFailed   StepState = "failed"
	StepDropped  StepState = "dropped" // provably did not happen
	StepUnclear  StepState = "unclear"
)

// Step is one act inside a run: recorded as an intent before the call, with its result after it.
type Step struct {
	Run       string            `json:"run"`
	Seq       int               `json:"seq"`
	Kind      string            `json:"kind"`
	Operation string            `json:"operation"` // id left with the system: run-step-attempt
	State     StepState         `json:"state"`
	Undo      bool              `json:"undo,omitempty"`
	Change    executors.Change  `json:"change"`
	Answer    Answer            `json:"answer,omitempty"`
	Receipt   executors.Receipt `json:"receipt,omitzero"`
	Detail    string            `json:"detail,omitempty"`
	ReadBack  executors.State   `json:"read_back,omitempty"`
	StartedAt time.Time         `json:"started_at"`
	MissedAt  time.Time         `json:"missed_at,omitzero"` // when a look first showed no trace of the call, which nobody had answered
	EndedAt   time.Time         `json:"ended_at,omitzero"`
}

// Channel is the outside system a message goes to.
type Channel string

// The channels.
const (
	PagerDuty Channel = "pagerduty"
	Slack     Channel = "slack"
)

// MessageKind says what is told.
type MessageKind string

// The kinds of message.
const (
	Acknowledge MessageKind = "acknowledge"
	Note        MessageKind = "note"
	Resolve     MessageKind = "resolve"
	Escalate    MessageKind = "escalate"
	// The kinds of PagerDuty alone that go with a call for a human, or tell the incident's subscribers.
	Prioritise    MessageKind = "priority"
	AskResponders MessageKind = "responders"
	StatusUpdate  MessageKind = "status_update"

	Post      MessageKind = "post"
	ReportRun MessageKind = "report"  // posts a part of the report of a run that is over, as the records say when it is told
	Replace   MessageKind = "replace" // takes the place of an earlier post, with its buttons
)

// opens reports whether a message of the kind may open an incident where there is none: what only adds to one may not.
func (k MessageKind) opens() bool { return k != Prioritise && k != AskResponders && k != StatusUpdate }

// Message is one thing to tell, kept in the outbox until it is told. Messages of one run and channel are told in order.
type Message struct {
	ID      string  `json:"id"` // also the marker left in notes, by which a sent one is recognised
	Run     string  `json:"run"`
	Seq     int     `json:"seq"`
	Channel Channel `json:"channel"`
	// After is a run whose messages on the channel are told first: what a follow-up says must not overtake the run that it belongs to.
	After       string      `json:"after,omitempty"`
	Kind        MessageKind `json:"kind"`
	Connection  string      `json:"connection"`
	IncidentID  string      `json:"incident_id,omitempty"`
	IncidentKey string      `json:"incident_key,omitempty"`
	Room        string      `json:"room,omitempty"` // Slack's channel
	Text        string      `json:"text"`
	Mentions    []string    `json:"mentions,omitempty"` // whom a post names, as the rules file does
	// People get the incident by an escalation, or are asked to respond; Priority is what it gets; Snooze is how long an acknowledgement holds.
	People   connect.People `json:"people,omitzero"`
	Priority string         `json:"priority,omitempty"`
	Snooze   time.Duration  `json:"snooze,omitempty"`
	Asks     string         `json:"asks,omitempty"` // digest of the plan that a post asks about, with buttons
	// Starts are the rules that a call for help offers people to start on Target, with a button each.
	Starts []string `json:"starts,omitempty"`
	Target string   `json:"target,omitempty"`
	Part   int      `json:"part,omitempty"` // of the report: its place among Report.Posts
	Of     string   `json:"of,omitempty"`   // the message that this one takes the place of
	// Open asks to open an incident through Events v2 when there is none for the key; Summary and Severity describe it.
	Open     bool   `json:"open,omitempty"`
	Summary  string `json:"summary,omitempty"`
	Severity string `json:"severity,omitempty"`
	// Own says that the incident is one that nobody but us opens, such as that of a storm, and that its key names this one happening and
	// never recurs: it is opened at once, its opening is the page, and there is one for the key, even after it was resolved.
	Own bool `json:"own,omitempty"`

	State     MessageState `json:"state"`
	Attempts  int          `json:"attempts"` // begun, including one whose end is unknown
	NotBefore time.Time    `json:"not_before,omitzero"`
	RemoteID  string       `json:"remote_id,omitempty"` // what the system calls it
	Thread    string       `json:"thread,omitempty"`    // of Slack, found for its first attempt; empty for what begins one
	Error     string       `json:"error,omitempty"`
	CreatedAt time.Time    `json:"created_at"`
	EndedAt   time.Time    `json:"ended_at,omitzero"`
}

// Root is what later messages about the same go by: on PagerDuty the incident, in Slack the thread that the message stands in or has begun.
func (m Message) Root() string {
	if m.Thread != "" {
		return m.Thread
	}
	return m.RemoteID
}

// Beside reports whether both messages are told in the same room, so that one can stand in the other's thread.
func (m Message) Beside(other Message) bool {
	return m.Channel == other.Channel && m.Connection == other.Connection && m.Room == other.Room
}

// MessageState tells how far a message is.
type MessageState string

// Sent was told; Dead was given up or had nobody to be told to; Skipped needed no telling.
const (
	MessageQueued  MessageState = "queued"
	MessageSent    MessageState = "sent"
	MessageSkipped MessageState = "skipped"
	MessageDead    MessageState = "dead"
)

// Debt is something an act left to be settled, such as pinned traffic.
type Debt struct {
	Target    string    `json:"target"`
	Kind      string    `json:"kind"`
	Run       string    `json:"run"`
	Detail    string    `json:"detail"`
	Since     time.Time `json:"since"`
	Idle      string    `json:"idle,omitempty"` // what has no effect because of it, such as a deploy that serves nothing
	SettledAt time.Time `json:"settled_at,omitzero"`
}
