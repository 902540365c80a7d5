// Package exec runs programs on this machine that the rules file declares: no shell, no word of an alert, nothing of our own environment.
package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: runKind,
		Doc:  "Runs a declared program with fixed arguments, and asks another whether it took effect.",
		New:  func() executors.Action { return &run{} },
	})
}

const (
	runKind        = "exec.run"
	defaultTimeout = 10 * time.Second
	mostTimeout    = 10 * time.Minute
	factPrefix     = "FACT_"
	operationName  = "REMEDIATOR_OPERATION"
)

// run is one program with its arguments. Arguments are literal; what a rule's probes found is given by environment variables, whose names
// begin with FACT_. The operation id is in REMEDIATOR_OPERATION.
type run struct {
	// Connection is the one of kind exec that declares the program; default: exec.
	Connection string `yaml:"connection"`
	// Command is the absolute path of a declared program, and its arguments.
	Command []string `yaml:"command"`
	// Env are environment variables; the program has no others.
	Env map[string]string `yaml:"env"`
	// Facts are further variables: STATUS: health.status gives FACT_STATUS the fact's value.
	Facts map[string]string `yaml:"facts"`
	// Secrets are further variables, by the names under which the connection declares them.
	Secrets []string `yaml:"secrets"`
	// Timeout after which the program and what it started is killed; default 10s. It never runs longer than the engine lets one call take.
	Timeout time.Duration `yaml:"timeout"`
	// Check is a program, and its arguments, that changes nothing and tells whether the command took effect: exit code 0 it did, 1 it did
	// not, any other cannot be told. It has the same environment; before the act and for the way back there is no operation id. Without it a
	// run that was cut off needs a human.
	Check []string `yaml:"check"`
	// Inverse is the command that takes this one back; without it the act needs approval. It needs check.
	Inverse []string `yaml:"undo"`
	// TellOutput puts the beginning of what the program wrote into notes, without control characters and the secrets it was given.
	TellOutput bool `yaml:"tell_output"`
}

// Connects implements executors.Connecting.
func (a *run) Connects() (name, kind string) { return a.connection(), system }

func (a *run) connection() string {
	if a.Connection == "" {
		return system
	}
	return a.Connection
}

// Validate tells in plain words what is wrong with the parameters.
func (a *run) Validate(executors.Target) error {
	switch {
	case len(a.Command) == 0:
		return errors.New("command must name a program")
	case a.Timeout < 0 || a.Timeout > mostTimeout:
		return fmt.Errorf("timeout must be at most %s", mostTimeout)
	case len(a.Inverse) > 0 && len(a.Check) == 0:
		return errors.New("undo needs check: only what is known to be as the command left it is taken back")
	}
	for _, argv := range [][]string{a.Command, a.Check, a.Inverse} {
		if err := checkArguments(argv); err != nil {
			return err
		}
	}
	return a.checkVariables()
}

func checkArguments(argv []string) error {
	if len(argv) > 0 && !strings.HasPrefix(argv[0], "/") {
		return fmt.Errorf("%.80q is no absolute path of a program", argv[0])
	}
	if slices.ContainsFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return errors.New("an argument cannot hold a zero byte")
	}
	return nil
}

func (a *run) checkVariables() error {
	var names []string
	for name, text := range a.Env {
		names = append(names, name)
		if strings.ContainsRune(text, 0) {
			return errors.New("a variable cannot hold a zero byte")
		}
	}
	for name, path := range a.Facts {
		names = append(names, factPrefix+name)
		if !strings.Contains(path, ".") {
			return fmt.Errorf("facts: %s names a fact and its field, such as health.status", name)
		}
	}
	names = append(names, a.Secrets...)
	slices.Sort(names)
	for i, name := range names {
		if err := connect.CheckVariable(name); err != nil {
			return err
		}
		if name == operationName || i > 0 && names[i-1] == name {
			return fmt.Errorf("the variable %s is given twice", name)
		}
	}
	return nil
}

// Plan implements executors.Action. It runs the check, where there is one.
func (a *run) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	p := plan{
		Connection: a.connection(), Command: a.Command, Check: a.Check, Undo: a.Inverse, Env: a.Env, Secrets: a.Secrets,
		Timeout: a.timeout(), TellOutput: a.TellOutput, Wants: true, Was: noCommand, Becomes: spell(a.Command),
	}
	said, err := p.learn(a.Facts, env)
	if err != nil {
		return executors.Change{}, err
	}
	programs, err := p.programs(env)
	if err != nil {
		return executors.Change{}, err
	}
	if len(p.Check) == 0 {
		return p.change(ctx, env, said)
	}
	effect, err := p.look(ctx, programs, "")
	switch {
	case err != nil:
		return executors.Change{}, err
	case effect == seen:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s says that the command has taken effect already", spell(p.Check))
	case effect == untold:
		return executors.Change{}, guard.Refuse(guard.UnknownFacts, "%s cannot tell whether the command has taken effect", spell(p.Check))
	}
	return p.change(ctx, env, append(said, spell(p.Check)+" says that the command has not taken effect"))
}

func (a *run) timeout() time.Duration {
	if a.Timeout == 0 {
		return defaultTimeout
	}
	return a.Timeout
}

// Apply implements executors.Action.
func (a *run) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	p, programs, err := planOf(env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	if len(p.Check) > 0 {
		effect, err := p.look(ctx, programs, operation)
		if err != nil {
			return executors.Receipt{}, err
		}
		if effect != p.before() {
			return executors.Receipt{}, guard.Refuse(guard.HumanHand, "%s does not say any more that the state is %q", spell(p.Check), p.before())
		}
	}
	return p.carryOut(ctx, programs, operation)
}

// Observe implements executors.Action. Without a check only a kept exit code proves anything.
func (a *run) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	p, programs, err := planOf(env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	ran := r.Handle != ""
	failed := ran && r.Handle != fine && !strings.HasPrefix(r.Handle, fine+":")
	if len(p.Check) == 0 {
		return executors.Observation{Progress: byExit(ran, failed), Detail: told(r), State: c.After}, nil
	}
	effect, err := p.look(ctx, programs, operation)
	if err != nil {
		return executors.Observation{}, err
	}
	o := executors.Observation{Detail: fmt.Sprintf("%s says: %s; %s", spell(p.Check), effect, told(r)), State: executors.State{effectState: string(effect)}}
	switch {
	case effect == untold:
		o.Progress = executors.Unclear
	case effect == p.after():
		o.Progress = executors.Applied
	case failed:
		o.Progress = executors.Failed
	default:
		o.Progress = executors.NotApplied
	}
	return o, nil
}

func byExit(ran, failed bool) executors.Progress {
	switch {
	case !ran:
		return executors.Unclear
	case failed:
		return executors.Failed
	default:
		return executors.Applied
	}
}

func told(r executors.Receipt) string {
	if r.Handle == "" {
		return "no exit code of the command was kept"
	}
	return "the command ended with " + r.Handle
}

// Undo implements executors.Action.
func (a *run) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	p, programs, err := planOf(env, c)
	switch {
	case err != nil:
		return executors.Change{}, err
	case len(p.Undo) == 0 || len(p.Check) == 0:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the rule gives no command that takes this one back")
	}
	effect, err := p.look(ctx, programs, "")
	switch {
	case err != nil:
		return executors.Change{}, err
	case effect != p.after():
		return executors.Change{}, guard.Refuse(guard.HumanHand, "%s says: %s, and the command left it %s", spell(p.Check), effect, p.after())
	}
	return p.back().change(ctx, env, []string{fmt.Sprintf("%s still says: %s", spell(p.Check), effect)})
}
