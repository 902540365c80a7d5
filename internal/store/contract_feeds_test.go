package store_test

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// feedsContract is what a store promises of polls and of the watch over feeds.
func feedsContract() map[string]func(*world) {
	return map[string]func(*world){
		"one turn to poll":      oneTurnToPoll,
		"a faster rhythm":       fasterRhythm,
		"sightings":             sightingsAreKept,
		"sightings of a repeat": sightingsOfARepeat,
		"a feed is heard":       feedIsHeard,
		"listening":             listeningBeginsAnew,
		"an alarm is told once": alarmIsToldOnce,
		"heard before the cry":  heardBeforeTheCry,
		"old sightings":         oldSightings,
	}
}

// Every replica asks at once; one gets the turn, and when it dies with it, another gets the next one.
func oneTurnToPoll(w *world) {
	for round := range 3 {
		var got atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				mine, next, err := w.Turn(w.t.Context(), "pd", w.clock.now(), time.Minute)
				if err != nil || !next.Equal(w.clock.now().Add(time.Minute)) {
					w.t.Errorf("next turn at %s, %v", next, err)
				}
				if mine {
					got.Add(1)
				}
			})
		}
		all.Wait()
		if got.Load() != 1 {
			w.t.Errorf("round %d: %d have the turn", round, got.Load())
		}
		w.clock.advance(59 * time.Second)
		if mine, _, err := w.Turn(w.t.Context(), "pd", w.clock.now(), time.Minute); mine || err != nil {
			w.t.Errorf("a turn came early: %v", err)
		}
		if mine, _, err := w.Turn(w.t.Context(), "am"+newID(), w.clock.now(), time.Minute); !mine || err != nil {
			w.t.Errorf("another source waits too: %v", err)
		}
		w.reopen()
		w.clock.advance(time.Second)
	}
}

func fasterRhythm(w *world) {
	turn := func(every time.Duration, want bool) {
		w.t.Helper()
		mine, _, err := w.Turn(w.t.Context(), "pd", w.clock.now(), every)
		must(w.t, err)
		if mine != want {
			w.t.Errorf("every %s: the turn is ours: %t", every, mine)
		}
	}
	turn(time.Hour, true)
	turn(time.Hour, false)
	turn(time.Minute, true) // the rules have another rhythm since: nobody waits for the old one
	turn(time.Minute, false)
}

func (w *world) sees(e remediation.Event, all ...remediation.Sighting) {
	w.t.Helper()
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e, Sightings: all})
	must(w.t, err)
}

func sight(subject string, s sources.Sighting) remediation.Sighting {
	s.Subject = subject
	return remediation.Sighting{Source: "pd", Sighting: s}
}

func (w *world) sightingsAre(since time.Time, want ...sources.Sighting) {
	w.t.Helper()
	got, err := w.Sightings(w.t.Context(), "pd", since)
	must(w.t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("sightings (-want +got):\n%s", diff)
	}
}

func sightingsAreKept(w *world) {
	began, later := noon.Add(-time.Hour), noon.Add(time.Minute)
	w.sees(newEvent(), sight("Q1", sources.Sighting{Began: began, Polled: noon}), sight("Q2", sources.Sighting{Began: noon, Pushed: noon}))
	other := sight("Q1", sources.Sighting{Began: began, Polled: noon})
	other.Source = "am"
	w.sees(newEvent(), other)
	w.sees(newEvent(), sight("Q1", sources.Sighting{Began: began, Pushed: later})) // the late webhook
	w.sees(newEvent(), sight("Q1", sources.Sighting{Began: began, Pushed: later.Add(time.Hour)}))
	w.reopen()
	first, second := sources.Sighting{Subject: "Q1", Began: began, Polled: noon, Pushed: later}, sources.Sighting{Subject: "Q2", Began: noon, Pushed: noon}
	w.sightingsAre(noon, second, first)

	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Holds: []remediation.Hold{{IncidentID: "Q2", By: "ann", At: later}}})
	must(w.t, err)
	second.Held = later
	w.sees(newEvent(), sight("Q1", sources.Sighting{Ended: began.Add(-time.Second)})) // of an earlier firing
	w.sightingsAre(noon, second, first)
	w.sees(newEvent(), sight("Q1", sources.Sighting{Ended: later}))
	w.sightingsAre(noon, second) // nobody asks for one that began before and is over
	first.Ended = later
	w.sightingsAre(began, second, first)
	w.sees(newEvent(), sight("Q1", sources.Sighting{Ended: later.Add(time.Hour)}), sight("Q1", sources.Sighting{Began: began, Pushed: later}))
	w.sightingsAre(began, second, first) // an end is told once, and a late word of the beginning undoes none
	w.sees(newEvent(), sight("Q1", sources.Sighting{Began: later, Pushed: later}))
	w.sightingsAre(began, sources.Sighting{Subject: "Q1", Began: later, Pushed: later}, second, first)
}

// A delivery that is known says nothing new.
func sightingsOfARepeat(w *world) {
	e := newEvent()
	e.DedupKey = "poll:begun:Q1"
	w.sees(e, sight("Q1", sources.Sighting{Began: noon, Polled: noon}))
	e.ID = newID()
	w.sees(e, sight("Q9", sources.Sighting{Began: noon, Polled: noon}))
	w.sightingsAre(noon, sources.Sighting{Subject: "Q1", Began: noon, Polled: noon})
}

func (w *world) pushed(at time.Time, beat bool) {
	w.t.Helper()
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Push: &remediation.Push{Source: "am", At: at, Beat: beat}})
	must(w.t, err)
}

func (w *world) feedIs(want remediation.Feed) {
	w.t.Helper()
	got, err := w.Feeds(w.t.Context())
	must(w.t, err)
	want.Source = "am"
	if diff := cmp.Diff([]remediation.Feed{want}, got); diff != "" {
		w.t.Errorf("feed (-want +got):\n%s", diff)
	}
}

func feedIsHeard(w *world) {
	w.pushed(noon, true)
	w.pushed(noon.Add(time.Minute), false)
	w.pushed(noon.Add(time.Second), true)
	w.reopen()
	want := remediation.Feed{HeardAt: noon.Add(time.Minute), BeatAt: noon.Add(time.Second)}
	w.feedIs(want)
	must(w.t, w.Polled(w.t.Context(), "am", noon.Add(time.Hour)))
	must(w.t, w.Polled(w.t.Context(), "am", noon))
	want.PolledAt = noon.Add(time.Hour)
	w.feedIs(want)
}

// A short gap, such as of a restart, is none; after a longer one nothing that was not heard means anything.
func listeningBeginsAnew(w *world) {
	listen := func(after time.Duration, since time.Time) {
		w.t.Helper()
		w.clock.advance(after)
		must(w.t, w.Listen(w.t.Context(), "am", w.clock.now(), time.Minute))
		w.feedIs(remediation.Feed{ListenedAt: w.clock.now(), Listening: since})
	}
	listen(0, noon)
	listen(30*time.Second, noon)
	w.reopen()
	listen(59*time.Second, noon)
	listen(time.Minute, noon.Add(149*time.Second))
}

func (w *world) alarmed(a remediation.Alarm, judged remediation.Feed, want bool) {
	w.t.Helper()
	m := remediation.Message{
		ID: a.IncidentKey + "-note", Run: a.IncidentKey, Channel: remediation.PagerDuty, Kind: remediation.Note, IncidentKey: a.IncidentKey, Text: "t", CreatedAt: noon,
	}
	done, err := w.Raise(w.t.Context(), a, judged, []remediation.Message{m})
	must(w.t, err)
	if done != want {
		w.t.Errorf("the alarm %s is raised: %t, want %t", a.IncidentKey, done, want)
	}
	_, _, waits, err := w.Next(w.t.Context(), remediation.Lane{Run: a.IncidentKey, Channel: remediation.PagerDuty}, w.clock.now(), time.Minute)
	must(w.t, err)
	if waits != want {
		w.t.Errorf("the alarm %s is told: %t, want %t", a.IncidentKey, waits, want)
	}
}

func (w *world) alarmsAre(want ...remediation.Alarm) {
	w.t.Helper()
	got, err := w.Alarms(w.t.Context())
	must(w.t, err)
	if diff := cmp.Diff(want, got); len(want)+len(got) > 0 && diff != "" {
		w.t.Errorf("alarms (-want +got):\n%s", diff)
	}
}

func alarmIsToldOnce(w *world) {
	first := remediation.Alarm{Source: "am", Kind: remediation.Silent, IncidentKey: "first", RaisedAt: noon}
	w.alarmed(first, remediation.Feed{}, true)
	again := first
	again.IncidentKey = "again"
	w.alarmed(again, remediation.Feed{}, false)
	other := remediation.Alarm{Source: "am", Kind: remediation.Unsent, IncidentKey: "other", RaisedAt: noon}
	w.alarmed(other, remediation.Feed{}, true)
	w.reopen()
	w.alarmsAre(first, other)
	for _, c := range []struct {
		of   remediation.Alarm
		want bool
	}{{again, false}, {first, true}, {first, false}} {
		end := remediation.Message{
			ID: c.of.IncidentKey + "-resolve", Run: newID(), Channel: remediation.PagerDuty, Kind: remediation.Resolve, Text: "t", CreatedAt: noon,
		}
		done, err := w.Clear(w.t.Context(), c.of, []remediation.Message{end})
		must(w.t, err)
		_, _, waits, err := w.Next(w.t.Context(), remediation.Lane{Run: end.Run, Channel: remediation.PagerDuty}, w.clock.now(), time.Minute)
		must(w.t, err)
		if done != c.want || waits != c.want {
			w.t.Errorf("%s is over: %t, and told: %t, want %t", c.of.IncidentKey, done, waits, c.want)
		}
	}
	w.alarmsAre(other)
	w.alarmed(again, remediation.Feed{}, true) // the next silence is another one
}

// What came between the look at the feed and the cry is heard.
func heardBeforeTheCry(w *world) {
	w.pushed(noon, true)
	a := remediation.Alarm{Source: "am", Kind: remediation.Silent, IncidentKey: "k", RaisedAt: noon}
	w.alarmed(a, remediation.Feed{HeardAt: noon, BeatAt: noon.Add(-time.Second)}, false)
	w.alarmed(a, remediation.Feed{HeardAt: noon.Add(-time.Second), BeatAt: noon}, false)
	w.alarmed(a, remediation.Feed{HeardAt: noon, BeatAt: noon}, true)
}

func oldSightings(w *world) {
	w.sees(newEvent(), sight("Q1", sources.Sighting{Began: noon, Polled: noon}))
	now := noon.Add(remediation.LeastKept * 2)
	w.sees(newEvent(), sight("Q2", sources.Sighting{Began: now, Polled: now}))
	for more := true; more; {
		var err error
		more, err = w.Retain(w.t.Context(), remediation.Retention{Bodies: remediation.LeastKept, Runs: remediation.LeastKept}, now)
		must(w.t, err)
	}
	w.sightingsAre(time.Time{}, sources.Sighting{Subject: "Q2", Began: now, Polled: now})
}
