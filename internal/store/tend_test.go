package store_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// The sweep links what has ended and shows it, and once in an hour drops what is old, a little at a time.
func TestSweepTendsTheRecords(t *testing.T) {
	t.Parallel()
	w := &world{t: t, clock: newClock()}
	registry := prometheus.NewPedanticRegistry()
	asked := 0
	s := open(t, store.Config{Now: w.clock.now, Registerer: registry, Retention: func() remediation.Retention {
		asked++
		return remediation.Retention{Bodies: time.Hour}
	}})
	w.subject = s
	event := func() string {
		e := newEvent()
		e.ReceivedAt = w.clock.now()
		_, err := w.Accept(t.Context(), remediation.Acceptance{Event: e})
		must(t, err)
		return e.ID
	}
	sweep := func() { t.Helper(); must(t, s.Sweep(t.Context())) }
	run, first := w.told("api"), event()
	sweep()
	head, err := s.Head(t.Context())
	must(t, err)
	if head.Run != run.ID || asked != 1 {
		t.Errorf("the head is %+v, retention was asked for %d times", head, asked)
	}
	if got := testutil.ToFloat64(s.ChainLength()); got != 1 {
		t.Errorf("remediator_chain_length is %v", got)
	}
	if n, err := testutil.GatherAndCount(registry, "remediator_chain_length"); n != 1 || err != nil {
		t.Errorf("remediator_chain_length is shown %d times, %v", n, err)
	}
	w.clock.advance(59 * time.Minute)
	sweep()
	second := event()
	w.clock.advance(2 * time.Minute) // the first is older than an hour
	sweep()
	sweep()
	if _, body := w.hasEvent(first); body || asked != 2 {
		t.Errorf("the body of the first event is there: %v; retention was asked for %d times", body, asked)
	}
	if _, body := w.hasEvent(second); !body {
		t.Error("the body of the second event is gone")
	}
}

// More than a round drops is dropped by the next sweeps, not in the next hour.
func TestSweepGoesOnUntilNothingIsOld(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := w.subject.(*store.Store)
	const n = 1100
	acceptMany(t, s, n)
	w.clock.advance(31 * day)
	bodies := func() (left int) {
		t.Helper()
		must(t, s.Writer().QueryRowContext(t.Context(), `SELECT count(*) FROM events WHERE body IS NOT NULL`).Scan(&left))
		return left
	}
	s.Deafen()
	for before := n; before > 0; {
		must(t, s.Sweep(t.Context()))
		left := bodies()
		if left >= before || before-left > 500 {
			t.Fatalf("a sweep left %d bodies of %d", left, before)
		}
		before = left
	}
}

// What ends while a server stops is linked before it is gone: the file holds together by itself.
func TestStopLinksTheLastRuns(t *testing.T) {
	t.Parallel()
	w := &world{t: t, clock: newClock()}
	w.clock.us.Store(time.Now().UnixMicro())
	var log syncBuffer
	path := filepath.Join(t.TempDir(), "db")
	s, err := store.Open(t.Context(), store.Config{DSN: "sqlite:" + path, Owner: owner, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	w.subject = s
	run := w.born(firing("e"), "api")
	ended := make(chan struct{})
	must(t, s.Start(t.Context(), &recorder{answer: func(call string) error {
		if strings.HasPrefix(call, "advance "+run.ID) {
			w.conclude(&run)
			close(ended)
		}
		return nil
	}}))
	<-ended
	must(t, s.Stop(t.Context()))
	must(t, s.Close())
	archive, err := store.OpenArchive(t.Context(), "sqlite:"+path)
	must(t, err)
	defer func() { must(t, archive.Close()) }()
	head, err := archive.Head(t.Context())
	if err != nil || head.Run != run.ID {
		t.Errorf("the file's head is %+v, %v; the log:\n%s", head, err, log.String())
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// An archive is the same on both databases, and can change nothing.
func TestArchive(t *testing.T) {
	t.Parallel()
	file := "sqlite:" + filepath.Join(t.TempDir(), "db")
	for name, dsn := range map[string]func(testing.TB) string{
		"SQLite": func(testing.TB) string { return file }, "PostgreSQL": postgresDSN,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := dsn(t)
			w := newWorld(t, dsn)
			for range 3 {
				w.told("api")
			}
			w.link(3)
			late := w.told("web")
			want := w.audited()
			archive, err := store.OpenArchive(t.Context(), dsn)
			must(t, err)
			defer func() { must(t, archive.Close()) }()
			got := auditOf(t, archive) // a year later too: the run that is not linked ended when the records end
			if got.Runs != want.Runs || got.Unlinked != 1 || got.Links != 3 || len(got.Findings) > 0 {
				t.Errorf("the archive is audited as %+v, the store as %+v", got, want)
			}
			if where, err := archive.Anchored(t.Context(), remediation.Anchor{Hash: late.Head}); where != "run "+late.ID || err != nil {
				t.Errorf("a head is found at %q, %v", where, err)
			}
			if err := archive.Write(t.Context()); err == nil {
				t.Error("the archive could be changed")
			}
		})
	}
	for _, dsn := range []string{"", "sqlite:", "sqlite:" + t.TempDir() + "/nothere", "mysql://x"} {
		if a, err := store.OpenArchive(t.Context(), dsn); err == nil {
			t.Errorf("%q was opened", dsn)
			_ = a.Close()
		}
	}
}
