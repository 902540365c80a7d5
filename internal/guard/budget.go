package guard

import "time"

// Window is one budget: at most Most acts in any Per.
type Window struct {
	Most int           `json:"most"`
	Per  time.Duration `json:"per"`
}

// spent judges the budgets of the rule, the target and the fleet, each with all its windows.
func spent(l Limits, s Snapshot) *Refusal {
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
