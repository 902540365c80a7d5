package memory

import "github.com/mixillo/remediator/internal/remediation"

// stale enters alerts that came too late, unless their episode has a run on the target, which counts by itself.
func (in *admission) stale(all []remediation.StaleAlert) {
	for _, s := range all {
		one := run{Run: remediation.Run{Origin: remediation.ByAlert, Alert: s.Alert, Target: s.Target, CreatedAt: in.now}}
		at := late{source: s.Alert.Source, episode: s.Alert.Episode, target: s.Target}
		if _, known := in.t.stales[at]; known || !remediation.Admit(remediation.Proposal{Run: one.Run}, in.t.related(one.Run)).New {
			continue
		}
		put(in.t, in.t.stales, at, one)
	}
}

// endStale forgets the stale alerts that a firing's end is about. A person's word does not end what its sender will.
func (in *admission) endStale(end remediation.Resolution) {
	drop(in.t, in.t.stales, func(at late) bool {
		one := in.t.stales[at]
		return (end.By == "" || !one.Alert.SelfResolving) && one.endedBy(end, in.endOf(end))
	})
}

// staleOn counts the stale alerts that still fire on other targets of the incident. One that has a run since counts as that run does.
func (r *rows) staleOn(own run) (n int) {
	served := map[late]bool{}
	for _, one := range r.runs {
		served[late{source: one.Alert.Source, episode: one.Alert.Episode, target: one.Target}] = true
	}
	for at, one := range r.stales {
		if one.Target != own.Target && one.sharesIncident(own.related()) && !served[at] {
			n++
		}
	}
	return n
}
