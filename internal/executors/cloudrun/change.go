package cloudrun

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// draft is a plan before it is made a Change.
type draft struct {
	Kind     string
	Summary  string
	Edit     edit
	Before   executors.State // beside what every change of a service shows
	After    executors.State // what differs from before
	Evidence []string
	UndoHint string
}

// change makes the plan of a draft against the service as it was read. A change that pins what followed the latest revision leaves a
// debt, and one that lets it follow again settles it; a pipeline that pins by itself notices neither.
func (d draft) change(env executors.Env, s *runpb.Service) (executors.Change, error) {
	d.Edit.Marks[markGeneration] = nextGeneration(env, s)
	data, err := encode(d.Edit)
	if err != nil {
		return executors.Change{}, err
	}
	before := stateOf(s)
	maps.Copy(before, d.Before)
	after := maps.Clone(before)
	maps.Copy(after, d.After)
	c := executors.Change{
		Kind: d.Kind, Target: env.Target.Name, Summary: d.Summary, Before: before, After: after, Etag: s.GetEtag(), Data: data,
		UndoHint: d.UndoHint, Reversible: true, Evidence: d.Evidence, PlannedAt: env.Now, Selects: []string{s.GetName()},
	}
	_, was := pin(d.Edit.Former.Traffic)
	switch _, pinned := pin(d.Edit.Traffic); {
	case pinned && !was:
		c.Debt = executors.DebtPinnedTraffic
	case was && d.Edit.Traffic != nil && !pinned:
		c.Settles = executors.DebtPinnedTraffic
	}
	return c, nil
}

// apply writes a planned change, once.
func apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	e, api, err := resume(env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	s, mask := e.request(c, operation)
	if e.Rebase != nil {
		base, err := api.revision(ctx, e.Rebase.Base)
		if err != nil {
			return executors.Receipt{}, err
		}
		if s.Template, err = e.Rebase.build(base); err != nil {
			return executors.Receipt{}, err
		}
		e.Rebase.sign(s.Template, operation, c.PlannedAt)
	}
	handle, err := api.update(ctx, s, mask)
	return executors.Receipt{Handle: handle}, err
}

// resume opens the clients for a change that was planned earlier, perhaps by another process.
func resume(env executors.Env, c executors.Change) (edit, *client, error) {
	e, err := decode(c)
	if err != nil {
		return edit{}, nil, err
	}
	api, err := open(env)
	if err != nil {
		return edit{}, nil, err
	}
	if api.name() != e.Service {
		return edit{}, nil, fmt.Errorf("the plan is for %s, but target %s is %s now", e.Service, env.Target.Name, api.name())
	}
	return e, api, nil
}

// observe reads the service back and judges.
func observe(ctx context.Context, env executors.Env, c executors.Change, id string, r executors.Receipt) (executors.Observation, error) {
	e, api, err := resume(env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	look := reading{Handle: r.Handle}
	// The operation first: it cannot be done before what the service then shows.
	if look.Operation, err = api.poll(ctx, r.Handle); err != nil {
		return executors.Observation{}, err
	}
	if look.Service, err = api.get(ctx); err != nil {
		return executors.Observation{}, err
	}
	if e.Rebase != nil {
		if look.Created, err = api.revision(ctx, short(look.Service.GetLatestCreatedRevision())); err != nil {
			return executors.Observation{}, err
		}
	}
	out := e.judge(look, id)
	if out.Progress == executors.Applied {
		out.Next, err = e.next(env, c, look)
	}
	return out, err
}

// current reads the service for a plan or an undo.
func current(ctx context.Context, env executors.Env) (*client, *runpb.Service, error) {
	api, err := open(env)
	if err != nil {
		return nil, nil, err
	}
	s, err := api.get(ctx)
	return api, s, err
}

// reread reads the service for the way back of a change. A hold stops it too, unless a person takes the change back.
func reread(ctx context.Context, env executors.Env, c executors.Change) (edit, *client, *runpb.Service, error) {
	e, api, err := resume(env, c)
	if err != nil {
		return edit{}, nil, nil, err
	}
	s, err := api.get(ctx)
	if err != nil {
		return edit{}, nil, nil, err
	}
	if byHand(env) {
		return e, api, s, nil
	}
	return e, api, s, held(s)
}

// steady refuses services that are under way, contradict themselves or share their traffic, and gives the revision that serves.
func steady(s *runpb.Service) (string, error) {
	if deploying(s) {
		return "", guard.Refuse(guard.Reconciling, "a change of %s is under way", short(s.GetName()))
	}
	if why := contradiction(s); why != "" {
		return "", guard.Refuse(guard.Conflicting, "%s contradicts itself: %s", short(s.GetName()), why)
	}
	if split(s) {
		return "", guard.Refuse(guard.SplitTraffic, "several revisions of %s share the traffic: %s", short(s.GetName()), describeShares(s))
	}
	serving, ok := soleServing(s)
	if !ok {
		return "", guard.Refuse(guard.UnknownFacts, "no revision of %s is shown to serve", short(s.GetName()))
	}
	return serving, nil
}

// untouched refuses an undo unless the service is exactly what the change left.
func (e edit) untouched(c executors.Change, s *runpb.Service) error {
	now := materialOf(s)
	if deploying(s) {
		return guard.Refuse(guard.Reconciling, "a change of %s is under way", short(s.GetName()))
	}
	if now.Marks[markPlanned] != stamp(c.PlannedAt) {
		return guard.Refuse(guard.HumanHand, "the last change of %s was not this one", short(s.GetName()))
	}
	if e.Rebase == nil && !now.same(e.wished()) {
		return guard.Refuse(guard.HumanHand, "the service is no longer what the change left: %s", whoChanged(s))
	}
	return nil
}

// undoTraffic plans the former traffic again, with the former marks.
func undoTraffic(env executors.Env, c executors.Change, e edit, s *runpb.Service) (executors.Change, error) {
	if err := e.untouched(c, s); err != nil {
		return executors.Change{}, err
	}
	back := newEdit(s)
	back.Traffic = e.Former.Traffic
	for _, mark := range []string{markRolledBack, markKnownBad} {
		back.Marks[mark] = e.Former.Marks[mark]
	}
	return draft{
		Kind: c.Kind, Edit: back,
		Summary:  fmt.Sprintf("route the traffic of %s as before: %s", short(s.GetName()), describeTargets(back.Traffic)),
		Before:   only(c.After, "image"),
		After:    only(c.Before, "serving", "allocation", "image"),
		UndoHint: unpinHint(env, back.Traffic),
	}.change(env, s)
}

// only picks the named entries that there are.
func only(s executors.State, keys ...string) executors.State {
	out := executors.State{}
	for _, k := range keys {
		if v, ok := s[k]; ok {
			out[k] = v
		}
	}
	return out
}

// describeTargets says where desired traffic goes.
func describeTargets(targets []target) string {
	out := ""
	for _, t := range targets {
		if t.Percent == 0 {
			continue
		}
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%d %% to %s", t.Percent, cmp.Or(t.Revision, "the latest revision"))
	}
	return out
}

// unpinHint is what people type to let deploys serve again; "" if the traffic is not pinned.
func unpinHint(env executors.Env, targets []target) string {
	if _, pinned := pin(targets); !pinned {
		return ""
	}
	return "remediator unpin " + env.Target.Name + " (or " + gcloud(env, "update-traffic", "--to-latest") + ")"
}

// gcloud is the command line for people that changes the service.
func gcloud(env executors.Env, verb, flags string) string {
	s, err := section(env.Target)
	if err != nil {
		return ""
	}
	project, region, service, err := s.Resource(env.Connections)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("gcloud run services %s %s %s --region=%s --project=%s", verb, service, flags, region, project)
}

// pinTo marks an edit as one that moves traffic away from a bad revision and pins it to a good one.
func (e *edit) pinTo(s *runpb.Service, bad, good string, now time.Time) {
	e.Traffic = routeAll(e.Former.Traffic, good)
	former := describeAllocation(e.Former.Traffic)
	if mark, ok := pinnedByUs(s); ok {
		former = mark.Former
	}
	e.Marks[markRolledBack] = rolledBack{Bad: bad, Good: good, At: now.UTC().Format(time.RFC3339), Former: former}.String()
	e.Marks[markKnownBad] = withBad(s, bad)
}
