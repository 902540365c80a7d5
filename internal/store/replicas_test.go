package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

func TestRulesOfReplicas(t *testing.T) {
	t.Parallel()
	clock := newClock()
	dsn := postgresDSN(t)
	open := func(owner string, roles ...string) *store.Store {
		return open(t, store.Config{DSN: dsn, Owner: owner, Roles: roles, Now: clock.now})
	}
	a, b, intake := open("a"), open("b", "worker", "ui"), open("intake", "ingest")
	agree := func(what string, want []string, declared string) {
		t.Helper()
		got, current, err := a.Agreement(t.Context())
		must(t, err)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || current != declared {
			t.Errorf("%s: declared %q, want %q; hashes (-want +got):\n%s", what, current, declared, diff)
		}
	}
	agree("nobody has said", nil, "")
	must(t, a.SetRulesHash(t.Context(), "one"))
	must(t, intake.SetRulesHash(t.Context(), "other"))
	agree("who does not work does not count", []string{"one"}, "")
	must(t, b.SetRulesHash(t.Context(), "two"))
	agree("another worker differs", []string{"one", "two"}, "")
	must(t, a.DeclareRules(t.Context(), "zero", "ann"))
	must(t, b.DeclareRules(t.Context(), "two", "ben"))
	agree("declared", []string{"one", "two"}, "two")
	d, err := a.DeclaredRules(t.Context())
	must(t, err)
	if want := (store.DeclaredRules{Hash: "two", Actor: "ben", At: noon}); d != want {
		t.Errorf("declared %+v, want %+v", d, want)
	}
	all, err := a.Replicas(t.Context())
	must(t, err)
	want := []store.Replica{
		{Owner: "a", RulesHash: "one", SeenAt: noon},
		{Owner: "b", Roles: []string{"worker", "ui"}, RulesHash: "two", SeenAt: noon},
		{Owner: "intake", Roles: []string{"ingest"}, RulesHash: "other", SeenAt: noon},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	must(t, b.DeclareRules(t.Context(), "", "ben"))
	clock.advance(15 * time.Second)
	agree("the others are silent: dead", []string{"one"}, "")
	start(t, b, &recorder{})
	eventually(t, "one shows that it lives", func() bool {
		hashes, _, err := a.Agreement(t.Context())
		must(t, err)
		return len(hashes) == 2
	})
	must(t, b.Stop(t.Context()))
	agree("it has left", []string{"one"}, "")
}

// The rules of a former process do not stand in the way of the one that follows it on the file.
func TestRulesOfAFormerProcess(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	must(t, w.subject.(*store.Store).SetRulesHash(t.Context(), "old"))
	w.reopen()
	s := w.subject.(*store.Store)
	must(t, s.SetRulesHash(t.Context(), "new"))
	w.clock.advance(time.Hour) // alone, it does not show that it lives
	hashes, _, err := s.Agreement(t.Context())
	must(t, err)
	if diff := cmp.Diff([]string{"new"}, hashes); diff != "" {
		t.Errorf("hashes (-want +got):\n%s", diff)
	}
}

// What a process without workers accepts belongs to nobody: the worker has it at once, and a restart of either loses nothing.
func TestIntakeWithoutWorkers(t *testing.T) {
	t.Parallel()
	dsn := postgresDSN(t)
	intake := open(t, store.Config{DSN: dsn, Owner: "intake", Roles: []string{"ingest"}})
	start(t, intake, nil)
	pending := newEvent()
	pending.State = remediation.EventPending
	message := remediation.Message{ID: newID(), Run: pending.ID, Channel: remediation.Slack}
	got, err := intake.Accept(t.Context(), remediation.Acceptance{
		Event: pending, Proposals: []remediation.Proposal{proposal(firing("e"), "api")}, Messages: []remediation.Message{message},
	})
	must(t, err)
	run := got.Runs[0]
	kept, err := intake.Run(t.Context(), run.Run)
	must(t, err)
	if kept.Run.State != remediation.Queued || kept.Run.Epoch != 0 || kept.Run.LeaseOwner != "" || run.Epoch != 0 {
		t.Errorf("born as %+v, hint %+v", kept.Run, run)
	}
	states, err := intake.Text(t.Context(), `SELECT string_agg(DISTINCT state::text, ', ') FROM river_job`)
	if err != nil || states != "available" { // what is scheduled waits for River's leader
		t.Errorf("its jobs are %q, %v", states, err)
	}
	worker := open(t, store.Config{DSN: dsn, Owner: "worker", Roles: []string{"worker"}})
	r := &recorder{}
	start(t, worker, r)
	for _, call := range []string{"advance " + run.Run + "@0", "match " + pending.ID, "deliver " + pending.ID + " slack"} {
		eventually(t, call, func() bool { return r.count(call) > 0 })
	}
	claimed, err := worker.Claim(t.Context(), remediation.Claim{Hint: run, Owner: "worker", Now: worker.Now(), Lease: lease})
	if err != nil || claimed.Run.Epoch != 1 {
		t.Errorf("claimed %+v, %v", claimed.Run, err)
	}
}

// Of several workers one asks about an event, and another may when that one says nothing for a while.
func TestLookUpIsLeftToOneReplica(t *testing.T) {
	t.Parallel()
	dsn, clock := postgresDSN(t), newClock()
	var all []*store.Store
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, open(t, store.Config{DSN: dsn, Owner: name, Now: clock.now}))
	}
	e := newEvent()
	e.State, e.WakeAt = remediation.EventPending, noon
	_, err := all[0].Accept(t.Context(), remediation.Acceptance{Event: e})
	must(t, err)
	for _, c := range []struct {
		after time.Duration
		asks  int32
	}{{0, 1}, {time.Second, 0}, {4 * time.Second, 1}} {
		clock.advance(c.after)
		var (
			asks atomic.Int32
			fns  []func()
		)
		for _, s := range all {
			fns = append(fns, func() {
				mine, err := s.Reserve(t.Context(), e.ID)
				if err != nil {
					t.Errorf("reserving: %v", err)
				}
				if mine {
					asks.Add(1)
				}
			})
		}
		together(fns...)
		if asks.Load() != c.asks {
			t.Errorf("after %s more: %d ask, want %d", c.after, asks.Load(), c.asks)
		}
	}
}
