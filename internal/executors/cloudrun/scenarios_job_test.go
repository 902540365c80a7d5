package cloudrun_test

import (
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

const reset = "reset-passwords"

// withJob is a world with a healthy service and a job that the target lists.
func withJob(t *testing.T, alter ...func(*sandbox.Job)) (*fixture, executors.Action) {
	t.Helper()
	f := badDeploy(t)
	script := sandbox.Job{Name: reset, Takes: 20 * time.Second, Args: []string{"--dry-run"}, Env: map[string]string{"DB_PASSWORD": "hunter2"}}
	for _, a := range alter {
		a(&script)
	}
	must(t, f.AddJob(script))
	f.env.Target.Systems["cloud_run"] = &cloudrun.Service{Service: service, Jobs: []string{reset}}
	return f, f.make("cloud_run.run_job", "{job: reset-passwords, args: [--all, 'a b'], env: {REASON: leak}, timeout: 2m}")
}

func (f *fixture) planned(a executors.Action) executors.Change {
	f.Helper()
	c, err := a.Plan(f.Context(), f.now())
	must(f.T, err)
	return c
}

// ends observes until the execution is over.
func (f *fixture) ends(a executors.Action, c executors.Change, id string, r executors.Receipt) executors.Observation {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		o, err := a.Observe(f.Context(), f.env, c, id, r)
		must(f.T, err)
		if o.Progress != executors.Pending || time.Now().After(deadline) {
			return o
		}
	}
}

func TestAJobIsRunAsTheRuleSays(t *testing.T) {
	t.Parallel()
	f, a := withJob(t)
	c := f.planned(a)
	if c.Reversible || c.UndoHint == "" || c.After["args"] != `["--all" "a b"]` || c.After["env REASON"] != `"leak"` || !strings.Contains(c.Evidence[0], "has not run yet") {
		t.Errorf("the plan: %+v", c)
	}
	r, err := a.Apply(f.Context(), f.env, c, "r1-0-1")
	must(t, err)
	made := f.Executions(reset)[0]
	if r.Handle != made.GetName() {
		t.Errorf("the receipt names %q, not %q", r.Handle, made.GetName())
	}
	container, env := made.GetTemplate().GetContainers()[0], map[string]string{}
	for _, v := range container.GetEnv() {
		env[v.GetName()] = v.GetValue()
	}
	if strings.Join(container.GetArgs(), ",") != "--all,a b" || env["REASON"] != "leak" || env["REMEDIATOR_OPERATION"] != "r1-0-1" || env["DB_PASSWORD"] != "hunter2" ||
		made.GetTemplate().GetTimeout().AsDuration() != 2*time.Minute {
		t.Errorf("what runs: %v with %v for %s", container.GetArgs(), env, made.GetTemplate().GetTimeout().AsDuration())
	}
	o := f.ends(a, c, "r1-0-1", r)
	if o.Progress != executors.Applied || !strings.Contains(o.Detail, "succeeded (1 of 1 tasks)") || !strings.HasPrefix(o.State["log"], "https://console.cloud.google.com/") {
		t.Errorf("%s: %s; %v", o.Progress, o.Detail, o.State)
	}
	if _, err := a.Undo(f.Context(), f.env, c); err == nil {
		t.Error("what a job has done was taken back")
	}
	if again := f.planned(a); !strings.Contains(again.Evidence[0], "it ran last at") || again.Digest() != c.Digest() {
		t.Errorf("the next plan: %+v", again)
	}
}

func TestAJobThatFailsIsTold(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		alter func(*sandbox.Job)
		ends  string // by hand, as the platform says it
		want  executors.Progress
		says  string
	}{
		"exits with 1":    {alter: func(j *sandbox.Job) { j.Fails = true }, want: executors.Failed, says: "failed (0 of 1 tasks succeeded): Task"},
		"is ended":        {alter: func(j *sandbox.Job) { j.Hangs = true }, ends: "The configured timeout was reached. password=hunter2", want: executors.Failed, says: "timeout was reached. password=[secret]"},
		"goes on and on":  {alter: func(j *sandbox.Job) { j.Hangs = true }, want: executors.Pending, says: "is running"},
		"takes its time":  {alter: func(j *sandbox.Job) { j.Takes = time.Minute }, want: executors.Applied, says: "succeeded"},
		"hangs, then not": {alter: func(j *sandbox.Job) { j.Hangs = true }, ends: "-", want: executors.Applied, says: "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, a := withJob(t, tc.alter)
			c := f.planned(a)
			r, err := a.Apply(f.Context(), f.env, c, "r1-0-1")
			must(t, err)
			if tc.ends != "" {
				must(t, f.EndExecutions(reset, strings.TrimPrefix(tc.ends, "-")))
			}
			var o executors.Observation
			if tc.want == executors.Pending {
				o, err = a.Observe(t.Context(), f.env, c, "r1-0-1", r)
				must(t, err)
			} else {
				o = f.ends(a, c, "r1-0-1", r)
			}
			if o.Progress != tc.want || !strings.Contains(o.Detail, tc.says) || strings.Contains(o.Detail, "hunter2") {
				t.Errorf("%s: %s", o.Progress, o.Detail)
			}
		})
	}
}

func TestAJobIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		happens func(*fixture)
		alter   func(*sandbox.Job)
		reason  guard.Reason
		says    string
	}{
		"held":             {happens: func(f *fixture) { must(f.T, f.SetJobLabels(reset, map[string]string{"remediator-hold": ""})) }, reason: guard.Held, says: "the job"},
		"its service held": {happens: func(f *fixture) { must(f.T, f.SetLabels(service, map[string]string{"remediator-hold": ""})) }, reason: guard.Held, says: "api"},
		"another hand on the service": {happens: func(f *fixture) {
			f.env.Onset = time.Now().Add(-2 * time.Minute)
			must(f.T, f.SetLabels(service, map[string]string{"team": "core"}))
		}, reason: guard.HumanHand, says: "ann@example.com"},
		"under way": {alter: func(j *sandbox.Job) { j.Hangs = true }, happens: func(f *fixture) {
			_, err := f.RunJobByHand(reset)
			must(f.T, err)
		}, reason: guard.Reconciling, says: "is under way"},
		"lists that lag": {happens: func(f *fixture) {
			_, err := f.RunJobByHand(reset)
			must(f.T, err)
			must(f.T, f.EndExecutions(reset, ""))
			must(f.T, f.HideExecutions(reset))
		}, reason: guard.UnknownFacts, says: "not listed yet"},
		"two containers": {alter: func(j *sandbox.Job) { j.Sidecar = true }, reason: guard.OutOfBounds, says: "2 containers"},
		"no longer listed": {happens: func(f *fixture) {
			f.env.Target.Systems["cloud_run"] = &cloudrun.Service{Service: service}
		}, reason: guard.OutOfBounds, says: "does not list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alter := tc.alter
			if alter == nil {
				alter = func(*sandbox.Job) {}
			}
			f, a := withJob(t, alter)
			if tc.happens != nil {
				tc.happens(f)
			}
			_, err := a.Plan(t.Context(), f.now())
			f.refused(err, tc.reason, tc.says)
		})
	}
}

// TestAJobRunsOnceWhateverIsAnswered: a call that was lost or answered late is found by its mark, and nothing runs twice.
func TestAJobRunsOnceWhateverIsAnswered(t *testing.T) {
	t.Parallel()
	f, a := withJob(t)
	c := f.planned(a)
	must(t, f.RunJobThenFail(reset, codes.Unavailable))
	if _, err := a.Apply(t.Context(), f.env, c, "r1-0-1"); !connect.IsAmbiguous(err) {
		t.Fatalf("got %v", err)
	}
	// Taken for lost, planned again and called again as the next attempt: the one that landed is found.
	f.ends(a, c, "r1-0-1", executors.Receipt{})
	again := f.planned(a)
	if _, err := a.Apply(t.Context(), f.env, again, "r1-0-2"); !connect.IsConflict(err) || connect.IsAmbiguous(err) {
		t.Errorf("the second attempt: %v", err)
	}
	if o := f.ends(a, again, "r1-0-2", executors.Receipt{}); o.Progress != executors.Applied {
		t.Errorf("%s: %s", o.Progress, o.Detail)
	}
	if n := len(f.Executions(reset)); n != 1 {
		t.Errorf("%d executions", n)
	}
	// Another step of the run, and another run, are other wishes.
	for _, id := range []string{"r1-1-1", "r2-0-1"} {
		next := f.planned(a)
		r, err := a.Apply(t.Context(), f.env, next, id)
		must(t, err)
		f.ends(a, next, id, r)
	}
	if n := len(f.Executions(reset)); n != 3 {
		t.Errorf("%d executions, want 3", n)
	}
}

func TestWhatBecameOfALostCall(t *testing.T) {
	t.Parallel()
	byHand := func(f *fixture) {
		_, err := f.RunJobByHand(reset)
		must(f.T, err)
	}
	ours := func(f *fixture, a executors.Action, c executors.Change, id string) {
		_, err := a.Apply(f.Context(), f.env, c, id)
		must(f.T, err)
	}
	for name, tc := range map[string]struct {
		happens func(*fixture, executors.Action, executors.Change)
		receipt executors.Receipt
		want    executors.Progress
		says    string
	}{
		"nothing":             {func(*fixture, executors.Action, executors.Change) {}, executors.Receipt{}, executors.NotApplied, "no execution of this step"},
		"accepted, not shown": {func(*fixture, executors.Action, executors.Change) {}, executors.Receipt{Handle: "projects/p/locations/l/operations/x"}, executors.Pending, "does not show yet"},
		"another run's":       {func(f *fixture, a executors.Action, c executors.Change) { ours(f, a, c, "r9-0-1") }, executors.Receipt{}, executors.NotApplied, "no execution"},
		"somebody's":          {func(f *fixture, _ executors.Action, _ executors.Change) { byHand(f) }, executors.Receipt{}, executors.Unclear, "without our mark"},
		"the list lags": {func(f *fixture, _ executors.Action, _ executors.Change) {
			byHand(f)
			must(f.T, f.HideExecutions(reset))
		}, executors.Receipt{}, executors.Unclear, "not listed yet"},
		"somebody changed etag": {func(f *fixture, _ executors.Action, _ executors.Change) {
			must(f.T, f.SetJobLabels(reset, map[string]string{"a": "b"}))
		}, executors.Receipt{}, executors.NotApplied, "no execution"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, a := withJob(t)
			byHand(f)
			must(t, f.EndExecutions(reset, "")) // before the plan, so that it says nothing
			c := f.planned(a)
			tc.happens(f, a, c)
			o, err := a.Observe(t.Context(), f.env, c, "r1-0-1", tc.receipt)
			must(t, err)
			if o.Progress != tc.want || !strings.Contains(o.Detail, tc.says) {
				t.Errorf("%s: %s", o.Progress, o.Detail)
			}
		})
	}
}

func TestJobParameters(t *testing.T) {
	t.Parallel()
	target := executors.Target{Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service, Jobs: []string{reset}}}}
	kind, _ := executors.LookupAction("cloud_run.run_job")
	for params, says := range map[string]string{
		"{}":                                     "job must be given",
		"{job: drop-database}":                   "does not list",
		"{job: '*'}":                             "does not list",
		"{job: reset-passwords, timeout: 10m}":   "between 1s and 9m",
		"{job: reset-passwords, timeout: -1s}":   "between 1s and 9m",
		`{job: reset-passwords, args: ["a\nb"]}`: "one line",
		"{job: reset-passwords, args: [" + strings.Repeat("a,", 21) + "]}":  "at most 20",
		"{job: reset-passwords, env: {PORT: '1'}}":                          "PORT cannot",
		"{job: reset-passwords, env: {REMEDIATOR_OPERATION: x}}":            "marks its executions",
		"{job: reset-passwords, args: ['; rm -rf /', '$(x)'], env: {A: b}}": "",
	} {
		a := kind.New()
		must(t, yaml.Unmarshal([]byte(params), a))
		err := a.(interface {
			Validate(executors.Target) error
		}).Validate(target)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", params, err, says)
		}
	}
	if err := (&cloudrun.Service{Service: service, Jobs: []string{"a/b"}}).Validate(target); err == nil {
		t.Error("a job's full name was taken")
	}
}
