package cloudrun_test

import (
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

// alerted is the world of badDeploy with an alert that began four minutes ago.
func alerted(t *testing.T, alter ...func(*sandbox.Service)) *fixture {
	t.Helper()
	f := badDeploy(t, alter...)
	f.env.Onset = time.Now().Add(-4 * time.Minute)
	return f
}

// kinds are all actions of the system, with parameters that a bad deploy allows.
var kinds = map[string]string{
	"cloud_run.rollback": "", "cloud_run.restart": "", "cloud_run.scale": "{at_least: 5}", "cloud_run.set_env": "{env: {A: {value: x}}}",
}

func TestAnAlertLetsEveryKindThrough(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	for name, params := range kinds {
		must(t, f.plan(name, params))
	}
}

func TestAHoldStopsEveryKind(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(*testing.T, *fixture){
		"a label set meanwhile": func(t *testing.T, f *fixture) {
			must(t, f.SetLabels(service, map[string]string{"team": "core", "remediator-hold": "ann"}))
		},
		"an empty label": func(t *testing.T, f *fixture) {
			must(t, f.SetLabels(service, map[string]string{"remediator-hold": ""}))
		},
		"an annotation": func(t *testing.T, f *fixture) {
			must(t, f.AddService(sandbox.Service{
				Name: service, Annotations: map[string]string{"remediator-hold": "until monday"},
				Revisions: []sandbox.Revision{{Name: good, CreatedAgo: 24 * time.Hour}, {Name: bad, CreatedAgo: 5 * time.Minute, Health: sandbox.Sick503}},
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := alerted(t)
			hold(t, f)
			for kind, params := range kinds {
				f.refused(f.plan(kind, params), guard.Held, "remediator-hold")
			}
			must(t, f.Split(service, sandbox.Share{Revision: good, Percent: 100}))
			f.refused(f.plan("cloud_run.unpin", ""), guard.Held, "remediator-hold")
			f.env.Onset = time.Time{} // by hand
			must(t, f.plan("cloud_run.unpin", ""))
			f.refused(f.plan("cloud_run.scale", "{at_least: 5}"), guard.Held, "remediator-hold")
		})
	}
	t.Run("taken off", func(t *testing.T) {
		t.Parallel()
		f := alerted(t)
		must(t, f.SetLabels(service, map[string]string{"remediator-hold": "x"}))
		must(t, f.SetLabels(service, map[string]string{"team": "core"}))
		f.env.Onset = time.Now()
		must(t, f.plan("cloud_run.rollback", ""))
	})
}

func TestAHoldStopsTheWayBackButForPeople(t *testing.T) {
	t.Parallel()
	for name, params := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := alerted(t)
			a, c := f.do(name, params, "r1-s1-a1")
			must(t, f.SetLabels(service, map[string]string{"remediator-hold": "x"}))
			_, err := a.Undo(t.Context(), f.now(), c)
			f.refused(err, guard.Held, "remediator-hold")
			f.env.Onset = time.Time{}
			_, err = a.Undo(t.Context(), f.now(), c)
			must(t, err)
		})
	}
}

func TestAnotherHandSinceTheOnset(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hand func(*testing.T, *fixture)
		part string
	}{
		"a label": {func(t *testing.T, f *fixture) { must(t, f.SetLabels(service, map[string]string{"team": "core"})) }, "ann@example.com changed the service"},
		"a deploy": {func(t *testing.T, f *fixture) {
			_, err := f.Deploy(service, sandbox.Revision{})
			must(t, err)
		}, "ann@example.com changed the service"},
		"a deploy that serves nothing yet": {func(t *testing.T, f *fixture) {
			_, err := f.Deploy(service, sandbox.Revision{NoTraffic: true, Tag: "next"})
			must(t, err)
		}, "ann@example.com changed the service"},
		"traffic sent elsewhere": {func(t *testing.T, f *fixture) {
			must(t, f.Split(service, sandbox.Share{Revision: good, Percent: 100}))
		}, "(" + good + " 100 % serves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := alerted(t)
			tc.hand(t, f)
			for kind, params := range kinds {
				f.refused(f.plan(kind, params), guard.HumanHand, tc.part)
			}
			f.env.Onset = time.Now() // an alert of now knows the change
			must(t, f.plan("cloud_run.scale", "{at_least: 5}"))
		})
	}
}

func TestOurOwnHandIsNoStrangers(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	f.do("cloud_run.scale", "{at_least: 3}", "r1-0-1")
	f.do("cloud_run.scale", "{at_least: 5}", "r1-1-1")
	f.do("cloud_run.restart", "", "r1-2-1")
	f.do("cloud_run.rollback", "", "r1-3-1")
	f.do("cloud_run.restart", "", "r1-4-1") // under the pin: two calls
	must(t, f.plan("cloud_run.scale", "{at_least: 8}"))
	must(t, f.SetLabels(service, map[string]string{"team": "core"}))
	f.refused(f.plan("cloud_run.scale", "{at_least: 8}"), guard.HumanHand, "ann@example.com changed the service")
}

func TestWhatAPersonDidThroughUsIsTheirHand(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	f.do("cloud_run.scale", "{at_least: 3}", "r1-0-1")
	onset := f.env.Onset
	f.env.Onset = time.Time{}
	f.do("cloud_run.scale", "{at_least: 4}", "r2-0-1")
	f.env.Onset = onset
	f.refused(f.plan("cloud_run.scale", "{at_least: 8}"), guard.HumanHand, "after the alert began")
}

// TestADeployUnderOurOwnChange: our later change of the service does not hide a stranger's revision.
func TestADeployUnderOurOwnChange(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	_, err := f.Deploy(service, sandbox.Revision{Health: sandbox.Sick503})
	must(t, err)
	onset := f.env.Onset
	f.env.Onset = time.Now()
	f.do("cloud_run.scale", "{at_least: 3}", "r1-0-1")
	f.env.Onset = onset
	for kind, params := range kinds {
		f.refused(f.plan(kind, params), guard.HumanHand, "somebody deployed api-00004-")
	}
}

func TestARunningDeployIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	_, err := f.Deploy(service, sandbox.Revision{DeployTime: 1000 * time.Hour})
	must(t, err)
	for kind, params := range kinds {
		f.refused(f.plan(kind, params), guard.Reconciling, "under way")
	}
	f.refused(f.plan("cloud_run.unpin", ""), guard.Reconciling, "under way")
}

func TestAReminderEndsWhateverStandsInTheWay(t *testing.T) {
	t.Parallel()
	f := alerted(t)
	f.do("cloud_run.rollback", "", "r1-0-1")
	must(t, f.SetLabels(service, map[string]string{"remediator-hold": "x"}))
	f.refused(f.plan("cloud_run.unpin", ""), guard.Held, "remediator-hold")
	must(t, f.Split(service, sandbox.Share{Percent: 100}))
	f.refused(f.plan("cloud_run.unpin", ""), guard.NothingToDo, "follows the latest")
}

func (f *fixture) debt() executors.DebtState {
	f.Helper()
	kind, ok := executors.Settling(executors.DebtPinnedTraffic)
	if !ok {
		f.Fatal("nothing settles pinned traffic")
	}
	debt, err := kind.New().(executors.Debtor).Debt(f.Context(), f.now())
	must(f.T, err)
	return debt
}

func TestDebt(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	if d := f.debt(); !d.Settled || d.Idle != "" {
		t.Errorf("before: %+v", d)
	}
	f.do("cloud_run.rollback", "", "r1-0-1")
	if d := f.debt(); d.Settled || d.Idle != "" {
		t.Errorf("after the rollback: %+v", d)
	}
	if _, err := f.Deploy(service, sandbox.Revision{Health: sandbox.NeverReady}); err != nil || f.debt().Idle != "" {
		t.Errorf("a deploy that never started would serve nothing anyway: %+v, %v", f.debt(), err)
	}
	fixed, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	if d := f.debt(); d.Settled || d.Idle != fixed {
		t.Errorf("after the next deploy: %+v", d)
	}
	must(t, f.Split(service, sandbox.Share{Revision: good, Percent: 50}, sandbox.Share{Revision: fixed, Percent: 50}))
	if d := f.debt(); d.Settled || d.Idle != "" {
		t.Errorf("half way by hand: %+v", d)
	}
	must(t, f.Split(service, sandbox.Share{Percent: 100}))
	if d := f.debt(); !d.Settled || d.Idle != "" {
		t.Errorf("by gcloud: %+v", d)
	}
}

func TestDebtWithAPipelineThatPins(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Pinned = true })
	f.do("cloud_run.rollback", "", "r1-0-1")
	if d := f.debt(); !d.Settled {
		t.Errorf("after the rollback: %+v", d)
	}
	fixed, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	must(t, f.Split(service, sandbox.Share{Revision: fixed, Percent: 100}))
	if d := f.debt(); !d.Settled {
		t.Errorf("after the pipeline's next deploy: %+v", d)
	}
}
