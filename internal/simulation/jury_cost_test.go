package simulation

import (
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// debit is when an act was debited: before its call, and once for all the tries of a rung.
type debit struct {
	at    time.Duration
	store time.Time // of its last try, by the store's clock
	run   string
	rule  string

	target      string
	stay        *stay     // the visit that decided to act
	first, last time.Time // what its first and its last try were judged by
	tries       int
}

// judgeBudgets counts what was debited in every window that the rule sets.
func (s *sim) judgeBudgets(c *call) {
	l, ok := c.code.law(c.rule)
	if !ok || c.second || c.debit == nil {
		return
	}
	for i, per := range []time.Duration{time.Hour, 24 * time.Hour} {
		for what, most := range map[string]int{"rule": l.limits.rule[i], "target": l.limits.target[i], "fleet": l.limits.fleet[i]} {
			n := s.spent(c, what, per)
			s.holds(n < most, "G4", "%s is number %d of its %s in %s, %d are allowed", c.operation, n+1, what, per, most)
		}
	}
}

// spent counts the acts that were in a window when the call's own was debited.
func (s *sim) spent(c *call, what string, per time.Duration) int {
	type act struct {
		run string
		at  time.Duration
	}
	acts := map[act]bool{}
	for _, o := range s.calls {
		if o.debit == nil {
			continue
		}
		counts := what == "fleet" || what == "rule" && o.rule == c.rule || what == "target" && o.target == c.target
		own := o.run == c.run && o.debit == c.debit
		age := c.debit.store.Sub(o.debit.store)
		if counts && !own && !o.second && o.debit.at <= c.debit.at && age >= 0 && age < per {
			acts[act{o.run, o.debit.at}] = true
		}
	}
	return len(acts)
}

// judgeCooldown: a run's first act leaves the target its rest after another run's.
func (s *sim) judgeCooldown(c *call) {
	l, ok := c.code.law(c.rule)
	rest := max(l.cooldown, l.limits.settle)
	if !ok || !c.first || rest == 0 || c.debit == nil {
		return
	}
	for _, o := range s.acts {
		if age := c.debit.first.Sub(o.last); o.target == c.target && o.run != c.run && age >= 0 {
			s.holds(age >= rest, "G16", "%s comes %s after an act of run %s, the cooldown is %s, to settle takes %s", c.operation, age, o.run, l.cooldown, l.limits.settle)
		}
	}
}

// debited enters what an intent costs.
func (s *sim) debited(v *stay, c remediation.Commit) {
	if c.Intent == nil {
		return
	}
	d := s.debits[c.Run.ID]
	switch {
	case c.Intent.Act.Run != "":
		s.judgeDebit(c.Run)
		d = &debit{at: s.clock(), run: c.Run.ID, rule: c.Run.Rule, target: c.Run.Target, stay: v, first: c.Now}
		s.debits[c.Run.ID], s.acts = d, append(s.acts, d)
	case d == nil:
		return
	}
	d.store, d.last = s.now(), c.Now
	d.tries++
}

// judgeDebit: a follow-up's act that the system had no time for is debited once.
func (s *sim) judgeDebit(r remediation.Run) {
	for _, c := range slices.Backward(s.calls) {
		if c.run == r.ID {
			s.holds(r.Origin != remediation.ByFollowUp || c.answer != busy, "G4", "run %s is debited again for what %s has not done", r.ID, c.operation)
			return
		}
	}
}
