package exec

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// The keys of a state, and what stands there before a command was run.
const (
	commandState = "command"
	effectState  = "effect"
	noCommand    = "none"
)

// fine is the receipt of a command that ended well; maxTold bounds the output in one, in characters.
const (
	fine    = "exit code 0"
	maxTold = 500
)

// effect is what the check says.
type effect string

const (
	seen   effect = "in effect"     // exit code 0
	unseen effect = "not in effect" // exit code 1
	untold effect = "cannot be told"
)

// plan is what a change keeps of a run: all that is needed to make it, observe it and take it back, and no secret.
type plan struct {
	Connection string            `json:"connection"`
	Command    []string          `json:"command"`
	Check      []string          `json:"check,omitempty"`
	Undo       []string          `json:"undo,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Facts      map[string]string `json:"facts,omitempty"`   // variables with what the probes found
	Secrets    []string          `json:"secrets,omitempty"` // variables whose values are read when they are needed
	Timeout    time.Duration     `json:"timeout"`
	TellOutput bool              `json:"tell_output,omitempty"`
	Wants      bool              `json:"wants"` // that the check sees the effect; false for the way back
	Was        string            `json:"was"`   // which command was run last, before and after
	Becomes    string            `json:"becomes"`
}

func (p plan) after() effect {
	if p.Wants {
		return seen
	}
	return unseen
}

func (p plan) before() effect {
	p.Wants = !p.Wants
	return p.after()
}

// back is the plan of the way back.
func (p plan) back() plan {
	p.Command, p.Undo, p.Wants, p.Was, p.Becomes = p.Undo, p.Command, !p.Wants, p.Becomes, p.Was
	return p
}

// spell shows a command as people would write it down.
func spell(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		if words[i] = strconv.Quote(word); words[i] == `"`+word+`"` && !strings.ContainsAny(word, " $`'*?;&|<>()") && word != "" {
			words[i] = word
		}
	}
	return connect.Line(strings.Join(words, " "), maxTold)
}

// learn keeps the values of facts, and gives a sentence for each. A fact that is not known refuses.
func (p *plan) learn(facts map[string]string, env executors.Env) ([]string, error) {
	var said []string
	p.Facts = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		value, err := env.Scalar(facts[name])
		if err != nil {
			return nil, guard.Refuse(guard.UnknownFacts, "the command needs a fact: %s", err)
		}
		text := fmt.Sprint(value)
		p.Facts[factPrefix+name] = text
		said = append(said, fmt.Sprintf("%s is %s", facts[name], strconv.Quote(connect.Line(text, 200))))
	}
	return said, nil
}

// programs finds the connection, and refuses what it does not declare.
func (p plan) programs(env executors.Env) (*connect.Programs, error) {
	programs, err := connect.Get[*connect.Programs](env.Connections, p.Connection)
	if err != nil {
		return nil, err
	}
	for _, argv := range [][]string{p.Command, p.Check, p.Undo} {
		if len(argv) == 0 {
			continue
		}
		if err := programs.Allow(argv[0]); err != nil {
			return nil, process{argv: argv}.notStarted(err)
		}
	}
	return programs, nil
}

// planOf reads what a change keeps. What it names has to be declared now, whatever was stored.
func planOf(env executors.Env, c executors.Change) (plan, *connect.Programs, error) {
	var p plan
	if err := json.Unmarshal(c.Data, &p); err != nil {
		return plan{}, nil, fmt.Errorf("reading the plan of %s: %w", runKind, err)
	}
	programs, err := p.programs(env)
	return p, programs, err
}

// change is what people and the engine see of a plan.
func (p plan) change(ctx context.Context, env executors.Env, said []string) (executors.Change, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return executors.Change{}, fmt.Errorf("keeping the plan: %w", err)
	}
	sum := sha256.Sum256(data)
	c := executors.Change{
		Kind: runKind, Target: env.Target.Name, Summary: "run " + spell(p.Command), Before: executors.State{commandState: p.Was},
		After: executors.State{commandState: p.Becomes}, Selects: []string{p.Command[0]}, Etag: hex.EncodeToString(sum[:8]), Data: data,
		Evidence: said, PlannedAt: env.Now, Reversible: len(p.Undo) > 0, UndoHint: "the rule gives no command that takes this one back",
	}
	if len(p.Check) > 0 {
		c.Before[effectState], c.After[effectState] = string(p.before()), string(p.after())
	}
	if len(p.Undo) > 0 {
		c.UndoHint = "run " + spell(p.Undo)
	}
	return c, ctx.Err()
}

// process prepares a run of a program, and gives the secrets that it will know.
func (p plan) process(programs *connect.Programs, argv []string, operation string) (process, []connect.Value, error) {
	env := []string{}
	for _, vars := range []map[string]string{p.Env, p.Facts} {
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			env = append(env, name+"="+vars[name])
		}
	}
	var secrets []connect.Value
	for _, name := range p.Secrets {
		secret, err := programs.Secret(name)
		if err != nil {
			return process{}, nil, err
		}
		secrets, env = append(secrets, secret), append(env, name+"="+secret.Reveal())
	}
	if operation != "" {
		env = append(env, operationName+"="+operation)
	}
	return process{argv: argv, dir: programs.Directory(), env: env}, secrets, nil
}

// look runs the check. One that was cut off cannot tell, and its error is ambiguous for nobody: it changes nothing.
func (p plan) look(ctx context.Context, programs *connect.Programs, operation string) (effect, error) {
	bounded, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	check, _, err := p.process(programs, p.Check, operation)
	if err != nil {
		return untold, err
	}
	end, err := check.run(bounded)
	switch {
	case err != nil:
		return untold, check.notStarted(fmt.Errorf("the check could not be made: %w", err))
	case end.exit == 0:
		return seen, nil
	case end.exit == 1:
		return unseen, nil
	default:
		return untold, nil
	}
}

// carryOut runs the command and keeps its exit code. That it ended badly is no error: what it did until then has to be looked at.
func (p plan) carryOut(ctx context.Context, programs *connect.Programs, operation string) (executors.Receipt, error) {
	bounded, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	command, secrets, err := p.process(programs, p.Command, operation)
	if err != nil {
		return executors.Receipt{}, err
	}
	command.output = p.TellOutput
	end, err := command.run(bounded)
	if err != nil {
		return executors.Receipt{}, err
	}
	handle := fmt.Sprintf("exit code %d", end.exit)
	if text := scrub(string(end.output), secrets); text != "" {
		handle += ": " + text
	}
	return executors.Receipt{Handle: handle}, nil
}

// scrub makes a program's output fit for notes: without secrets, however they are broken by what is not seen, on one line, and short.
func scrub(output string, secrets []connect.Value) string {
	if len(output) == maxOutput { // what is cut off may be the end of a secret
		output = output[:maxOutput-min(longest(secrets), maxOutput)]
	}
	hide := func(text string) string {
		for _, s := range secrets {
			line := connect.Line(s.Reveal(), maxOutput)
			for _, form := range []string{s.Reveal(), line, strings.ReplaceAll(line, " ", "")} {
				if form != "" {
					text = strings.ReplaceAll(text, form, s.String())
				}
			}
		}
		return text
	}
	return connect.Line(hide(connect.Line(hide(output), maxOutput)), maxTold)
}

func longest(secrets []connect.Value) (most int) {
	for _, s := range secrets {
		most = max(most, len(s.Reveal()))
	}
	return most
}
