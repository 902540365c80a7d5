package remediation_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
)

// forbid lets the database refuse to write records of a kind until the returned function is called.
func (w *world) forbid(kind string) (allow func()) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.path)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, db.Close()) })
	exec := func(query string) {
		w.t.Helper()
		_, err := db.ExecContext(w.t.Context(), query)
		must(w.t, err)
	}
	exec(`CREATE TRIGGER mute BEFORE INSERT ON journal WHEN NEW.kind = '` + kind + `' BEGIN SELECT RAISE(ABORT, 'the journal is mute'); END`)
	return func() { exec(`DROP TRIGGER mute`) }
}

// No record, no action: while the intent cannot be written nothing is called, however often the run is visited.
func TestNoRecordNoAction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	id := w.fire(down(api))
	allow := w.forbid(remediation.EntryIntent)
	for range 5 {
		w.advance(2 * lease)
		if err := w.visit(id); err == nil || !strings.Contains(err.Error(), "the journal is mute") {
			t.Fatalf("a visit that could write nothing: %v", err)
		}
	}
	v := w.view(id)
	if made := w.scene(api).made("apply"); made != 0 || v.Run.Acted || len(v.Steps)+len(v.Messages)+len(v.Entries) != 0 {
		t.Fatalf("without a record there were %d calls, %d steps, %d messages: %+v", made, len(v.Steps), len(v.Messages), v.Run)
	}
	allow()
	w.advance(2 * lease)
	if v := w.finish(id); v.Run.Outcome != remediation.Fixed || w.scene(api).made("apply") != 1 {
		t.Errorf("with a record: %s after %d calls", v.Run.Outcome, w.scene(api).made("apply"))
	}
}

// A result that cannot be written is not taken for one: the run looks at what became of its call, and does not repeat it.
func TestResultWithoutARecordIsReadBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	id := w.fire(down(api))
	allow := w.forbid(remediation.EntryApplied)
	if err := w.visit(id); err == nil {
		t.Fatal("a result was stored without its record")
	}
	allow()
	w.advance(2 * lease)
	if v := w.finish(id); v.Run.Outcome != remediation.Fixed || w.scene(api).made("apply") != 1 {
		t.Errorf("%s after %d calls", v.Run.Outcome, w.scene(api).made("apply"))
	}
}

func TestNoteCarriesTheFleetsHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	first := w.play(down(api))
	if note := noteOf(t, first.Messages); strings.Contains(note, "fleet head") {
		t.Errorf("the first note names a head before there is one:\n%s", note)
	}
	_, err := w.store.LinkDone(t.Context(), w.now())
	must(t, err)
	head, err := w.store.Head(t.Context())
	must(t, err)
	second := w.play(down(web))
	note := noteOf(t, second.Messages)
	if !strings.HasSuffix(note, "\nfleet head "+head.Anchor().String()+"\njournal head "+second.Run.Head) {
		t.Errorf("the second note does not end in the heads:\n%s", note)
	}
	for _, a := range remediation.FindAnchors(note) {
		if _, err := w.store.Anchored(t.Context(), a); err != nil {
			t.Errorf("a head of the note: %v", err)
		}
	}
}

// audited links what has ended and lets the records be judged, as `audit verify` does.
func (w *world) audited() {
	w.t.Helper()
	ctx := context.Background() // a test's own has ended when its world is judged
	_, err := w.store.LinkDone(ctx, w.now())
	must(w.t, err)
	for place := ""; ; {
		part, err := w.store.Audit(ctx, place)
		must(w.t, err)
		for _, f := range part.Findings {
			w.t.Errorf("audit: %s: %s", f.Place, f.What)
		}
		if place = part.Next; place == "" {
			return
		}
	}
}

func noteOf(t *testing.T, messages []remediation.Message) string {
	t.Helper()
	for _, m := range messages {
		if m.Kind == remediation.Note {
			return m.Text
		}
	}
	t.Fatal("there is no note")
	return ""
}
