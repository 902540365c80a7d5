package executors_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	_ "github.com/mixillo/remediator/internal/executors/exec"
	_ "github.com/mixillo/remediator/internal/executors/monitoring"
	_ "github.com/mixillo/remediator/internal/executors/web"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	service = "mixillo-backend"
	speed   = 1000
	good    = "mixillo-backend-00002-bbb"
	bad     = "mixillo-backend-00003-ccc"
)

// example is how the suite tries a kind of action. A new kind needs one.
type example struct {
	params  string
	prepare func(*testing.T, *sandbox.World) // of Cloud Run's world, beyond a bad deploy five minutes ago
	stand   func(*testing.T) stand           // of what is no Cloud Run service
	// configure gives parameters that depend on the stand, in place of params.
	configure func(stand) string
	patience  time.Duration     // of a call that meets a trouble; 0: as for the others
	gather    map[string]string // what the parameters need of a rule's facts, where it is played by one
}

var examples = map[string]example{
	"cloud_run.rollback": {gather: map[string]string{"health": "{http.get: {tries: 3}}"}}, // a rollback goes by what the service itself says
	"cloud_run.scale":    {params: "{at_least: 5}"},
	"cloud_run.restart":  {},
	"cloud_run.set_env":  {params: "{env: {LOG_LEVEL: {value: debug}, DB: {secret: db-url, version: '5'}}}"},
	"cloud_run.unpin": {prepare: func(t *testing.T, w *sandbox.World) {
		must(t, w.Split(service, sandbox.Share{Revision: good, Percent: 100}))
	}},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is a world with a service whose newest deploy is bad, and an action planned against it.
type fixture struct {
	*testing.T
	*sandbox.World
	ctx context.Context
	env executors.Env
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetMetricLag(0)
	must(t, w.AddService(sandbox.Service{Name: service, MinInstances: 1, Revisions: []sandbox.Revision{
		{Name: "mixillo-backend-00001-aaa", CreatedAgo: 70 * time.Hour},
		{Name: good, CreatedAgo: 24 * time.Hour, Env: map[string]string{"LOG_LEVEL": "info", "PASSWORD": "hunter2-not-for-notes"}},
		{Name: bad, CreatedAgo: 5 * time.Minute, Health: sandbox.Sick503, Env: map[string]string{"LOG_LEVEL": "info", "PASSWORD": "hunter2-not-for-notes"}},
	}}))
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{
		Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	return &fixture{T: t, World: w, ctx: t.Context(), env: executors.Env{
		Target: executors.Target{
			Name: "backend", Health: w.BackendURL(service) + "/health", Control: w.BackendURL(service) + "/control", Migrations: "none",
			Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service, MaxInstancesLimit: 20}},
		},
		Connections: connect.Set{"google_cloud": google}, Now: time.Now(), Speed: speed,
	}}
}

// action makes the example's action in its prepared world.
func (f *fixture) action(name string) executors.Action {
	f.Helper()
	ex, ok := examples[name]
	if !ok {
		f.Fatalf("no example for %s: every kind of action is tried here", name)
	}
	if ex.prepare != nil {
		ex.prepare(f.T, f.World)
	}
	kind, _ := executors.LookupAction(name)
	return configured(f.T, kind.New(), ex.params, f.env.Target)
}

// configured decodes parameters as the rules file would and validates them.
func configured[K any](t *testing.T, k K, params string, target executors.Target) K {
	t.Helper()
	must(t, yaml.Unmarshal([]byte(params), k))
	if v, ok := any(k).(interface {
		Validate(executors.Target) error
	}); ok {
		must(t, v.Validate(target))
	}
	return k
}

func (f *fixture) plan(a executors.Action) executors.Change {
	f.Helper()
	f.env.Now = time.Now()
	c, err := a.Plan(f.ctx, f.env)
	must(f.T, err)
	return stored(f.T, c)
}

// stored sends a change through its stored form: nothing else survives a crash.
func stored(t *testing.T, c executors.Change) executors.Change {
	t.Helper()
	b, err := json.Marshal(c)
	must(t, err)
	if strings.Contains(string(b), "hunter2") {
		t.Errorf("the stored change shows a value of the service's environment: %s", b)
	}
	var back executors.Change
	must(t, json.Unmarshal(b, &back))
	return back
}

func (f *fixture) observe(a executors.Action, c executors.Change, id string, r executors.Receipt) executors.Observation {
	f.Helper()
	o, err := a.Observe(f.ctx, f.env, c, id, r)
	must(f.T, err)
	return o
}

// settle observes until the change is no longer under way, and carries out a further part.
func (f *fixture) settle(a executors.Action, c executors.Change, id string, r executors.Receipt) executors.Observation {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		o := f.observe(a, c, id, r)
		switch {
		case o.Progress == executors.Pending && time.Now().Before(deadline):
		case o.Progress == executors.Applied && o.Next != nil:
			return f.carryOut(a, stored(f.T, *o.Next), id+"-next")
		default:
			return o
		}
	}
}

func (f *fixture) carryOut(a executors.Action, c executors.Change, id string) executors.Observation {
	f.Helper()
	r, err := a.Apply(f.ctx, f.env, c, id)
	must(f.T, err)
	if r.Handle == "" {
		f.Error("Apply gave no handle")
	}
	return f.settle(a, c, id, r)
}

// writes counts our accepted updates.
func (f *fixture) writes() (n int) {
	for _, e := range f.Ledger() {
		if e.System == "cloud_run" && e.Verb == "update_service" {
			n++
		}
	}
	return n
}

func want(t *testing.T, o executors.Observation, allowed ...executors.Progress) {
	t.Helper()
	if !slices.Contains(allowed, o.Progress) {
		t.Fatalf("observed %s (%s), want %v", o.Progress, o.Detail, allowed)
	}
}

func TestEveryAction(t *testing.T) {
	t.Parallel()
	for _, name := range executors.Actions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind, _ := executors.LookupAction(name)
			describes(t, name, kind.Doc, kind.New())
			if _, tells := kind.New().(executors.Debtor); tells != (kind.Settles != "") {
				t.Errorf("settles %q, and tells how the debt stands: %t", kind.Settles, tells)
			}
			if examples[name].stand != nil { // the others change a Cloud Run service
				thereAndBackOn(t, name)
				return
			}
			for duty, check := range map[string]func(*fixture, executors.Action){
				"there and back": thereAndBack, "foreign hand": foreignHand, "etag bump": etagBump,
				"ambiguous": ambiguous, "fails inside": failsInside, "called off": calledOff,
				"held": heldByPeople, "another hand": anotherHand, "own hand": ownHand,
			} {
				t.Run(duty, func(t *testing.T) {
					t.Parallel()
					f := newFixture(t)
					check(f, f.action(name))
				})
			}
		})
	}
}

func thereAndBack(f *fixture, a executors.Action) {
	c := f.plan(a)
	complete(f.T, c)
	want(f.T, f.observe(a, c, "r1-s1-a1", executors.Receipt{}), executors.NotApplied)
	o := f.carryOut(a, c, "r1-s1-a1")
	want(f.T, o, executors.Applied)
	if diff := cmp.Diff(shown(c.After, c.After), shown(o.State, c.After)); diff != "" {
		f.Errorf("the state is not the promised one (-promised +observed):\n%s", diff)
	}
	if n := f.writes(); n != 1 {
		f.Errorf("%d writes for one change", n)
	}
	back, err := a.Undo(f.ctx, f.env, c)
	must(f.T, err)
	back = stored(f.T, back)
	complete(f.T, back)
	o = f.carryOut(a, back, "r1-s2-a1")
	want(f.T, o, executors.Applied)
	if back.Settles != c.Debt {
		f.Errorf("the change leaves the debt %q, its undo settles %q", c.Debt, back.Settles)
	}
	inverse(f.T, c, back)
	before := shown(c.Before, c.Before)
	if back.Debt != "" {
		delete(before, "allocation")
	}
	if diff := cmp.Diff(before, shown(o.State, before)); diff != "" {
		f.Errorf("the undo did not lead back (-before +observed):\n%s", diff)
	}
	if _, err := a.Undo(f.ctx, f.env, c); err == nil {
		f.Error("a change that was undone can be undone again")
	}
}

// complete: everything that a note says is there.
func complete(t *testing.T, c executors.Change) {
	t.Helper()
	switch {
	case c.Kind == "" || c.Target == "" || c.Summary == "" || c.Etag == "" || len(c.Data) == 0 || c.PlannedAt.IsZero():
		t.Errorf("incomplete change %+v", c)
	case cmp.Equal(c.Before, c.After):
		t.Errorf("the change changes nothing: %v", c.Before)
	case !c.Reversible && c.UndoHint == "":
		t.Error("neither an undo nor a hint")
	case len(c.Selects) == 0:
		t.Error("nothing says what the change touches")
	}
	reach := guard.Reach{Target: c.Target, Changes: c.Target, Selects: c.Selects, Reversible: c.Reversible}
	if no := guard.Reaches(reach); no != nil {
		t.Errorf("what the change touches is refused: %s", no)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(c.Before)), slices.Sorted(maps.Keys(c.After))); diff != "" {
		t.Errorf("before and after cannot be compared key by key (-before +after):\n%s", diff)
	}
}

// shown keeps the entries of a state that can be read from the target later: named in like, and not a promise of a copy.
func shown(s, like executors.State) executors.State {
	out := executors.State{}
	for _, k := range []string{"serving", "allocation", "min_instances", "max_instances"} {
		if v, ok := like[k]; ok && !strings.HasPrefix(v, "a copy of ") {
			out[k] = s[k]
		}
	}
	return out
}

func foreignHand(f *fixture, a executors.Action) {
	c := f.plan(a)
	must(f.T, f.DeployBeforeNextUpdate(service, sandbox.Revision{}))
	_, err := a.Apply(f.ctx, f.env, c, "r1-s1-a1")
	if !connect.IsConflict(err) || connect.IsAmbiguous(err) {
		f.Fatalf("got %v, want a conflict", err)
	}
	o := f.observe(a, c, "r1-s1-a1", executors.Receipt{})
	want(f.T, o, executors.Foreign)
	if !strings.Contains(o.Detail, "ann@example.com") {
		f.Errorf("the sentence does not say who: %s", o.Detail)
	}
}

func etagBump(f *fixture, a executors.Action) {
	c := f.plan(a)
	must(f.T, f.BumpEtagBeforeNextUpdate(service))
	if _, err := a.Apply(f.ctx, f.env, c, "r1-s1-a1"); !connect.IsConflict(err) {
		f.Fatalf("got %v, want a conflict", err)
	}
	want(f.T, f.observe(a, c, "r1-s1-a1", executors.Receipt{}), executors.NotApplied)
	again := f.plan(a)
	if again.Digest() != c.Digest() {
		f.Errorf("the same plan has another digest: %s", cmp.Diff(c, again))
	}
	want(f.T, f.carryOut(a, again, "r1-s1-a2"), executors.Applied)
}

func ambiguous(f *fixture, a executors.Action) {
	c := f.plan(a)
	must(f.T, f.ApplyThenFail(service, codes.Unavailable))
	if _, err := a.Apply(f.ctx, f.env, c, "r1-s1-a1"); !connect.IsAmbiguous(err) {
		f.Fatalf("got %v, want an ambiguous error", err)
	}
	want(f.T, f.observe(a, c, "r1-s1-a1", executors.Receipt{}), executors.Applied, executors.Pending)
	want(f.T, f.settle(a, c, "r1-s1-a1", executors.Receipt{}), executors.Applied)
	if n := f.writes(); n != 1 {
		f.Errorf("%d writes for one change", n)
	}
}

func failsInside(f *fixture, a executors.Action) {
	c := f.plan(a)
	must(f.T, f.FailNextOperation(service, "Revision 'x' does not exist or is deleted."))
	o := f.carryOut(a, c, "r1-s1-a1")
	want(f.T, o, executors.Failed)
	if !strings.Contains(o.Detail, "does not exist or is deleted") {
		f.Errorf("the system's sentence is lost: %q", o.Detail)
	}
}

func calledOff(f *fixture, a executors.Action) {
	c := f.plan(a)
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, planned := a.Plan(ctx, f.env)
	_, applied := a.Apply(ctx, f.env, c, "r1-s1-a1")
	_, observed := a.Observe(ctx, f.env, c, "r1-s1-a1", executors.Receipt{})
	_, undone := a.Undo(ctx, f.env, c)
	for what, err := range map[string]error{"Plan": planned, "Apply": applied, "Observe": observed, "Undo": undone} {
		if err == nil {
			f.Errorf("%s went on after it was called off", what)
		}
	}
	if n := f.writes(); n != 0 {
		f.Errorf("%d writes after being called off", n)
	}
}
