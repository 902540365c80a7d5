package remediation

import "time"

// Due says when the run needs a visit after the commit: at the end of its lease if the claim goes on, else when it wakes, or now if it
// waits for nothing. The zero time is never.
func (c Commit) Due() time.Time {
	switch {
	case c.Run.State == Done:
		return time.Time{}
	case !c.Lease.IsZero():
		return c.Lease
	case !c.Run.WakeAt.IsZero() || c.Run.State == Waiting:
		return c.Run.WakeAt
	default:
		return c.Now
	}
}

// Parks reports whether the run was refused while it waited for a human's word, and is judged again after that. One that was stopped at the
// last moment, between its intent and its call or later, has called a human: its episode is not tried again.
func (r Run) Parks() bool {
	refused := r.State == Done && r.Outcome == RefusedRun && r.Reason.Parks()
	return refused && r.Origin == ByAlert && r.Rule != "" && !r.Acted
}
