package guard

import (
	"fmt"
	"time"
)

// Window is one budget: at most Most acts in any Per.
type Window struct {
	Most int           `json:"most"`
	Per  time.Duration `json:"per"`
}

// Limits are a rule's budgets and waits. The zero value allows nothing that is counted: use Defaults.
type Limits struct {
	Rule     []Window      `json:"rule"`     // acts of the rule, on any target
	Target   []Window      `json:"target"`   // acts of any rule on the target
	Fleet    []Window      `json:"fleet"`    // acts of any rule anywhere
	Cooldown time.Duration `json:"cooldown"` // least time between two acting runs on the target
}

// Scope says what a pause holds.
type Scope string

// The scopes of a pause.
const (
	Fleet  Scope = "fleet"
	Target Scope = "target"
	Rule   Scope = "rule"
)

// Pause is a stop button somebody pressed. Name is the target's or rule's name, empty for the fleet; a zero Until has no end.
type Pause struct {
	Scope  Scope     `json:"scope"`
	Name   string    `json:"name,omitempty"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
}

// Holds reports whether the pause stops the rule on the target now.
func (p Pause) Holds(rule, target string, now time.Time) bool {
	if !p.Until.IsZero() && !now.Before(p.Until) {
		return false
	}
	switch p.Scope {
	case Target:
		return p.Name == target
	case Rule:
		return p.Name == rule
	default: // an unknown scope counts as the widest one
		return true
	}
}

// Act is one debit: an action that a run was about to make.
type Act struct {
	Run    string    `json:"run"`
	Rule   string    `json:"rule"`
	Target string    `json:"target"`
	At     time.Time `json:"at"`
}

// Snapshot is what the shared guards judge: read under the same lock that the act is debited under.
type Snapshot struct {
	Now      time.Time
	Run      string
	Rule     string
	Target   string
	FirstAct bool      // cooldown is judged at a run's first act only
	EndedAt  time.Time // when the alert resolved; zero while it fires, or where that does not matter
	LockedBy string    // the run that holds the target's lock, empty if none
	Pauses   []Pause   // all that are stored
	Acts     []Act     // of the last 24 hours at least, fleet-wide
	Breaker  string    // why the rule's breaker on the target is open, empty if it is closed
}

// Shared judges what runs share: pause, whether the alert still fires, lock, breaker, cooldown and budgets, in that order.
func Shared(l Limits, s Snapshot) *Refusal {
	for _, p := range s.Pauses {
		if p.Holds(s.Rule, s.Target, s.Now) {
			return Refuse(Paused, "%s paused the %s since %s: %s", p.Actor, p.subject(), p.Since.UTC().Format(time.RFC3339), p.Reason)
		}
	}
	if !s.EndedAt.IsZero() {
		return Refuse(NotFiring, "the alert resolved at %s", s.EndedAt.UTC().Format(time.RFC3339))
	}
	if s.LockedBy != "" && s.LockedBy != s.Run {
		return Refuse(TargetBusy, "run %s holds target %s", s.LockedBy, s.Target)
	}
	if s.Breaker != "" {
		return Refuse(BreakerOpen, "the breaker of rule %s on %s is open: %s; `remediator release` closes it", s.Rule, s.Target, s.Breaker)
	}
	if r := cooldown(l, s); r != nil {
		return r
	}
	return budgets(l, s)
}

func (p Pause) subject() string {
	if p.Name == "" {
		return string(Fleet)
	}
	return fmt.Sprintf("%s %s", p.Scope, p.Name)
}

func cooldown(l Limits, s Snapshot) *Refusal {
	if !s.FirstAct || l.Cooldown <= 0 {
		return nil
	}
	for _, a := range s.Acts {
		if a.Target == s.Target && a.Run != s.Run && s.Now.Sub(a.At) < l.Cooldown {
			return Refuse(Cooldown, "run %s acted on %s %s ago, less than the cooldown of %s",
				a.Run, s.Target, s.Now.Sub(a.At).Round(time.Second), l.Cooldown)
		}
	}
	return nil
}

func budgets(l Limits, s Snapshot) *Refusal {
	scopes := []struct {
		subject string
		windows []Window
		counts  func(Act) bool
	}{
		{"rule " + s.Rule, l.Rule, func(a Act) bool { return a.Rule == s.Rule }},
		{"target " + s.Target, l.Target, func(a Act) bool { return a.Target == s.Target }},
		{"the fleet", l.Fleet, func(Act) bool { return true }},
	}
	for _, scope := range scopes {
		for _, w := range scope.windows {
			if n := Spent(s.Acts, scope.counts, s.Now, w.Per); n >= w.Most {
				return Refuse(BudgetExhausted, "%s has used %d of %d acts in %s", scope.subject, n, w.Most, w.Per)
			}
		}
	}
	return nil
}

// Spent counts the acts that count in the window before now. An act in the future (a clock that went back) counts.
func Spent(acts []Act, counts func(Act) bool, now time.Time, per time.Duration) int {
	n := 0
	for _, a := range acts {
		if counts(a) && now.Sub(a.At) < per {
			n++
		}
	}
	return n
}
