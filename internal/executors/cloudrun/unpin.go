package cloudrun

import (
	"context"
	"fmt"
	"slices"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:    "cloud_run.unpin",
		Doc:     "Lets the latest revision of a Cloud Run service serve again after a rollback pinned its traffic.",
		New:     func() executors.Action { return &unpin{} },
		Settles: executors.DebtPinnedTraffic,
	})
}

// unpin gives traffic back to the latest revision; it has no parameters.
type unpin struct{}

// Validate tells in plain words what is missing.
func (a *unpin) Validate(t executors.Target) error { return needsSection(t) }

// Plan implements executors.Action.
func (a *unpin) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	_, s, err := current(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	serving, err := steady(s)
	if err != nil {
		return executors.Change{}, err
	}
	mark, byUs := pinnedByUs(s)
	latest := short(s.GetLatestReadyRevision())
	switch _, pinned := pin(targetsOf(s)); {
	case !pinned:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the traffic of %s follows the latest revision", short(s.GetName()))
	case byUs && mark.Former == "pinned":
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the traffic of %s was pinned before the rollback too: the next deploy routes it", short(s.GetName()))
	case slices.Contains(knownBad(s), latest):
		return executors.Change{}, guard.Refuse(guard.NoDestination, "the latest revision is still %s, which was rolled back from", latest)
	}
	e := newEdit(s)
	e.Traffic = routeAll(e.Former.Traffic, "")
	e.Marks[markRolledBack] = ""
	return draft{
		Kind: "cloud_run.unpin", Edit: e,
		Summary:  fmt.Sprintf("let the latest revision of %s serve again: from %s to %s", short(s.GetName()), serving, latest),
		After:    executors.State{"serving": latest + " 100 %", "allocation": "latest"},
		Evidence: []string{latest + " is the latest ready revision and was never rolled back from"},
		UndoHint: gcloud(env, "update-traffic", "--to-revisions="+serving+"=100"),
	}.change(env, s)
}

// Apply implements executors.Action.
func (a *unpin) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *unpin) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: the pin again, if nothing else has changed.
func (a *unpin) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return (&rollback{}).Undo(ctx, env, c)
}
