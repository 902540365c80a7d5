package cloudrun_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

func TestSetEnvHeals(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Revisions[2].Health = sandbox.Healthy })
	must(t, f.RequireEnv(service, "DB", "secret:db-url:7"))
	a, c := f.do("cloud_run.set_env", "{env: {DB: {secret: db-url, version: '7'}}}", "r1-s1-a1")
	if c.Before["env DB"] != "not set" || c.After["env DB"] != "secret db-url:7" {
		t.Errorf("before %q, after %q", c.Before["env DB"], c.After["env DB"])
	}
	f.refused(f.plan("cloud_run.set_env", "{env: {DB: {secret: db-url, version: '7'}}}"), guard.NothingToDo, "already has")
	_, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	o, err := a.Observe(t.Context(), f.now(), c, "r1-s1-a1", executors.Receipt{})
	must(t, err)
	if o.Progress != executors.Foreign {
		t.Errorf("after a human's deploy: %s (%s)", o.Progress, o.Detail)
	}
	_, err = a.Undo(t.Context(), f.now(), c)
	f.refused(err, guard.HumanHand, "not the one the change made")
}

func TestScaleOnTheRevision(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Revisions[2].MinInstances, s.Revisions[2].MaxInstances = 2, 10 })
	a, c := f.do("cloud_run.scale", "{at_least: 5, at_most: 20}", "r1-s1-a1")
	made := f.serving()
	scaling := f.CloudRun(service).GetTemplate().GetScaling()
	if made == bad || scaling.GetMinInstanceCount() != 5 || scaling.GetMaxInstanceCount() != 20 || f.CloudRun(service).GetScaling().GetMinInstanceCount() != 0 {
		t.Fatalf("%s serves with %v, service level %v", made, scaling, f.CloudRun(service).GetScaling())
	}
	if fact, _ := f.revisions(); !near(fact.Age, 5*time.Minute) {
		t.Errorf("scaling counts as a deploy: age %s", fact.Age)
	}
	back, err := a.Undo(t.Context(), f.now(), c)
	must(t, err)
	f.carryOut(a, back, "r1-s2-a1")
	if scaling := f.CloudRun(service).GetTemplate().GetScaling(); scaling.GetMinInstanceCount() != 2 || scaling.GetMaxInstanceCount() != 10 {
		t.Errorf("after the undo: %v", scaling)
	}
}

func TestScaleBackOnlyOurOwnBounds(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.MinInstances = 1 })
	a, c := f.do("cloud_run.scale", "{at_least: 5}", "r1-s1-a1")
	if !strings.Contains(c.UndoHint, "--min=1") || !strings.Contains(c.UndoHint, "infrastructure code") {
		t.Errorf("hint: %s", c.UndoHint)
	}
	_, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	back, err := a.Undo(t.Context(), f.now(), c)
	must(t, err)
	f.carryOut(a, back, "r1-s2-a1")
	if n := f.CloudRun(service).GetScaling().GetMinInstanceCount(); n != 1 {
		t.Errorf("scaled back to %d after a deploy, want 1", n)
	}
	_, err = a.Undo(t.Context(), f.now(), c)
	f.refused(err, guard.HumanHand, "no longer those the change set")
}
