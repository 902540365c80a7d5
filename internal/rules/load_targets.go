package rules

import (
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/executors"
)

func (b *builder) target(key, value *yaml.Node) {
	t := executors.Target{Name: key.Value, Systems: map[string]any{}}
	if absent(value) {
		value = &yaml.Node{Kind: yaml.MappingNode, Line: value.Line, Column: value.Column}
	}
	if b.isMapping(value) {
		b.targetKeys(&t, value)
	}
	b.set.Targets[key.Value] = t
}

func (b *builder) targetKeys(t *executors.Target, value *yaml.Node) {
	var text targetText
	d := b.decoder()
	before := len(b.list)
	fields := fieldsOf(reflect.ValueOf(&text).Elem())
	sections := map[string]*yaml.Node{}
	for i := 0; i+1 < len(value.Content); i += 2 {
		name, section := value.Content[i], value.Content[i+1]
		kind, isSystem := executors.LookupTarget(name.Value)
		switch {
		case isSystem:
			sections[name.Value], t.Systems[name.Value] = section, kind.New()
			b.fill(section, t.Systems[name.Value])
		case slices.ContainsFunc(fields, func(f field) bool { return f.key == name.Value }):
			d.field(fields, name, section)
		default:
			b.at(name, mistake{id: "unknown-key", message: "there is no key " + show(name.Value) + " in a target", hint: suggest(name.Value, targetWords(fields))})
		}
	}
	b.checkURL(d, &text.Health)
	b.checkURL(d, &text.Control)
	t.Health, t.Control, t.Migrations = text.Health, text.Control, string(text.Migrations)
	if text.Protected {
		b.set.Protected = append(b.set.Protected, t.Name)
	}
	if len(b.list) == before {
		b.checkSections(*t, sections)
	}
}

func targetWords(fields []field) []string {
	words := executors.Targets()
	for _, f := range fields {
		words = append(words, f.key)
	}
	return words
}

// checkSections lets the sections of a target judge themselves.
func (b *builder) checkSections(t executors.Target, sections map[string]*yaml.Node) {
	for system, n := range sections {
		b.validate(t.Systems[system], t, n, "")
	}
}
