package cloudrun

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// rebase says how a new revision differs from the one it is copied from. The copy is of the revision that serves and not of the
// service's template: after a rollback the template still is the bad one.
type rebase struct {
	Base       string              `json:"base"`                  // short name
	Env        map[string]EnvValue `json:"env,omitempty"`         // variables to set
	Bounds     *bounds             `json:"bounds,omitempty"`      // revision-level scaling to set
	Was        *bounds             `json:"was,omitempty"`         // revision-level scaling of the base, where it changes
	SkipHealth bool                `json:"skip_health,omitempty"` // the service's switch for its start-up check; revisions do not show it
	Config     string              `json:"config"`                // digest of what the copy will contain
}

// newRebase prepares a copy of the base. An image without a digest refuses: its tag may have moved, and the copy would be other code.
func newRebase(s *runpb.Service, base *runpb.Revision) (*rebase, error) {
	for _, c := range base.GetContainers() {
		if !strings.Contains(c.GetImage(), "@sha256:") {
			return nil, guard.Refuse(guard.NoDestination, "%s names its image by a tag (%s): a copy may be other code", short(base.GetName()), c.GetImage())
		}
	}
	return &rebase{Base: short(base.GetName()), SkipHealth: s.GetTemplate().GetHealthCheckDisabled()}, nil
}

// fix notes what the copy will contain, once the differences are set.
func (r *rebase) fix(base *runpb.Revision) error {
	t, err := r.build(base)
	if err != nil {
		return err
	}
	r.Config = configDigest(t.GetContainers(), t.GetServiceAccount())
	return nil
}

// build makes the template. Its revision name stays empty: a name that is taken would be refused.
func (r *rebase) build(base *runpb.Revision) (*runpb.RevisionTemplate, error) {
	t := templateOf(base)
	t.HealthCheckDisabled = r.SkipHealth
	if r.Bounds != nil {
		t.Scaling = &runpb.RevisionScaling{MinInstanceCount: r.Bounds.Min, MaxInstanceCount: r.Bounds.Max}
	}
	if len(r.Env) == 0 {
		return t, nil
	}
	if len(t.GetContainers()) == 0 {
		return nil, fmt.Errorf("revision %s has no container", short(base.GetName()))
	}
	c := t.Containers[ingress(t.Containers)]
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		setEnvVar(c, name, r.Env[name])
	}
	return t, nil
}

// sign leaves the marks by which the copy is known later.
func (r *rebase) sign(t *runpb.RevisionTemplate, operation string, planned time.Time) {
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[markOperation], t.Annotations[markPlanned] = operation, stamp(planned)
	t.Annotations[markBase], t.Annotations[markConfig] = r.Base, r.Config
}

// templateOf copies a revision into a template, field by field of the same name: nearly all of a template's fields are a revision's.
func templateOf(r *runpb.Revision) *runpb.RevisionTemplate {
	t := &runpb.RevisionTemplate{}
	from, to := proto.CloneOf(r).ProtoReflect(), t.ProtoReflect()
	fields := to.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		source := from.Descriptor().Fields().ByName(field.Name())
		if source != nil && source.Kind() == field.Kind() && source.Cardinality() == field.Cardinality() && from.Has(source) {
			to.Set(field, from.Get(source))
		}
	}
	t.Labels, t.Annotations = writable(t.Labels), writable(t.Annotations)
	maps.DeleteFunc(t.Annotations, isMark)
	return t
}

// next is the second part of a change that made a revision while traffic is pinned: the revision is ready, now route to it.
func (e edit) next(env executors.Env, c executors.Change, look reading) (*executors.Change, error) {
	pinned, ok := pin(targetsOf(look.Service))
	made := short(look.Created.GetName())
	if e.Rebase == nil || !ok || pinned == made {
		return nil, nil
	}
	route := newEdit(look.Service)
	route.Traffic = routeAll(route.Former.Traffic, made)
	if mark, byUs := pinnedByUs(look.Service); byUs {
		mark.Good = made
		route.Marks[markRolledBack] = mark.String()
	}
	next, err := draft{
		Kind: c.Kind, Edit: route,
		Summary:  fmt.Sprintf("route all traffic of %s from %s to its copy %s", short(e.Service), pinned, made),
		Before:   only(c.Before, "image"),
		After:    executors.State{"serving": made + " 100 %", "allocation": "pinned"},
		Evidence: []string{made + " is ready"},
		UndoHint: gcloud(env, "update-traffic", "--to-revisions="+pinned+"=100"),
	}.change(env, look.Service)
	if err != nil {
		return nil, err
	}
	return &next, nil
}

// undoRevision plans the way back from a revision made here: to its base, which was serving before.
func undoRevision(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	e, api, s, err := reread(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	if e.Rebase == nil {
		return undoTraffic(env, c, e, s)
	}
	made, err := api.revision(ctx, short(s.GetLatestCreatedRevision()))
	if err != nil {
		return executors.Change{}, err
	}
	if err := e.stillMade(c, s, made); err != nil {
		return executors.Change{}, err
	}
	return planBase(env, c, e, s, short(made.GetName()))
}

// stillMade refuses unless the revision that the change made is the newest one and serves.
func (e edit) stillMade(c executors.Change, s *runpb.Service, made *runpb.Revision) error {
	if deploying(s) {
		return guard.Refuse(guard.Reconciling, "a change of %s is under way", short(s.GetName()))
	}
	base, copied := madeByUs(made)
	if !copied || base != e.Rebase.Base || made.GetAnnotations()[markPlanned] != stamp(c.PlannedAt) {
		return guard.Refuse(guard.HumanHand, "the newest revision is not the one the change made: %s", whoChanged(s))
	}
	serving, _ := soleServing(s)
	if serving == e.Rebase.Base {
		return guard.Refuse(guard.NothingToDo, "%s still serves", serving)
	}
	if serving != short(made.GetName()) {
		return guard.Refuse(guard.HumanHand, "the traffic is not where the change left it: %s", whoChanged(s))
	}
	return nil
}

// planBase routes back to the base. The service's template stays what the change made of it, so the pin is a debt like a rollback's.
func planBase(env executors.Env, c executors.Change, e edit, s *runpb.Service, made string) (executors.Change, error) {
	back := newEdit(s)
	back.pinTo(s, made, e.Rebase.Base, env.Now)
	d := draft{
		Kind: c.Kind, Edit: back,
		Summary:  fmt.Sprintf("route all traffic of %s back from %s to %s", short(s.GetName()), made, e.Rebase.Base),
		Before:   only(c.After, "image"),
		After:    executors.State{"serving": e.Rebase.Base + " 100 %", "allocation": "pinned"},
		Evidence: []string{e.Rebase.Base + " served before " + made + " was made"},
		UndoHint: unpinHint(env, back.Traffic),
	}
	for k := range c.Before {
		if strings.HasPrefix(k, "env ") || k == "image" {
			d.Before[k], d.After[k] = c.After[k], c.Before[k]
		}
	}
	return d.change(env, s)
}
