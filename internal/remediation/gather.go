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

// regather asks the rule's probes again before a later rung, and ends the run when its condition does not hold any more.
func (v *visit) regather(ctx context.Context) bool {
	v.facts, v.asked, v.oldest = rules.Facts{}, map[string]rules.Fact{}, time.Time{}
	v.gatherRest(ctx)
	j := v.bound.If(v.signal(), v.facts)
	switch {
	case !j.Known:
		v.lackFacts(guard.UnknownFacts, why(v.rule.Name, j))
		return false
	case !j.Holds && v.run.Attempt > 0:
		v.refuse(guard.Refuse(guard.PlanChanged, "the rule's condition does not hold any more: %s", explain(j)))
		return false
	case v.wellMeanwhile():
		v.finish(Inconclusive, "verify holds before the next rung was tried, so that it was not; what was done so far was not seen to help")
		return false
	default:
		return true
	}
}

// wellMeanwhile reports whether the target has become well since the last sample, where that is long ago: a human may have taken a while to
// approve the next rung.
func (v *visit) wellMeanwhile() bool {
	verify := v.rule.Verify
	if verify == nil || v.run.Attempt > 0 || v.e.Now().Sub(v.run.SampledAt) <= 3*verify.Every {
		return false
	}
	j := v.bound.Verified(v.signal(), v.facts)
	return j.Known && j.Holds
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

// agree refuses, after a few tries, facts that contradict each other: they may have been asked in the middle of a change.
func (v *visit) agree() bool {
	var all []guard.Claims
	for _, p := range v.bound.Probes {
		fact, asked := v.facts[p.Name]
		if claiming, ok := fact.Answer.Fact.(executors.Claiming); ok && asked && fact.Err == nil {
			all = append(all, guard.Claims{By: p.Name, Says: claiming.Claims()})
		}
	}
	if refusal := guard.Agree(all); refusal != nil {
		v.lackFacts(refusal.Reason, refusal.Detail)
		return false
	}
	return true
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
	if v.oldest.IsZero() {
		v.oldest = env.Now
	}
	bounded, cancel := v.bounded(ctx, p.Timeout)
	defer cancel()
	defer v.catchUp()
	began := time.Now()
	failpoint.Here("ask." + p.Kind + ".before")
	var answer executors.Answer
	err := v.behindBreaker(executors.System(p.Kind), false, func() (err error) {
		answer, err = p.Probe.Ask(bounded, env)
		return err
	})
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

// signal is the alert as expressions see it.
func (v *visit) signal() alert.Alert {
	a := v.run.Alert
	for _, other := range v.run.Others { // the first that the rule matches is its own
		if v.rule == nil || v.concerns(a) {
			break
		}
		a = other
	}
	if v.episode.over() {
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
