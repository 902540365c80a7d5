package guard

import "time"

// StormLimit says how many targets that want action within a time are a platform incident. Zero Targets: no such limit.
type StormLimit struct {
	Targets int           `json:"targets"`
	Within  time.Duration `json:"within"`
}

// Want is the last time that a run wanted to act on a target, whatever became of it.
type Want struct {
	Target string    `json:"target"`
	At     time.Time `json:"at"`
}

// storming: so many sick targets have one cause, and it is in none of them.
func storming(l Limits, s Snapshot) *Refusal {
	if l.Storm.Targets <= 0 || !s.FirstAct {
		return nil
	}
	released := s.Released
	if released.After(s.Now) { // the clock went back: what is wanted from now on counts
		released = s.Now
	}
	if n := Wanting(s.Wants, s.Target, s.Now.Add(-l.Storm.Within), released); n >= l.Storm.Targets {
		return Refuse(Storm, "%d targets want action within %s: that is an incident of the platform; `remediator release --storm` lets runs act again",
			n, l.Storm.Within)
	}
	return nil
}

// Wanting counts the targets that want action, the one in question among them: wants after since, and after the last release.
func Wanting(wants []Want, target string, since, released time.Time) int {
	all := map[string]bool{target: true}
	for _, w := range wants {
		if w.At.After(since) && w.At.After(released) {
			all[w.Target] = true
		}
	}
	return len(all)
}
