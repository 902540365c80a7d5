package vercel_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/vercel"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

const operation = "0192f3a4-5b6c-7d8e-9f01-23456789abcd-0-1"

type world struct {
	*testing.T
	*sandbox.World
	env executors.Env
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var history = []sandbox.VercelDeployment{
	{ID: "dpl_old", CreatedAgo: 48 * time.Hour}, {ID: "dpl_good", CreatedAgo: 24 * time.Hour, Commit: "aaaaaaaaaaaaaaaa"},
	{ID: "dpl_failed", CreatedAgo: 2 * time.Hour, State: "ERROR"}, {ID: "dpl_staged", CreatedAgo: time.Hour, Staged: true},
	{ID: "dpl_bad", CreatedAgo: 5 * time.Minute, Creator: "bob"},
}

func start(t *testing.T, deployments ...sandbox.VercelDeployment) *world {
	w, err := sandbox.Start(sandbox.Config{Speed: 1000, Seed: 3})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.AddVercelProject(sandbox.VercelProject{ID: "prj_1", Name: "admin", Deployments: deployments})
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(sandbox.VercelToken), 0o600))
	client, err := connect.NewVercel(connect.VercelConfig{Token: connect.Secret{File: path}, Endpoint: w.URL("vercel"), Insecure: true})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return &world{T: t, World: w, env: executors.Env{
		Target:      executors.Target{Name: "admin", Migrations: "none", Systems: map[string]any{"vercel": &vercel.Project{Project: "admin"}}},
		Connections: connect.Set{"vercel": client}, Now: time.Now(), Onset: time.Now().Add(-2 * time.Minute), Speed: 1,
	}}
}

func rollback() executors.Action {
	kind, _ := executors.LookupAction("vercel.rollback")
	return kind.New()
}

func (w *world) plan() executors.Change {
	w.Helper()
	c, err := rollback().Plan(w.Context(), w.env)
	must(w.T, err)
	return c
}

func (w *world) apply(c executors.Change) executors.Receipt {
	w.Helper()
	r, err := rollback().Apply(w.Context(), w.env, c, operation)
	must(w.T, err)
	return r
}

// observe looks until the move is over.
func (w *world) observe(c executors.Change, op string, r executors.Receipt) executors.Observation {
	w.Helper()
	for {
		o, err := rollback().Observe(w.Context(), w.env, c, op, r)
		must(w.T, err)
		if o.Progress != executors.Pending {
			return o
		}
	}
}

func (w *world) settled() {
	for {
		if s, err := w.VercelProject("admin"); err != nil || !strings.HasSuffix(s.LastMove, "pending") && !strings.HasSuffix(s.LastMove, "in-progress") {
			must(w.T, err)
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		deployments []sandbox.VercelDeployment
		prepare     func(*world)
		want        guard.Reason
	}{
		{"nothing is promised of migrations", history, func(w *world) { w.env.Target.Migrations = "" }, guard.Migrations},
		{"marked", history, func(w *world) { w.env.Marks = map[string]string{"dpl_bad": "drops a column"} }, guard.Migrations},
		{"marked, between", history, func(w *world) { w.env.Marks = map[string]string{"dpl_staged": ""} }, guard.Migrations},
		{"marked, and not listed", history, func(w *world) { w.env.Marks = map[string]string{"dpl_x": ""} }, guard.Migrations},
		{"an old deploy", history[:2], nil, guard.NoCause},
		{"deployed after the onset", history, func(w *world) { w.env.Onset = time.Now().Add(-time.Hour) }, guard.HumanHand},
		{"the first deploy", history[4:], nil, guard.NoDestination},
		{"only failed and staged ones before", history[2:], nil, guard.NoDestination},
		{"rolled back already", history, func(w *world) {
			must(w.T, w.RollBackVercel("admin", "dpl_good", "by hand"))
			w.settled()
		}, guard.AlreadyPinned},
		{"being moved", history, func(w *world) {
			w.SetVercelMoveTime(time.Hour*10, time.Hour*10)
			must(w.T, w.PromoteVercel("admin", "dpl_good"))
		}, guard.Reconciling},
		{"a deploy under way", append(history[:5:5], sandbox.VercelDeployment{ID: "dpl_new", State: "BUILDING"}), nil, guard.Reconciling},
		{"in a state nobody knows", append(history[:5:5], sandbox.VercelDeployment{ID: "dpl_new", State: "TELEPORTING"}), nil, guard.Reconciling},
		{"a rolling release", append(history[:4:4], sandbox.VercelDeployment{ID: "dpl_new", CreatedAgo: 5 * time.Minute, Rolling: true}), nil, guard.SplitTraffic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, tt.deployments...)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			_, err := rollback().Plan(t.Context(), w.env)
			var no *guard.Refusal
			if !errors.As(err, &no) || no.Reason != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestThereAndBack: the destination is the one that served, later deploys wait, and the way back lets them go live again.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	w := start(t, history...)
	c := w.plan()
	if o := w.observe(c, operation, w.apply(c)); o.Progress != executors.Applied || o.State["new_deploys"] != "wait for a promotion" {
		t.Fatalf("%+v", o)
	}
	if s, _ := w.VercelProject("admin"); s.Production != "dpl_good" || s.AutoAssigns || !strings.HasPrefix(s.Reason, "remediator "+operation+":") {
		t.Errorf("%+v", s)
	}
	back, err := rollback().Undo(t.Context(), w.env, c)
	must(t, err)
	if o := w.observe(back, operation, w.apply(back)); o.Progress != executors.Applied {
		t.Fatalf("%+v", o)
	}
	if s, _ := w.VercelProject("admin"); s.Production != "dpl_bad" || !s.AutoAssigns {
		t.Errorf("%+v", s)
	}
}

// TestWhatBecameOfIt: Vercel takes no precondition, and only what it shows is told.
func TestWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		act  func(*world, executors.Change) (op string, r executors.Receipt)
		want executors.Progress
	}{
		{"failed inside", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.EndNextVercelMove("failed")
			return operation, w.apply(c)
		}, executors.Failed},
		{"skipped", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.EndNextVercelMove("skipped")
			return operation, w.apply(c)
		}, executors.Failed},
		{"a deploy between our last look and the call", func(w *world, c executors.Change) (string, executors.Receipt) {
			must(w.T, w.DeployVercelBeforeNextWrite("admin", sandbox.VercelDeployment{ID: "dpl_fix"}))
			return operation, w.apply(c)
		}, executors.Foreign},
		{"another person did the same", func(w *world, _ executors.Change) (string, executors.Receipt) {
			must(w.T, w.RollBackVercel("admin", "dpl_good", "ann was here"))
			return operation, executors.Receipt{}
		}, executors.Foreign},
		{"somebody promoted another one", func(w *world, _ executors.Change) (string, executors.Receipt) {
			must(w.T, w.PromoteVercel("admin", "dpl_old"))
			return operation, executors.Receipt{}
		}, executors.Foreign},
		{"somebody deployed", func(w *world, _ executors.Change) (string, executors.Receipt) {
			must(w.T, w.DeployVercel("admin", sandbox.VercelDeployment{ID: "dpl_fix"}))
			return operation, executors.Receipt{}
		}, executors.Foreign},
		{"no reason is shown, and our call had no answer", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.HideVercelReasons(true)
			w.apply(c)
			return operation, executors.Receipt{}
		}, executors.Unclear},
		{"no reason is shown, and our call was accepted", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.HideVercelReasons(true)
			return operation, w.apply(c)
		}, executors.Applied},
		{"an earlier call of the run landed late", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.apply(c)
			return strings.TrimSuffix(operation, "1") + "2", executors.Receipt{}
		}, executors.Applied},
		{"a call of another run", func(w *world, c executors.Change) (string, executors.Receipt) {
			w.apply(c)
			return "0192f3a4-5b6c-7d8e-9f01-23456789abce-0-1", executors.Receipt{}
		}, executors.Foreign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, history...)
			c := w.plan()
			op, r := tt.act(w, c)
			if o := w.observe(c, op, r); o.Progress != tt.want {
				t.Errorf("%s (%s), want %s", o.Progress, o.Detail, tt.want)
			}
		})
	}
}

func TestUndoLeavesPeoplesHands(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		alter func(*world)
		want  guard.Reason
	}{
		"a fix waits": {func(w *world) { must(w.T, w.DeployVercel("admin", sandbox.VercelDeployment{ID: "dpl_fix"})) }, guard.HumanHand},
		"a fix is being made": {func(w *world) {
			must(w.T, w.DeployVercel("admin", sandbox.VercelDeployment{ID: "dpl_fix", State: "BUILDING"}))
		}, guard.HumanHand},
		"promoted by hand": {func(w *world) {
			must(w.T, w.PromoteVercel("admin", "dpl_old"))
			w.settled()
		}, guard.HumanHand},
		"taken back by hand": {func(w *world) {
			must(w.T, w.PromoteVercel("admin", "dpl_bad"))
			w.settled()
		}, guard.NothingToDo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, history...)
			c := w.plan()
			w.observe(c, operation, w.apply(c))
			tt.alter(w)
			_, err := rollback().Undo(t.Context(), w.env, c)
			var no *guard.Refusal
			if !errors.As(err, &no) || no.Reason != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	ask := func(w *world) (*vercel.DeploymentsFact, string) {
		w.Helper()
		kind, _ := executors.LookupProbe("vercel.deployments")
		answer, err := kind.New().Ask(w.Context(), w.env)
		must(w.T, err)
		return answer.Fact.(*vercel.DeploymentsFact), answer.Summary
	}
	w := start(t, history...)
	fact, summary := ask(w)
	if fact.Current != "dpl_bad" || fact.By != "bob" || fact.Previous != "dpl_good" || fact.PreviousBy != "ann" || fact.Held || fact.RolledBack || fact.Deploying ||
		fact.Age.Round(time.Minute) != 5*time.Minute || !strings.Contains(summary, "dpl_good may be gone back to") {
		t.Errorf("%+v %s", fact, summary)
	}
	c := w.plan()
	w.observe(c, operation, w.apply(c))
	must(t, w.DeployVercel("admin", sandbox.VercelDeployment{ID: "dpl_fix", Creator: "mallory\x1b[2J\n" + strings.Repeat("x", 500)}))
	w.env.Now = time.Now()
	fact, summary = ask(w)
	if fact.Current != "dpl_good" || !fact.RolledBack || !fact.Held || fact.Waiting != "dpl_fix" || fact.Age > time.Minute || fact.Previous != "dpl_old" ||
		!strings.Contains(summary, "dpl_fix waits") {
		t.Errorf("%+v %s", fact, summary)
	}
	must(t, w.PromoteVercel("admin", "dpl_fix"))
	w.settled()
	if fact, summary = ask(w); strings.ContainsAny(fact.By+summary, "\x1b\n") || len(fact.By) > 200 {
		t.Errorf("%q %q", fact.By, summary)
	}
}
