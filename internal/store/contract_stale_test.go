package store_test

import (
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
)

// staleWorld has an incident whose run is about to end it, and alerts of it that come too late for their targets' rules.
type staleWorld struct {
	*world
	own  remediation.Run
	late alert.Alert
}

func newStaleWorld(w *world) staleWorld {
	own := firing("own")
	own.IncidentKey, own.IncidentID, own.SelfResolving = "key", "Q1", true
	late := own
	late.Episode, late.Labels = "late", map[string]string{"alertname": "Late"}
	return staleWorld{world: w, own: w.born(own, "api"), late: late}
}

func (w staleWorld) comesLate(a alert.Alert, target string) {
	w.t.Helper()
	w.hears(remediation.Acceptance{Stale: []remediation.StaleAlert{{Target: target, Alert: a}}})
}

func (w staleWorld) ends(r remediation.Resolution) {
	w.t.Helper()
	w.hears(remediation.Acceptance{Resolved: []remediation.Resolution{r}})
}

func (w staleWorld) others(what string, want int) {
	w.t.Helper()
	n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: w.own.ID})
	must(w.t, err)
	if n != want {
		w.t.Errorf("%s: %d others of the incident, want %d", what, n, want)
	}
}

// An alert that came too late for a run keeps its incident open until its sender tells the end, like one that has a run.
func staleAlerts(world *world) {
	w := newStaleWorld(world)
	over := remediation.Resolution{Source: w.late.Source, Episode: w.late.Episode, At: noon.Add(time.Minute)}
	w.comesLate(w.late, "api")
	w.others("on the run's own target, which it looks after", 0)
	w.comesLate(w.late, "web")
	w.comesLate(w.late, "web")
	w.others("told twice on another target", 1)
	over.By = "a person"
	w.ends(over)
	w.others("a person says that it is over", 1)
	drill := over
	drill.By, drill.Drill = "", true
	w.ends(drill)
	w.others("a drill's end", 1)
	over.By = ""
	w.ends(over)
	w.others("the sender says that it is over", 0)

	of := remediation.Resolution{IncidentKey: "key", Fingerprint: alert.Fingerprint(w.late.Labels), At: w.late.StartsAt.Add(-time.Minute)}
	w.comesLate(w.late, "web")
	w.ends(of)
	w.others("the key's end before it began", 1)
	of.At, of.Fingerprint = noon.Add(time.Minute), "another"
	w.ends(of)
	w.others("the end of another alert of the key", 1)
	of.Fingerprint = alert.Fingerprint(w.late.Labels)
	w.ends(of)
	w.others("the end of the key's alert", 0)

	w.late.SelfResolving = false
	w.comesLate(w.late, "web")
	w.ends(remediation.Resolution{IncidentID: "Q1", At: noon.Add(time.Minute), By: "a person"})
	w.others("a person ends what its sender never will", 0)

	old := w.late
	old.IncidentID, old.IncidentKey = "Q0", ""
	w.comesLate(old, "web")
	w.others("of another incident", 0)
	w.hears(remediation.Acceptance{Moves: []remediation.Move{{From: "Q0", To: "Q1", At: noon.Add(time.Minute)}}})
	w.others("which was merged into this one", 1)
	w.retains(remediation.Retention{Bodies: time.Hour, Runs: time.Hour})
	w.others("long ago", 0)
}

// A run of the same episode on the target counts instead, whether it was there before or came after.
func staleAlertsWithARun(world *world) {
	w := newStaleWorld(world)
	w.late.SelfResolving = false
	before := w.born(w.late, "web")
	w.end(&before, remediation.Fixed, "")
	w.comesLate(w.late, "web")
	w.others("its episode was fixed before", 0)
	w.comesLate(w.late, "db")
	w.others("on a target without a run", 1)
	after := w.born(w.late, "db")
	w.end(&after, remediation.Fixed, "")
	w.others("its episode is fixed after", 0)
}
