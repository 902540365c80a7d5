package store_test

import (
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

func siblings(w *world) {
	a := firing("a")
	a.IncidentKey = "key"
	own := w.born(a, "api")
	message := remediation.Message{Run: own.ID}
	count := func(what string, want int) {
		w.t.Helper()
		n, err := w.OtherRuns(w.t.Context(), message)
		must(w.t, err)
		if n != want {
			w.t.Errorf("%s: %d other runs, want %d", what, n, want)
		}
	}
	count("alone", 0)
	b := firing("b")
	b.IncidentKey = "key"
	other := w.born(b, "web")
	count("an open run on another target", 1)
	w.end(&other, remediation.NotFixed, "")
	count("one that was not fixed", 1)
	b.Episode = "c"
	fixed := w.born(b, "db")
	w.end(&fixed, remediation.Fixed, "")
	count("and one that was", 1)
	b.Episode, b.SelfResolving = "still fires", true
	told := w.born(b, "queue")
	w.end(&told, remediation.Fixed, "")
	count("and one that was, of a sender that will tell the end", 2)
	over := remediation.Resolution{Source: b.Source, Episode: b.Episode, At: noon}
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{over}})
	must(w.t, err)
	count("and has told it", 1)
	b.Episode, b.IncidentKey, b.SelfResolving = "d", "other key", false
	w.born(b, "cache")
	count("and one of another incident", 1)
	resolved := remediation.Resolution{IncidentKey: "key", At: own.Alert.StartsAt}
	_, err = w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{resolved}})
	must(w.t, err)
	count("that ended before", 0)
	message = remediation.Message{Run: "an event's id", IncidentKey: "key"}
	count("a message of no run", 2) // when it fired is not known: all that ever had the key count
	w.clock.advance(lease)
	c, err := w.claim(remediation.Hint{Run: own.ID})
	must(w.t, err)
	if c.Episode.EndedAt.IsZero() {
		w.t.Errorf("claimed: episode %+v", c.Episode)
	}
}

// An alert that still fires is about the open incident of its key, whichever one its run was made for: an incident that was merged into
// another one, or ended by mistake, is followed by the next of the key.
func siblingsOfTheKey(w *world) {
	a, b := firing("a"), firing("b")
	a.IncidentKey, a.IncidentID = "key", "Q2"
	b.IncidentKey, b.IncidentID = "key", "Q1"
	a.StartsAt = b.StartsAt.Add(time.Hour)
	other := w.born(b, "web")
	w.end(&other, remediation.NotFixed, "")
	own := w.born(a, "api")
	count := func(what string, want int) {
		w.t.Helper()
		n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: own.ID})
		must(w.t, err)
		if n != want {
			w.t.Errorf("%s: %d other runs, want %d", what, n, want)
		}
	}
	count("of an earlier incident whose alert still fires", 1)
	over := remediation.Resolution{IncidentID: "Q1", At: a.StartsAt.Add(time.Minute)}
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{over}})
	must(w.t, err)
	count("of one that has ended", 0)
}

// An attempt that was refused before the run is done with; what was refused after it still fires.
func siblingsOnTheTarget(w *world) {
	a := firing("a")
	a.IncidentKey = "key"
	former := w.born(a, "api")
	w.end(&former, remediation.RefusedRun, guard.Cooldown)
	own := w.born(a, "api")
	w.end(&own, remediation.Fixed, "")
	for want := range 2 {
		n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: own.ID})
		must(w.t, err)
		if n != want {
			w.t.Errorf("%d other runs, want %d", n, want)
		}
		w.clock.advance(time.Minute)
		a.Episode, a.StartsAt = "b", noon.Add(time.Minute)
		later := w.born(a, "api")
		w.end(&later, remediation.RefusedRun, guard.Cooldown)
	}
}
