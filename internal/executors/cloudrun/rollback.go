package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"regexp"
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
	})
}

// previousHealthy is the destination that is looked for rather than named.
const previousHealthy = "previous_healthy"

const (
	defaultWithin = 30 * time.Minute
	onsetSlack    = 2 * time.Minute // an alert may begin to fire before the deploy's first minute is in the metrics
)

var revisionName = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// rollback moves traffic; it deploys nothing.
type rollback struct {
	// To is previous_healthy (the default) or the short name of a revision. Either must have carried the service's traffic in health.
	To string `yaml:"to"`
	// Lookback is how far back a destination may have served; default 72h.
	Lookback time.Duration `yaml:"lookback"`
	// MinRequests is how many requests a destination must have carried while it served; default 20.
	MinRequests int `yaml:"min_requests"`
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
	rec, err := api.record(ctx, env, s, orDefault(a.Lookback, defaultSpan))
	if err != nil {
		return executors.Change{}, err
	}
	rec.Least = int64(orDefault(a.MinRequests, defaultRequest))
	since, err := api.servingSince(ctx, env, rec, serving)
	if err != nil {
		return executors.Change{}, err
	}
	if err := cause(env, serving, since, orDefault(a.Within, defaultWithin)); err != nil {
		return executors.Change{}, err
	}
	good, err := a.destination(rec, serving)
	if err != nil {
		return executors.Change{}, err
	}
	if err := mayGoBack(env.Target.Migrations, rec, serving, good.Name); err != nil {
		return executors.Change{}, err
	}
	evidence := []string{good.Evidence, fmt.Sprintf("%s has served since %s", serving, clock(since))}
	return planRollback(env, rec, serving, good.Name, evidence)
}

// mayRollBack judges what the service alone tells, before anything else is read.
func mayRollBack(env executors.Env, s *runpb.Service) (serving string, err error) {
	if m := env.Target.Migrations; m != "marked" && m != "none" {
		return "", guard.Refuse(guard.Migrations, "the target does not say `migrations: marked` or `none`")
	}
	if serving, err = steady(s); err != nil {
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

// cause refuses unless a deploy explains the alert: what serves began to serve before the onset, and not long before.
func cause(env executors.Env, serving string, since time.Time, within time.Duration) error {
	onset := env.Onset
	if onset.IsZero() {
		onset = env.Now
	}
	if since.After(onset.Add(env.Scale(onsetSlack))) {
		return guard.Refuse(guard.NoCause, "%s began to serve at %s, after the alert began at %s", serving, clock(since), clock(onset))
	}
	if age := onset.Sub(since); age > within {
		return guard.Refuse(guard.NoCause, "the deploy is too old to be the cause: %s had served for %s, more than %s", serving,
			age.Round(time.Minute), within)
	}
	return nil
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

// mayGoBack keeps code from meeting a schema it does not know: CI marks the revisions whose release cannot be undone, and whatever
// was released after the destination may have run its migration, whether or not it ever served.
func mayGoBack(migrations string, rec record, serving, good string) error {
	if migrations == "none" {
		return nil
	}
	from := rec.find(good).GetCreateTime().AsTime()
	for _, rev := range rec.Revisions {
		name := short(rev.GetName())
		_, marked := rev.GetLabels()[noWayBack]
		if marked && (name == serving || rev.GetCreateTime().AsTime().After(from)) {
			return guard.Refuse(guard.Migrations, "%s carries the label %s: %s is older", name, noWayBack, good)
		}
	}
	return nil
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
	e, api, err := resume(env, c)
	if err != nil {
		return executors.Change{}, err
	}
	s, err := api.get(ctx)
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
	h, err := c.counts(ctx, env.Now.Add(-span), env.Now, period(env, span))
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
