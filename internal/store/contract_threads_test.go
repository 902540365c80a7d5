package store_test

import (
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// room is Slack as a contract test tells it.
type room struct{ *world }

// taken claims a run that the former life of the process held.
func (r room) taken(run remediation.Run) remediation.Run {
	r.t.Helper()
	r.clock.advance(lease)
	c, err := r.claim(remediation.Hint{Run: run.ID, Version: run.Version})
	must(r.t, err)
	return c.Run
}

// posts puts a post of the run into the outbox, for a channel of Slack.
func (r room) posts(run *remediation.Run, channel, after string) remediation.Message {
	r.t.Helper()
	m := remediation.Message{
		ID: newID(), Run: run.ID, Channel: remediation.Slack, Kind: remediation.Post, Connection: "slack", Room: channel, Text: "t", CreatedAt: noon, After: after,
	}
	must(r.t, r.commit(run, func(c *remediation.Commit) { c.Messages = []remediation.Message{m} }))
	return m
}

// begins takes the run's next post, which stands in the thread; "-" says that there is none yet.
func (r room) begins(run remediation.Run, thread string) remediation.Message {
	r.t.Helper()
	lane := remediation.Lane{Run: run.ID, Channel: remediation.Slack}
	m, got, ok, err := r.Next(r.t.Context(), lane, r.clock.now(), time.Minute)
	must(r.t, err)
	if !ok {
		got = "-"
	}
	if got != thread || ok && m.Thread != thread {
		r.t.Errorf("the post of %s stands in %q (%q), want %q", run.Target, got, m.Thread, thread)
	}
	return m
}

func (r room) ends(m remediation.Message, state remediation.MessageState, ts string) {
	r.t.Helper()
	r.clock.advance(time.Second)
	must(r.t, r.End(r.t.Context(), remediation.Sent{ID: m.ID, State: state, RemoteID: ts, At: r.clock.now(), NotBefore: r.clock.now()}))
}

// says tells the run's next post as a message of that name.
func (r room) says(run *remediation.Run, thread, ts string) {
	r.t.Helper()
	r.posts(run, "#incidents", "")
	r.ends(r.begins(*run, thread), remediation.MessageSent, ts)
}

func of(episode, id, key string) alert.Alert {
	a := firing(episode)
	a.IncidentID, a.IncidentKey = id, key
	return a
}

// What is posted of one incident stands in one thread, whichever run it is of and however often the store was opened meanwhile.
func oneThread(w *world) {
	r := room{w}
	first := w.born(of("a", "Q1", "key"), "api")
	r.says(&first, "", "1")
	r.says(&first, "1", "2")
	second := w.born(of("b", "Q1", "key"), "web")
	r.says(&second, "1", "3") // on another target
	w.reopen()
	second = r.taken(second)
	r.says(&second, "1", "4")
	byKey := w.born(of("c", "", "key"), "mail")
	r.says(&byKey, "1", "5") // by the other road
	first = r.taken(first)
	w.end(&first, remediation.RefusedRun, guard.Cooldown)
	again := w.born(of("a", "Q1", "key"), "api")
	r.says(&again, "1", "6") // a new attempt
	follow := w.born(firing("f"), "queue")
	r.posts(&follow, "#incidents", second.ID)
	r.ends(r.begins(follow, "1"), remediation.MessageSent, "7") // a follow-up stands where its run does, whatever it knows itself
	elsewhere := w.born(of("e", "Q1", "key"), "cache")
	r.posts(&elsewhere, "#database", "")
	r.begins(elsewhere, "")
}

// Another incident has another thread: keys recur.
func threadsApart(w *world) {
	r := room{w}
	first := w.born(of("a", "Q1", "key"), "api")
	r.says(&first, "", "1")
	other := w.born(of("b", "Q2", "key"), "web")
	r.says(&other, "", "2") // the key's next incident
	none := w.born(firing("c"), "mail")
	r.says(&none, "", "3") // of no incident
	nobody := w.born(firing("d"), "queue")
	r.says(&nobody, "", "4")
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{
		Event: newEvent(), Resolved: []remediation.Resolution{{IncidentKey: "key", At: noon.Add(time.Minute)}},
	})
	must(w.t, err)
	later := of("e", "", "key")
	later.StartsAt = noon.Add(2 * time.Minute)
	anew := w.born(later, "cache")
	r.says(&anew, "", "5") // the key fires anew
}

// Two runs of an incident that have nothing posted yet begin one thread: the second waits for the first, for as long as that may come.
func threadBegunOnce(w *world) {
	r := room{w}
	first, second := w.born(of("a", "Q1", "key"), "api"), w.born(of("b", "Q1", "key"), "web")
	r.posts(&first, "#incidents", "")
	r.posts(&second, "#incidents", "")
	begun := r.begins(first, "")
	r.begins(second, "-")
	w.reopen()
	r.begins(second, "-") // whether it was posted is not known
	r.ends(begun, remediation.MessageQueued, "")
	begun = r.begins(first, "") // its next attempt waits for nobody
	r.begins(second, "-")
	r.ends(begun, remediation.MessageDead, "")
	begun = r.begins(second, "") // there is none to wait for
	first = r.taken(first)
	r.posts(&first, "#incidents", "")
	r.begins(first, "-")
	r.ends(begun, remediation.MessageSent, "1")
	r.begins(first, "1")
}
