package cloudrun_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	service = "api"
	first   = "api-00001-aaa"
	good    = "api-00002-bbb"
	bad     = "api-00003-ccc"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type fixture struct {
	*testing.T
	*sandbox.World
	env executors.Env
}

// badDeploy is a world in which bad has served for five minutes.
func badDeploy(t *testing.T, alter ...func(*sandbox.Service)) *fixture {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: 1000, Seed: 3})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetMetricLag(0)
	script := sandbox.Service{Name: service, Revisions: []sandbox.Revision{
		{Name: first, CreatedAgo: 70 * time.Hour},
		{Name: good, CreatedAgo: 24 * time.Hour},
		{Name: bad, CreatedAgo: 5 * time.Minute, Health: sandbox.Sick503},
	}}
	for _, a := range alter {
		a(&script)
	}
	must(t, w.AddService(script))
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{
		Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	return &fixture{T: t, World: w, env: executors.Env{
		Target:      executors.Target{Name: "backend", Migrations: "none", Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service}}},
		Connections: connect.Set{"google_cloud": google}, Speed: 1000,
	}}
}

func (f *fixture) now() executors.Env {
	f.env.Now = time.Now()
	return f.env
}

func (f *fixture) make(name, params string) executors.Action {
	f.Helper()
	kind, ok := executors.LookupAction(name)
	if !ok {
		f.Fatalf("no action %s", name)
	}
	a := kind.New()
	must(f.T, yaml.Unmarshal([]byte(params), a))
	return a
}

// do plans and carries out an action with all its parts, and gives its first change.
func (f *fixture) do(name, params, id string) (executors.Action, executors.Change) {
	f.Helper()
	a := f.make(name, params)
	c, err := a.Plan(f.Context(), f.now())
	must(f.T, err)
	f.carryOut(a, c, id)
	return a, c
}

// carryOut applies a change and its further parts, and gives the receipt and the last part.
func (f *fixture) carryOut(a executors.Action, c executors.Change, id string) (executors.Receipt, executors.Change) {
	f.Helper()
	r, err := a.Apply(f.Context(), f.env, c, id)
	must(f.T, err)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		o, err := a.Observe(f.Context(), f.env, c, id, r)
		must(f.T, err)
		switch {
		case o.Progress == executors.Applied && o.Next != nil:
			return f.carryOut(a, *o.Next, id+"-next")
		case o.Progress == executors.Applied:
			return r, c
		case o.Progress != executors.Pending:
			f.Fatalf("%s: %s (%s)", c.Summary, o.Progress, o.Detail)
		}
	}
	f.Fatalf("%s is pending for ever", c.Summary)
	return r, c
}

func (f *fixture) refused(err error, reason guard.Reason, part string) {
	f.Helper()
	var r *guard.Refusal
	if !errors.As(err, &r) || r.Reason != reason || !strings.Contains(r.Detail, part) {
		f.Errorf("got %v, want %s: …%s…", err, reason, part)
	}
}

func (f *fixture) plan(name, params string) error {
	f.Helper()
	_, err := f.make(name, params).Plan(f.Context(), f.now())
	return err
}

// serving is the one revision that carries traffic.
func (f *fixture) serving() string {
	f.Helper()
	for name, percent := range f.Serving(service) {
		if percent == 100 {
			return name
		}
	}
	f.Fatalf("several serve: %v", f.Serving(service))
	return ""
}

func (f *fixture) revisions() (cloudrun.RevisionsFact, executors.Answer) {
	f.Helper()
	kind, _ := executors.LookupProbe("cloud_run.revisions")
	answer, err := kind.New().Ask(f.Context(), f.now())
	must(f.T, err)
	fact, ok := answer.Fact.(*cloudrun.RevisionsFact)
	if !ok {
		f.Fatalf("fact is a %T", answer.Fact)
	}
	return *fact, answer
}

func near(got, want time.Duration) bool { return (got - want).Abs() < 5*time.Second }

func TestRevisionsAfterABadDeploy(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	fact, answer := f.revisions()
	if fact.Serving != bad || fact.Previous != good || !near(fact.Age, 5*time.Minute) || !fact.ServingReady || !fact.LatestServing {
		t.Errorf("got %+v", fact)
	}
	if fact.Split || fact.Pinned || fact.Reconciling || fact.Deploys != 3 || len(answer.Unknown) > 0 {
		t.Errorf("got %+v, unknown %v", fact, answer.Unknown)
	}
	if !strings.HasPrefix(fact.PreviousEvidence, good+" was ready and carried 100 % of ") || !strings.HasSuffix(fact.PreviousEvidence, " with 0 % errors") {
		t.Errorf("evidence: %s", fact.PreviousEvidence)
	}
}

func TestRevisionsWhatCannotBeKnown(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	f.FailCalls(sandbox.CallFault{Method: "ListTimeSeries", Code: codes.PermissionDenied})
	fact, answer := f.revisions()
	want := []string{"age", "serving_since", "previous", "previous_evidence"}
	if fact.Serving != bad || !slices.Equal(answer.Unknown, want) {
		t.Errorf("without metrics: %+v, unknown %v", fact, answer.Unknown)
	}
	must(t, f.Split(service, sandbox.Share{Revision: good, Percent: 50}, sandbox.Share{Revision: bad, Percent: 50}))
	fact, answer = f.revisions()
	if !fact.Split || fact.Serving != "" || !slices.Contains(answer.Unknown, "age") {
		t.Errorf("with a split: %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestDeployOfLongAgoRoutedJustNow(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) {
		s.Revisions[1].ServedUntil = 12 * time.Minute
		s.Revisions[2].CreatedAgo, s.Revisions[2].ServedFrom = 20*time.Hour, 12*time.Minute
	})
	if fact, _ := f.revisions(); !near(fact.Age, 12*time.Minute) {
		t.Errorf("age is %s, want 12m: it counts from first serving", fact.Age)
	}
}

func TestARestartIsNoDeploy(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Revisions[2].CreatedAgo = 3 * time.Hour })
	f.do("cloud_run.restart", "", "r1-s1-a1")
	made := f.serving()
	fact, _ := f.revisions()
	if made == bad || fact.Serving != made || !near(fact.Age, 3*time.Hour) || fact.Previous != good || fact.Deploys != 3 {
		t.Errorf("after a restart to %s: %+v", made, fact)
	}
	f.refused(f.plan("cloud_run.rollback", ""), guard.NoCause, "too old")
}

func TestRollbackAfterARestartSkipsTheSameCode(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	f.do("cloud_run.restart", "", "r1-s1-a1")
	_, c := f.do("cloud_run.rollback", "", "r1-s2-a1")
	if f.serving() != good || c.Debt != executors.DebtPinnedTraffic || !strings.Contains(c.UndoHint, "remediator unpin backend") {
		t.Errorf("serving %s, debt %q, hint %q", f.serving(), c.Debt, c.UndoHint)
	}
}

func TestRollbackThenDeployThenUnpin(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	a, c := f.do("cloud_run.rollback", "", "r1-s1-a1")
	f.refused(f.plan("cloud_run.rollback", ""), guard.AlreadyPinned, "since the rollback from "+bad)
	f.refused(f.plan("cloud_run.unpin", ""), guard.NoDestination, bad+", which was rolled back from")
	fixed, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	if f.serving() != good {
		t.Fatalf("a deploy serves in spite of the pin: %s", f.serving())
	}
	_, err = a.Undo(t.Context(), f.now(), c)
	f.refused(err, guard.HumanHand, "no longer what the change left")
	_, c = f.do("cloud_run.unpin", "", "r2-s1-a1")
	if f.serving() != fixed || c.Settles != executors.DebtPinnedTraffic {
		t.Errorf("%s serves, want %s; settles %q", f.serving(), fixed, c.Settles)
	}
	f.refused(f.plan("cloud_run.unpin", ""), guard.NothingToDo, "follows the latest")
	f.refused(f.plan("cloud_run.rollback", "{to: "+bad+"}"), guard.NoDestination, "was rolled back from before")
}

func TestAPipelineThatPinsLeavesNoDebt(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Pinned = true })
	_, c := f.do("cloud_run.rollback", "", "r1-s1-a1")
	if c.Debt != "" || f.serving() != good {
		t.Errorf("debt %q, serving %s", c.Debt, f.serving())
	}
	f.refused(f.plan("cloud_run.unpin", ""), guard.NothingToDo, "pinned before the rollback too")
}

func TestRollbackRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		alter  func(*sandbox.Service)
		world  func(*fixture)
		reason guard.Reason
		part   string
	}{
		"split": {world: func(f *fixture) {
			must(f.T, f.Split(service, sandbox.Share{Percent: 90}, sandbox.Share{Revision: good, Percent: 10}))
		}, reason: guard.SplitTraffic},
		"deploy under way": {world: func(f *fixture) {
			_, err := f.Deploy(service, sandbox.Revision{DeployTime: time.Hour * 1000})
			must(f.T, err)
		}, reason: guard.Reconciling},
		"previous never ready": {alter: func(s *sandbox.Service) {
			s.Revisions = s.Revisions[1:]
			s.Revisions[0].Health = sandbox.NeverReady
		}, reason: guard.NoDestination, part: good + " is not ready"},
		"deploy too old":      {alter: func(s *sandbox.Service) { s.Revisions[2].CreatedAgo = time.Hour }, reason: guard.NoCause, part: "too old"},
		"alert before deploy": {world: func(f *fixture) { f.env.Onset = time.Now().Add(-time.Hour) }, reason: guard.HumanHand, part: "after the alert began"},
		"no migrations":       {world: func(f *fixture) { f.env.Target.Migrations = "" }, reason: guard.Migrations},
		"past a migration":    {alter: func(s *sandbox.Service) { s.Revisions[2].Labels = map[string]string{"no-rollback-past": "42"} }, world: func(f *fixture) { f.env.Target.Migrations = "marked" }, reason: guard.Migrations, part: "no-rollback-past"},
		"pinned by a human":   {world: func(f *fixture) { must(f.T, f.Split(service, sandbox.Share{Revision: good, Percent: 100})) }, reason: guard.AlreadyPinned, part: "somebody pinned"},
		"previous had errors": {alter: func(s *sandbox.Service) { s.Revisions = s.Revisions[1:]; s.Revisions[0].ErrorRatio = 0.2 }, reason: guard.NoDestination, part: "errors while it served"},
		"previous only tagged": {alter: func(s *sandbox.Service) {
			s.Revisions = s.Revisions[1:]
			s.Revisions[0].NoTraffic, s.Revisions[0].Tag = true, "beta"
		}, reason: guard.NoDestination, part: "carried no traffic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alter := []func(*sandbox.Service){}
			if tc.alter != nil {
				alter = append(alter, tc.alter)
			}
			f := badDeploy(t, alter...)
			if tc.world != nil {
				tc.world(f)
			}
			f.refused(f.plan("cloud_run.rollback", ""), tc.reason, tc.part)
		})
	}
}

func TestRestartUnderAPinRoutesInASecondCall(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]int{"undone from the first part": 0, "undone from the last part": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t)
			f.do("cloud_run.rollback", "", "r1-s1-a1")
			a := f.make("cloud_run.restart", "")
			c, err := a.Plan(t.Context(), f.now())
			must(t, err)
			_, last := f.carryOut(a, c, "r2-s1-a1")
			made := f.serving()
			if made == good || made == bad || c.Debt != "" || last.Debt != "" || last.Settles != "" {
				t.Fatalf("%s serves, debts %q %q", made, c.Debt, last.Debt)
			}
			if fact, _ := f.revisions(); !fact.PinnedByUs || !fact.LatestServing {
				t.Errorf("the pin is no longer ours: %+v", fact)
			}
			back, err := a.Undo(t.Context(), f.now(), []executors.Change{c, last}[part])
			must(t, err)
			f.carryOut(a, back, "r2-s2-a1")
			if fact, _ := f.revisions(); f.serving() != good || !fact.PinnedByUs {
				t.Errorf("%s serves after the undo, want %s: %+v", f.serving(), good, fact)
			}
		})
	}
}

func TestRestartRefusesTagsAndSplits(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	must(t, f.Split(service, sandbox.Share{Percent: 90}, sandbox.Share{Revision: good, Percent: 10}))
	f.refused(f.plan("cloud_run.restart", ""), guard.SplitTraffic, "share the traffic")
	f.refused(f.plan("cloud_run.unpin", ""), guard.SplitTraffic, "share the traffic")
}

func TestObserveWithoutTheOperation(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	a := f.make("cloud_run.rollback", "")
	c, err := a.Plan(t.Context(), f.now())
	must(t, err)
	r, _ := f.carryOut(a, c, "r1-s1-a1")
	f.FailCalls(sandbox.CallFault{Method: "GetOperation", Code: codes.PermissionDenied})
	o, err := a.Observe(t.Context(), f.env, c, "r1-s1-a1", r)
	must(t, err)
	if o.Progress != executors.Applied {
		t.Errorf("operations may not be read: %s (%s)", o.Progress, o.Detail)
	}
	f.FailCalls(sandbox.CallFault{Method: "GetOperation", Code: codes.Internal})
	if _, err := a.Observe(t.Context(), f.env, c, "r1-s1-a1", r); err == nil {
		t.Error("an operation that cannot be asked now must not be guessed")
	}
}

func TestAPlanIsForOneService(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	a := f.make("cloud_run.rollback", "")
	c, err := a.Plan(t.Context(), f.now())
	must(t, err)
	f.env.Target.Systems = map[string]any{"cloud_run": &cloudrun.Service{Service: "other"}}
	if _, err := a.Apply(context.Background(), f.env, c, "r1-s1-a1"); err == nil || !strings.Contains(err.Error(), "services/other now") {
		t.Errorf("got %v", err)
	}
}
