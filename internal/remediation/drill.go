package remediation

import (
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/rules"
)

// MayAffect reports whether the run may have any effect: on a target, on people, or on what other runs are judged by. A drill may not: it
// gathers, chooses, plans and asks the guards as any run does, and ends before anything else. What is not known may not either.
func (r Run) MayAffect() bool {
	switch r.Origin {
	case ByAlert, ByHand, ByFollowUp:
		return true
	default:
		return false
	}
}

// inert leaves of a commit what keeps the run itself; all else is an effect.
func (c Commit) inert() Commit {
	return Commit{Now: c.Now, Run: c.Run, Rulings: c.Rulings, Entries: c.Entries, Lease: c.Lease}
}

// tells reports whether people may hear of the run.
func (v *visit) tells() bool { return v.run.MayAffect() }

// incident is the one that the kinds may ask about. That of a drill is in no system.
func (v *visit) incident() executors.Incident {
	if !v.run.MayAffect() {
		return executors.Incident{}
	}
	return executors.Incident{ID: v.run.Alert.IncidentID, Key: v.run.Alert.IncidentKey}
}

// behindBreaker makes a call that only reads behind its system's breaker. What a drill finds of a system opens and closes nothing: it only
// goes by what real calls have found.
func (v *visit) behindBreaker(system string, bypass bool, call func() error) error {
	if !v.run.MayAffect() {
		return v.e.Systems.Peek(system, call)
	}
	return v.e.Systems.Do(system, bypass, call)
}

// pretend ends a drill where a run would ask people, or act.
func (v *visit) pretend(c executors.Change) {
	v.would(c)
	would := "it would " + c.Summary
	if v.run.Mode == string(rules.Approve) {
		would = "it would ask people whether it may " + c.Summary
	}
	v.pretended(would)
}

// pretendDiagnosis ends a drill whose rule does not act.
func (v *visit) pretendDiagnosis() {
	would := "it would call a human"
	if v.rule.Hold > 0 {
		until := v.out.Now.Add(v.rule.Hold).UTC().Format(time.DateTime + "Z")
		would = fmt.Sprintf("it would hold all automation on %s until %s and call a human", v.run.Target, until)
	}
	v.pretended(would)
}

func (v *visit) pretended(would string) { v.finish(Observed, "a drill, nothing was touched: "+would) }

// would keeps what a drill would have done, for whoever has asked for the drill: the first of what rules would that only observe.
func (v *visit) would(c executors.Change) {
	if !v.run.MayAffect() && v.run.Would == nil {
		v.run.Would = &c
	}
}
