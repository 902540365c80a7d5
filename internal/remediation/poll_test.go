package remediation_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

// polledSender is what a sender would answer: what fires there now.
type polledSender struct {
	fires []alert.Alert
	asked int
	err   error
}

// polls lets a source be polled and gives what it is asked.
func (w *world) polls(source string) *polledSender {
	s := &polledSender{}
	polls.Store(w.name+"/"+source, func(q sources.Question) ([]sources.Found, error) {
		s.asked++
		known := map[string]bool{}
		for _, k := range q.Known {
			known[k.Subject] = true
		}
		var found []sources.Found
		for _, a := range s.fires {
			if known[alert.Subject(a.Episode)] {
				continue
			}
			d := sources.Delivery{DedupKey: "poll:" + a.Episode, Type: sources.PolledType, OccurredAt: a.StartsAt, Alerts: []alert.Alert{a}}
			body, err := json.Marshal(d)
			must(w.t, err)
			found = append(found, sources.Found{Delivery: d, Body: body})
		}
		return found, s.err
	})
	return s
}

func (w *world) poll() {
	w.t.Helper()
	w.advance(time.Minute)
	must(w.t, w.engine.Poll(w.t.Context()))
}

func (w *world) byAlert() []remediation.Run {
	w.t.Helper()
	all, err := w.store.ListRuns(context.Background(), store.Filter{Limit: 100})
	must(w.t, err)
	return slices.DeleteFunc(all, func(r remediation.Run) bool { return r.Origin != remediation.ByAlert })
}

func (w *world) eventsStored() int {
	w.t.Helper()
	counts, err := w.store.Counts(context.Background())
	must(w.t, err)
	n := 0
	for _, of := range counts.Events {
		n += of
	}
	return n
}

// One episode by its delivery before, during and after a poll is one run; what is known costs no event.
func TestAPolledEpisodeRunsOnce(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"the poll alone": {"poll", "poll"}, "delivery, poll": {"push", "poll", "poll"}, "poll, delivery": {"poll", "push", "poll"},
		"poll, end of the run, delivery": {"poll", "finish", "push", "poll"}, "poll, restart, poll": {"poll", "restart", "poll", "push"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("mend"))
			sender := w.polls("am")
			a := down(api)
			sender.fires = []alert.Alert{a}
			pushed, polled := 0, 0
			for _, step := range order {
				switch step {
				case "poll":
					w.poll()
					polled++
				case "push":
					w.deliver("am", sources.Delivery{Alerts: []alert.Alert{a}})
					pushed++
				case "finish":
					w.finish(w.byAlert()[0].ID)
				case "restart":
					w.restart()
				}
			}
			if len(w.byAlert()) != 1 {
				t.Fatalf("there are %d runs", len(w.byAlert()))
			}
			w.finish(w.byAlert()[0].ID)
			if made := w.scene(api).made("apply"); made != 1 {
				t.Errorf("it was mended %d times", made)
			}
			found := 1
			if order[0] == "push" {
				found = 0
			}
			if got := w.eventsStored(); got != pushed+found || sender.asked != polled {
				t.Errorf("%d events of %d deliveries and %d polls", got, pushed, sender.asked)
			}
		})
	}
}

// What a poll has found is an event like another: its type, body, age and source are kept, and the metrics tell of it.
func TestAPolledEventIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	w.polls("am").fires = []alert.Alert{down(api)}
	w.poll()
	run := w.byAlert()[0]
	event, err := w.store.Event(t.Context(), run.Event)
	must(t, err)
	if event.Type != sources.PolledType || event.Source != "am" || len(event.Body) == 0 || !event.OccurredAt.Equal(down(api).StartsAt) || !run.EventAt.Equal(down(api).StartsAt) {
		t.Errorf("the event is %+v", event)
	}
	want := `
# HELP remediator_poll_found_total Episodes that a poll has found before any delivery brought them.
# TYPE remediator_poll_found_total counter
remediator_poll_found_total{source="am"} 1
`
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(want), "remediator_poll_found_total"); err != nil {
		t.Error(err)
	}
	w.finish(run.ID)
}

func TestAPolledEpisodeGrowsStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	sender := w.polls("am")
	a := down(api)
	a.StartsAt = noon.Add(-20 * time.Minute) // older than the rules act on
	sender.fires = []alert.Alert{a}
	w.poll()
	w.poll()
	if len(w.byAlert()) != 0 || w.eventsStored() != 1 {
		t.Errorf("%d runs and %d events of an old alert", len(w.byAlert()), w.eventsStored())
	}
}

// A server that is paused takes in all the same, and judges that once it is released.
func TestAPausedServerPolls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	w.polls("am").fires = []alert.Alert{down(api)}
	must(t, w.store.Pause(t.Context(), guard.Pause{Scope: guard.Fleet, Actor: "ann", Reason: "r", Since: w.now()}))
	w.poll()
	if v := w.finish(w.byAlert()[0].ID); v.Run.Outcome != remediation.RefusedRun || v.Run.Reason != guard.Paused {
		t.Errorf("the run ended as %s, %s", v.Run.Outcome, v.Run.Reason)
	}
}

// A sender that does not answer harms nobody: what was found counts, the others are polled, and it is asked again.
func TestAPollThatFailsIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	sick, well := w.polls("am"), w.polls("pd")
	sick.err, sick.fires = errors.New("no answer"), []alert.Alert{down(api)}
	well.fires = []alert.Alert{{Source: "pd", Status: alert.Firing, Labels: down(web).Labels, StartsAt: noon, Episode: "e-web", IncidentKey: "k"}}
	w.advance(time.Minute)
	if err := w.engine.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "source am: no answer") {
		t.Errorf("the failure is told as %v", err)
	}
	if len(w.byAlert()) != 2 {
		t.Errorf("%d runs", len(w.byAlert()))
	}
	must(t, w.engine.Poll(t.Context())) // it is nobody's turn
	sick.err = nil
	w.poll()
	if sick.asked != 2 || well.asked != 2 {
		t.Errorf("the sick one was asked %d times, the other %d", sick.asked, well.asked)
	}
	want := `
# HELP remediator_poll_errors_total Polls of the source that failed, or got no whole answer.
# TYPE remediator_poll_errors_total counter
remediator_poll_errors_total{source="am"} 1
`
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(want), "remediator_poll_errors_total"); err != nil {
		t.Error(err)
	}
	for _, r := range w.byAlert() {
		w.finish(r.ID)
	}
}

// An end that only a poll has seen ends the run.
func TestAPolledEndEndsTheEpisode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	sender := w.polls("am")
	a := down(api)
	w.deliver("am", sources.Delivery{Alerts: []alert.Alert{a}})
	w.poll()
	run := w.byAlert()[0].ID
	over := a
	over.Status, over.EndsAt, over.Labels = alert.Resolved, w.now(), map[string]string{}
	sender.fires = nil
	d := sources.Delivery{DedupKey: "poll:over", Type: sources.PolledType, OccurredAt: w.now(), Alerts: []alert.Alert{over}}
	polls.Store(w.name+"/am", func(q sources.Question) ([]sources.Found, error) {
		if len(q.Known) != 1 || !q.Known[0].Ended.IsZero() {
			return nil, nil
		}
		return []sources.Found{{Delivery: d, Body: []byte("{}")}}, nil
	})
	w.poll()
	w.poll()
	if v := w.finish(run); v.Run.Outcome != remediation.ResolvedItself || w.scene(api).made("apply") != 0 {
		t.Errorf("the run ended as %s, with %d acts", v.Run.Outcome, w.scene(api).made("apply"))
	}
	if got := w.eventsStored(); got != 2 {
		t.Errorf("%d events of one delivery and one end", got)
	}
}
