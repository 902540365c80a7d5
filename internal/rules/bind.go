package rules

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/executors"
)

// callTimeout is how long one question or call may take where the file says nothing else.
const callTimeout = 30 * time.Second

// gathered is one entry of `gather`.
type gathered struct {
	name string
	kind executors.ProbeKind
	call
}

// rung is one entry of `do`.
type rung struct {
	kind executors.ActionKind
	call
}

// call is what probes and actions have in common as they are written.
type call struct {
	key, params *yaml.Node
	timeout     time.Duration
}

// oneKind gives the one key of a mapping that names a kind, beside the optional timeout.
func (b *builder) oneKind(n *yaml.Node, what string, timeout *time.Duration) (key, value *yaml.Node) {
	if !b.isMapping(n) {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k := n.Content[i]; {
		case timeout != nil && k.Value == "timeout":
			d := b.decoder()
			d.into(n.Content[i+1], timeout)
			if *timeout <= 0 {
				b.at(n.Content[i+1], mistake{id: "bad-value", message: "timeout must be longer than 0s"})
			}
		case key != nil:
			b.at(k, mistake{id: "several-kinds", message: fmt.Sprintf("%s has one kind, and %s is here already", what, show(key.Value)),
				hint: "write a second entry"})
		default:
			key, value = k, n.Content[i+1]
		}
	}
	if key == nil {
		b.at(n, mistake{id: "missing-kind", message: what + " needs a kind", hint: "write KIND: {parameters}"})
	}
	return key, value
}

func (b *builder) gather(section *yaml.Node) []gathered {
	if section == nil || absent(section) || !b.isMapping(section) {
		return nil
	}
	var all []gathered
	for i := 0; i+1 < len(section.Content); i += 2 {
		name := section.Content[i]
		if !b.factName(name) || slices.ContainsFunc(all, func(g gathered) bool { return g.name == name.Value }) {
			continue
		}
		g := gathered{name: name.Value, call: call{timeout: callTimeout}}
		g.key, g.params = b.oneKind(section.Content[i+1], "an entry of gather", &g.timeout)
		if g.key != nil && b.probeKind(&g) {
			all = append(all, g)
		}
	}
	return all
}

func (b *builder) probeKind(g *gathered) (ok bool) {
	g.kind, ok = executors.LookupProbe(g.key.Value)
	if ok {
		return true
	}
	if _, isAction := executors.LookupAction(g.key.Value); isAction {
		b.at(g.key, mistake{id: "unknown-kind", message: g.key.Value + " is an action", hint: "actions are written under do"})
		return false
	}
	b.unknownKind(g.key, "probe", g.key.Value, executors.Probes())
	return false
}

// factName reports names that cannot be variables of expressions.
func (b *builder) factName(n *yaml.Node) bool {
	switch {
	case n.Kind != yaml.ScalarNode:
		return false
	case n.Value == alertName, n.Value == targetName:
		b.at(n, mistake{id: "bad-name", message: n.Value + " means something else in expressions", hint: "choose another name"})
	case reserved(n.Value):
		b.at(n, mistake{id: "bad-name", message: n.Value + " is a word of the expression language", hint: "choose another name"})
	case !isName(n.Value, "_") || n.Value[0] <= '9':
		b.at(n, mistake{id: "bad-name", message: show(n.Value) + " cannot be named in expressions",
			hint: "a fact's name is small letters, digits and _, and begins with a letter"})
	default:
		return true
	}
	return false
}

// reserved are the words of the expression language (CEL's reserved words and type names).
func reserved(name string) bool {
	return slices.Contains([]string{
		"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "package",
		"namespace", "null", "return", "true", "var", "void", "while", "bool", "bytes", "double", "dyn", "int", "list", "map",
		"null_type", "string", "type", "uint", "optional_type", "google", "math", "optional", "strings", "cel",
	}, name)
}

func (b *builder) ladder(entries []*yaml.Node) []rung {
	var rungs []rung
	for _, n := range entries {
		r := rung{call: call{timeout: callTimeout}}
		r.key, r.params = b.oneKind(n, "a rung of do", &r.timeout)
		if r.key != nil && b.actionKind(&r) {
			rungs = append(rungs, r)
		}
	}
	return rungs
}

func (b *builder) actionKind(r *rung) (ok bool) {
	r.kind, ok = executors.LookupAction(r.key.Value)
	if ok {
		return true
	}
	if _, isProbe := executors.LookupProbe(r.key.Value); isProbe {
		b.at(r.key, mistake{id: "unknown-kind", message: r.key.Value + " is a probe", hint: "probes are written under gather"})
		return false
	}
	b.unknownKind(r.key, "action", r.key.Value, executors.Actions())
	return false
}

// choose reads how the rule finds its target.
func (b *builder) choose(dr *draft) {
	n := dr.text.Target
	if n == nil {
		return
	}
	if n.Kind == yaml.SequenceNode {
		b.at(n, mistake{id: "wrong-type", message: "must be the name of a target", hint: "or {from: LABEL} where a label names it"})
		return
	}
	if n.Kind != yaml.MappingNode {
		d := b.decoder()
		d.into(n, &dr.choice.fixed)
		if isText(n) {
			b.declared(n)
		}
		return
	}
	var t fromText
	d := b.decoder()
	d.into(n, &t)
	dr.choice.label = t.From
	if d.okText(&t.From) && t.From == "" {
		b.at(d.node(&t.From, n), mistake{id: "bad-value", message: "must not be empty"})
	}
	if t.Map == nil || !b.isMapping(t.Map) {
		return
	}
	dr.choice.targets = map[string]string{}
	for i := 0; i+1 < len(t.Map.Content); i += 2 {
		key, value := t.Map.Content[i], t.Map.Content[i+1]
		var name string
		d.into(value, &name)
		if isText(value) && b.declared(value) {
			dr.choice.targets[key.Value] = name
		}
	}
}

func (b *builder) declared(n *yaml.Node) bool {
	_, ok := b.set.Targets[n.Value]
	if !ok {
		known := slices.Sorted(maps.Keys(b.set.Targets))
		hint := suggest(n.Value, known)
		if len(known) == 0 {
			hint = "declare it under targets"
		}
		b.at(n, mistake{id: "unknown-target", message: fmt.Sprintf("no target called %s is declared", show(n.Value)), hint: hint})
	}
	return ok
}

// bind fills every target that the rule can name into its probes and actions.
func (b *builder) bind(dr *draft) {
	dr.bound = map[string]Bound{}
	names, anyFits := b.nameable(dr.choice)
	read := false
	for _, name := range names {
		target := b.set.Targets[name]
		fits := b.fits(dr, target, !anyFits)
		if !fits && anyFits {
			continue
		}
		bound := b.bindTo(dr, target)
		if read = true; fits {
			dr.bound[name] = bound
		}
	}
	if anyFits && !read && len(names) > 0 {
		b.at(dr.text.Target, mistake{id: "no-fitting-target", message: "no declared target has the sections that this rule's kinds need"})
	}
	if !read {
		b.bindTo(dr, executors.Target{})
	}
	for _, c := range dr.calls() {
		b.reaches(c, names)
	}
}

// reaches reports that a call's connection is not declared: its system's, or the one that the targets' sections name.
func (b *builder) reaches(c call, targets []string) {
	system := executors.System(c.key.Value)
	if name, needs := connectionOf(system); needs {
		b.needsConnection(c.key, name, name, c.key.Value+" needs it")
	}
	for _, name := range targets {
		if section, names := b.set.Targets[name].Systems[system].(executors.Connecting); names {
			connection, kind := section.Connects()
			b.needsConnection(c.key, connection, kind, fmt.Sprintf("%s on target %s needs it", c.key.Value, name))
		}
	}
}

// nameable lists the targets the rule can name. Where a label's value is the target's name these are all, and only those that fit
// can be meant.
func (b *builder) nameable(c choice) (names []string, anyFits bool) {
	switch {
	case c.fixed != "":
		if _, ok := b.set.Targets[c.fixed]; ok {
			return []string{c.fixed}, false
		}
		return nil, false
	case c.targets != nil:
		return slices.Compact(slices.Sorted(maps.Values(c.targets))), false
	case c.label != "":
		return slices.Sorted(maps.Keys(b.set.Targets)), true
	default:
		return nil, false
	}
}

func (dr *draft) calls() []call {
	var calls []call
	for _, g := range dr.gathered {
		calls = append(calls, g.call)
	}
	for _, r := range dr.rungs {
		calls = append(calls, r.call)
	}
	return calls
}

// fits reports whether the target has the section of every system in use that knows one.
func (b *builder) fits(dr *draft, t executors.Target, complain bool) bool {
	fits := true
	for _, c := range dr.calls() {
		system := executors.System(c.key.Value)
		if c.fits(t) {
			continue
		}
		fits = false
		if complain {
			b.at(c.key, mistake{id: "missing-section", message: fmt.Sprintf("target %s has no section %s, which %s needs", t.Name, system, c.key.Value),
				hint: fmt.Sprintf("write %s: under the target", system)})
		}
	}
	return fits
}

// fits reports whether the target has the section of the call's system, or the system knows none.
func (c call) fits(t executors.Target) bool {
	system := executors.System(c.key.Value)
	_, needed := executors.LookupTarget(system)
	_, has := t.Systems[system]
	return has || !needed
}

// connectionOf is the connection a system's kinds use.
func connectionOf(system string) (string, bool) {
	switch system {
	case "cloud_run", "monitoring", "logging", "cloud_armor":
		return googleCloud, true
	case pagerDuty, slack, "sentry", "stripe", "mongodb", "vercel":
		return system, true
	default:
		return "", false
	}
}

func (b *builder) bindTo(dr *draft, t executors.Target) Bound {
	bound := Bound{Rule: dr.Rule, Target: t}
	for _, g := range dr.gathered {
		probe := g.kind.New()
		b.looksBack(dr, g, b.parameters(g.call, probe, t))
		bound.Probes = append(bound.Probes, BoundProbe{Name: g.name, Kind: g.kind.Name, Probe: probe, Timeout: g.timeout})
	}
	for _, r := range dr.rungs {
		action := r.kind.New()
		b.parameters(r.call, action, t)
		bound.Actions = append(bound.Actions, BoundAction{Kind: r.kind.Name, Action: action, Timeout: r.timeout})
	}
	return bound
}

// parameters decodes a kind's parameters for a target; for the zero Target, or one that lacks the kind's section, only to find
// mistakes. They are validated as written, which is what it gives back, and shortened by the world's speed afterwards.
func (b *builder) parameters(c call, parameters any, t executors.Target) any {
	if reflect.TypeOf(parameters).Kind() != reflect.Pointer {
		return parameters
	}
	fill := elsewhere(filler(t), b.addresses)
	written := reflect.New(reflect.TypeOf(parameters).Elem())
	written.Elem().Set(reflect.ValueOf(parameters).Elem())
	before := b.count
	newDecoder(b.report, 1).filling(fill).into(c.params, written.Interface())
	if t.Name == "" || !c.fits(t) || b.count != before {
		return written.Interface()
	}
	b.decoder().filling(fill).into(c.params, parameters)
	where := c.params
	if absent(where) {
		where = c.key
	}
	b.validate(written.Interface(), t, where, fmt.Sprintf("%s on target %s: ", c.key.Value, t.Name))
	b.connects(written.Interface(), c, where)
	return written.Interface()
}

// connects reports that the connection which parameters name is not declared.
func (b *builder) connects(parameters any, c call, where *yaml.Node) {
	connecting, ok := parameters.(executors.Connecting)
	if !ok {
		return
	}
	name, kind := connecting.Connects()
	if written := find(c.params, "connection"); written != nil {
		where = written
	}
	if name != "" {
		b.needsConnection(where, name, kind, c.key.Value+" needs it")
	}
}
