package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: "cloud_run.scale",
		Doc:  "Raises the bounds between which Cloud Run scales a service; it never lowers one.",
		New:  func() executors.Action { return &scale{} },
	})
}

// scale raises bounds where they are in use: on the service, or on the revision if that is where the service keeps them.
type scale struct {
	// AtLeast is the number of instances that are always kept; a higher lower bound stays.
	AtLeast int32 `yaml:"at_least"`
	// AtMost is the number of instances that may be reached; a higher upper bound stays.
	AtMost int32 `yaml:"at_most"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *scale) Validate(t executors.Target) error {
	switch {
	case a.AtLeast == 0 && a.AtMost == 0:
		return errors.New("at_least or at_most must be given")
	case a.AtLeast < 0:
		return errors.New("at_least must be at least 1")
	case a.AtMost < 0:
		return errors.New("at_most must be at least 1")
	case a.AtMost > 0 && a.AtMost < a.AtLeast:
		return errors.New("at_most must not be below at_least")
	}
	if err := needsSection(t); err != nil {
		return err
	}
	if s, _ := section(t); s.MaxInstancesLimit > 0 && max(a.AtLeast, a.AtMost) > s.MaxInstancesLimit {
		return fmt.Errorf("the target's max_instances_limit is %d", s.MaxInstancesLimit)
	}
	return nil
}

// levels are the bounds in force: on the service, and on the revision that serves.
type levels struct{ Service, Revision bounds }

// raise computes the new bounds. A lower bound is raised where one is set now, an upper bound wherever one is set.
func (l levels) raise(a *scale) levels {
	if l.Service.Min == 0 && l.Revision.Min > 0 {
		l.Revision.Min = max(l.Revision.Min, a.AtLeast)
	} else {
		l.Service.Min = max(l.Service.Min, a.AtLeast)
	}
	if l.Service.Max > 0 {
		l.Service.Max = max(l.Service.Max, a.AtMost)
	}
	if l.Revision.Max > 0 {
		l.Revision.Max = max(l.Revision.Max, a.AtMost)
	}
	return l
}

// most is the upper bound in force; 0 if none is set.
func (l levels) most() int32 {
	switch s, r := l.Service.Max, l.Revision.Max; {
	case s == 0:
		return r
	case r == 0:
		return s
	default:
		return min(s, r)
	}
}

// least is the lower bound in force.
func (l levels) least() int32 {
	if l.Service.Min > 0 {
		return l.Service.Min
	}
	return l.Revision.Min
}

// judge refuses what would leave the bounds that people declared, or change nothing.
func (a *scale) judge(was, wished levels, limit int32) error {
	switch {
	case limit > 0 && max(a.AtLeast, a.AtMost) > limit:
		return guard.Refuse(guard.OutOfBounds, "%d instances are more than the target's max_instances_limit of %d", max(a.AtLeast, a.AtMost), limit)
	case wished.most() > 0 && a.AtLeast > wished.most():
		return guard.Refuse(guard.OutOfBounds, "at least %d instances would be more than the upper bound of %d", a.AtLeast, wished.most())
	case was == wished:
		return guard.Refuse(guard.NothingToDo, "the bounds already are %d to %s", was.least(), showMax(was.most()))
	}
	return nil
}

// Plan implements executors.Action.
func (a *scale) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	if err := held(s); err != nil {
		return executors.Change{}, err
	}
	base, err := api.scaled(ctx, s)
	if err != nil {
		return executors.Change{}, err
	}
	if err := handed(env, s, base); err != nil {
		return executors.Change{}, err
	}
	target, err := section(env.Target)
	if err != nil {
		return executors.Change{}, err
	}
	was := levelsOf(s, base)
	wished := was.raise(a)
	if err := a.judge(was, wished, target.MaxInstancesLimit); err != nil {
		return executors.Change{}, err
	}
	return planScale("cloud_run.scale", env, s, base, wished)
}

// scaled reads the revision whose bounds are in force, if the service may be scaled at all.
func (c *client) scaled(ctx context.Context, s *runpb.Service) (*runpb.Revision, error) {
	if err := mayScale(s); err != nil {
		return nil, err
	}
	serving := servingShares(s)
	if len(serving) == 0 {
		return nil, guard.Refuse(guard.UnknownFacts, "no revision of %s is shown to serve", short(s.GetName()))
	}
	return c.revision(ctx, serving[0].Revision)
}

func mayScale(s *runpb.Service) error {
	if s.GetScaling().GetScalingMode() == runpb.ServiceScaling_MANUAL {
		return guard.Refuse(guard.OutOfBounds, "%s is scaled by hand (%d instances): bounds have no effect", short(s.GetName()),
			s.GetScaling().GetManualInstanceCount())
	}
	if deploying(s) {
		return guard.Refuse(guard.Reconciling, "a change of %s is under way", short(s.GetName()))
	}
	if why := contradiction(s); why != "" {
		return guard.Refuse(guard.Conflicting, "%s contradicts itself: %s", short(s.GetName()), why)
	}
	return nil
}

func levelsOf(s *runpb.Service, r *runpb.Revision) levels {
	return levels{Service: boundsOf(s), Revision: bounds{Min: r.GetScaling().GetMinInstanceCount(), Max: r.GetScaling().GetMaxInstanceCount()}}
}

// planScale plans the wished bounds. Those of a revision need a new one, which is made only of a revision that serves alone.
func planScale(kind string, env executors.Env, s *runpb.Service, base *runpb.Revision, wished levels) (executors.Change, error) {
	was, e := levelsOf(s, base), newEdit(s)
	if wished.Service != was.Service {
		e.Bounds = &wished.Service
	}
	d := draft{
		Kind: kind, Summary: fmt.Sprintf("scale %s between %d and %s instances (was %d and %s)", short(s.GetName()), wished.least(),
			showMax(wished.most()), was.least(), showMax(was.most())),
		Before: was.state(), After: wished.state(), UndoHint: scaleHint(env, was, wished),
	}
	if wished.Revision != was.Revision {
		if _, err := steady(s); err != nil {
			return executors.Change{}, err
		}
		var err error
		if e.Rebase, err = newRebase(s, base); err != nil {
			return executors.Change{}, err
		}
		e.Rebase.Bounds, e.Rebase.Was = &wished.Revision, &was.Revision
		if err := e.Rebase.fix(base); err != nil {
			return executors.Change{}, err
		}
		d.Evidence = []string{"the bounds are set on the revision: a new one with the code of " + short(base.GetName()) + " carries the new bounds"}
		d.After["serving"] = "a copy of " + short(base.GetName()) + " 100 %"
	}
	d.Edit = e
	return d.change(env, s)
}

func (l levels) state() executors.State {
	return executors.State{
		"min_instances": strconv.Itoa(int(l.Service.Min)), "max_instances": showMax(l.Service.Max),
		"revision_min_instances": strconv.Itoa(int(l.Revision.Min)), "revision_max_instances": showMax(l.Revision.Max),
	}
}

// scaleHint names the way back, and that infrastructure code does not know of the change.
func scaleHint(env executors.Env, was, wished levels) string {
	flags := ""
	add := func(flag string, was, wished int32) {
		if was != wished {
			flags += fmt.Sprintf(" --%s=%d", flag, was)
		}
	}
	add("min", was.Service.Min, wished.Service.Min)
	add("max", was.Service.Max, wished.Service.Max)
	add("min-instances", was.Revision.Min, wished.Revision.Min)
	add("max-instances", was.Revision.Max, wished.Revision.Max)
	return gcloud(env, "update", strings.TrimSpace(flags)) + "; until then the bounds differ from what infrastructure code declares, and its next apply resets them"
}

// Apply implements executors.Action.
func (a *scale) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *scale) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: the former bounds, if they still are what the change set. A deploy since then does not matter,
// unless the bounds are the revision's.
func (a *scale) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	e, api, s, err := reread(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	made, err := api.scaled(ctx, s)
	if err != nil {
		return executors.Change{}, err
	}
	if e.Bounds != nil && boundsOf(s) != *e.Bounds {
		return executors.Change{}, guard.Refuse(guard.HumanHand, "the bounds are no longer those the change set: %s", whoChanged(s))
	}
	if e.Traffic != nil {
		return undoTraffic(env, c, e, s)
	}
	return unscale(env, c, e, s, made)
}

// unscale plans the former bounds on the levels that the change touched.
func unscale(env executors.Env, c executors.Change, e edit, s *runpb.Service, made *runpb.Revision) (executors.Change, error) {
	former := levelsOf(s, made)
	if e.Bounds != nil {
		former.Service = e.Former.Bounds
	}
	if e.Rebase != nil {
		if _, copied := madeByUs(made); !copied || levelsOf(s, made).Revision != *e.Rebase.Bounds {
			return executors.Change{}, guard.Refuse(guard.HumanHand, "the revision that serves is not the one the change made: %s", whoChanged(s))
		}
		former.Revision = *e.Rebase.Was
	}
	return planScale(c.Kind, env, s, made, former)
}
