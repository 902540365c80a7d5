package guard

import (
	"fmt"
	"time"
)

// Scope says what a pause holds.
type Scope string

// The scopes of a pause.
const (
	Fleet  Scope = "fleet"
	Target Scope = "target"
	Rule   Scope = "rule"
)

// Pause is a stop button somebody pressed. Name is the target's or rule's name; without one it holds the fleet, whatever its scope is.
// A zero Until has no end.
type Pause struct {
	Scope  Scope     `json:"scope"`
	Name   string    `json:"name,omitempty"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
}

// InForce reports whether the pause's time is not over.
func (p Pause) InForce(now time.Time) bool { return p.Until.IsZero() || now.Before(p.Until) }

// Holds reports whether the pause stops the rule on the target now.
func (p Pause) Holds(rule, target string, now time.Time) bool {
	switch {
	case !p.InForce(now):
		return false
	case p.Name == "":
		return true
	case p.Scope == Target:
		return p.Name == target
	case p.Scope == Rule:
		return p.Name == rule
	default: // an unknown scope counts as the widest one
		return true
	}
}

func (p Pause) subject() string {
	if p.Name == "" {
		return string(Fleet)
	}
	return fmt.Sprintf("%s %s", p.Scope, p.Name)
}

func paused(_ Limits, s Snapshot) *Refusal {
	for _, p := range s.Pauses {
		if p.Holds(s.Rule, s.Target, s.Now) {
			return Refuse(Paused, "%s paused the %s since %s: %s", p.Actor, p.subject(), p.Since.UTC().Format(time.RFC3339), p.Reason)
		}
	}
	return nil
}
