package simulation

import (
	"context"
	"encoding/json"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/sources"
)

// section is what a target declares of the town.
type section struct {
	House string `yaml:"house"`
}

// Identity implements executors.Identified.
func (s *section) Identity(connect.Set) string { return identity(s.House) }

func identity(house string) string { return "town/" + house }

// houseOf is where a target is.
func houseOf(target string) string { return target + "-1" }

// fact is what a look finds.
type fact struct {
	OK    bool          `cel:"ok"`
	Ill   bool          `cel:"ill"`
	Value float64       `cel:"value"`
	Age   time.Duration `cel:"age"`

	state string // what the target is said to be, where the look says it
}

// Claims implements executors.Claiming.
func (f *fact) Claims() map[string]string {
	if f.state == "" {
		return nil
	}
	return map[string]string{"state": f.state}
}

// IsSick tells whether the health check answered badly.
func (f *fact) IsSick() bool { return f.Ill }

// look is a probe.
type look struct{ kind string }

// Ask implements executors.Probe.
func (l *look) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	return portOf(env.Connections).ask(ctx, l.kind, env.Target.Name)
}

// act sets a target's state. Its parameters are those of every kind of the town.
type act struct {
	To   string `yaml:"to"`
	Then string `yaml:"then"`
	kind string
}

// Plan implements executors.Action.
func (a *act) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	return portOf(env.Connections).plan(ctx, a, env)
}

// Apply implements executors.Action.
func (a *act) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return portOf(env.Connections).apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *act) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, _ executors.Receipt) (executors.Observation, error) {
	return portOf(env.Connections).observe(ctx, env, c, operation)
}

// Undo implements executors.Action.
func (a *act) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	return portOf(env.Connections).undo(ctx, env, c)
}

// source is a sender whose bodies are Deliveries.
type source struct{}

// Validate implements sources.Source.
func (*source) Validate() error { return nil }

// Authenticate implements sources.Source.
func (*source) Authenticate(sources.Request) error { return nil }

// Parse implements sources.Source.
func (*source) Parse(body []byte, _ time.Time) (d sources.Delivery, err error) {
	err = json.Unmarshal(body, &d)
	return d, err
}

// LookUp implements sources.LookUp.
func (*source) LookUp(ctx context.Context, connections connect.Set, d sources.Delivery) (sources.Delivery, error) {
	return portOf(connections).lookUp(ctx, d)
}

// Reread implements sources.Reread.
func (*source) Reread(ctx context.Context, connections connect.Set, a alert.Alert) (sources.Standing, error) {
	return portOf(connections).reread(ctx, a)
}

// Self implements sources.Self.
func (*source) Self(context.Context, connect.Set) (string, error) { return robot, nil }

// robot is how PagerDuty calls us.
const robot = "robot"

func portOf(connections connect.Set) *port {
	p, err := connect.Get[*port](connections, "world")
	if err != nil {
		panic(err)
	}
	return p
}

func init() {
	sources.Register(sources.Kind{Name: "sim", New: func(string) sources.Source { return &source{} }})
	for _, system := range []string{"world", "cloud_run"} {
		executors.RegisterTarget(executors.TargetKind{Name: system, New: func() any { return &section{} }})
	}
	for _, kind := range []string{"look.health", "look.load"} {
		executors.RegisterProbe(executors.ProbeKind{Name: kind, New: func() executors.Probe { return &look{kind: kind} }, Fact: fact{}})
	}
	for name, takeback := range map[string]executors.Takeback{
		"world.set": executors.Never, "world.try": executors.IfNotFixed, "world.risk": executors.IfWorse, "world.two": executors.Never,
		"world.pin": executors.Never, "world.flush": executors.Never, "world.unpin": executors.Never, "cloud_run.scale": executors.Never,
	} {
		kind := executors.ActionKind{Name: name, Takeback: takeback, New: func() executors.Action { return &act{kind: name} }}
		switch name {
		case "world.unpin":
			kind.Settles = executors.DebtPinnedTraffic
		case "world.pin":
			kind.Once = true
		}
		executors.RegisterAction(kind)
	}
}
