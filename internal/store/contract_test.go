package store_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// The contract of every store of the heart. A second database runs it with its own world.
func TestContractOnSQLite(t *testing.T) {
	t.Parallel()
	contract(t, sqliteWorld)
}

func TestContractOnPostgreSQL(t *testing.T) {
	t.Parallel()
	contract(t, postgresWorld)
}

func contract(t *testing.T, open func(*testing.T) *world) {
	tests := recordsContract()
	maps.Copy(tests, coreContract())
	maps.Copy(tests, standingContract())
	maps.Copy(tests, feedsContract())
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(open(t))
		})
	}
}

func coreContract() map[string]func(*world) {
	return map[string]func(*world){
		"event is kept":                 eventIsKept,
		"delivery repeated":             deliveryRepeated,
		"pending event":                 pendingEvent,
		"postponed":                     postponed,
		"run is born claimed":           runIsBornClaimed,
		"open run takes its repeats":    openRunTakesRepeats,
		"proposals of one event":        proposalsOfOneEvent,
		"attempts of an episode":        attemptsOfAnEpisode,
		"one outage by two roads":       outageByTwoRoads,
		"keys recur":                    keysRecur,
		"keys recur often":              keysRecurOften,
		"follow-up swallows nothing":    followUpSwallowsNothing,
		"claim":                         claiming,
		"fenced":                        fenced,
		"renew":                         renewing,
		"commit is kept":                commitIsKept,
		"released run waits":            releasedRunWaits,
		"refused intent stores nothing": refusedIntentStoresNothing,
		"exempt intent":                 exemptIntent,
		"target lock":                   targetLock,
		"breaker":                       breakerOpens,
		"half-open probe":               halfOpenProbe,
		"budgets outlive the process":   budgetsOutlive,
		"siblings":                      siblings,
		"drills apart":                  drillsApart,
		"fires anew":                    firesAnew,
		"an end told late":              lateEnd,
		"siblings of the key":           siblingsOfTheKey,
		"siblings on the target":        siblingsOnTheTarget,
		"large bodies":                  largeBodies,
		"stale alerts":                  staleAlerts,
		"stale alerts with a run":       staleAlertsWithARun,
		"merged incident":               mergedIncident,
		"a person's end":                personsEnd,
		"acts of later":                 actsOfLater,
		"acts are renewed":              actsAreRenewed,
		"outbox order":                  outboxOrder,
		"outbox retry":                  outboxRetry,
		"outbox across runs":            outboxAfter,
		"one thread for an incident":    oneThread,
		"a thread for each incident":    threadsApart,
		"a thread is begun once":        threadBegunOnce,
	}
}

func eventIsKept(w *world) {
	e := newEvent()
	e.DedupKey, e.Type, e.Note, e.Body = "k", "incident.triggered", "n\x00'", []byte{0, 1, 0xff}
	ruling := remediation.Ruling{Rule: "r", Target: "api", Mode: "auto", Verdict: remediation.StaleEvent, Detail: "old"}
	got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e, Rulings: []remediation.Ruling{ruling}})
	must(w.t, err)
	ruling.Event = e.ID
	want := remediation.Accepted{Event: e.ID, Rulings: []remediation.Ruling{ruling}}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("accepted (-want +got):\n%s", diff)
	}
	w.reopen()
	kept, err := w.Event(w.t.Context(), e.ID)
	must(w.t, err)
	if diff := cmp.Diff(e, kept); diff != "" {
		w.t.Errorf("event (-want +got):\n%s", diff)
	}
	if _, err := w.Event(w.t.Context(), "none"); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("an unknown event answers %v", err)
	}
}

func deliveryRepeated(w *world) {
	first := newEvent()
	first.DedupKey = "01ABC"
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: first})
	must(w.t, err)
	for name, c := range map[string]struct {
		change    func(*remediation.Event)
		duplicate bool
	}{
		"same":          {func(*remediation.Event) {}, true},
		"other source":  {func(e *remediation.Event) { e.Source = "grafana" }, false},
		"other key":     {func(e *remediation.Event) { e.DedupKey = "01ABD" }, false},
		"no key":        {func(e *remediation.Event) { e.DedupKey = "" }, false},
		"still no key":  {func(e *remediation.Event) { e.DedupKey = "" }, false},
		"received late": {func(e *remediation.Event) { e.ReceivedAt = noon.Add(time.Hour) }, true},
	} {
		e := newEvent()
		e.DedupKey = first.DedupKey
		c.change(&e)
		got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e, Proposals: []remediation.Proposal{proposal(firing(name), name)}})
		must(w.t, err)
		if got.Duplicate != c.duplicate || len(got.Runs) == 1 == c.duplicate || c.duplicate && got.Event != first.ID {
			w.t.Errorf("%s: got %+v", name, got)
		}
	}
}

func pendingEvent(w *world) {
	e := newEvent()
	e.State, e.WakeAt = remediation.EventPending, noon
	e.Delivery = sources.Delivery{Incomplete: true, Alerts: []alert.Alert{{Source: "pagerduty", IncidentID: "Q1"}}}
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e})
	must(w.t, err)
	kept, err := w.Event(w.t.Context(), e.ID)
	must(w.t, err)
	if diff := cmp.Diff(e, kept); diff != "" {
		w.t.Errorf("pending event (-want +got):\n%s", diff)
	}
	e.State, e.Delivery.Incomplete = remediation.EventMatched, false
	looked := remediation.Acceptance{Event: e, Looked: true, Proposals: []remediation.Proposal{proposal(firing("e"), "api")}}
	got, err := w.Accept(w.t.Context(), looked)
	must(w.t, err)
	if got.Duplicate || len(got.Runs) != 1 {
		w.t.Errorf("the looked-up event: got %+v", got)
	}
	looked.Proposals = []remediation.Proposal{proposal(firing("e2"), "api")}
	if got, err = w.Accept(w.t.Context(), looked); err != nil || !got.Duplicate || len(got.Runs) != 0 {
		w.t.Errorf("completed twice: %+v, %v", got, err)
	}
	kept, err = w.Event(w.t.Context(), e.ID)
	must(w.t, err)
	if kept.State != remediation.EventMatched || kept.Delivery.Incomplete || !kept.WakeAt.IsZero() {
		w.t.Errorf("the completed event is %+v", kept)
	}
}

func postponed(w *world) {
	e := newEvent()
	e.State = remediation.EventPending
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e})
	must(w.t, err)
	must(w.t, w.Postpone(w.t.Context(), e.ID, noon.Add(time.Minute), "timeout"))
	kept, err := w.Event(w.t.Context(), e.ID)
	must(w.t, err)
	if kept.Attempts != 1 || !kept.WakeAt.Equal(noon.Add(time.Minute)) || kept.Note != "timeout" {
		w.t.Errorf("postponed: %+v", kept)
	}
	if err := w.Postpone(w.t.Context(), "none", noon, ""); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("an unknown event answers %v", err)
	}
}

func runIsBornClaimed(w *world) {
	got := w.propose(firing("e"), "api")
	hint := got.Runs[0]
	if want := (remediation.Hint{Run: hint.Run, Epoch: 1}); hint != want {
		w.t.Errorf("hint %+v, want %+v", hint, want)
	}
	if r := got.Rulings[0]; r.Run != hint.Run || r.Event != got.Event || r.Verdict != remediation.Candidate {
		w.t.Errorf("ruling %+v", r)
	}
	if _, err := w.claim(remediation.Hint{Run: hint.Run}); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("a claim of a run that is held: %v", err)
	}
	c, err := w.claim(hint)
	must(w.t, err)
	if c.Run.Epoch != 1 || !c.Run.LeaseUntil.Equal(noon.Add(lease)) || c.Run.LeaseOwner != owner {
		w.t.Errorf("claimed %+v", c.Run)
	}
}

func openRunTakesRepeats(w *world) {
	first := w.propose(firing("e"), "api").Runs[0]
	for name, c := range map[string]struct {
		alert  alert.Alert
		target string
		joins  bool
	}{
		"same episode":               {firing("e"), "api", true},
		"same episode, other target": {firing("e"), "web", false},
		"other episode":              {firing("f"), "api", false},
	} {
		got := w.propose(c.alert, c.target)
		r := got.Rulings[0]
		if joined := r.Verdict == remediation.Duplicate && r.Run == first.Run && r.Detail != ""; joined != c.joins || len(got.Runs) == 1 == c.joins {
			w.t.Errorf("%s: %+v", name, got)
		}
	}
}

func proposalsOfOneEvent(w *world) {
	a, b := firing("e"), firing("f")
	a.IncidentKey, b.IncidentKey = "key", "key"
	got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Proposals: []remediation.Proposal{
		proposal(a, "api"), proposal(b, "api"), proposal(b, "web"),
	}})
	must(w.t, err)
	verdicts := []remediation.Verdict{got.Rulings[0].Verdict, got.Rulings[1].Verdict, got.Rulings[2].Verdict}
	if diff := cmp.Diff([]remediation.Verdict{remediation.Candidate, remediation.Duplicate, remediation.Candidate}, verdicts); diff != "" {
		w.t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func attemptsOfAnEpisode(w *world) {
	for name, c := range map[string]struct {
		outcome remediation.Outcome
		reason  guard.Reason
		acted   bool
		again   bool
	}{
		"refused in passing":     {remediation.RefusedRun, guard.Cooldown, false, true},
		"refused for good":       {remediation.RefusedRun, guard.NoCause, false, false},
		"fixed":                  {remediation.Fixed, "", true, false},
		"acted and then refused": {remediation.RefusedRun, guard.Paused, true, false},
	} {
		run := w.born(firing(name), "api")
		run.Acted = c.acted
		w.end(&run, c.outcome, c.reason)
		if got := w.propose(firing(name), "api"); len(got.Runs) == 1 != c.again {
			w.t.Errorf("%s: %+v", name, got)
		}
	}
}

// pages gives the same outage as the monitoring saw it and as PagerDuty tells it, half a minute later.
func pages(key string) (sender, pagerduty alert.Alert) {
	sender, pagerduty = firing("am-"+key), firing("pd-"+key)
	sender.IncidentKey, pagerduty.IncidentKey = key, key
	pagerduty.Source, pagerduty.IncidentID, pagerduty.StartsAt = "pagerduty", "Q-"+key, sender.StartsAt.Add(30*time.Second)
	return sender, pagerduty
}

func outageByTwoRoads(w *world) {
	for name, swap := range map[string]bool{"sender first": false, "pagerduty first": true} {
		for _, over := range []bool{false, true} {
			first, second := pages(name + map[bool]string{true: " over"}[over])
			if swap {
				first, second = second, first
			}
			run := w.born(first, name)
			if over {
				run.Acted = true
				w.end(&run, remediation.Fixed, "")
			}
			got := w.propose(second, name)
			if len(got.Runs) != 0 || got.Rulings[0].Run != run.ID {
				w.t.Errorf("%s, over %v: %+v", name, over, got)
			}
		}
	}
}

func keysRecur(w *world) {
	sender, pagerduty := pages("key")
	run := w.born(sender, "api")
	run.Acted = true
	w.end(&run, remediation.Fixed, "")
	end := remediation.Resolution{Source: "alertmanager", Episode: sender.Episode, IncidentKey: "key", At: noon}
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
	must(w.t, err)
	pagerduty.StartsAt = noon.Add(time.Hour)
	next := w.born(pagerduty, "api") // the next outage under the same key
	w.end(&next, remediation.NotFixed, "")
	// A late end of the former firing by the key alone does not end the new one.
	end.Episode = ""
	_, err = w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
	must(w.t, err)
	sender.Episode, sender.StartsAt = "am-later", noon.Add(59*time.Minute)
	if got := w.propose(sender, "api"); len(got.Runs) != 0 {
		w.t.Errorf("the second road of the new outage: %+v", got)
	}
}

// An alert that flaps has many runs of one key behind it: its next firing joins the newest one all the same, and an end by the key ends that one.
func keysRecurOften(w *world) {
	a := firing("")
	a.IncidentKey = "key"
	next := func() alert.Alert {
		w.clock.advance(time.Minute)
		a.Episode, a.StartsAt = newID(), w.clock.now()
		return a
	}
	ends := func(r remediation.Resolution) {
		r.At = w.clock.now()
		w.hears(remediation.Acceptance{Resolved: []remediation.Resolution{r}})
	}
	for range 60 {
		run := w.born(next(), "api")
		w.end(&run, remediation.Fixed, "")
		ends(remediation.Resolution{Source: a.Source, Episode: a.Episode})
	}
	open := w.propose(next(), "api")
	if again := w.propose(next(), "api"); len(open.Runs) != 1 || len(again.Runs) != 0 || again.Rulings[0].Run != open.Runs[0].Run {
		w.t.Fatalf("a firing beside an open run %+v: %+v", open, again)
	}
	w.clock.advance(time.Minute)
	ends(remediation.Resolution{Source: "pagerduty", Episode: "of another road", IncidentKey: "key"})
	if c, err := w.claim(open.Runs[0]); err != nil || c.Episode.EndedAt.IsZero() {
		w.t.Errorf("the end by the key did not end the open run: %+v, %v", c.Episode, err)
	}
}

func followUpSwallowsNothing(w *world) {
	a := firing("e")
	a.IncidentKey = "key"
	run := w.born(a, "api")
	run.Acted = true
	follow := proposal(a, "api").Run
	follow.Origin, follow.State, follow.WakeAt = remediation.ByFollowUp, remediation.Waiting, noon.Add(time.Hour)
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Outcome, c.Spawn = remediation.Done, remediation.Fixed, []remediation.Run{follow}
	}))
	next := firing("next")
	next.IncidentKey, next.StartsAt = "key", noon.Add(time.Minute)
	if got := w.propose(next, "api"); len(got.Runs) != 1 {
		w.t.Errorf("the next firing while a follow-up waits: %+v", got)
	}
}

func outboxOrder(w *world) {
	run := w.born(firing("e"), "api")
	message := func(seq int, channel remediation.Channel) remediation.Message {
		return remediation.Message{ID: newID(), Run: run.ID, Seq: seq, Channel: channel, Kind: remediation.Note, Text: "t", CreatedAt: noon}
	}
	first, second, other := message(0, remediation.PagerDuty), message(1, remediation.PagerDuty), message(0, remediation.Slack)
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Messages = []remediation.Message{first, second, other} }))
	changed := first
	changed.Text = "changed"
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Messages = []remediation.Message{changed} }))

	lane := remediation.Lane{Run: run.ID, Channel: remediation.PagerDuty}
	next := func(wantID, wantThread string) remediation.Message {
		w.t.Helper()
		m, thread, ok, err := w.Next(w.t.Context(), lane, w.clock.now(), time.Minute)
		must(w.t, err)
		if ok != (wantID != "") || m.ID != wantID || thread != wantThread || ok && m.Text != "t" {
			w.t.Errorf("next: %+v, thread %q, %v; want %q, thread %q", m, thread, ok, wantID, wantThread)
		}
		return m
	}
	if m := next(first.ID, ""); m.Attempts != 1 {
		w.t.Errorf("attempts %d", m.Attempts)
	}
	next("", "") // leased, and holds back the second
	must(w.t, w.End(w.t.Context(), remediation.Sent{ID: first.ID, State: remediation.MessageSent, RemoteID: "N1", At: noon}))
	next(second.ID, "N1")
	must(w.t, w.End(w.t.Context(), remediation.Sent{ID: second.ID, State: remediation.MessageDead, Error: "gone", At: noon}))
	next("", "")
	must(w.t, w.End(w.t.Context(), remediation.Sent{ID: first.ID, State: remediation.MessageDead, At: noon})) // has ended: stays sent
	third := message(2, remediation.PagerDuty)
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Messages = []remediation.Message{third} }))
	next(third.ID, "N1")
	if err := w.End(w.t.Context(), remediation.Sent{ID: "none", State: remediation.MessageSent}); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("an unknown message answers %v", err)
	}
}

// What a follow-up says waits until the channel has nothing left to tell of the run before it.
func outboxAfter(w *world) {
	run, follow := w.born(firing("e"), "api"), w.born(firing("f"), "web")
	first := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.PagerDuty, Kind: remediation.Note, Text: "t", CreatedAt: noon}
	later := remediation.Message{ID: newID(), Run: follow.ID, Channel: remediation.PagerDuty, Kind: remediation.Resolve, Text: "t", CreatedAt: noon, After: run.ID}
	beside := later
	beside.ID, beside.Channel = newID(), remediation.Slack
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Messages = []remediation.Message{first} }))
	must(w.t, w.commit(&follow, func(c *remediation.Commit) { c.Messages = []remediation.Message{later, beside} }))
	var thread string
	next := func(run string, channel remediation.Channel, want bool) {
		w.t.Helper()
		_, of, ok, err := w.Next(w.t.Context(), remediation.Lane{Run: run, Channel: channel}, w.clock.now(), time.Minute)
		must(w.t, err)
		if ok != want {
			w.t.Errorf("%s of %s: there is a next one: %t, want %t", channel, run, ok, want)
		}
		thread = of
	}
	next(follow.ID, remediation.PagerDuty, false)
	next(follow.ID, remediation.Slack, true)
	if thread != "" {
		w.t.Errorf("the thread in Slack is %q", thread)
	}
	next(run.ID, remediation.PagerDuty, true)
	next(follow.ID, remediation.PagerDuty, false) // the attempt is under way
	must(w.t, w.End(w.t.Context(), remediation.Sent{ID: first.ID, State: remediation.MessageSent, RemoteID: "Q7", At: w.clock.now()}))
	next(follow.ID, remediation.PagerDuty, true)
	if thread != "Q7" {
		w.t.Errorf("the follow-up goes by the incident %q, want that of the run before it", thread)
	}
}

func outboxRetry(w *world) {
	run := w.born(firing("e"), "api")
	m := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.Slack, Kind: remediation.Post, Text: "t", CreatedAt: noon}
	must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Messages = []remediation.Message{m} }))
	lane := remediation.Lane{Run: run.ID, Channel: remediation.Slack}
	attempt := func(want int) {
		w.t.Helper()
		got, _, ok, err := w.Next(w.t.Context(), lane, w.clock.now(), time.Minute)
		must(w.t, err)
		if ok != (want > 0) || got.Attempts != want {
			w.t.Errorf("at %s: attempt %d, %v; want %d", w.clock.now(), got.Attempts, ok, want)
		}
	}
	attempt(1)
	w.reopen() // a crash during the attempt: it is counted, and tried again after the lease
	attempt(0)
	w.clock.advance(time.Minute)
	attempt(2)
	must(w.t, w.End(w.t.Context(), remediation.Sent{
		ID: m.ID, State: remediation.MessageQueued, Error: "429", At: w.clock.now(), NotBefore: w.clock.now().Add(time.Hour),
	}))
	w.clock.advance(2 * time.Minute)
	attempt(0)
	w.clock.advance(time.Hour)
	attempt(3)
}
