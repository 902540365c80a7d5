// Package rules turns the text of rules.yaml into rules: it decodes strictly and reports every mistake with its place, finds the
// rules an alert concerns through an index, binds their probes and actions to targets, and judges their expressions over facts.
// It calls nothing outside the process and reads no secret.
package rules

import (
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// Mode says how far a rule may go by itself.
type Mode string

// The modes: plan only, act after a person agreed, act.
const (
	Observe Mode = "observe"
	Approve Mode = "approve"
	Auto    Mode = "auto"
)

// Values lists the modes that can be written in the rules file.
func (Mode) Values() []string { return []string{string(Observe), string(Approve), string(Auto)} }

// Set is everything one rules file says. It does not change after Load and is safe for concurrent use.
type Set struct {
	Name        string // the file's name as given to Load
	Hash        string // SHA-256 of the text (and of the overlay, where there is one), in hex
	Text        []byte // as read; callers must not alter it
	Sources     map[string]sources.Source
	SourceKinds map[string]string // kind by source name
	Connections map[string]connect.Config
	Targets     map[string]executors.Target
	Rules       []*Rule // in file order
	// Protected names targets, and identities such as "cloud_run/PROJECT/REGION/SERVICE", that are remediator's own: never acted on.
	Protected  []string
	Severities []Severity // most severe first
	Retention  Retention
	Intake     Intake

	byName map[string]*Rule
	index  *index
}

// Retention says how long what is over is kept. Open runs are kept however old they are.
type Retention struct {
	Bodies time.Duration // the raw bodies of deliveries
	Runs   time.Duration // runs with their steps, facts and messages
}

// Rule finds a rule by name.
func (s *Set) Rule(name string) (*Rule, bool) {
	r, ok := s.byName[name]
	return r, ok
}

// mostButtons bounds what a call for help offers: Slack takes 25 buttons in a block, and nobody reads as many.
const mostButtons = 5

// Buttons names, in file order, the rules that people may start on the target by a button; at most five.
func (s *Set) Buttons(target string) (names []string) {
	for _, r := range s.Rules {
		if r.Button && r.Concerns(target) && len(names) < mostButtons {
			names = append(names, r.Name)
		}
	}
	return names
}

// Rule is one rule of the file. It does not change after Load and is safe for concurrent use.
type Rule struct {
	Name        string
	Description string
	Mode        Mode
	Index       int            // place among the file's rules, from 0
	Limits      guard.Limits   // the settle time covers how far the rule's own facts look back
	Breaker     breaker.Policy // probe_after: 0s is one that only a release closes
	Button      bool           // people may start it by a button in Slack
	Skips       bool           // where it cannot be judged, the rules behind it are; else it bars them
	MaxAge      time.Duration  // events older than this are stale before the first act
	Approval    Approval       // who answers a plan in mode approve
	Verify      *Verify        // nil: the rule cannot end in `fixed`
	Tell        Tell
	Escalate    Escalate
	Hold        time.Duration // all automation on the target is held for so long once the rule is chosen; 0: it is not
	Afterwards  []Afterward
	Rungs       []Rung // the ladder of `do`, empty for a rule that only diagnoses and escalates

	matchers []matcher
	choice   choice
	bound    map[string]Bound
	expr     *expression
	verified *expression
	calm     []*expression // by index of Afterwards, nil where there is no `if`
}

// Rung is one step of the ladder in `do`.
type Rung struct {
	Kind string // the action's registered name
}

// Verify says when an act helped: its `if` (see Rule.Verified) holds for Hold, at the latest Within after the act; it is asked
// Every so often, and for the first time after Settle.
type Verify struct {
	Hold, Within, Every, Settle time.Duration
}

// Tell says where outcomes are written. A nil part is not told: the file switches it off with null, or says nothing of Slack, or declares
// no PagerDuty account.
type Tell struct {
	PagerDuty *TellPagerDuty
	Slack     *TellSlack
}

// Resolution says when a rule's incident may be resolved.
type Resolution string

// The values of resolve_when.
const (
	ResolveFixed Resolution = "fixed"
	ResolveNever Resolution = "never"
)

// Values lists what can be written in the rules file.
func (Resolution) Values() []string { return []string{string(ResolveFixed), string(ResolveNever)} }

// TellPagerDuty says how the incident of an alert is told.
type TellPagerDuty struct {
	Connection   string     // name under connections
	ResolveWhen  Resolution // ResolveNever unless the file says otherwise
	OpenIncident bool       // open an incident where an alert has none
	// StatusUpdates tells the incident's subscribers what remediator begins, how it stands every Every (0: never), that it calls a human, how it ended.
	StatusUpdates bool
	Every         time.Duration
	// Snooze bounds how long an acknowledgement holds: PagerDuty pages again by itself after it, even if nothing is left of us. 0: it holds.
	Snooze time.Duration
}

// TellSlack says where in Slack a run is told.
type TellSlack struct {
	Connection string        // name under connections
	Channel    string        // empty: the connection's channel
	Every      time.Duration // how often people are told how a run at work stands; 0: never
	Report     bool          // the report of a run that has acted or called a human is posted at its end
	// Mention are the people whom a call for help names: ids of Slack users (U…, W…) or user groups (S…), or here or channel.
	Mention []string
}

// Approval says who may answer a plan, and how long it waits for them.
type Approval struct {
	Within time.Duration
	By     []string // names of those who may; empty: everyone who reaches the API
	People int      // how many different ones have to say yes; at least 1
	Self   bool     // whoever started the run by hand may say yes to it too
}

// The kinds of Afterward.
const (
	ScaleBack = "scale_back"
	Remind    = "remind"
)

// Afterward is a follow-up of an act that outlives its run.
type Afterward struct {
	Kind   string        // ScaleBack or Remind
	Hold   time.Duration // ScaleBack: how long the `if` (see Rule.Calm) has to hold
	Within time.Duration // ScaleBack: when to give up
	Every  time.Duration // how often it is looked at, or reminded of
	Of     string        // Remind: the debt, such as executors.DebtPinnedTraffic
}

// Bound is a rule on one declared target: its probes and actions with the target filled in.
type Bound struct {
	Rule    *Rule
	Target  executors.Target
	Probes  []BoundProbe  // in file order
	Actions []BoundAction // by rung
}

// BoundProbe is one gathered question.
type BoundProbe struct {
	Name    string // under `gather`; the variable of expressions
	Kind    string
	Probe   executors.Probe
	Timeout time.Duration
}

// BoundAction is the action of one rung.
type BoundAction struct {
	Kind    string
	Action  executors.Action
	Timeout time.Duration // of the call that makes a plan, and of the one that carries it out; the engine bounds it by its lease
}

// Bind gives the rule on a target, false if the rule cannot name the target.
func (r *Rule) Bind(target string) (Bound, bool) {
	b, ok := r.bound[target]
	return b, ok
}

// Concerns reports whether the rule may act on the target.
func (r *Rule) Concerns(target string) bool {
	_, ok := r.bound[target]
	return ok
}

// Labels are those of an alert by which the rule would find the target: none where the rule names it.
func (r *Rule) Labels(target string) map[string]string {
	switch {
	case r.choice.fixed != "":
		return map[string]string{}
	case r.choice.targets == nil:
		return map[string]string{r.choice.label: target}
	}
	for _, value := range slices.Sorted(maps.Keys(r.choice.targets)) {
		if r.choice.targets[value] == target {
			return map[string]string{r.choice.label: value}
		}
	}
	return map[string]string{}
}

// Fact is what one gathered probe found: an answer, or the error that means that nothing is known.
type Fact struct {
	Answer executors.Answer
	Err    error
}

// Facts are what is known, by the probe's name under `gather`. A probe that is missing here is unknown.
type Facts map[string]Fact

// Judgement is what an expression says about facts.
type Judgement struct {
	Holds   bool     // never true unless Known
	Known   bool     // false: the facts do not decide it
	Unknown []string // the facts or fields (deploy, deploy.age) it would have needed, sorted
	Values  []Value  // of the parts of the expression, in reading order
	Err     string   // why evaluation failed, such as a key that is not there
}

// Value is what one part of an expression came to.
type Value struct {
	Expr  string `json:"expr"`
	Value string `json:"value"`
}

// If judges the rule's `if`; a rule without one holds. Expressions that name `target` are known only for a rule of one fixed
// target; Bound.If knows it always.
func (r *Rule) If(a alert.Alert, f Facts) Judgement {
	if r.expr == nil {
		return Judgement{Holds: true, Known: true}
	}
	return r.expr.judge(evidence{alert: a, target: r.fixedTarget(), facts: f})
}

// Verified judges the `if` of verify; see If for `target`. Without verify nothing is known.
func (r *Rule) Verified(a alert.Alert, f Facts) Judgement {
	return judgeOrUnknown(r.verified, evidence{alert: a, target: r.fixedTarget(), facts: f})
}

// Calm judges the `if` of Afterwards[i]; see If for `target`. Without one nothing is known.
func (r *Rule) Calm(i int, a alert.Alert, f Facts) Judgement {
	return judgeOrUnknown(r.calmExpression(i), evidence{alert: a, target: r.fixedTarget(), facts: f})
}
