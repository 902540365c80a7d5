package store_test

import (
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

func (w *world) hears(a remediation.Acceptance) {
	w.t.Helper()
	a.Event = newEvent()
	_, err := w.Accept(w.t.Context(), a)
	must(w.t, err)
}

// The runs of an incident that was merged into another one are runs of that one: while they are at work, when they are written by a visit that
// began before, and after.
func mergedIncident(w *world) {
	a, b, c := firing("a"), firing("b"), firing("c")
	a.IncidentID, b.IncidentID, c.IncidentID, c.IncidentKey = "Q1", "Q2", "", "key"
	run, old, byKey := w.born(a, "api"), w.born(a, "old"), w.born(c, "web")
	w.end(&old, remediation.NotFixed, "")
	own := w.born(b, "db")
	w.hears(remediation.Acceptance{Moves: []remediation.Move{{From: "Q1", To: "Q9", At: noon}, {From: "Q9", To: "Q2", Key: "key", At: c.StartsAt.Add(time.Minute)}}})
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Lease = time.Time{} })) // by a visit that knows nothing of it
	n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: own.ID})
	must(w.t, err)
	if n != 3 {
		w.t.Errorf("%d other runs are about the surviving incident, want 3", n)
	}
	w.clock.advance(2 * lease)
	for _, one := range []remediation.Run{run, byKey} {
		got, err := w.claim(remediation.Hint{Run: one.ID, Version: one.Version})
		must(w.t, err)
		if got.Run.Alert.IncidentID != "Q2" || got.Episode.IncidentID != "Q2" || !got.Episode.EndedAt.IsZero() {
			w.t.Errorf("claimed after the merge: %+v of %q", got.Episode, got.Run.Alert.IncidentID)
		}
	}
	w.hears(remediation.Acceptance{Resolved: []remediation.Resolution{{IncidentID: "Q2", At: noon.Add(time.Hour)}}})
	got, err := w.Snapshot(w.t.Context(), remediation.SnapshotQuery{Run: run.ID, Target: "api", MustFire: true})
	must(w.t, err)
	if got.EndedAt.IsZero() {
		w.t.Error("the end of the surviving incident did not end the run")
	}
}

// What a person says of the end gives way to what the sender says, never the other way round, and leaves a sibling whose sender still says
// that it fires.
func personsEnd(w *world) {
	a, b := firing("a"), firing("b")
	a.IncidentID, b.IncidentID, b.SelfResolving = "Q1", "Q1", true
	run, sibling := w.born(a, "api"), w.born(b, "web")
	w.end(&sibling, remediation.Fixed, "")
	ended := func(what string, r remediation.Resolution, by string, at time.Time, others int) {
		w.t.Helper()
		r.IncidentID = "Q1"
		w.hears(remediation.Acceptance{Resolved: []remediation.Resolution{r}})
		w.clock.advance(2 * lease)
		c, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
		must(w.t, err)
		n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: run.ID})
		must(w.t, err)
		if c.Episode.EndedBy != by || !c.Episode.EndedAt.Equal(at) || n != others {
			w.t.Errorf("%s: ended by %q at %s with %d others, want %q, %s, %d", what, c.Episode.EndedBy, c.Episode.EndedAt, n, by, at, others)
		}
	}
	first, second := noon.Add(time.Minute), noon.Add(2*time.Minute)
	ended("a person", remediation.Resolution{At: first, By: "Ann"}, "Ann", first, 1)
	ended("another person", remediation.Resolution{At: second, By: "Bo"}, "Ann", first, 1)
	ended("the sender", remediation.Resolution{At: second}, "", second, 0)
	ended("a person after it", remediation.Resolution{At: second.Add(time.Minute), By: "Ann"}, "", second, 0)
}
