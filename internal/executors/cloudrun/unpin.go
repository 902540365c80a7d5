package cloudrun

import (
	"context"
	"fmt"
	"slices"

	"cloud.google.com/go/run/apiv2/runpb"

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
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	serving, err := mayUnpin(env, s)
	if err != nil {
		return executors.Change{}, err
	}
	from, to, err := api.pair(ctx, serving, short(s.GetLatestReadyRevision()))
	if err != nil {
		return executors.Change{}, err
	}
	latest := short(to.GetName())
	if base, copied := madeByUs(to); slices.Contains(knownBad(s), latest) || copied && slices.Contains(knownBad(s), base) {
		return executors.Change{}, guard.Refuse(guard.NoDestination, "the latest revision is still %s, which was rolled back from", latest)
	}
	e := newEdit(s)
	e.Traffic = routeAll(e.Former.Traffic, "")
	e.Marks[markRolledBack] = ""
	return draft{
		Kind: "cloud_run.unpin", Edit: e,
		Summary:  fmt.Sprintf("let the latest revision of %s serve again: from %s to %s", short(s.GetName()), serving, latest),
		Before:   executors.State{"image": imageOf(from.GetContainers())},
		After:    executors.State{"serving": latest + " 100 %", "allocation": "latest", "image": imageOf(to.GetContainers())},
		Evidence: []string{latest + " is the latest ready revision and was never rolled back from"},
		UndoHint: gcloud(env, "update-traffic", "--to-revisions="+serving+"=100"),
	}.change(env, s)
}

// mayUnpin judges what the service alone tells. That nothing is pinned is said before all that may stand in the way: a reminder ends by it.
// A hold does not stop a person, who has the hand that it is for.
func mayUnpin(env executors.Env, s *runpb.Service) (serving string, err error) {
	if serving, err = steady(s); err != nil {
		return "", err
	}
	if debt := debtOf(s); debt.Settled {
		return "", guard.Refuse(guard.NothingToDo, "%s", debt.Detail)
	}
	if byHand(env) {
		return serving, nil
	}
	if err := held(s); err != nil {
		return "", err
	}
	return serving, handed(env, s)
}

// pair reads two revisions.
func (c *client) pair(ctx context.Context, a, b string) (first, second *runpb.Revision, err error) {
	if first, err = c.revision(ctx, a); err != nil {
		return nil, nil, err
	}
	second, err = c.revision(ctx, b)
	return first, second, err
}

// Debt implements executors.Debtor: whether later deploys still serve nothing, and which one does.
func (a *unpin) Debt(ctx context.Context, env executors.Env) (executors.DebtState, error) {
	_, s, err := current(ctx, env)
	if err != nil {
		return executors.DebtState{}, err
	}
	return debtOf(s), nil
}

// debtOf judges by what the service was told, since a change under way settles nothing yet.
func debtOf(s *runpb.Service) executors.DebtState {
	name := short(s.GetName())
	wished := targetsOf(s)
	mark, _ := parseRolledBack(s)
	switch {
	case slices.ContainsFunc(wished, func(t target) bool { return t.Revision == "" && t.Percent > 0 }):
		return executors.DebtState{Settled: true, Detail: fmt.Sprintf("the traffic of %s follows the latest revision", name)}
	case mark.Former == "pinned": // the pipeline pins by itself, whether or not it has done so since
		return executors.DebtState{Settled: true, Detail: fmt.Sprintf("the traffic of %s was pinned before the rollback too: the next deploy routes it", name)}
	}
	out := executors.DebtState{Detail: fmt.Sprintf("the traffic of %s names its revisions (%s): later deploys serve nothing", name, describeTargets(wished))}
	latest := short(s.GetLatestReadyRevision())
	if routed := slices.ContainsFunc(wished, func(t target) bool { return t.Revision == latest && t.Percent > 0 }); !routed && !slices.Contains(knownBad(s), latest) {
		out.Idle = latest
		out.Detail += fmt.Sprintf("; %s is one of them", latest)
	}
	return out
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
