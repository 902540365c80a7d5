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

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:     "cloud_run.set_env",
		Doc:      "Sets environment variables of a Cloud Run service, plain or from Secret Manager, in a new revision of the code that serves.",
		New:      func() executors.Action { return &setEnv{} },
		Takeback: executors.IfNotFixed,
	})
}

// setEnv copies the serving revision with other variables. Variables it does not name stay.
type setEnv struct {
	// Env gives each variable a value or a secret. They are set on the container that takes requests.
	Env map[string]EnvValue `yaml:"env" rules:"required"`
}

// EnvValue is the value of one environment variable: either value or secret.
type EnvValue struct {
	// Value is the plain value. It is shown in notes: what must not be seen belongs into Secret Manager.
	Value string `yaml:"value" json:"value,omitempty"`
	// Secret is the Secret Manager secret, by its short name or as projects/PROJECT/secrets/NAME.
	Secret string `yaml:"secret" json:"secret,omitempty"`
	// Version of the secret: a number, an alias or latest, which is the default.
	Version string `yaml:"version" json:"version,omitempty"`
}

var (
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName = regexp.MustCompile(`^(projects/[a-z0-9:.-]+/secrets/)?[A-Za-z0-9_-]+$`)
)

// shownLimit is the length up to which a plain value is shown.
const shownLimit = 80

// Validate tells in plain words what is wrong with the parameters.
func (a *setEnv) Validate(t executors.Target) error {
	if len(a.Env) == 0 {
		return errors.New("env must name at least one variable")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		if err := a.Env[name].check(name); err != nil {
			return err
		}
	}
	return needsSection(t)
}

func (v EnvValue) check(name string) error {
	switch {
	case !envName.MatchString(name) || name == "PORT" || strings.HasPrefix(name, "K_"):
		return fmt.Errorf("%s cannot be set as an environment variable", name)
	case v.Secret != "" && v.Value != "":
		return fmt.Errorf("%s must have either a value or a secret", name)
	case v.Secret == "" && v.Version != "":
		return fmt.Errorf("%s has a version but no secret", name)
	case v.Secret != "" && !secretName.MatchString(v.Secret):
		return fmt.Errorf("the secret of %s must be a name or projects/PROJECT/secrets/NAME", name)
	}
	return nil
}

// shown is how people see the value. A long one is told apart by its digest.
func (v EnvValue) shown() string {
	switch {
	case v.Secret != "":
		return "secret " + short(v.Secret) + ":" + cmp.Or(v.Version, "latest")
	case len(v.Value) > shownLimit:
		return fmt.Sprintf("set (%d characters, digest %s)", len(v.Value), digest([]byte(v.Value))[:8])
	default:
		return fmt.Sprintf("%q", v.Value)
	}
}

// setEnvVar replaces or adds a variable.
func setEnvVar(c *runpb.Container, name string, v EnvValue) {
	e := &runpb.EnvVar{Name: name, Values: &runpb.EnvVar_Value{Value: v.Value}}
	if v.Secret != "" {
		e.Values = &runpb.EnvVar_ValueSource{ValueSource: &runpb.EnvVarSource{
			SecretKeyRef: &runpb.SecretKeySelector{Secret: v.Secret, Version: cmp.Or(v.Version, "latest")},
		}}
	}
	for i, old := range c.Env {
		if old.GetName() == name {
			c.Env[i] = e
			return
		}
	}
	c.Env = append(c.Env, e)
}

// formerEnv says what a variable is now, without its plain value: nobody promised that it may be seen.
func formerEnv(c *runpb.Container, name string) string {
	for _, e := range c.GetEnv() {
		if e.GetName() != name {
			continue
		}
		if ref := e.GetValueSource().GetSecretKeyRef(); ref != nil {
			return "secret " + short(ref.GetSecret()) + ":" + ref.GetVersion()
		}
		return "set"
	}
	return "not set"
}

// Plan implements executors.Action.
func (a *setEnv) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	s, base, e, err := planCopy(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	e.Rebase.Env = a.Env
	if err := e.Rebase.fix(base); err != nil {
		return executors.Change{}, err
	}
	if e.Rebase.Config == configDigest(base.GetContainers(), base.GetServiceAccount()) && !a.reads() {
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s already has these variables", short(base.GetName()))
	}
	d := copyDraft("cloud_run.set_env", env, s, base, e)
	names := slices.Sorted(maps.Keys(a.Env))
	d.Summary = fmt.Sprintf("set %s of %s in a new revision with the code of %s", strings.Join(names, ", "), short(s.GetName()), short(base.GetName()))
	container := base.GetContainers()[ingress(base.GetContainers())]
	for _, name := range names {
		d.Before["env "+name], d.After["env "+name] = formerEnv(container, name), a.Env[name].shown()
	}
	return d.change(env, s)
}

// reads reports that a variable follows a secret's latest version, which a new revision reads again.
func (a *setEnv) reads() bool {
	for _, v := range a.Env {
		if v.Secret != "" && cmp.Or(v.Version, "latest") == "latest" {
			return true
		}
	}
	return false
}

// Apply implements executors.Action.
func (a *setEnv) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *setEnv) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: back to the revision that was copied.
func (a *setEnv) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return undoRevision(ctx, env, c)
}
