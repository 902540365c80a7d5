package remediation

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// decide gathers, chooses, plans and asks the guards, up to the intent or the end of the run.
func (v *visit) decide(ctx context.Context) {
	if v.run.Action != "" {
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
		v.diagnose()
		return
	}
	if v.agree() {
		v.plan(ctx)
	}
}

// diagnose ends a run whose rule does not act. A rule may hold the automation on its target: of a breach nothing may be mended by itself.
func (v *visit) diagnose() {
	if !v.run.MayAffect() {
		v.pretendDiagnosis()
		return
	}
	if v.rule.Hold <= 0 {
		v.finish(Observed, "the rule only diagnoses; a human is called")
		return
	}
	p := guard.Pause{
		Scope: guard.Target, Name: v.run.Target, Actor: "rule " + v.rule.Name, Reason: v.headline(), Since: v.out.Now, Until: v.out.Now.Add(v.rule.Hold),
	}
	v.out.Pause = &p
	v.finish(Observed, fmt.Sprintf("all automation on %s is held until %s; a human is called", v.run.Target, p.Until.UTC().Format(time.DateTime+"Z")))
}

// mode is how far a rule may go for this alert by itself.
func (v *visit) mode(rule *rules.Rule) rules.Mode {
	if v.run.Origin == ByHand {
		return rule.Mode // whoever starts it by hand knows how severe it is
	}
	severity, _ := v.set.Severity(v.run.Alert.Labels)
	return rule.Mode.Within(severity.Most)
}

// decideSafely turns a panic of a guard, a probe or a plan into a refusal: what cannot be judged is not done.
func (v *visit) decideSafely(ctx context.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		v.e.Log.Error("a decision panicked and is refused", "run", v.run.ID, "panic", p, "stack", string(debug.Stack()))
		v.run, v.out = v.start, Commit{Now: v.e.Now()}
		v.undecide()
		v.refuse(guard.Refuse(guard.GuardFailed, "the decision broke off: %v", p))
	}()
	v.oldest = time.Time{}
	v.decide(ctx)
}

// undecide forgets which rule was chosen: whoever ends the run now speaks for all its candidates.
func (v *visit) undecide() {
	if !v.run.Acted && v.run.Action == "" {
		v.run.Rule, v.run.Mode = "", ""
	}
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
		return guard.Refuse(guard.NotFiring, "%s", v.episode.endWords())
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
	v.run.Rules = v.candidates(former)
	for _, name := range former {
		if !slices.Contains(v.run.Rules, name) {
			v.setRuling(name, Refused, string(guard.RulesChanged)+": the rules were reloaded and it does not match any more")
		}
	}
	v.run.RulesHash = v.set.Hash
}

// candidates are the rules that concern the run's alert on its target; for a run by hand those that somebody has named.
func (v *visit) candidates(named []string) (names []string) {
	if v.run.Origin == ByHand {
		return slices.DeleteFunc(slices.Clone(named), func(name string) bool {
			rule, ok := v.set.Rule(name)
			return !ok || !rule.Concerns(v.run.Target)
		})
	}
	for _, c := range v.set.Match(v.run.Alert) {
		if c.Target == v.run.Target && c.Undeclared == "" {
			names = append(names, c.Rule.Name)
		}
	}
	return names
}

// choose asks what the candidates' conditions need and takes the first candidate whose condition holds. It reports whether to go on.
func (v *visit) choose(ctx context.Context) bool {
	if v.run.Acted && v.rule != nil {
		return v.regather(ctx) // a later rung: the rule stays, the facts are new
	}
	v.asked = map[string]rules.Fact{}
	v.run.Rule, v.run.Mode, v.run.Would = "", "", nil
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
	skipped   string // the same of one that does not stand in the way of those behind it
	stale     string // why a rule was not judged at all: the event is too old for it
}

// consider judges one candidate. A rule that cannot be judged bars those behind it: with its facts it might have come first. One that skips
// says of itself that they may do without.
func (v *visit) consider(ctx context.Context, c *choice) {
	observes := v.mode(v.rule) == rules.Observe
	if age := v.e.Now().Sub(v.run.EventAt); age > v.rule.MaxAge && v.run.Granted != v.rule.Name { // whoever approved its plan knows how old it is
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
		if !observes && !v.rule.Skips {
			c.undecided = first(c.undecided, why(v.rule.Name, j))
		} else if !observes {
			c.skipped = first(c.skipped, why(v.rule.Name, j))
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
		v.run.Would = nil
		v.take(c.chosen)
		return true
	case c.undecided != "":
		v.lackFacts(guard.UnknownFacts, c.undecided)
	case c.observed != "":
		v.take(c.observed)
		v.finish(Observed, v.detailOf(c.observed))
	case c.stale != "":
		v.refuse(guard.Refuse(guard.Stale, "%s", c.stale))
	case c.skipped != "": // it may have held
		v.lackFacts(guard.UnknownFacts, c.skipped)
	default:
		v.end(NoOutcome, "no rule's condition held")
	}
	return false
}

func (v *visit) take(name string) {
	v.bind(name)
	v.facts = rules.Facts{} // what is asked already is not asked again: see gather
	v.run.Rule, v.run.Mode = name, string(v.mode(v.rule))
	severity, gravest := v.set.Severity(v.run.Alert.Labels)
	v.run.Severity, v.run.Gravest = severity.Name, gravest
	v.journal(EntryChosen, fmt.Sprintf("rule %s was chosen on %s", name, v.run.Target))
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
