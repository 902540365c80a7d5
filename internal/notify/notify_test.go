package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

func TestDeliverTellsInOrder(t *testing.T) {
	t.Parallel()
	p := &pagerFake{open: true, incident: connect.Incident{ID: "Q1"}, alerts: []connect.IncidentAlert{{AlertKey: "k", Status: "triggered"}}}
	s := withPager(p,
		remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentKey: "k"},
		remediation.Message{ID: "m2", Kind: remediation.Note, IncidentKey: "k", Text: "rolled back"},
		remediation.Message{ID: "m3", Kind: remediation.Resolve, IncidentKey: "k"},
	)
	s.deliver(t, lane)
	want := []string{"find", "acknowledge Q1", "note Q1", "alerts", "resolve Q1"}
	if diff := cmp.Diff(want, p.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, id := range []string{"m1", "m2", "m3"} {
		if m := s.message(id); m.State != remediation.MessageSent || m.RemoteID != "Q1" {
			t.Errorf("%s is %s as %q", id, m.State, m.RemoteID)
		}
	}
	if want := "rolled back\n\nremediator: run run-1 · message m2"; p.notes[0].Content != want {
		t.Errorf("the note says %q, want %q", p.notes[0].Content, want)
	}
}

func TestFailuresWaitAndKeepTheOrder(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"note Q1": {errOutage, errOutage, nil}}}
	s := withPager(p,
		remediation.Message{ID: "m1", Kind: remediation.Note, IncidentID: "Q1", Text: "one"},
		remediation.Message{ID: "m2", Kind: remediation.Acknowledge, IncidentID: "Q1"},
	)
	s.deliver(t, lane)
	s.deliver(t, lane) // not due yet: nothing may be called
	if diff := cmp.Diff([]string{"note Q1"}, p.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if wait := s.message("m1").NotBefore.Sub(noon); wait != 800*time.Millisecond {
		t.Errorf("the first wait is %s", wait)
	}
	s.finish(t, lane, 5)
	want := []string{"note Q1", "notes", "note Q1", "notes", "note Q1", "acknowledge Q1"}
	if diff := cmp.Diff(want, p.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	n := withPager(&pagerFake{}).notifier
	var got []time.Duration
	for attempts := range 13 {
		got = append(got, n.delay(attempts)*5/4) // without the chance, which is 0 here
	}
	want := []time.Duration{
		1e9, 1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 64e9, 128e9, 256e9, 300e9, 300e9, 300e9,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
	n.cfg.Speed, n.cfg.Jitter = 10, func() float64 { return 0.999 }
	if d := n.delay(20); d < 30*time.Second || d > 36*time.Second {
		t.Errorf("at speed 10 the longest delay is %s", d)
	}
}

func TestRateLimitIsHonouredAndNeverGivesUp(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{}}
	for range 30 {
		p.failures["acknowledge Q1"] = append(p.failures["acknowledge Q1"], limited(time.Hour))
	}
	s := withPager(p,
		remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1"},
		remediation.Message{ID: "o1", Run: "run-2", Kind: remediation.Note, IncidentID: "Q1"},
		remediation.Message{ID: "o2", Run: "run-3", Kind: remediation.Escalate, IncidentID: "Q1"},
	)
	s.deliver(t, lane)
	if wait := s.message("m1").NotBefore.Sub(noon); wait != time.Hour {
		t.Errorf("it waits %s, want an hour", wait)
	}
	s.deliver(t, remediation.Lane{Run: "run-2", Channel: remediation.PagerDuty})
	s.deliver(t, remediation.Lane{Run: "run-3", Channel: remediation.PagerDuty})
	if diff := cmp.Diff([]string{"acknowledge Q1", "escalate Q1"}, p.calls); diff != "" {
		t.Errorf("calls while limited (-want +got):\n%s", diff)
	}
	s.all = s.all[:1]
	s.finish(t, lane, 40) // 30 hours of rate limits
	if m := s.message("m1"); m.State != remediation.MessageSent {
		t.Errorf("the message is %s: %s", m.State, m.Error)
	}
}

func TestPermanentFailureIsDeadAndLetsTheNextGo(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"acknowledge Q1": {errPermanent}}}
	s := withPager(p,
		remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1"},
		remediation.Message{ID: "m2", Kind: remediation.Note, IncidentID: "Q1"},
	)
	s.deliver(t, lane)
	if m := s.message("m1"); m.State != remediation.MessageDead || m.Error == "" {
		t.Errorf("the first is %s: %q", m.State, m.Error)
	}
	if m := s.message("m2"); m.State != remediation.MessageSent {
		t.Errorf("the second is %s: %q", m.State, m.Error)
	}
	if n := testutil.ToFloat64(s.notifier.metrics.messages.WithLabelValues("pagerduty", "acknowledge", "dead")); n != 1 {
		t.Errorf("%v dead acknowledgements were counted", n)
	}
}

func TestGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{}}
	for range 2000 {
		p.failures["escalate Q1"] = append(p.failures["escalate Q1"], errOutage)
	}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Escalate, IncidentID: "Q1"})
	s.finish(t, lane, 1000)
	m := s.message("m1")
	if age := s.clock().Sub(noon); m.State != remediation.MessageDead || age < 24*time.Hour || age > 25*time.Hour {
		t.Errorf("after %s it is %s: %s", age, m.State, m.Error)
	}
	late := withPager(&pagerFake{failures: map[string][]error{"acknowledge Q1": {errOutage}}},
		remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1"})
	late.now = noon.Add(48 * time.Hour) // it waited behind another
	late.deliver(t, lane)
	if m := late.message("m1"); m.State != remediation.MessageQueued {
		t.Errorf("a late message was given up at its first attempt: %s", m.Error)
	}
}

func TestOpenBreakerHoldsMessagesButNotTheWayBack(t *testing.T) {
	t.Parallel()
	p := &pagerFake{failures: map[string][]error{"note Q1": slices.Repeat([]error{errOutage}, breakerFailures)}}
	var messages []remediation.Message
	for i := range breakerFailures + 1 {
		messages = append(messages, remediation.Message{ID: string(rune('a' + i)), Run: string(rune('A' + i)), Kind: remediation.Note, IncidentID: "Q1"})
	}
	messages = append(messages,
		remediation.Message{ID: "e", Run: "esc", Kind: remediation.Escalate, IncidentID: "Q1"},
		remediation.Message{ID: "r", Run: "res", Kind: remediation.Resolve, IncidentID: "Q1"},
	)
	s := withPager(p, messages...)
	for _, m := range messages {
		s.deliver(t, remediation.Lane{Run: m.Run, Channel: remediation.PagerDuty})
	}
	held := s.message(string(rune('a' + breakerFailures)))
	if held.State != remediation.MessageQueued || !strings.Contains(held.Error, "breaker is open") || held.NotBefore.Sub(noon) != breakerPause {
		t.Errorf("the message behind the open breaker: %+v", held)
	}
	if n := len(p.calls); n != breakerFailures+3 { // the notes, and escalate, alerts, resolve
		t.Errorf("%d calls: %v", n, p.calls)
	}
	for _, id := range []string{"e", "r"} {
		if m := s.message(id); m.State != remediation.MessageSent {
			t.Errorf("%s was held back: %s", id, m.Error)
		}
	}
}

func TestInterruptedStaysQueued(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := &pagerFake{failures: map[string][]error{"acknowledge Q1": {context.Canceled}}}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1"})
	s.notifier.cfg.Connections = func() connect.Set {
		cancel() // the process is being stopped while the call is made
		return connect.Set{"pagerduty": p}
	}
	if err := s.notifier.Deliver(ctx, lane); err != nil {
		t.Errorf("delivering: %v", err)
	}
	if m := s.message("m1"); m.State != remediation.MessageQueued || !m.NotBefore.Equal(noon) {
		t.Errorf("the message is %s, not before %s: %s", m.State, m.NotBefore, m.Error)
	}
	if err := s.notifier.Deliver(ctx, lane); !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped delivery gives %v", err)
	}
}

func TestSuccessIsRecordedWhileStopping(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := &pagerFake{}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Acknowledge, IncidentID: "Q1"})
	s.notifier.cfg.Connections = func() connect.Set {
		cancel()
		return connect.Set{"pagerduty": p}
	}
	_ = s.notifier.Deliver(ctx, lane)
	if m := s.message("m1"); m.State != remediation.MessageSent {
		t.Errorf("the message is %s: %s", m.State, m.Error)
	}
}

func TestOutboxFailureIsReturned(t *testing.T) {
	t.Parallel()
	p := &pagerFake{}
	s := withPager(p, remediation.Message{ID: "m1", Kind: remediation.Note, IncidentID: "Q1", Text: "x"})
	s.endErr = remediation.ErrUnavailable
	if err := s.notifier.Deliver(t.Context(), lane); !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("delivering gives %v", err)
	}
	s.finish(t, lane, 3) // the lease ends, the note is found and not written again
	if diff := cmp.Diff([]string{"note Q1", "notes"}, p.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestUnusableMessages(t *testing.T) {
	t.Parallel()
	s := withPager(&pagerFake{},
		remediation.Message{ID: "m1", Kind: remediation.Post, IncidentID: "Q1"},
		remediation.Message{ID: "m2", Kind: remediation.Note},
		remediation.Message{ID: "m3", Kind: remediation.Note, IncidentID: "Q1", Connection: "elsewhere"},
		remediation.Message{ID: "m4", Kind: remediation.Note, IncidentID: "Q1", Channel: "carrier pigeon"},
	)
	s.deliver(t, lane)
	s.deliver(t, remediation.Lane{Run: "run-1", Channel: "carrier pigeon"})
	for id, want := range map[string]remediation.MessageState{
		"m1": remediation.MessageDead, "m2": remediation.MessageDead, "m3": remediation.MessageQueued, "m4": remediation.MessageDead,
	} {
		if m := s.message(id); m.State != want || m.Error == "" {
			t.Errorf("%s is %s (%q), want %s", id, m.State, m.Error, want)
		}
	}
}

func TestMetricsShowZeros(t *testing.T) {
	t.Parallel()
	s := withPager(&pagerFake{})
	if n := testutil.CollectAndCount(s.notifier.metrics.messages); n != 44 {
		t.Errorf("%d series, want 11 kinds of 4 results", n)
	}
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", err, problems)
	}
}
