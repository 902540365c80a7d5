package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:     "cloud_run.rollback",
		Doc:      "Routes all traffic of a Cloud Run service to an earlier revision that has proved itself; this pins the traffic.",
		New:      func() executors.Action { return &rollback{} },
		Takeback: executors.IfWorse,
		Once:     true,
	})
}

// previousHealthy is the destination that is looked for rather than named.
const previousHealthy = "previous_healthy"

var revisionName = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// rollback moves traffic; it deploys nothing.
type rollback struct {
	// To is previous_healthy (the default) or the short name of a revision. Either must have carried the service's traffic in health.
	To string `yaml:"to"`
	// Lookback is how far back a destination may have served; default 72h.
	Lookback time.Duration `yaml:"lookback"`
	// MinRequests is how many requests a destination must have carried while it served, and what serves now since it took over if errors
	// are the cause; default 20.
	MinRequests int `yaml:"min_requests"`
	// Cause is what must show that the deploy is to blame. health, the default: a health check of this visit failed three times in a row,
	// while the control address answered. errors: what serves fails clearly more requests than the destination did, and does.
	Cause Cause `yaml:"cause"`
	// Within is how young, when the alert began, the deploy must have been to be the cause; default 30m.
	Within time.Duration `yaml:"within"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *rollback) Validate(t executors.Target) error {
	switch {
	case a.To != "" && a.To != previousHealthy && !revisionName.MatchString(a.To):
		return errors.New("to must be previous_healthy or the short name of a revision")
	case a.Lookback < 0 || a.Lookback > 0 && a.Lookback < time.Hour || a.Lookback > 30*24*time.Hour:
		return errors.New("lookback must be between 1h and 30d")
	case a.MinRequests < 0:
		return errors.New("min_requests must not be negative")
	case a.Within < 0:
		return errors.New("within must not be negative")
	case a.Cause != "" && a.Cause != Health && a.Cause != Errors:
		return errors.New("cause must be health or errors")
	}
	return needsSection(t)
}

// Plan implements executors.Action.
func (a *rollback) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	serving, err := mayRollBack(env, s)
	if err != nil {
		return executors.Change{}, err
	}
	rec, err := api.record(ctx, env, s, cmp.Or(a.Lookback, defaultSpan))
	if err != nil {
		return executors.Change{}, err
	}
	rec.Least = int64(cmp.Or(a.MinRequests, defaultRequest))
	if err := handed(env, s, rec.Revisions...); err != nil {
		return executors.Change{}, err
	}
	good, evidence, err := a.decide(ctx, env, api, rec, serving)
	if err != nil {
		return executors.Change{}, err
	}
	return planRollback(env, rec, serving, good, evidence)
}

// decide finds the destination and judges whether the deploy is to blame.
func (a *rollback) decide(ctx context.Context, env executors.Env, api *client, rec record, serving string) (string, []string, error) {
	since, err := api.servingSince(ctx, env, rec, serving)
	if err != nil {
		return "", nil, err
	}
	if err := recent(env, serving, since, cmp.Or(a.Within, defaultWithin)); err != nil {
		return "", nil, err
	}
	good, err := a.destination(rec, serving)
	if err != nil {
		return "", nil, err
	}
	if err := mayGoBack(env.Marks, rec, serving, good.Name); err != nil {
		return "", nil, err
	}
	var proof string
	if a.Cause == Errors {
		proof, err = api.worse(ctx, env, rec, serving, good.Name, since)
	} else {
		proof, err = dead(env)
	}
	evidence := []string{good.Evidence, fmt.Sprintf("%s has served since %s", serving, clock(since))}
	if proof != "" {
		evidence = append(evidence, proof)
	}
	return good.Name, evidence, err
}

// mayRollBack judges what the service alone tells, before anything else is read.
func mayRollBack(env executors.Env, s *runpb.Service) (serving string, err error) {
	if m := env.Target.Migrations; m != "marked" && m != "none" {
		return "", guard.Refuse(guard.Migrations, "the target does not say `migrations: marked` or `none`")
	}
	if serving, err = free(env, s); err != nil {
		return "", err
	}
	if mark, ok := pinnedByUs(s); ok {
		return "", guard.Refuse(guard.AlreadyPinned, "the traffic is pinned to %s since the rollback from %s at %s", mark.Good, mark.Bad, mark.At)
	}
	latest := short(s.GetLatestCreatedRevision())
	if revision, ok := pin(targetsOf(s)); ok && revision != latest {
		return "", guard.Refuse(guard.AlreadyPinned, "somebody pinned the traffic to %s, which is not the latest revision (%s)", revision, latest)
	}
	return serving, nil
}

// destination finds the revision to go back to, or says for each candidate why it is none.
func (a *rollback) destination(rec record, serving string) (candidate, error) {
	if to := a.To; to != "" && to != previousHealthy {
		return rec.named(to, serving)
	}
	best, reasons := rec.previous(serving)
	switch {
	case best.Name != "":
		return best, nil
	case len(reasons) == 0:
		return candidate{}, guard.Refuse(guard.NoDestination, "%s is the only revision", serving)
	default:
		return candidate{}, guard.Refuse(guard.NoDestination, "no revision may be gone back to: %s", strings.Join(reasons, "; "))
	}
}

func (r record) named(name, serving string) (candidate, error) {
	if name == serving {
		return candidate{}, guard.Refuse(guard.NothingToDo, "%s already serves", name)
	}
	for _, c := range r.candidates(serving) {
		if c.Name == name && c.Rejected == "" {
			return c, nil
		}
		if c.Name == name {
			return candidate{}, guard.Refuse(guard.NoDestination, "%s %s", name, c.Rejected)
		}
	}
	return candidate{}, guard.Refuse(guard.NoDestination, "there is no revision %s", name)
}

// mayGoBack keeps code from meeting a schema it does not know: CI labels the revisions whose release cannot be undone, people mark them, and
// whatever was released after the destination's code may have run its migration, whether or not it ever served. A mark stands whatever the
// target promises. Marks of revisions that are not there any more, or never were, cannot be placed in time.
func mayGoBack(marks map[string]string, rec record, serving, good string) error {
	root := rec.root(rec.find(serving))
	from := rec.root(rec.find(good)).GetCreateTime().AsTime()
	for _, rev := range rec.Revisions {
		past := rev == root || short(rev.GetName()) == serving || rev.GetCreateTime().AsTime().After(from)
		if what := markOf(marks, rev); past && what != "" {
			return guard.Refuse(guard.Migrations, "%s %s: %s is older", short(rev.GetName()), what, good)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		if rec.find(name) == nil {
			return guard.Refuse(guard.Migrations, "%s is marked %s (%s) and is no revision now: whether %s is older cannot be told", name, noWayBack,
				marks[name], good)
		}
	}
	return nil
}

// markOf says which mark a revision carries, "" if none.
func markOf(marks map[string]string, rev *runpb.Revision) string {
	if v, labelled := rev.GetLabels()[noWayBack]; labelled {
		return fmt.Sprintf("carries the label %s (%s)", noWayBack, cmp.Or(v, "no value"))
	}
	if why, marked := marks[short(rev.GetName())]; marked {
		return fmt.Sprintf("is marked %s (%s)", noWayBack, cmp.Or(why, "no reason given"))
	}
	return ""
}

func planRollback(env executors.Env, rec record, bad, good string, evidence []string) (executors.Change, error) {
	e := newEdit(rec.Service)
	e.pinTo(rec.Service, bad, good, env.Now)
	d := draft{
		Kind: "cloud_run.rollback", Edit: e, Evidence: evidence,
		Summary:  fmt.Sprintf("route all traffic of %s from %s to %s", short(rec.Service.GetName()), bad, good),
		Before:   executors.State{"image": imageOf(rec.find(bad).GetContainers())},
		After:    executors.State{"serving": good + " 100 %", "allocation": "pinned", "image": imageOf(rec.find(good).GetContainers())},
		UndoHint: unpinHint(env, e.Traffic),
	}
	return d.change(env, rec.Service)
}

// Apply implements executors.Action.
func (a *rollback) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *rollback) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: the former traffic, if nobody has deployed or moved traffic since.
func (a *rollback) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	e, _, s, err := reread(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	return undoTraffic(env, c, e, s)
}

// record reads the revisions and who carried the traffic.
func (c *client) record(ctx context.Context, env executors.Env, s *runpb.Service, span time.Duration) (record, error) {
	revisions, err := c.list(ctx)
	if err != nil {
		return record{}, err
	}
	h, err := c.counts(ctx, env.Now.Add(-span), env.Now, period(env, span, coarse))
	if err != nil {
		return record{}, err
	}
	return record{Service: s, Revisions: revisions, History: h, Least: defaultRequest}, nil
}

// servingSince tells since when the code that serves now has served: copies made here have the age of their base.
func (c *client) servingSince(ctx context.Context, env executors.Env, rec record, serving string) (time.Time, error) {
	rev := rec.find(serving)
	if rev == nil {
		return time.Time{}, fmt.Errorf("revision %s serves but is not listed", serving)
	}
	rev = rec.root(rev)
	return c.since(ctx, env, rec.History, short(rev.GetName()), rev.GetCreateTime().AsTime())
}
