package atlas

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

const ours = "203.0.113.7/32"

// fixture is a project in the sandbox with a cluster and no entry.
type fixture struct {
	*testing.T
	*sandbox.World
	section *Cluster
	env     executors.Env
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: 1000, Seed: 3})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetAtlasCluster(sandbox.AtlasCluster{Name: "Main"})
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(sandbox.AtlasClientSecret), 0o600))
	api, err := connect.NewAtlas(connect.AtlasConfig{
		Endpoint: w.URL("atlas"), Insecure: true, Project: sandbox.AtlasProject, ClientID: sandbox.AtlasClientID, ClientSecret: connect.Secret{File: secret},
	})
	must(t, err)
	t.Cleanup(func() { must(t, api.Close()) })
	f := &fixture{T: t, World: w, section: &Cluster{
		Cluster: "Main", Egress: []string{"203.0.113.7"}, AccessList: []Entry{{Entry: ours, Comment: "the \x1b[1mbackend", Lasts: 2 * time.Hour}},
	}}
	f.env = executors.Env{
		Target: executors.Target{Name: "db", Systems: map[string]any{System: f.section}}, Connections: connect.Set{System: api}, Now: time.Now(),
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) plan() executors.Change {
	f.Helper()
	c, err := (&restore{Entry: ours}).Plan(f.Context(), f.env)
	must(f.T, err)
	return c
}

func (f *fixture) apply(c executors.Change, operation string) error {
	_, err := (&restore{Entry: ours}).Apply(f.Context(), f.env, c, operation)
	return err
}

func (f *fixture) observe(c executors.Change, operation string) executors.Observation {
	f.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		o, err := (&restore{Entry: ours}).Observe(f.Context(), f.env, c, operation, executors.Receipt{})
		must(f.T, err)
		if o.Progress != executors.Pending || time.Now().After(deadline) {
			return o
		}
	}
}

func (f *fixture) refuses(want guard.Reason, err error) {
	f.Helper()
	var no *guard.Refusal
	if !errors.As(err, &no) || no.Reason != want {
		f.Errorf("got %v, want %s", err, want)
	}
}

func (f *fixture) changes() (verbs []string) {
	for _, e := range f.Ledger() {
		if e.System == "atlas" && e.By == sandbox.AtlasClientID {
			verbs = append(verbs, e.Verb)
		}
	}
	return verbs
}

// TestRestored: the entry comes back under its record's comment, marked and with an end, and can be taken away again.
func TestRestored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.plan()
	if c.Reversible || len(c.Networks) != 1 || c.Networks[0].String() != ours || c.Lasts != 2*time.Hour || !strings.Contains(c.UndoHint, "may stay connected") {
		t.Errorf("%+v", c)
	}
	must(t, f.apply(c, "r1-0-1"))
	if o := f.observe(c, "r1-0-1"); o.Progress != executors.Applied || !strings.HasPrefix(o.State[ours], "let in until") {
		t.Errorf("%+v", o)
	}
	e := f.AtlasEntries()[0]
	if e.Entry != ours || e.Comment != "remediator r1-0-1: the [1mbackend" || e.Lasts > 2*time.Hour || e.Lasts < 2*time.Hour-time.Minute {
		t.Errorf("%+v", e)
	}
	back, err := (&restore{Entry: ours}).Undo(t.Context(), f.env, c)
	must(t, err)
	must(t, f.apply(back, "r1-1-1"))
	if o := f.observe(back, "r1-1-1"); o.Progress != executors.Applied || len(f.AtlasEntries()) != 0 {
		t.Errorf("%+v, %v", o, f.AtlasEntries())
	}
	if diff := cmp.Diff([]string{"access_entry_added", "access_entry_deleted"}, f.changes()); diff != "" {
		t.Error(diff)
	}
	_, err = (&restore{Entry: ours}).Undo(t.Context(), f.env, c)
	f.refuses(guard.NothingToDo, err)
	_, err = (&restore{Entry: ours}).Undo(t.Context(), f.env, back)
	f.refuses(guard.NeedsApproval, err)
}

// TestApprovalTakesTime: the end is counted from the call and not from the plan, and two plans of one thing have one digest.
func TestApprovalTakesTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env.Now = time.Now().Add(-time.Hour)
	c := f.plan()
	f.env.Now = time.Now()
	if again := f.plan(); again.Digest() != c.Digest() {
		t.Errorf("what was approved is not what is planned later: %v, %v", c.After, again.After)
	}
	must(t, f.apply(c, "r1-0-1"))
	if e := f.AtlasEntries()[0]; e.Lasts < 2*time.Hour-time.Minute {
		t.Errorf("it lasts %s", e.Lasts)
	}
}

func TestNothingToRestore(t *testing.T) {
	t.Parallel()
	for _, there := range []sandbox.AtlasEntry{{Entry: ours}, {Entry: ours, Lasts: time.Minute}, {Entry: "203.0.113.0/24"}, {Entry: "0.0.0.0/0"}} {
		f := newFixture(t)
		must(t, f.AddAtlasEntry(there))
		_, err := (&restore{Entry: ours}).Plan(t.Context(), f.env)
		f.refuses(guard.NothingToDo, err)
	}
}

// TestNeverTheWorld: whatever was recorded or kept, the whole internet is not let in.
func TestNeverTheWorld(t *testing.T) {
	t.Parallel()
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		f := newFixture(t)
		f.section.AccessList = append(f.section.AccessList, Entry{Entry: all})
		_, err := (&restore{Entry: all}).Plan(t.Context(), f.env)
		f.refuses(guard.TooWide, err)
		c := f.plan()
		c.Data = json.RawMessage(fmt.Sprintf(`{"network":%q,"lasts":3600000000000}`, all))
		if err := f.apply(c, "r1-0-1"); err == nil || connect.IsAmbiguous(err) && len(f.changes()) > 0 {
			t.Errorf("%s: %v", all, err)
		}
		if n := f.changes(); n != nil {
			t.Errorf("%s: %v", all, n)
		}
	}
	f := newFixture(t)
	f.section.AccessList[0].Lasts = 25 * time.Hour
	_, err := (&restore{Entry: ours}).Plan(t.Context(), f.env)
	f.refuses(guard.TooWide, err)
	_, err = (&restore{Entry: "192.0.2.1"}).Plan(t.Context(), f.env)
	f.refuses(guard.OutOfBounds, err)
}

// TestAnotherHand: an entry that somebody else adds meanwhile is neither overwritten nor claimed nor taken away.
func TestAnotherHand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.plan()
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: ours, Comment: "for ever"}))
	if err := f.apply(c, "r1-0-1"); !connect.IsConflict(err) || connect.IsAmbiguous(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if o := f.observe(c, "r1-0-1"); o.Progress != executors.Foreign || !strings.Contains(o.Detail, "for ever") {
		t.Errorf("%+v", o)
	}
	if e := f.AtlasEntries()[0]; e.Comment != "for ever" || e.Lasts != 0 || f.changes() != nil {
		t.Errorf("%+v after %v", e, f.changes())
	}
	_, err := (&restore{Entry: ours}).Undo(t.Context(), f.env, c)
	f.refuses(guard.HumanHand, err)
}

// TestDuplicateInTheLastMoment: between the last look and the call an entry may still come. Where Atlas refuses duplicates that is a conflict.
func TestDuplicateInTheLastMoment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetAtlas(sandbox.AtlasBehaviour{RefuseDuplicates: true})
	c := f.plan()
	must(t, f.AddAtlasEntryBeforeNextChange(sandbox.AtlasEntry{Entry: ours, Comment: "by hand"}))
	if err := f.apply(c, "r1-0-1"); !connect.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if o := f.observe(c, "r1-0-1"); o.Progress != executors.Foreign {
		t.Errorf("%+v", o)
	}
}

// TestTakenAwayOnlyAsLeft: the way back is a call under a precondition too.
func TestTakenAwayOnlyAsLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.plan()
	must(t, f.apply(c, "r1-0-1"))
	back, err := (&restore{Entry: ours}).Undo(t.Context(), f.env, c)
	must(t, err)
	if o := f.observe(back, "r1-1-1"); o.Progress != executors.NotApplied {
		t.Errorf("%+v", o)
	}
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: ours, Comment: "now for ever"}))
	if err := f.apply(back, "r1-1-1"); !connect.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if o := f.observe(back, "r1-1-1"); o.Progress != executors.Foreign || len(f.AtlasEntries()) != 1 {
		t.Errorf("%+v, %v", o, f.AtlasEntries())
	}
}

func TestObserved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		behaves         sandbox.AtlasBehaviour
		lands, observed string // operations
		later           time.Duration
		want            executors.Progress
	}{
		"as asked":                  {lands: "r1-0-1", observed: "r1-0-1", want: executors.Applied},
		"a late call of the run":    {lands: "r1-0-1", observed: "r1-0-2", want: executors.Applied},
		"a call of another run":     {lands: "r2-0-1", observed: "r1-0-1", want: executors.Foreign},
		"no call":                   {observed: "r1-0-1", want: executors.NotApplied},
		"no call, or long expired":  {observed: "r1-0-1", later: 3 * time.Hour, want: executors.Unclear},
		"no operation is asked for": {lands: "r1-0-1", want: executors.Foreign},
		"given up by Atlas":         {behaves: sandbox.AtlasBehaviour{FailRollout: true}, lands: "r1-0-1", observed: "r1-0-1", want: executors.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.SetAtlas(tc.behaves)
			c := f.plan()
			if tc.lands != "" {
				must(t, f.apply(c, tc.lands))
			}
			f.env.Now = f.env.Now.Add(tc.later)
			if o := f.observe(c, tc.observed); o.Progress != tc.want {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestRollingOutIsPending(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetAtlas(sandbox.AtlasBehaviour{Rollout: 1000 * time.Hour})
	c := f.plan()
	must(t, f.apply(c, "r1-0-1"))
	o, err := (&restore{Entry: ours}).Observe(t.Context(), f.env, c, "r1-0-1", executors.Receipt{})
	if err != nil || o.Progress != executors.Pending {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestWhoRemovedIt: whoever approves learns whether a person meant it, and a feed that fails keeps nobody from asking.
func TestWhoRemovedIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	said := func() string { return f.plan().Evidence[1] }
	if got := said(); !strings.Contains(got, "nobody who removed it") {
		t.Errorf("said %q", got)
	}
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: ours}))
	must(t, f.RemoveAtlasEntry(ours))
	if got := said(); !strings.Contains(got, "ann@example.com removed it on 20") {
		t.Errorf("said %q", got)
	}
	must(t, f.Spoil("atlas", sandbox.Fault{Path: "/api/atlas/v2/groups/" + sandbox.AtlasProject + "/events", Status: http.StatusForbidden}))
	if got := said(); !strings.Contains(got, "could not be asked") {
		t.Errorf("said %q", got)
	}
}
