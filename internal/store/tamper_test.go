package store_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// tamperings is how many random changes of the records are tried: TAMPERINGS, or as many as fit into everybody's test.
func tamperings(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("TAMPERINGS"), "1000"))
	must(t, err)
	return n
}

// forger changes stored records as somebody with the database in their hands could. Each of its ways gives the statements of one random
// change; it never gives a change that leaves things as they are.
type forger struct {
	*rand.Rand
	runs  []remediation.Run // that are linked and there, by their links
	open  remediation.Run
	books map[string][]remediation.Entry
	chain []remediation.Link
	now   time.Time
}

type statement struct {
	query string
	args  []any
}

// TestTampering: whatever is changed, dropped, moved, added or cut off in journals, runs' heads and chain is found, in part only by the
// heads that were written elsewhere.
func TestTampering(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	f := w.forger(rand.New(rand.NewPCG(1, 2)))
	s := w.subject.(*store.Store)
	w.clock.advance(remediation.LinkWithin + time.Second)
	f.now = w.clock.now()
	anchors := []remediation.Anchor{f.chain[3].Anchor(), f.chain[len(f.chain)-1].Anchor(), {Hash: f.open.Head}}
	rehearse := func(change []statement) (findings []remediation.Finding, lost int) {
		t.Helper()
		findings, lost, err := s.Rehearse(t.Context(), f.now, anchors, func(exec func(string, ...any) error) error {
			for _, c := range change {
				if err := exec(c.query, c.args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("trying %+v: %v", change, err)
		}
		return findings, lost
	}
	if findings, lost := rehearse(nil); len(findings) > 0 || lost > 0 {
		t.Fatalf("before any change: %+v, %d anchors are lost", findings, lost)
	}
	ways := f.ways()
	names := slices.Sorted(maps.Keys(ways))
	byAnchor, missed := map[string]int{}, 0
	n := tamperings(t)
	for i := range n {
		name := names[i%len(names)]
		change := ways[name]()
		findings, lost := rehearse(change)
		switch {
		case len(findings) == 0 && lost == 0:
			missed++
			t.Errorf("%s was not found: %+v", name, change)
		case len(findings) == 0:
			byAnchor[name]++
		}
	}
	t.Logf("%d changes of %d kinds, %d missed; found by anchors alone: %v", n, len(names), missed, byAnchor)
}

// forger fills the world: runs that are linked, one of them dropped by retention, and one that goes on.
func (w *world) forger(random *rand.Rand) *forger {
	w.t.Helper()
	f := &forger{Rand: random, books: map[string][]remediation.Entry{}}
	w.told("old")
	w.link(1)
	w.clock.advance(remediation.KeepRuns + time.Second)
	w.retain(remediation.Retention{})
	for i := range 6 {
		f.runs = append(f.runs, w.told(fmt.Sprintf("target-%d", i)))
		if i%2 == 1 {
			w.link(2)
		}
	}
	f.open = w.born(firing("open"), "open")
	must(w.t, w.intend(&f.open, "open"))
	s := w.subject.(*store.Store)
	for _, run := range append(slices.Clone(f.runs), f.open) {
		v, err := s.Run(w.t.Context(), run.ID)
		must(w.t, err)
		f.books[run.ID] = v.Entries
	}
	rows, err := s.Writer().QueryContext(w.t.Context(), `SELECT seq, run, head, entries, at, prev, hash, pruned_at FROM chain ORDER BY seq`)
	must(w.t, err)
	defer func() { must(w.t, rows.Close()) }()
	for rows.Next() {
		var (
			l          remediation.Link
			at, pruned int64
		)
		must(w.t, rows.Scan(&l.Seq, &l.Run, &l.Head, &l.Entries, &at, &l.Prev, &l.Hash, &pruned))
		l.At = time.UnixMicro(at).UTC()
		f.chain = append(f.chain, l)
	}
	must(w.t, rows.Err())
	return f
}
