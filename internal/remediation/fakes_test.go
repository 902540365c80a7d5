package remediation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// The targets' names in every test's rules.
const (
	api = "api"
	web = "web"

	mail = "mail"
)

// scene is one target of the pretended outside world. Its state is one word; acts set it under a version as precondition.
type scene struct {
	mu      sync.Mutex
	state   string
	version int
	cured   map[string]bool   // the states in which the target is well
	marks   map[string]string // state set, by operation
	calls   []string          // kinds of calls that were made, in order
	hooks   hooks
}

// hooks take the place of what the world does by itself.
type hooks struct {
	plan    func() error
	apply   func(n int) (made bool, err error) // of the n-th call from 1; made: the change takes effect all the same
	observe func(n int, o executors.Observation) (executors.Observation, error)
	ask     func(n int, f *fact) ([]string, error)
	undo    func() error
	change  func(c *executors.Change) // of what was planned
	given   func(call string, env executors.Env)
	until   func(call string, deadline time.Time)
}

var scenes sync.Map // world + "/" + target -> *scene

func sceneOf(env executors.Env) *scene {
	section, ok := env.Target.Systems["fake"].(*section)
	if !ok {
		panic("the target has no section fake: " + env.Target.Name)
	}
	s, _ := scenes.Load(section.World + "/" + env.Target.Name)
	return s.(*scene)
}

// set puts the target into a state, as another hand would.
func (s *scene) set(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	s.version++
}

// given shows a test what a kind was given.
func (s *scene) given(call string, env executors.Env) {
	if s.hooks.given != nil {
		s.hooks.given(call, env)
	}
}

// may shows a test how long a call may take.
func (s *scene) may(ctx context.Context, call string) {
	if deadline, ok := ctx.Deadline(); ok && s.hooks.until != nil {
		s.hooks.until(call, deadline)
	}
}

// count notes a call and tells how many of its kind there were.
func (s *scene) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return s.tally(call)
}

func (s *scene) tally(call string) int {
	n := 0
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

// made tells how often something was called.
func (s *scene) made(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally(call)
}

func (s *scene) now() (state string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.version
}

type section struct {
	World string `yaml:"world" rules:"required"`
}

// Identity implements executors.Identified.
func (s *section) Identity(connect.Set) string { return "fake/" + s.World }

// fact is what fake.probe finds.
type fact struct {
	OK    bool    `cel:"ok"`
	Ill   bool    `cel:"ill"`
	Value float64 `cel:"value"`

	says string
}

// Claims implements executors.Claiming.
func (f *fact) Claims() map[string]string { return map[string]string{"the state": f.says} }

func (f *fact) IsSick() bool { return f.Ill }

type probe struct {
	Of string `yaml:"of"`
}

func (p *probe) Ask(_ context.Context, env executors.Env) (executors.Answer, error) {
	s := sceneOf(env)
	s.given("ask", env)
	n := s.count("ask")
	state, _ := s.now()
	f := &fact{OK: s.cured[state], Ill: !s.cured[state], Value: 1}
	answer := executors.Answer{Fact: f}
	if s.hooks.ask != nil {
		var err error
		if answer.Unknown, err = s.hooks.ask(n, f); err != nil {
			return executors.Answer{}, err
		}
	}
	answer.Summary = fmt.Sprintf("%s is %s, ok %t", env.Target.Name, state, f.OK)
	return answer, nil
}

// act sets the target's state. Two: with a second part after the first.
type act struct {
	To   string `yaml:"to"`
	Then string `yaml:"then"`
	kind string
}

func (a *act) change(env executors.Env, to string) executors.Change {
	state, version := sceneOf(env).now()
	return executors.Change{
		Kind: a.kind, Target: env.Target.Name, Summary: fmt.Sprintf("set %s from %s to %s", env.Target.Name, state, to),
		Selects: []string{env.Target.Name},
		Before:  executors.State{"state": state}, After: executors.State{"state": to}, Etag: fmt.Sprint(version),
		UndoHint: "set it back to " + state, Reversible: true, Evidence: []string{to + " worked before"}, PlannedAt: env.Now,
	}
}

func (a *act) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	s := sceneOf(env)
	s.may(ctx, "plan")
	s.count("plan")
	if s.hooks.plan != nil {
		if err := s.hooks.plan(); err != nil {
			return executors.Change{}, err
		}
	}
	to := a.To
	if a.kind == "fake.unpin" {
		to = "unpinned"
	}
	if state, _ := s.now(); state == to && a.kind == "fake.unpin" {
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the target is %s already", to)
	}
	c := a.change(env, to)
	switch a.kind {
	case "fake.pin":
		c.Debt = executors.DebtPinnedTraffic
	case "fake.unpin":
		c.Settles = executors.DebtPinnedTraffic
	case "fake.two":
		c.Data = json.RawMessage(`"` + a.Then + `"`)
	}
	if s.hooks.change != nil {
		s.hooks.change(&c)
	}
	return c, nil
}

func (a *act) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	s := sceneOf(env)
	s.may(ctx, "apply")
	s.given("apply", env)
	n := s.count("apply")
	made, err := true, error(nil)
	if s.hooks.apply != nil {
		made, err = s.hooks.apply(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if made && c.Etag != fmt.Sprint(s.version) {
		return executors.Receipt{}, status.Error(codes.Aborted, "the version is another one")
	}
	if made {
		s.state, s.marks[operation] = c.After["state"], c.After["state"]
		s.version++
	}
	return executors.Receipt{Handle: operation}, err
}

func (a *act) Observe(_ context.Context, env executors.Env, c executors.Change, operation string, _ executors.Receipt) (executors.Observation, error) {
	s := sceneOf(env)
	n := s.count("observe")
	o := s.look(c, operation)
	if o.Progress == executors.Applied && len(c.Data) > 2 {
		var then string
		if err := json.Unmarshal(c.Data, &then); err != nil {
			return o, err
		}
		next := a.change(env, then)
		next.Kind = a.kind
		o.Next = &next
	}
	if s.hooks.observe != nil {
		return s.hooks.observe(n, o)
	}
	return o, nil
}

func (s *scene) look(c executors.Change, operation string) executors.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := executors.Observation{State: executors.State{"state": s.state}}
	mark, marked := s.marks[operation]
	switch {
	case marked && mark == s.state:
		o.Progress = executors.Applied
	case !marked && c.Etag == fmt.Sprint(s.version):
		o.Progress, o.Detail = executors.NotApplied, "the target is as it was planned on"
	case !marked && c.Before["state"] == s.state:
		o.Progress, o.Detail = executors.NotApplied, "only the version moved"
	default:
		o.Progress, o.Detail = executors.Foreign, "the target is "+s.state
	}
	return o
}

func (a *act) Undo(_ context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	s := sceneOf(env)
	s.count("undo")
	if s.hooks.undo != nil {
		if err := s.hooks.undo(); err != nil {
			return executors.Change{}, err
		}
	}
	if state, _ := s.now(); state != c.After["state"] {
		return executors.Change{}, guard.Refuse(guard.HumanHand, "the target is %s, not as it was left", state)
	}
	back := a.change(env, c.Before["state"])
	back.Kind, back.Data = c.Kind, nil
	return back, nil
}

// sender is a source whose bodies are Deliveries.
type sender struct {
	World string `yaml:"world"`
	name  string
}

// lookUps are the answers to the look-ups of a world's incomplete deliveries.
var lookUps sync.Map // world -> func(sources.Delivery) (sources.Delivery, error)

func (*sender) Validate() error { return nil }

func (*sender) Authenticate(r sources.Request) error {
	if r.Header.Get("Forged") != "" {
		return fmt.Errorf("forged: %w", sources.ErrUnauthenticated)
	}
	return nil
}

func (s *sender) AuthenticateEarly(r sources.Request) error { return s.Authenticate(r) }

func (*sender) Parse(body []byte, _ time.Time) (d sources.Delivery, err error) {
	if err := json.Unmarshal(body, &d); err != nil {
		return d, fmt.Errorf("reading the body: %w", err)
	}
	return d, nil
}

func (s *sender) LookUp(_ context.Context, _ connect.Set, d sources.Delivery) (sources.Delivery, error) {
	answer, ok := lookUps.Load(s.World)
	if !ok {
		return d, nil
	}
	return answer.(func(sources.Delivery) (sources.Delivery, error))(d)
}

// standings are the answers of a world's senders to how an alert stands.
var standings sync.Map // world -> func() (sources.Standing, error)

func (s *sender) Reread(context.Context, connect.Set, alert.Alert) (sources.Standing, error) {
	answer, ok := standings.Load(s.World)
	if !ok {
		return sources.Standing{}, nil
	}
	return answer.(func() (sources.Standing, error))()
}

// polls are the answers of a world's senders to polls, by world/source; a source without one is not polled.
var polls sync.Map // -> func(sources.Question) ([]sources.Found, error)

func (s *sender) Polling() sources.Polling {
	if _, ok := polls.Load(s.World + "/" + s.name); !ok {
		return sources.Polling{}
	}
	return sources.Polling{Every: time.Minute, LookBack: time.Hour, Missing: 10 * time.Minute}
}

func (s *sender) Missed(_ context.Context, _ connect.Set, q sources.Question) ([]sources.Found, error) {
	answer, _ := polls.Load(s.World + "/" + s.name)
	return answer.(func(sources.Question) ([]sources.Found, error))(q)
}

// dogs are the watchdogs of a world's senders, by world/source.
var dogs sync.Map // -> *sources.Watchdog

func (s *sender) Watch() *sources.Watchdog {
	dog, ok := dogs.Load(s.World + "/" + s.name)
	if !ok {
		return nil
	}
	return dog.(*sources.Watchdog)
}

// Self is who we are at every fake sender.
func (*sender) Self(context.Context, connect.Set) (string, error) { return "bot", nil }

func init() {
	sources.Register(sources.Kind{Name: "fake", New: func(name string) sources.Source { return &sender{name: name} }})
	executors.RegisterTarget(executors.TargetKind{Name: "fake", New: func() any { return &section{} }})
	executors.RegisterProbe(executors.ProbeKind{Name: "fake.probe", New: func() executors.Probe { return &probe{} }, Fact: fact{}})
	// Another system, so that a rule can decide by facts while the acting system's breaker is open.
	executors.RegisterProbe(executors.ProbeKind{Name: "look.probe", New: func() executors.Probe { return &probe{} }, Fact: fact{}})
	for name, takeback := range map[string]executors.Takeback{
		"fake.act": executors.Never, "fake.back": executors.IfNotFixed, "fake.worse": executors.IfWorse, "fake.two": executors.Never,
		"fake.pin": executors.Never, "fake.unpin": executors.Never, "fake.once": executors.Never, "cloud_run.scale": executors.Never,
	} {
		kind := executors.ActionKind{Name: name, Takeback: takeback, New: func() executors.Action { return &act{kind: name} }}
		if name == "fake.unpin" {
			kind.Settles = executors.DebtPinnedTraffic
		}
		kind.Once = name == "fake.once"
		executors.RegisterAction(kind)
	}
}
