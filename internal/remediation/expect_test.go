package remediation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// conserved checks what must hold at the end of every story: each verdict is final once its run is done, each journal is whole, each
// run that is done has let go of its target, and says how it ended if it acted.
func (w *world) conserved() {
	w.t.Helper()
	w.audited()
	ctx := context.Background()
	done := map[string]bool{}
	runs, err := w.store.ListRuns(ctx, store.Filter{Limit: 1000})
	must(w.t, err)
	for _, r := range runs {
		v := w.view(r.ID)
		done[r.ID] = r.State == remediation.Done
		if at := remediation.VerifyJournal(v.Entries); at != -1 {
			w.t.Errorf("the journal of run %s is broken at %d: %+v", r.ID, at, v.Entries)
		}
		if r.Entries != len(v.Entries) || len(v.Entries) > 0 && r.Head != v.Entries[len(v.Entries)-1].Hash {
			w.t.Errorf("run %s says it has %d journal records with head %s, its journal holds %d", r.ID, r.Entries, r.Head, len(v.Entries))
		}
		if done[r.ID] {
			w.ended(v)
		}
	}
	for _, event := range w.events {
		rulings, err := w.store.EventRulings(ctx, event)
		must(w.t, err)
		for _, ruling := range rulings {
			if ruling.Verdict == remediation.Candidate && done[ruling.Run] {
				w.t.Errorf("the verdict of rule %s on event %s was left open, and its run is done", ruling.Rule, event)
			}
		}
	}
}

func (w *world) ended(v store.RunView) {
	w.t.Helper()
	r := v.Run
	snapshot, err := w.store.Snapshot(context.Background(), remediation.SnapshotQuery{Now: w.now(), Run: r.ID, Target: r.Target})
	must(w.t, err)
	if snapshot.LockedBy == r.ID {
		w.t.Errorf("run %s is done and still holds its target", r.ID)
	}
	if r.Acted && r.Outcome == remediation.NoOutcome {
		w.t.Errorf("run %s acted and has no outcome", r.ID)
	}
	for _, s := range v.Steps {
		if s.State == remediation.StepIntent || s.State == remediation.StepAccepted {
			w.t.Errorf("run %s is done and step %d is still %s", r.ID, s.Seq, s.State)
		}
	}
}

// end is what a story is judged by.
type end struct {
	Outcome  remediation.Outcome
	Reason   string
	Steps    []remediation.StepState
	Messages []remediation.MessageKind
	Rulings  map[string]remediation.Verdict // on the run's own event
}

func endOf(v store.RunView) end {
	e := end{Outcome: v.Run.Outcome, Reason: string(v.Run.Reason), Rulings: map[string]remediation.Verdict{}}
	for _, s := range v.Steps {
		e.Steps = append(e.Steps, s.State)
	}
	for _, m := range v.Messages {
		e.Messages = append(e.Messages, m.Kind)
	}
	for _, r := range v.Rulings {
		if r.Event == v.Run.Event {
			e.Rulings[r.Rule] = r.Verdict
		}
	}
	return e
}

// expect compares the end of a run.
func (w *world) expect(v store.RunView, want end) {
	w.t.Helper()
	got := endOf(v)
	if want.Rulings == nil {
		got.Rulings = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("the run ended otherwise (-want +got):\n%s\n%s", diff, story(v))
	}
}

// story is what happened, for the reader of a failed test.
func story(v store.RunView) string {
	var b strings.Builder
	for _, e := range v.Entries {
		fmt.Fprintf(&b, "%s %s: %s\n", e.At.Format(time.TimeOnly), e.Kind, e.Text)
	}
	return b.String()
}

// said reports whether the journal has a record of the kind with the text in it.
func said(v store.RunView, kind, text string) bool {
	return slices.ContainsFunc(v.Entries, func(e remediation.Entry) bool { return e.Kind == kind && strings.Contains(e.Text, text) })
}

// The messages of the usual ends.
var (
	toldFixed    = []remediation.MessageKind{remediation.Acknowledge, remediation.Note, remediation.Resolve}
	toldNotFixed = []remediation.MessageKind{remediation.Acknowledge, remediation.Escalate, remediation.Note}
	toldOnly     = []remediation.MessageKind{remediation.Note}
	toldHuman    = []remediation.MessageKind{remediation.Escalate, remediation.Note}
)

// Ends of steps.
var (
	oneApplied = []remediation.StepState{remediation.StepApplied}
	oneDropped = []remediation.StepState{remediation.StepDropped}
	oneFailed  = []remediation.StepState{remediation.StepFailed}
	oneUnclear = []remediation.StepState{remediation.StepUnclear}
)
