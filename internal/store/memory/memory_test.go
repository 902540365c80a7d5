package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore() *memory.Store {
	return memory.New(memory.Config{Now: func() time.Time { return noon }})
}

func proposal(id, target string) remediation.Proposal {
	a := alert.Alert{Source: "am", Episode: "e-" + id, Labels: map[string]string{"service": target}, StartsAt: noon}
	return remediation.Proposal{Run: remediation.Run{
		ID: id, Origin: remediation.ByAlert, Alert: a, Target: target, State: remediation.Running, Phase: remediation.PhaseDecide, CreatedAt: noon,
	}}
}

func born(t *testing.T, v *memory.View, id string) remediation.Run {
	t.Helper()
	a := remediation.Acceptance{Event: remediation.Event{ID: "event-" + id}, Proposals: []remediation.Proposal{proposal(id, "api")}}
	got, err := v.Accept(t.Context(), a)
	must(t, err)
	c, err := v.Claim(t.Context(), remediation.Claim{Hint: got.Runs[0], Owner: "us", Now: noon, Lease: time.Minute})
	must(t, err)
	return c.Run
}

// What a visit does with the values it was given, or has committed, must not reach the rows.
func TestRowsShareNothing(t *testing.T) {
	t.Parallel()
	s := newStore()
	v := s.As("us")
	run := born(t, v, "r1")
	run.Alert.Labels["service"] = "changed after the claim"
	step := remediation.Step{Run: "r1", Change: executors.Change{Before: executors.State{"state": "bad"}, Evidence: []string{"a"}}}
	run.Of, run.Behind, run.Seen = &step, []remediation.Step{step}, []remediation.Seen{{Fact: []byte("{}")}}
	run.Alert.Labels = map[string]string{"service": "committed"}
	must(t, v.Commit(t.Context(), remediation.Commit{Now: noon, Run: run, Steps: []remediation.Step{step}, Lease: noon.Add(time.Minute)}))
	want, err := s.Run(t.Context(), "r1")
	must(t, err)
	step.Change.Before["state"], step.Change.Evidence[0], run.Seen[0].Fact[0] = "changed", "changed", 'x'
	run.Alert.Labels["service"] = "changed after the commit"
	run.Of.Kind, run.Behind[0].Kind = "changed", "changed"
	read, err := s.Run(t.Context(), "r1")
	must(t, err)
	read.Steps[0].Change.Before["state"], read.Run.Alert.Labels["service"] = "changed", "changed after a read"
	got, err := s.Run(t.Context(), "r1")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows were changed from outside (-want +got):\n%s", diff)
	}
	if got.Run.Alert.Labels["service"] != "committed" || got.Steps[0].Change.Before["state"] != "bad" {
		t.Errorf("the rows are not what was committed: %+v", got)
	}
}

// A commit that fails in its last part leaves nothing of the parts before.
func TestFailedCommitLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newStore()
	v := s.As("us")
	run := born(t, v, "r1")
	entry := remediation.Entry{Run: "r1"}
	must(t, v.Commit(t.Context(), remediation.Commit{Now: noon, Run: run, Entries: []remediation.Entry{entry}, Lease: noon.Add(time.Minute)}))
	want, err := s.Run(t.Context(), "r1")
	must(t, err)
	run.Acted, run.State = true, remediation.Waiting
	intent := &remediation.Intent{Query: remediation.SnapshotQuery{Now: noon, Run: "r1", Rule: "cure", Target: "api"}, Act: guard.Act{Run: "r1", At: noon}}
	if err := v.Commit(t.Context(), remediation.Commit{Now: noon, Run: run, Intent: intent, Entries: []remediation.Entry{entry}}); err == nil {
		t.Fatal("a journal entry was overwritten")
	}
	got, err := s.Run(t.Context(), "r1")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the failed commit left (-want +got):\n%s", diff)
	}
	snapshot, err := v.Snapshot(t.Context(), intent.Query)
	must(t, err)
	if snapshot.LockedBy != "" || len(snapshot.Acts) != 0 {
		t.Errorf("the failed commit left %+v", snapshot)
	}
}

func TestEndedContextStoresNothing(t *testing.T) {
	t.Parallel()
	s := newStore()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.As("us").Accept(ctx, remediation.Acceptance{Event: remediation.Event{ID: "e"}})
	if !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := s.As("us").Event(t.Context(), "e"); !errors.Is(err, remediation.ErrNotFound) {
		t.Errorf("the event: %v", err)
	}
}

// Two owners share the rows, and only the one that holds a run may write it.
func TestOwners(t *testing.T) {
	t.Parallel()
	s := newStore()
	us, them := s.As("us"), s.As("them")
	run := born(t, us, "r1")
	if err := them.Commit(t.Context(), remediation.Commit{Now: noon, Run: run}); !errors.Is(err, remediation.ErrFenced) {
		t.Errorf("another owner's commit: %v", err)
	}
	due, err := them.Due(t.Context(), noon)
	must(t, err)
	if len(due.Runs) != 0 {
		t.Errorf("due while it is held: %+v", due)
	}
	s.TakeOver("them")
	if due, _ = us.Due(t.Context(), noon); len(due.Runs) != 0 {
		t.Errorf("another owner's death freed it: %+v", due)
	}
	s.TakeOver("us")
	if due, _ = them.Due(t.Context(), noon); len(due.Runs) != 1 || due.Runs[0].Run != "r1" {
		t.Errorf("due after its owner's death: %+v", due)
	}
	if err := us.Commit(t.Context(), remediation.Commit{Now: noon, Run: run}); !errors.Is(err, remediation.ErrFenced) {
		t.Errorf("a commit from the former life: %v", err)
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	s := newStore()
	v := s.As("us")
	run := born(t, v, "r1")
	run.State, run.WakeAt = remediation.Waiting, noon.Add(time.Second)
	message := remediation.Message{ID: "m1", Run: "r1", Channel: remediation.Slack, NotBefore: noon.Add(2 * time.Second)}
	behind := remediation.Message{ID: "m2", Run: "r1", Channel: remediation.Slack, Seq: 1}
	must(t, v.Commit(t.Context(), remediation.Commit{Now: noon, Run: run, Messages: []remediation.Message{message, behind}}))
	pending := remediation.Event{ID: "e", State: remediation.EventPending, WakeAt: noon.Add(3 * time.Second)}
	_, err := v.Accept(t.Context(), remediation.Acceptance{Event: pending})
	must(t, err)
	if at, waits := s.Wake(); !waits || !at.Equal(noon.Add(time.Second)) {
		t.Errorf("something is due at %s (%t), want one second on", at, waits)
	}
	runs := []remediation.Hint{{Run: "r1", Version: 1}}
	lanes := []remediation.Lane{{Run: "r1", Channel: remediation.Slack}}
	for after, want := range map[time.Duration]remediation.Due{
		999 * time.Millisecond: {}, time.Second: {Runs: runs}, 2 * time.Second: {Runs: runs, Lanes: lanes},
		3 * time.Second: {Runs: runs, Lanes: lanes, Events: []string{"e"}},
	} {
		got, err := v.Due(t.Context(), noon.Add(after))
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("due after %s (-want +got):\n%s", after, diff)
		}
	}
}
