package executors_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// inverse: a change and its undo set the same keys, and to where they were, so that either is known to take the other back. What only a copy
// promises, and how traffic is given while a debt is left, differ.
func inverse(t *testing.T, there, back executors.Change) {
	t.Helper()
	from, to := guard.Changed(there.Before, there.After)
	undone := 0
	for key := range from {
		if key == "serving" && strings.HasPrefix(to[key], "a copy of ") || key == "allocation" && back.Debt != "" {
			continue
		}
		if back.Before[key] != to[key] || back.After[key] != from[key] {
			t.Errorf("%s goes from %q to %q, and back from %q to %q", key, from[key], to[key], back.Before[key], back.After[key])
		}
		undone++
	}
	if len(from) == 0 || undone == 0 && back.Debt == "" {
		t.Errorf("nothing tells that the undo is one: %v to %v, and %v to %v", there.Before, there.After, back.Before, back.After)
	}
}

// fires makes the alert of the suite one that began two minutes ago, before which nothing was changed for three.
func (f *fixture) fires() { f.env.Onset = time.Now().Add(-2 * time.Minute) }

func (f *fixture) refuses(a executors.Action, reason guard.Reason) {
	f.Helper()
	f.env.Now = time.Now()
	_, err := a.Plan(f.ctx, f.env)
	var r *guard.Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		f.Errorf("got %v, want %s", err, reason)
	}
}

func heldByPeople(f *fixture, a executors.Action) {
	f.fires()
	must(f.T, f.SetLabels(service, map[string]string{"remediator-hold": ""}))
	f.refuses(a, guard.Held)
	if n := f.writes(); n != 0 {
		f.Errorf("%d writes of a service that people hold", n)
	}
}

func anotherHand(f *fixture, a executors.Action) {
	f.fires()
	must(f.T, f.SetLabels(service, map[string]string{"team": "core"}))
	f.refuses(a, guard.HumanHand)
	f.env.Onset = time.Now() // an alert of now knows the change
	f.plan(a)
}

// ownHand: what a run has done since the onset does not stop its next rung.
func ownHand(f *fixture, a executors.Action) {
	f.env.Onset = time.Now()
	want(f.T, f.carryOut(a, f.plan(a), "r1-0-1"), executors.Applied)
	f.fires()
	kind, _ := executors.LookupAction("cloud_run.scale")
	f.plan(configured(f.T, kind.New(), "{at_least: 9}", f.env.Target))
}
