package cloudrun

import (
	"context"
	"fmt"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: "cloud_run.restart",
		Doc:  "Starts fresh instances of a Cloud Run service: a new revision with the code and configuration of the one that serves.",
		New:  func() executors.Action { return &restart{} },
	})
}

// restart makes a copy of the serving revision; it has no parameters. Where traffic is pinned it is routed to the copy in a second
// call.
type restart struct{}

// Validate tells in plain words what is missing.
func (a *restart) Validate(t executors.Target) error { return needsSection(t) }

// Plan implements executors.Action.
func (a *restart) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	s, base, e, err := planCopy(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	if err := e.Rebase.fix(base); err != nil {
		return executors.Change{}, err
	}
	return copyDraft("cloud_run.restart", env, s, base, e).change(env, s)
}

// planCopy reads what every change that makes a revision begins with.
func planCopy(ctx context.Context, env executors.Env) (*runpb.Service, *runpb.Revision, edit, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return nil, nil, edit{}, err
	}
	serving, err := free(env, s)
	if err != nil {
		return nil, nil, edit{}, err
	}
	base, err := api.revision(ctx, serving)
	if err != nil {
		return nil, nil, edit{}, err
	}
	if err := handed(env, s, base); err != nil {
		return nil, nil, edit{}, err
	}
	e := newEdit(s)
	if e.Rebase, err = newRebase(s, base); err != nil {
		return nil, nil, edit{}, err
	}
	return s, base, e, nil
}

// copyDraft is the plan of a plain copy; callers add what differs.
func copyDraft(kind string, env executors.Env, s *runpb.Service, base *runpb.Revision, e edit) draft {
	name, service := short(base.GetName()), short(s.GetName())
	image := imageOf(base.GetContainers())
	d := draft{
		Kind: kind, Edit: e,
		Summary:  fmt.Sprintf("restart %s: a new revision with the code of %s", service, name),
		Before:   executors.State{"image": image},
		After:    executors.State{"serving": "a copy of " + name + " 100 %"},
		Evidence: []string{fmt.Sprintf("%s serves all traffic with the image %s", name, image)},
		UndoHint: gcloud(env, "update-traffic", "--to-revisions="+name+"=100"),
	}
	if _, pinned := pin(e.Former.Traffic); pinned {
		d.Evidence = append(d.Evidence, "the traffic is pinned: it is routed to the new revision once that is ready")
	}
	return d
}

// Apply implements executors.Action.
func (a *restart) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *restart) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: back to the revision that was copied.
func (a *restart) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return undoRevision(ctx, env, c)
}
