package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// noise is a text that no packing makes smaller.
func noise(n int) []byte {
	chars := rand.New(rand.NewPCG(1, uint64(n)))
	text := make([]byte, n)
	for i := range text {
		text[i] = byte(chars.Uint32())
	}
	return text
}

// A body of any size is read as it came, also after a restart, and goes when its time is over; of one that waits for its look-up, not before that.
func largeBodies(w *world) {
	bodies := [][]byte{nil, []byte("{}"), bytes.Repeat([]byte("{} "), 20_000), noise(64 << 10), noise(64<<10 + 1), bytes.Repeat([]byte(`{"a":1},`), 128<<10), noise(1 << 20), noise(3<<20 + 7)}
	ids := make([]string, len(bodies))
	for i, body := range bodies {
		e := newEvent()
		e.Body, ids[i] = body, e.ID
		if i == len(bodies)-1 {
			e.State = remediation.EventPending
		}
		_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e})
		must(w.t, err)
	}
	check := func(when string, want [][]byte) {
		w.t.Helper()
		for i, id := range ids {
			if e, err := w.Event(w.t.Context(), id); err != nil || !bytes.Equal(e.Body, want[i]) {
				w.t.Errorf("%s: body %d has %d bytes (%v), want %d", when, i, len(e.Body), err, len(want[i]))
			}
		}
	}
	check("stored", bodies)
	w.reopen()
	check("reopened", bodies)
	for range 2 { // a delivery that is known brings no second body
		e := newEvent()
		e.DedupKey, e.OccurredAt, e.Body = "once", noon, noise(200<<10)
		got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e})
		must(w.t, err)
		_, err = w.Event(w.t.Context(), e.ID)
		if got.Duplicate != errors.Is(err, remediation.ErrNotFound) {
			w.t.Errorf("duplicate %t, and reading it gives %v", got.Duplicate, err)
		}
	}
	w.retains(remediation.Retention{Bodies: time.Hour})
	left := make([][]byte, len(bodies))
	left[len(left)-1] = bodies[len(bodies)-1]
	check("after its time", left)
}

// retains lets two months pass and drops what is old.
func (w *world) retains(r remediation.Retention) {
	w.t.Helper()
	w.clock.advance(2 * remediation.LeastKept)
	for more := true; more; {
		var err error
		more, err = w.Retain(w.t.Context(), r, w.clock.now())
		must(w.t, err)
	}
}

// The parts of a body do not wait for the disk. Whatever comes after them does, whether they could be stored or not.
func TestWriterIsSyncedAfterLargeBodies(t *testing.T) {
	t.Parallel()
	const full = 2 // sqlite.org/pragma.html#pragma_synchronous
	s := open(t, store.Config{})
	accept := func() error {
		e := newEvent()
		e.Body = noise(200 << 10)
		_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
		return err
	}
	check := func(when string) {
		t.Helper()
		var mode int
		if err := s.Writer().QueryRow(`PRAGMA synchronous`).Scan(&mode); err != nil || mode != full {
			t.Errorf("%s: synchronous is %d (%v), want %d", when, mode, err, full)
		}
	}
	check("opened")
	must(t, accept())
	check("stored")
	_, err := s.Writer().Exec(`CREATE TRIGGER no_parts BEFORE INSERT ON bodies BEGIN SELECT RAISE(ABORT, 'no'); END`)
	must(t, err)
	if err := accept(); !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("a body that cannot be stored: %v", err)
	}
	check("refused")
}

// A body that packing makes smaller takes less of the file.
func TestBodiesArePacked(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{})
	stored := func(body []byte) (size int) {
		t.Helper()
		e := newEvent()
		e.Body = body
		_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
		must(t, err)
		must(t, s.Writer().QueryRow(`SELECT length(body) FROM events WHERE id = $1`, e.ID).Scan(&size))
		return size
	}
	text := bytes.Repeat([]byte(`{"status":"firing"},`), 500)
	for _, c := range []struct {
		name string
		body []byte
		max  int
	}{
		{"small", text[:1000], 1000},
		{"a page", text, len(text) / 20},
		{"large", bytes.Repeat(text, 100), len(text)},
		{"not to be packed", noise(10_000), 10_000},
	} {
		if got := stored(c.body); got > c.max {
			t.Errorf("%s: %d bytes of %d, want at most %d", c.name, got, len(c.body), c.max)
		}
	}
}
