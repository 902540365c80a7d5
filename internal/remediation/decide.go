package remediation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// decide gathers, chooses, plans and asks the guards, up to the intent or the end of the run.
func (v *visit) decide(ctx context.Context) {
	if v.run.Origin == ByHand {
		v.decideByHand(ctx)
		return
	}
	if refusal := v.stillWanted(); refusal != nil {
		v.refuse(refusal)
		return
	}
	if !v.choose(ctx) {
		return
	}
	v.gatherRest(ctx)
	if len(v.bound.Actions) == 0 {
		v.finish(Observed, "the rule only diagnoses; a human is called")
		return
	}
	v.plan(ctx)
}

func (v *visit) decideByHand(ctx context.Context) {
	kind, ok := executors.LookupAction(v.run.Action)
	if !ok {
		v.finish(RefusedRun, "there is no action "+v.run.Action)
		return
	}
	v.run.Rule = v.run.Action
	v.prepare(ctx, kind.Name, kind.New())
}

// stillWanted judges what may have changed since the event: the rules, the alert, its age.
func (v *visit) stillWanted() *guard.Refusal {
	current := v.e.Rules.Current()
	if !v.run.Acted && v.run.RulesHash != current.Hash {
		v.set = current
		v.rejudge()
	}
	switch {
	case !v.episode.EndedAt.IsZero():
		return guard.Refuse(guard.NotFiring, "the alert resolved at %s", clock(v.episode.EndedAt))
	case v.run.Acted && v.run.RulesHash != current.Hash && v.run.Attempt == 0:
		return guard.Refuse(guard.RulesChanged, "the rules were reloaded; no new rung is started by the old ones")
	case len(v.run.Rules) == 0:
		return guard.Refuse(guard.RulesChanged, "no rule of the rules now in force matches the alert")
	default:
		return nil
	}
}

// rejudge matches the alert again under the rules now in force.
func (v *visit) rejudge() {
	former := v.run.Rules
	v.run.Rules = nil
	for _, c := range v.set.Match(v.run.Alert) {
		if c.Target == v.run.Target && c.Undeclared == "" {
			v.run.Rules = append(v.run.Rules, c.Rule.Name)
		}
	}
	for _, name := range former {
		if !slices.Contains(v.run.Rules, name) {
			v.setRuling(name, Refused, string(guard.RulesChanged)+": the rules were reloaded and it does not match any more")
		}
	}
	v.run.RulesHash = v.set.Hash
}

// choose asks what the candidates' conditions need and takes the first candidate whose condition holds. It reports whether to go on.
func (v *visit) choose(ctx context.Context) bool {
	if v.run.Acted && v.rule != nil {
		return v.regather(ctx) // a later rung: the rule stays, the facts are new
	}
	v.asked = map[string]rules.Fact{}
	v.run.Rule, v.run.Mode = "", ""
	var c choice
	for _, name := range v.run.Rules {
		v.bind(name)
		if v.rule != nil {
			v.consider(ctx, &c)
		}
	}
	return v.chose(c)
}

// choice is what the candidates' conditions have come to.
type choice struct {
	chosen    string // the first that may act and whose condition holds
	observed  string // the first in mode observe whose condition holds
	undecided string // why a rule that stands before the chosen one could not be judged
	stale     string // why a rule was not judged at all: the event is too old for it
}

// consider judges one candidate. A rule that cannot be judged bars those behind it: with its facts it might have come first.
func (v *visit) consider(ctx context.Context, c *choice) {
	observes := v.rule.Mode == rules.Observe
	if age := v.e.Now().Sub(v.run.EventAt); age > v.rule.MaxAge {
		c.stale = first(c.stale, fmt.Sprintf("the event is %s old, older than %s", age.Round(time.Second), v.rule.MaxAge))
		v.ruling(StaleEvent, c.stale)
		return
	}
	if !observes && c.chosen != "" {
		v.ruling(Shadowed, "rule "+c.chosen+" stands before it")
		return
	}
	v.facts = rules.Facts{}
	v.gather(ctx, v.rule.NeedsIf(), time.Time{})
	j := v.bound.If(v.signal(), v.facts)
	switch {
	case !j.Known:
		v.ruling(Undecided, why(v.rule.Name, j))
		if !observes {
			c.undecided = first(c.undecided, why(v.rule.Name, j))
		}
	case !j.Holds:
		v.ruling(IfFalse, explain(j))
	case observes:
		c.observed = first(c.observed, v.rule.Name)
		v.ruling(Chosen, "in mode observe: "+v.wouldDo(ctx))
	case c.undecided != "":
		v.ruling(Refused, string(guard.UnknownFacts)+": a rule before it cannot be judged")
	default:
		c.chosen = v.rule.Name
		v.ruling(Chosen, explain(j))
	}
}

// chose takes the rule that is to act, and reports whether there is one.
func (v *visit) chose(c choice) bool {
	switch {
	case c.chosen != "":
		v.take(c.chosen)
		return true
	case c.undecided != "":
		v.lackFacts(guard.UnknownFacts, c.undecided)
	case c.observed != "":
		v.take(c.observed)
		v.finish(Observed, v.detailOf(c.observed))
	case c.stale != "":
		v.refuse(guard.Refuse(guard.Stale, "%s", c.stale))
	default:
		v.end(NoOutcome, "no rule's condition held")
	}
	return false
}

func (v *visit) take(name string) {
	v.bind(name)
	v.facts = rules.Facts{} // what is asked already is not asked again: see gather
	v.run.Rule, v.run.Mode = name, string(v.rule.Mode)
	v.journal(EntryChosen, fmt.Sprintf("rule %s was chosen on %s", name, v.run.Target))
}

// regather asks the rule's probes again before a later rung, and ends the run when its condition does not hold any more.
func (v *visit) regather(ctx context.Context) bool {
	v.facts, v.asked = rules.Facts{}, map[string]rules.Fact{}
	v.gatherRest(ctx)
	j := v.bound.If(v.signal(), v.facts)
	switch {
	case !j.Known:
		v.lackFacts(guard.UnknownFacts, why(v.rule.Name, j))
		return false
	case !j.Holds && v.run.Attempt > 0:
		v.refuse(guard.Refuse(guard.PlanChanged, "the rule's condition does not hold any more: %s", explain(j)))
		return false
	default:
		return true
	}
}

// lackFacts tries again a few times before the run is refused for want of facts.
func (v *visit) lackFacts(reason guard.Reason, what string) {
	v.run.Tries++
	if v.run.Tries < maxGathers {
		v.journal(EntryFacts, "facts could not be had and are asked for again: "+what)
		v.wait(v.e.scale(regatherEvery))
		return
	}
	v.refuse(guard.Refuse(reason, "%s", what))
}

// lacking tells a system that is not asked from one that did not answer.
func lacking(err error) guard.Reason {
	if errors.Is(err, breaker.ErrOpen) {
		return guard.SystemDown
	}
	return guard.UnknownFacts
}

// gather asks the named probes that were not asked yet. Rules that ask the same thing share the answer, whatever they call it; the same
// name in two rules may be two things.
func (v *visit) gather(ctx context.Context, names []string, since time.Time) {
	for _, p := range v.bound.Probes {
		if _, known := v.facts[p.Name]; known || !slices.Contains(names, p.Name) {
			continue
		}
		question := fmt.Sprintf("%s %+v", p.Kind, p.Probe)
		fact, known := v.asked[question]
		if !known {
			fact = v.ask(ctx, p, since)
			v.asked[question] = fact
		}
		v.facts[p.Name] = fact
	}
}

func (v *visit) gatherRest(ctx context.Context) {
	var names []string
	for _, p := range v.bound.Probes {
		names = append(names, p.Name)
	}
	v.gather(ctx, names, time.Time{})
}

func (v *visit) ask(ctx context.Context, p rules.BoundProbe, since time.Time) rules.Fact {
	if err := v.keep(ctx); err != nil {
		return rules.Fact{Err: fmt.Errorf("keeping the lease: %w", err)}
	}
	env := v.env()
	env.Since = since
	bounded, cancel := v.bounded(ctx, p.Timeout)
	defer cancel()
	defer v.catchUp()
	began := time.Now()
	failpoint.Here("ask." + p.Kind + ".before")
	answer, err := v.e.Systems.Ask(executors.System(p.Kind), func() (executors.Answer, error) { return p.Probe.Ask(bounded, env) })
	failpoint.Here("ask." + p.Kind + ".after")
	v.e.Metrics.step(p.Kind, result(err), time.Since(began))
	fact := rules.Fact{Answer: answer, Err: err}
	v.see(p, fact)
	return fact
}

// see keeps what a probe found for notes and the timeline.
func (v *visit) see(p rules.BoundProbe, f rules.Fact) {
	s := Seen{At: v.e.Now(), Probe: p.Name, Kind: p.Kind, Summary: f.Answer.Summary}
	if f.Err != nil {
		s.Err = f.Err.Error()
	}
	if sick, ok := f.Answer.Fact.(interface{ IsSick() bool }); ok && f.Err == nil {
		s.Sick = sick.IsSick()
	}
	if b, err := json.Marshal(f.Known()); err == nil && len(b) <= maxFactBytes {
		s.Fact = b
	}
	v.run.Seen = append(v.run.Seen, s)
	if extra := len(v.run.Seen) - maxSeen; extra > 0 {
		v.run.Seen = slices.Delete(v.run.Seen, maxSeen/2, maxSeen/2+extra) // the beginning is the evidence, the end the proof
	}
}

// plan asks the rung's action what it would do and lets the guards judge it.
func (v *visit) plan(ctx context.Context) {
	if v.run.Rung >= len(v.bound.Actions) {
		v.finish(NotFixed, "every rung was tried")
		return
	}
	a := v.bound.Actions[v.run.Rung]
	v.prepare(ctx, a.Kind, a.Action)
}

// prepare asks the shared guards before anything is planned, so that a refusal costs no call; they are asked again with the intent.
func (v *visit) prepare(ctx context.Context, kind string, action executors.Action) {
	intent := v.intent()
	if refusal := v.preview(ctx, intent); refusal != nil {
		v.refuse(refusal)
		return
	}
	change, err := v.planned(ctx, kind, action)
	if refusal := asRefusal(err); refusal != nil {
		v.refuse(refusal)
		return
	}
	if err != nil {
		v.lackFacts(lacking(err), "planning "+kind+": "+err.Error())
		return
	}
	v.journal(EntryPlanned, change.Summary)
	if v.run.Mode == string(rules.Approve) {
		v.refuse(guard.Refuse(guard.NeedsApproval, "the plan is: %s", change.Summary))
		return
	}
	v.intend(change, intent)
}

func (v *visit) planned(ctx context.Context, kind string, action executors.Action) (executors.Change, error) {
	if err := v.keep(ctx); err != nil {
		return executors.Change{}, err
	}
	bounded, cancel := v.bounded(ctx, 0)
	defer cancel()
	defer v.catchUp()
	var change executors.Change
	failpoint.Here("plan.before")
	defer failpoint.Here("plan.after")
	err := v.e.Systems.Do(executors.System(kind), v.wayBack(), func() (err error) {
		change, err = action.Plan(bounded, v.env())
		return err
	})
	return change, err
}

// wayBack tells acts that take something back: no breaker, budget or pause stands in their way.
func (v *visit) wayBack() bool { return v.run.Undoing || v.run.Origin == ByHand }

// intent is what the act in question asks of the shared guards. The same rung tried again is neither debited nor counted again.
func (v *visit) intent() *Intent {
	intent := &Intent{Query: v.query(), Exempt: v.wayBack()}
	if v.run.Attempt == 0 {
		intent.Act, intent.Limits = guardAct(v), v.limits()
	}
	return intent
}

// intend records the act that is about to be made: lock, debit and shared guards go with it in one transaction.
func (v *visit) intend(change executors.Change, intent *Intent) {
	if !v.wayBack() && !v.run.Acted && v.run.RulesHash != v.e.Rules.Current().Hash {
		v.journal(EntryRefused, "the rules were reloaded meanwhile; the run is judged again")
		v.run.State, v.run.Phase = Running, PhaseDecide
		v.out.Rulings = nil
		return
	}
	v.begin(change, intent)
	v.journal(EntryIntent, change.Summary)
	if !v.run.Acted {
		v.run.Acted, v.run.DecidedAt = true, v.out.Now
	}
	v.acknowledge(change)
}

// begin makes the step of an act the one in progress.
func (v *visit) begin(change executors.Change, intent *Intent) {
	v.run.Attempt++
	v.run.Step = len(v.steps)
	step := Step{
		Run: v.run.ID, Seq: v.run.Step, Kind: change.Kind, State: StepIntent, Undo: v.run.Undoing, Change: change, StartedAt: v.out.Now,
		Operation: fmt.Sprintf("%s-%d-%d", v.run.ID, v.run.Step, v.run.Attempt),
	}
	v.steps = append(v.steps, step)
	v.out.Steps = append(v.out.Steps, step)
	v.out.Intent = intent
	intent.Query.Now = v.out.Now
	v.run.State, v.run.Phase, v.run.Tries = Running, PhaseApply, 0
	v.run.Until = v.out.Now.Add(v.e.scale(observeWithin))
	v.fresh = true
}

func (v *visit) query() SnapshotQuery {
	q := SnapshotQuery{Now: v.out.Now, Run: v.run.ID, Rule: v.run.Rule, Target: v.run.Target, First: !v.run.Acted && v.run.Origin == ByAlert,
		MustFire: v.run.Origin == ByAlert && !v.run.Undoing}
	if v.rule != nil {
		q.Breaker = v.rule.Breaker
	}
	return q
}

// limits of the run: follow-ups skip the cooldown, and still count.
func (v *visit) limits() guard.Limits {
	if v.rule == nil {
		return guard.Limits{}
	}
	return v.rule.Limits
}

// preview asks the shared guards on a snapshot, so that a refusal costs no transaction. An unreadable snapshot refuses.
func (v *visit) preview(ctx context.Context, intent *Intent) *guard.Refusal {
	if intent.Exempt {
		return nil
	}
	snapshot, err := v.e.Runs.Snapshot(ctx, intent.Query)
	if err != nil {
		return guard.Refuse(guard.GuardFailed, "the shared guards could not be read: %s", err)
	}
	return guard.Shared(intent.Limits, snapshot)
}

// wouldDo plans a rule in observe mode and says what it would do.
func (v *visit) wouldDo(ctx context.Context) string {
	if len(v.bound.Actions) == 0 {
		return "it would only call a human"
	}
	v.gatherRest(ctx)
	a := v.bound.Actions[0]
	change, err := v.planned(ctx, a.Kind, a.Action)
	if err != nil {
		return "it would not act: " + err.Error()
	}
	return "it would " + change.Summary
}

// signal is the alert as expressions see it.
func (v *visit) signal() alert.Alert {
	a := v.run.Alert
	for _, other := range v.run.Others { // the first that the rule matches is its own
		if v.rule == nil || v.concerns(a) {
			break
		}
		a = other
	}
	if !v.episode.EndedAt.IsZero() {
		a.Status, a.EndsAt = alert.Resolved, v.episode.EndedAt
	}
	return a
}

// concerns reports whether the bound rule matches the alert on the run's target.
func (v *visit) concerns(a alert.Alert) bool {
	return slices.ContainsFunc(v.set.Match(a), func(c rules.Candidate) bool {
		return c.Rule.Name == v.rule.Name && c.Target == v.run.Target
	})
}

func asRefusal(err error) *guard.Refusal {
	var r *guard.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case asRefusal(err) != nil:
		return "refused"
	default:
		return "error"
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func why(rule string, j rules.Judgement) string {
	if len(j.Unknown) > 0 {
		return fmt.Sprintf("rule %s cannot be judged without %s", rule, strings.Join(j.Unknown, ", "))
	}
	return fmt.Sprintf("rule %s cannot be judged: %s", rule, j.Err)
}

// explain shows the parts of an expression with their values.
func explain(j rules.Judgement) string {
	parts := make([]string, 0, len(j.Values))
	for _, value := range j.Values {
		parts = append(parts, value.Expr+" = "+value.Value)
	}
	return strings.Join(parts, ", ")
}

// Holds asks a rule's probes now and judges its condition on a target, for no alert. Nothing is stored.
func (e *Engine) Holds(ctx context.Context, rule *rules.Rule, target string) rules.Judgement {
	bound, ok := rule.Bind(target)
	if !ok {
		return rules.Judgement{Err: "the rule cannot name the target"}
	}
	facts := rules.Facts{}
	for _, p := range bound.Probes {
		answer, err := p.Probe.Ask(ctx, executors.Env{Target: bound.Target, Connections: e.Connections(), Now: e.Now(), Speed: e.Speed})
		facts[p.Name] = rules.Fact{Answer: answer, Err: err}
	}
	return bound.If(alert.Alert{Status: alert.Firing}, facts)
}
