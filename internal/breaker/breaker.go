// Package breaker holds the two kinds of breaker: one per rule and target, a stored row fed with verified outcomes and judged
// by pure functions, and one per system, gobreaker in the process.
package breaker

import (
	"fmt"
	"time"
)

// Row is the stored state of one rule on one target. The zero value is closed.
type Row struct {
	Failures int       `json:"failures"` // consecutive verified failures
	OpenedAt time.Time `json:"opened_at,omitzero"`
	Reason   string    `json:"reason,omitempty"` // why it opened
	Latched  bool      `json:"latched"`          // only a release closes it, no probe
	Probe    string    `json:"probe,omitempty"`  // the run that is the half-open probe
}

// Policy of a rule: how many failures in a row open it, and after how long one probing run is let through (0: never).
type Policy struct {
	Failures   int           `json:"failures"`
	ProbeAfter time.Duration `json:"probe_after"`
}

// Effect is what a finished run means to the breaker.
type Effect int

// The effects of a run: no act leaves the row alone, a verified cure closes it, anything else counts against it.
const (
	None Effect = iota
	Helped
	Failed
	NeedsHuman
)

// Open reports whether the breaker stops runs.
func (r Row) Open() bool { return !r.OpenedAt.IsZero() }

// Judge says why the run must not act, or "" if it may. A probing run is let through once ProbeAfter has passed.
func (r Row) Judge(p Policy, run string, now time.Time) string {
	if !r.Open() || r.Probe == run && run != "" {
		return ""
	}
	if r.Latched || p.ProbeAfter <= 0 || r.Probe != "" || now.Sub(r.OpenedAt) < p.ProbeAfter {
		return r.Reason
	}
	return ""
}

// Begin marks the run as the half-open probe when it is let through an open breaker.
func (r Row) Begin(run string) Row {
	if r.Open() {
		r.Probe = run
	}
	return r
}

// Feed gives the row after a run with the effect ended.
func (r Row) Feed(p Policy, e Effect, now time.Time) Row {
	switch e {
	case Helped:
		if r.Latched {
			return r
		}
		return Row{}
	case Failed:
		r.Failures++
		r.Probe = ""
		if r.Open() || r.Failures >= max(p.Failures, 1) {
			r.OpenedAt, r.Reason = now, fmt.Sprintf("%d run(s) in a row did not help", r.Failures)
		}
	case NeedsHuman:
		r.Failures++
		r.Probe, r.OpenedAt, r.Latched = "", now, true
		r.Reason = "an act may have taken effect and nobody has looked yet"
	case None:
	}
	return r
}
