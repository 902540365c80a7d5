package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

func start(t *testing.T, s *store.Store, w store.Worker) {
	t.Helper()
	must(t, s.Start(t.Context(), w))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
}

// storeWorld is a world on the real clock, whose store works.
func storeWorld(t *testing.T) (*world, *store.Store) {
	s := open(t, store.Config{})
	w := &world{t: t, clock: newClock(), subject: s}
	w.clock.us.Store(time.Now().UnixMicro())
	return w, s
}

func TestVisitsAtOnce(t *testing.T) {
	t.Parallel()
	w, s := storeWorld(t)
	r := &recorder{}
	start(t, s, r)
	e := newEvent()
	e.State = remediation.EventPending
	_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
	must(t, err)
	run := w.born(firing("e"), "api")
	m := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.PagerDuty}
	must(t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.WakeAt, c.Lease = remediation.Waiting, time.Now().Add(50*time.Millisecond), time.Time{}
		c.Messages = []remediation.Message{m}
	}))
	for _, call := range []string{
		"match " + e.ID, "advance " + run.ID + "@0", "deliver " + run.ID + " pagerduty", "advance " + run.ID + "@1",
	} {
		eventually(t, call, func() bool { return r.count(call) > 0 })
	}
}

func TestWorkOfAFormerProcessGoesOnAtOnce(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	run := w.born(firing("e"), "api")
	w.reopen() // its lease would last for 15 s by a clock that stands still
	r := &recorder{}
	start(t, w.subject.(*store.Store), r)
	eventually(t, "the run is visited", func() bool { return r.count("advance "+run.ID+"@0") > 0 })
	if _, err := w.claim(remediation.Hint{Run: run.ID}); err != nil {
		t.Errorf("claiming it: %v", err)
	}
}

func TestSweepFindsLostHints(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := w.subject.(*store.Store)
	s.Deafen()
	e := newEvent()
	e.State = remediation.EventPending
	_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
	must(t, err)
	held, waiting, told := w.born(firing("e"), "api"), w.born(firing("f"), "web"), w.born(firing("g"), "db")
	message := func(seq int, before time.Time) remediation.Message {
		return remediation.Message{ID: newID(), Run: told.ID, Seq: seq, Channel: remediation.Slack, NotBefore: before}
	}
	must(t, w.commit(&waiting, func(c *remediation.Commit) {
		c.Run.State, c.Run.WakeAt, c.Lease = remediation.Waiting, noon.Add(time.Minute), time.Time{}
	}))
	must(t, w.commit(&told, func(c *remediation.Commit) {
		c.Run.State, c.Run.Outcome = remediation.Done, remediation.Fixed
		c.Messages = []remediation.Message{message(0, noon.Add(time.Hour)), message(1, noon)}
	}))
	heldHint, waitingHint := remediation.Hint{Run: held.ID}, remediation.Hint{Run: waiting.ID, Version: 1}
	lane := remediation.Lane{Run: told.ID, Channel: remediation.Slack}
	for _, c := range []struct {
		after time.Duration
		want  remediation.Due
	}{
		{0, remediation.Due{Events: []string{e.ID}}},
		{lease, remediation.Due{Events: []string{e.ID}, Runs: []remediation.Hint{heldHint}}},
		{time.Minute, remediation.Due{Events: []string{e.ID}, Runs: []remediation.Hint{heldHint, waitingHint}}},
		{time.Hour, remediation.Due{Events: []string{e.ID}, Runs: []remediation.Hint{heldHint, waitingHint}, Lanes: []remediation.Lane{lane}}},
	} {
		due, err := s.Due(t.Context(), noon.Add(c.after))
		must(t, err)
		if fmt.Sprint(due) != fmt.Sprint(c.want) {
			t.Errorf("after %s: due %+v, want %+v", c.after, due, c.want)
		}
	}
}

func TestSweepVisits(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	run := w.born(firing("e"), "api")
	w.reopen()
	s := w.subject.(*store.Store)
	_, err := s.Writer().ExecContext(t.Context(), `DELETE FROM river_job`) // the row alone is left
	must(t, err)
	r := &recorder{}
	start(t, s, r)
	eventually(t, "the sweep visits", func() bool { return r.count("advance "+run.ID+"@0") > 0 })
}

func TestQueueIsTheBackstop(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{Lease: 100 * time.Millisecond})
	r := &recorder{}
	must(t, s.OnlyQueue(t.Context(), r))
	e := newEvent()
	e.State = remediation.EventPending
	lane := remediation.Message{ID: newID(), Run: e.ID, Channel: remediation.Slack}
	got, err := s.Accept(t.Context(), remediation.Acceptance{
		Event: e, Proposals: []remediation.Proposal{proposal(firing("e"), "api")}, Messages: []remediation.Message{lane},
	})
	must(t, err)
	for _, call := range []string{"match " + e.ID, "advance " + got.Runs[0].Run + "@0", "deliver " + e.ID + " slack"} {
		eventually(t, call, func() bool { return r.count(call) == 1 })
	}
}

func TestFailedVisitIsMadeAgain(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := open(t, store.Config{Registerer: registry})
	r := &recorder{answer: func(string) error { panic("at the worst moment") }}
	start(t, s, r)
	e := newEvent()
	e.State = remediation.EventPending
	_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
	must(t, err)
	eventually(t, "a second visit", func() bool { return r.count("match "+e.ID) >= 2 })
	if n := counter(t, registry, "remediator_store_visit_failures_total", "match"); n < 1 {
		t.Errorf("%.0f failures are counted", n)
	}
}

func TestVoidVisitsAreNoErrors(t *testing.T) {
	t.Parallel()
	for _, void := range []error{remediation.ErrStaleHint, remediation.ErrFenced} {
		registry := prometheus.NewPedanticRegistry()
		s := open(t, store.Config{Registerer: registry})
		w := &world{t: t, clock: newClock(), subject: s}
		r := &recorder{answer: func(string) error { return fmt.Errorf("visiting: %w", void) }}
		must(t, s.Start(t.Context(), r))
		run := w.propose(firing("e"), "api").Runs[0]
		eventually(t, "the visit", func() bool { return r.count("advance "+run.Run+"@0") == 1 })
		must(t, s.Stop(t.Context()))
		if n := counter(t, registry, "remediator_store_visit_failures_total", "advance"); n != 0 {
			t.Errorf("%v: %.0f failures are counted", void, n)
		}
	}
}

func TestStopWaitsForVisits(t *testing.T) {
	t.Parallel()
	w, s := storeWorld(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	r := &recorder{answer: func(string) error { close(begun); <-finish; return nil }}
	must(t, s.Start(t.Context(), r))
	if err := s.Start(t.Context(), r); err == nil {
		t.Error("started twice")
	}
	w.propose(firing("e"), "api")
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Stop(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stopping during a visit: %v", err)
	}
	next := w.propose(firing("f"), "web").Runs[0]
	close(finish)
	must(t, s.Stop(t.Context()))
	if r.count("advance "+next.Run+"@0") != 0 {
		t.Error("a visit began after the stop")
	}
}
