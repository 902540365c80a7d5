package guard

import (
	"slices"
	"time"
)

// Schedule gives the first moment after a time at which a window begins; the zero time when there is none.
type Schedule interface {
	Next(time.Time) time.Time
}

// Freeze is a time in which no run acts: windows of a length that a schedule begins, or one span. A span that says no end has none.
type Freeze struct {
	Name     string
	Reason   string
	Targets  []string      // empty: all
	Schedule Schedule      // nil: the span
	For      time.Duration // of real time, from each beginning
	From     time.Time
	Until    time.Time
}

// Holds reports whether the freeze is in force on the target now.
func (f Freeze) Holds(target string, now time.Time) bool {
	if len(f.Targets) > 0 && !slices.Contains(f.Targets, target) {
		return false
	}
	if f.Schedule == nil {
		return !now.Before(f.From) && (f.Until.IsZero() || now.Before(f.Until))
	}
	begins := f.Schedule.Next(now.Add(-f.For))
	return !begins.IsZero() && !begins.After(now)
}

func frozen(l Limits, s Snapshot) *Refusal {
	for _, f := range l.Freezes {
		if f.Holds(s.Target, s.Now) {
			return Refuse(Frozen, "the freeze %s is in force: %s", f.Name, f.Reason)
		}
	}
	return nil
}
