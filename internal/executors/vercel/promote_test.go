package vercel_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

func promote() executors.Action {
	kind, _ := executors.Settling(executors.DebtHeldDeploys)
	return kind.New()
}

func (w *world) debt() executors.DebtState {
	w.Helper()
	d, err := promote().(executors.Debtor).Debt(w.Context(), w.env)
	must(w.T, err)
	return d
}

// rolledBack is a project whose production we have rolled back.
func rolledBack(t *testing.T) *world {
	w := start(t, history...)
	c := w.plan()
	if c.Debt != executors.DebtHeldDeploys || c.Settles != "" {
		t.Errorf("a rollback leaves %q and settles %q", c.Debt, c.Settles)
	}
	w.observe(c, operation, w.apply(c))
	time.Sleep(2 * time.Millisecond) // the next deploy is made after it
	return w
}

// TestPromoteSettlesTheRollback follows the debt from the rollback to the deploy that serves again.
func TestPromoteSettlesTheRollback(t *testing.T) {
	t.Parallel()
	w := rolledBack(t)
	if d := w.debt(); d.Settled || d.Idle != "" {
		t.Errorf("after the rollback: %+v", d)
	}
	_, err := promote().Plan(t.Context(), w.env)
	var no *guard.Refusal
	if !errors.As(err, &no) || no.Reason != guard.NoDestination {
		t.Errorf("with nothing but what was rolled back from: %v", err)
	}
	must(t, w.DeployVercel("admin", sandbox.VercelDeployment{ID: "dpl_fix", Commit: "cccccccccccccccc"}))
	if d := w.debt(); d.Settled || d.Idle != "dpl_fix" || !strings.Contains(d.Detail, "dpl_fix") {
		t.Errorf("with a deploy that waits: %+v", d)
	}
	c, err := promote().Plan(t.Context(), w.env)
	must(t, err)
	if c.Settles != executors.DebtHeldDeploys || c.Debt != "" || c.Kind != "vercel.promote" {
		t.Errorf("%s settles %q and leaves %q", c.Kind, c.Settles, c.Debt)
	}
	r, err := promote().Apply(t.Context(), w.env, c, operation)
	must(t, err)
	if o := w.observe(c, operation, r); o.Progress != executors.Applied || o.State["new_deploys"] != "go live" {
		t.Fatalf("%+v", o)
	}
	if s, _ := w.VercelProject("admin"); s.Production != "dpl_fix" || !s.AutoAssigns {
		t.Errorf("%+v", s)
	}
	if d := w.debt(); !d.Settled {
		t.Errorf("after the promotion: %+v", d)
	}
}

// TestPromoteRefusals: only what is finished and was made after the rollback is promoted.
func TestPromoteRefusals(t *testing.T) {
	t.Parallel()
	deploy := func(d sandbox.VercelDeployment) func(*world) {
		return func(w *world) { must(w.T, w.DeployVercel("admin", d)) }
	}
	for name, tt := range map[string]struct {
		prepare func(*world)
		want    guard.Reason
	}{
		"a deploy that failed": {deploy(sandbox.VercelDeployment{ID: "dpl_fix", State: "ERROR"}), guard.NoDestination},
		"a deploy under way":   {deploy(sandbox.VercelDeployment{ID: "dpl_fix", State: "BUILDING"}), guard.Reconciling},
		"one made before":      {deploy(sandbox.VercelDeployment{ID: "dpl_fix", CreatedAgo: time.Minute}), guard.NoDestination},
		"promoted by a person": {func(w *world) { must(w.T, w.PromoteVercel("admin", "dpl_bad")); w.settled() }, guard.NothingToDo},
		"a promotion is under way": {func(w *world) {
			w.SetVercelMoveTime(time.Hour*10, time.Hour*10)
			must(w.T, w.RollBackVercel("admin", "dpl_old", "by hand"))
		}, guard.Reconciling},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := rolledBack(t)
			tt.prepare(w)
			_, err := promote().Plan(t.Context(), w.env)
			var no *guard.Refusal
			if !errors.As(err, &no) || no.Reason != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
