package executors

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// ActionKind is one registered kind of action.
type ActionKind struct {
	Name string // SYSTEM.VERB, as in rules.yaml
	Doc  string // one sentence
	New  func() Action
	// Takeback says when a change that did not help is taken back by the run that made it. The zero value is never.
	Takeback Takeback
	// Settles is the kind of debt that the action takes back, such as DebtPinnedTraffic; its Plan refuses with guard.NothingToDo
	// when there is none.
	Settles string
	// Once says that a second act of the kind on a target waits until a human has released it.
	Once bool
}

// Takeback is the policy of a kind for changes that did not help.
type Takeback int

// Never leaves the change and escalates; IfWorse takes it back when a health check that answered before is sick now; IfNotFixed
// always, where the target still is exactly as the change left it.
const (
	Never Takeback = iota
	IfWorse
	IfNotFixed
)

// ProbeKind is one registered kind of probe. Fact is the zero value of its fact struct: rules are type-checked against it.
type ProbeKind struct {
	Name string
	Doc  string
	New  func() Probe
	Fact any
	// Lag is how old the newest value of this probe may be by the system's own delay, in real time; verification waits for it.
	Lag time.Duration
}

// TargetKind is the section of a target that a system needs. New returns a pointer to a struct with yaml tags.
type TargetKind struct {
	Name string
	Doc  string
	New  func() any
}

var (
	actions = map[string]ActionKind{}
	probes  = map[string]ProbeKind{}
	targets = map[string]TargetKind{}
)

// RegisterAction adds a kind; call it from init. A name registered twice panics: action names are never reused.
func RegisterAction(k ActionKind) { register(actions, k.Name, k) }

// RegisterProbe adds a kind; call it from init.
func RegisterProbe(k ProbeKind) { register(probes, k.Name, k) }

// RegisterTarget adds a section of targets; call it from init.
func RegisterTarget(k TargetKind) { register(targets, k.Name, k) }

func register[K any](m map[string]K, name string, k K) {
	if _, ok := m[name]; ok || name == "" {
		panic("executors: kind registered twice or without a name: " + name)
	}
	m[name] = k
}

// LookupAction finds a kind of action by name.
func LookupAction(name string) (ActionKind, bool) { k, ok := actions[name]; return k, ok }

// Settling finds the action that takes a kind of debt back.
func Settling(debt string) (ActionKind, bool) {
	for _, name := range Actions() {
		if k := actions[name]; k.Settles == debt && debt != "" {
			return k, true
		}
	}
	return ActionKind{}, false
}

// LookupProbe finds a kind of probe by name.
func LookupProbe(name string) (ProbeKind, bool) { k, ok := probes[name]; return k, ok }

// LookupTarget finds a target section by name.
func LookupTarget(name string) (TargetKind, bool) { k, ok := targets[name]; return k, ok }

// Actions lists the registered names in order.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }

// Probes lists the registered names in order.
func Probes() []string { return slices.Sorted(maps.Keys(probes)) }

// Targets lists the registered sections in order.
func Targets() []string { return slices.Sorted(maps.Keys(targets)) }

// System gives the system of a kind: "cloud_run" of "cloud_run.rollback".
func System(kind string) string {
	system, _, _ := strings.Cut(kind, ".")
	return system
}

// FactType is the struct type behind a probe's fact.
func (k ProbeKind) FactType() reflect.Type { return reflect.TypeOf(k.Fact) }
