package store_test

import (
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// What fires anew while its run is at work has not ended: else an incident would be resolved under it.
func firesAnew(w *world) {
	sender, _ := pages("key")
	run := w.born(sender, "api")
	resolve := func(at time.Time) {
		end := remediation.Resolution{IncidentKey: "key", At: at}
		_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
		must(w.t, err)
	}
	ended := func(what string, want time.Time) {
		w.t.Helper()
		w.clock.advance(lease)
		c, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
		must(w.t, err)
		if !c.Episode.EndedAt.Equal(want) {
			w.t.Errorf("%s: the alert ended at %s, want %s", what, c.Episode.EndedAt, want)
		}
	}
	resolve(noon.Add(time.Minute))
	ended("resolved", noon.Add(time.Minute))
	w.propose(sender, "api") // a late repeat of the firing that is over
	ended("told again of the former firing", noon.Add(time.Minute))
	other := sender
	other.Episode, other.StartsAt, other.Labels = "am-other", noon.Add(2*time.Minute), map[string]string{"alertname": "Other"}
	w.propose(other, "api")
	ended("another alert of the incident fires", noon.Add(time.Minute))
	sender.Episode, sender.StartsAt = "am-anew", noon.Add(2*time.Minute)
	if got := w.propose(sender, "api"); len(got.Runs) != 0 || got.Rulings[0].Run != run.ID {
		w.t.Errorf("the next firing: %+v", got)
	}
	ended("fires anew", time.Time{})
	resolve(noon.Add(3 * time.Minute))
	ended("resolved anew", noon.Add(3*time.Minute))
	resolve(noon.Add(5 * time.Minute)) // the end of a firing of which nothing was heard yet
	sender.Episode, sender.StartsAt = "am-late", noon.Add(4*time.Minute)
	w.propose(sender, "api")
	ended("a firing that comes after its end", noon.Add(5*time.Minute))
}

// An end that is told late, after the next firing has joined the run, ends neither.
func lateEnd(w *world) {
	sender, _ := pages("key")
	run := w.born(sender, "api")
	ended := func(what string, resolved remediation.Resolution, want time.Time) {
		w.t.Helper()
		_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{resolved}})
		must(w.t, err)
		w.clock.advance(lease)
		c, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
		must(w.t, err)
		if !c.Episode.EndedAt.Equal(want) {
			w.t.Errorf("%s: the alert ended at %s, want %s", what, c.Episode.EndedAt, want)
		}
	}
	first := remediation.Resolution{Source: sender.Source, Episode: sender.Episode, At: noon.Add(time.Minute)}
	next, other := sender, sender
	next.Episode, next.StartsAt = "am-anew", noon.Add(2*time.Minute)
	w.propose(next, "api")
	other.Episode, other.StartsAt, other.Labels = "am-other", noon.Add(9*time.Minute), map[string]string{"alertname": "other"}
	w.propose(other, "api") // whose end would not end the run
	ended("the first firing's end", first, time.Time{})
	ended("by the incident's key", remediation.Resolution{IncidentKey: "key", At: noon.Add(time.Minute)}, time.Time{})
	ended("the next one's end", remediation.Resolution{IncidentKey: "key", At: noon.Add(3 * time.Minute)}, noon.Add(3*time.Minute))
}
