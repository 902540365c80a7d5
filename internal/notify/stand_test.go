package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	lane  = remediation.Lane{Run: "run-1", Channel: remediation.PagerDuty}
	rooms = remediation.Lane{Run: "run-1", Channel: remediation.Slack}
)

// shelf is an Outbox in memory. Its clock stands still until the test moves it.
type shelf struct {
	mu     sync.Mutex
	now    time.Time
	all    []remediation.Message
	others int
	asked  []string    // the incidents of which other runs were asked for
	endErr error       // of the next End only
	dies   func() bool // asked by End: whether the process dies before it is done; nil: never
}

func (s *shelf) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *shelf) Next(_ context.Context, l remediation.Lane, now time.Time, lease time.Duration) (remediation.Message, string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	thread := ""
	for i := range s.all {
		m := &s.all[i]
		switch {
		case m.Run != l.Run || m.Channel != l.Channel:
		case m.State == remediation.MessageSent && thread == "":
			thread = m.RemoteID
		case m.State == remediation.MessageQueued && m.NotBefore.After(now):
			return remediation.Message{}, "", false, nil
		case m.State == remediation.MessageQueued:
			m.Attempts++
			m.NotBefore = now.Add(lease)
			return *m, thread, true, nil
		}
	}
	return remediation.Message{}, "", false, nil
}

func (s *shelf) End(ctx context.Context, sent remediation.Sent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dies != nil && s.dies() {
		return remediation.ErrUnavailable
	}
	if err := errors.Join(ctx.Err(), s.endErr); err != nil {
		s.endErr = nil
		return err
	}
	i := slices.IndexFunc(s.all, func(m remediation.Message) bool { return m.ID == sent.ID })
	m := &s.all[i]
	m.State, m.RemoteID, m.Error, m.NotBefore = sent.State, sent.RemoteID, sent.Error, sent.NotBefore
	return nil
}

func (s *shelf) OtherRuns(_ context.Context, m remediation.Message) (int, error) {
	s.asked = append(s.asked, m.IncidentID)
	return s.others, nil
}

// state gives a message as it is now.
func (s *shelf) message(id string) remediation.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(m remediation.Message) bool { return m.ID == id })
	return s.all[i]
}

// wake moves the clock to the next moment at which something is due. It reports whether there is one.
func (s *shelf) wake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	heads := map[remediation.Lane]time.Time{}
	for _, m := range s.all {
		l := remediation.Lane{Run: m.Run, Channel: m.Channel}
		if _, behind := heads[l]; m.State == remediation.MessageQueued && !behind {
			heads[l] = m.NotBefore
		}
	}
	if len(heads) == 0 {
		return false
	}
	if next := slices.MinFunc(slices.Collect(maps.Values(heads)), time.Time.Compare); next.After(s.now) {
		s.now = next
	}
	return true
}

// pagerFake answers as its fields say and keeps what it was asked.
type pagerFake struct {
	mu       sync.Mutex
	calls    []string
	failures map[string][]error // by call, used up one by one; a nil one is a success
	incident connect.Incident
	open     bool
	alerts   []connect.IncidentAlert
	notes    []connect.Note
	events   []connect.Event
	log      []string // status updates and requests for responders
	keeps    bool     // a call whose answer is lost has taken effect
}

func (p *pagerFake) did(call string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
	planned := p.failures[call]
	if len(planned) == 0 {
		return nil
	}
	p.failures[call] = planned[1:]
	return planned[0]
}

func (p *pagerFake) Close() error { return nil }
func (p *pagerFake) FindOpen(context.Context, string) (connect.Incident, bool, error) {
	return p.incident, p.open, p.did("find")
}
func (p *pagerFake) FindAny(context.Context, string) (connect.Incident, bool, error) {
	return p.incident, p.open, p.did("find any")
}
func (p *pagerFake) Incident(context.Context, string) (connect.Incident, error) {
	return p.incident, nil // it is read before every word, and kept out of the calls
}
func (p *pagerFake) Alerts(context.Context, string) ([]connect.IncidentAlert, error) {
	return p.alerts, p.did("alerts")
}
func (p *pagerFake) Trigger(_ context.Context, e connect.Event) error {
	p.events = append(p.events, e)
	return p.did("trigger")
}
func (p *pagerFake) Acknowledge(_ context.Context, id string) error {
	return p.did("acknowledge " + id)
}
func (p *pagerFake) Resolve(_ context.Context, id, _ string) error { return p.did("resolve " + id) }
func (p *pagerFake) Escalate(_ context.Context, id string) error   { return p.did("escalate " + id) }
func (p *pagerFake) Snooze(_ context.Context, id string, d time.Duration) error {
	return p.did("snooze " + id + " " + d.String())
}
func (p *pagerFake) Reassign(_ context.Context, id string, to connect.People) error {
	return p.did(fmt.Sprintf("reassign %s %v%v", id, to.Users, to.Policies))
}
func (p *pagerFake) RequestResponders(_ context.Context, id string, who connect.People, text string) error {
	err := p.did(fmt.Sprintf("responders %s %v%v", id, who.Users, who.Policies))
	if err == nil || p.keeps {
		p.log = append(p.log, text)
	}
	return err
}
func (p *pagerFake) SetPriority(_ context.Context, id, name string) error {
	return p.did("priority " + id + " " + name)
}
func (p *pagerFake) StatusUpdate(_ context.Context, id, text string) error {
	err := p.did("update " + id)
	if err == nil || p.keeps {
		p.log = append(p.log, text)
	}
	return err
}
func (p *pagerFake) Logged(_ context.Context, _, line string) (bool, error) {
	return slices.ContainsFunc(p.log, func(text string) bool { return strings.HasSuffix(text, "\n"+line) }), p.did("logged")
}
func (p *pagerFake) Notes(context.Context, string) ([]connect.Note, error) {
	return p.notes, p.did("notes")
}
func (p *pagerFake) Note(_ context.Context, id, text string) error {
	if err := p.did("note " + id); err != nil {
		return err
	}
	p.notes = append(p.notes, connect.Note{Content: text})
	return nil
}

type stand struct {
	*shelf
	notifier *Notifier
	registry *prometheus.Registry
}

func newStand(clients connect.Set, messages ...remediation.Message) *stand {
	s := &shelf{now: noon, all: messages}
	for i := range s.all {
		m := &s.all[i]
		m.State, m.CreatedAt, m.Seq = remediation.MessageQueued, noon, i
		if m.Run == "" {
			m.Run = lane.Run
		}
		if m.Channel == "" {
			m.Channel = remediation.PagerDuty
		}
		if m.Connection == "" {
			m.Connection = string(m.Channel)
		}
	}
	registry := prometheus.NewRegistry()
	return &stand{shelf: s, registry: registry, notifier: New(Config{
		Outbox: s, Connections: func() connect.Set { return clients }, Now: s.clock, Jitter: func() float64 { return 0 },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: registry,
	})}
}

func withPager(p *pagerFake, messages ...remediation.Message) *stand {
	return newStand(connect.Set{"pagerduty": p}, messages...)
}

// deliver makes one delivery of the lane.
func (s *stand) deliver(t *testing.T, l remediation.Lane) {
	t.Helper()
	if err := s.notifier.Deliver(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// finish delivers, moving the clock, until nothing is queued, in at most the given rounds.
func (s *stand) finish(t *testing.T, l remediation.Lane, rounds int) {
	t.Helper()
	for range rounds {
		s.deliver(t, l)
		if !s.wake() {
			return
		}
	}
	t.Fatalf("after %d rounds something is still queued: %+v", rounds, s.all)
}

func limited(d time.Duration) error {
	return &connect.RateLimited{System: "pagerduty", RetryAfter: d, Err: errors.New("429")}
}

// errPermanent is an error that connect calls permanent and not ambiguous.
var errPermanent = connect.ErrHostRefused

var errOutage = errors.New("a broken connection")
