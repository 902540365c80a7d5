package rules

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
)

// decoder fills Go values from YAML nodes and reports everything that does not fit. Field names are the `yaml` tags; a field tagged
// `rules:"required"` has to be there.
type decoder struct {
	*report
	speed float64                        // durations are divided by it
	fill  func(string) (string, *misfit) // fills the target into texts; nil: as written
	nodes map[any]*yaml.Node             // by pointer to the value: where it was written
}

// misfit is what is wrong with a text, and at which of its characters.
type misfit struct {
	offset  int
	message string
	hint    string
}

// enum is a type of text with few allowed values.
type enum interface{ Values() []string }

func newDecoder(r *report, speed float64) *decoder {
	return &decoder{report: r, speed: speed, nodes: map[any]*yaml.Node{}}
}

// filling makes the decoder fill the target into texts.
func (d *decoder) filling(fill func(string) (string, *misfit)) *decoder {
	d.fill = fill
	return d
}

// node is where a decoded value was written, fallback where it was not.
func (d *decoder) node(pointer any, fallback *yaml.Node) *yaml.Node {
	if n, ok := d.nodes[pointer]; ok {
		return n
	}
	return fallback
}

// wrote reports whether the value a pointer leads to was written.
func (d *decoder) wrote(pointer any) bool {
	_, ok := d.nodes[pointer]
	return ok
}

// into decodes a node into what pointer leads to.
func (d *decoder) into(n *yaml.Node, pointer any) { d.value(n, reflect.ValueOf(pointer).Elem()) }

func (d *decoder) value(n *yaml.Node, v reflect.Value) {
	if v.CanAddr() {
		d.nodes[v.Addr().Interface()] = n
	}
	switch {
	case v.Type() == reflect.TypeFor[*yaml.Node]():
		v.Set(reflect.ValueOf(n))
		return
	case v.Type() == reflect.TypeFor[time.Time]():
		d.moment(n, v)
		return
	case d.ownDecoding(n, v):
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		before := d.count
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem())
		if d.count != before && v.Elem().Kind() != reflect.Struct {
			v.SetZero() // as if it were not written: what is wrong is said
		}
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.Slice:
		d.list(n, v)
	default:
		d.scalar(n, v)
	}
}

// ownDecoding serves types that read a scalar or a node by themselves.
func (d *decoder) ownDecoding(n *yaml.Node, v reflect.Value) bool {
	if !v.CanAddr() || v.Kind() == reflect.Pointer {
		return false
	}
	var err error
	switch t := v.Addr().Interface().(type) {
	case yaml.Unmarshaler:
		err = t.UnmarshalYAML(n)
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			return false
		}
		err = t.UnmarshalText([]byte(n.Value))
	default:
		return false
	}
	if err != nil {
		d.at(n, mistake{id: "bad-value", message: plainWords(err.Error())})
	}
	return true
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value) {
	if absent(n) {
		n = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	}
	if v.Type() == reflect.TypeFor[connect.Secret]() && n.Kind == yaml.ScalarNode {
		d.mask(n)
		d.at(n, mistake{id: "secret-in-file", message: "a secret is never written into the rules file", hint: "write {file: PATH} or {env: VARIABLE}"})
		return
	}
	if !d.isMapping(n) {
		return
	}
	fields := fieldsOf(v)
	present := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || present[key.Value] {
			continue
		}
		present[key.Value] = true
		d.field(fields, key, value)
	}
	d.required(n, fields, present)
}

func (d *decoder) field(fields []field, key, value *yaml.Node) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
	if i < 0 {
		d.unknownKey(fields, key, value)
		return
	}
	f := fields[i]
	if f.secret == "" {
		d.value(value, f.value)
		return
	}
	d.secret(value, f)
}

func (d *decoder) unknownKey(fields []field, key, value *yaml.Node) {
	var keys []string
	for _, f := range fields {
		if f.name == key.Value {
			d.mask(value)
			d.at(key, mistake{id: "secret-in-file", message: "a secret is never written into the rules file",
				hint: fmt.Sprintf("write %s_file: PATH or %s_env: VARIABLE", f.name, f.name)})
			return
		}
		keys = append(keys, f.key)
	}
	m := mistake{id: "unknown-key", message: "there is no key " + show(key.Value) + " here", hint: suggest(key.Value, keys)}
	if len(keys) == 0 {
		m.hint = "no keys are allowed here"
	}
	d.at(key, m)
}

func (d *decoder) required(n *yaml.Node, fields []field, present map[string]bool) {
	satisfied := map[string]bool{}
	for _, f := range fields {
		satisfied[f.name] = satisfied[f.name] || present[f.key] || present[f.name]
	}
	for _, f := range fields {
		if !f.required || satisfied[f.name] {
			continue
		}
		satisfied[f.name] = true // once for both keys of a secret
		key := f.key
		if f.secret != "" {
			key = f.name + "_file or " + f.name + "_env"
		}
		d.at(n, mistake{id: "missing-key", message: key + " is missing"})
	}
}

// secret decodes the place of a secret: one of a field, or one or several of a list.
func (d *decoder) secret(n *yaml.Node, f field) {
	entries := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode && f.value.Kind() == reflect.Slice {
		entries = n.Content
	}
	for _, entry := range entries {
		var where string
		d.value(entry, reflect.ValueOf(&where).Elem())
		if where == "" {
			if entry.Kind == yaml.ScalarNode && isText(entry) {
				d.at(entry, mistake{id: "bad-value", message: "must not be empty"})
			}
			continue
		}
		s := connect.Secret{File: where}
		if f.secret == "env" {
			s = connect.Secret{Env: where}
		}
		d.keep(n, f, s)
	}
}

func (d *decoder) keep(n *yaml.Node, f field, s connect.Secret) {
	if f.value.Kind() == reflect.Slice {
		f.value.Set(reflect.Append(f.value, reflect.ValueOf(s)))
		return
	}
	if !f.value.IsZero() {
		d.at(n, mistake{id: "bad-value", message: fmt.Sprintf("%s_file and %s_env exclude each other", f.name, f.name)})
	}
	f.value.Set(reflect.ValueOf(s))
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value) {
	if absent(n) || !d.isMapping(n) {
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			continue
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], entry)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), entry)
	}
	v.Set(m)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value) {
	if absent(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.at(n, mistake{id: "wrong-type", message: "must be a list"})
		return
	}
	l := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		d.value(c, l.Index(i))
	}
	v.Set(l)
}

// absent reports whether a key has nothing behind it.
func absent(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style&quotedStyles == 0
}

const quotedStyles = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// field is one key of a struct. The place of a secret has two keys, NAME_file and NAME_env.
type field struct {
	key      string
	name     string // the tag
	secret   string // "file" or "env", "" for any other field
	required bool
	value    reflect.Value
}

func fieldsOf(v reflect.Value) []field {
	fields := make([]field, 0, v.NumField())
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case sf.Anonymous && options == "inline" && sf.Type.Kind() == reflect.Struct:
			fields = append(fields, fieldsOf(v.Field(i))...)
		case !sf.IsExported() || name == "" || name == "-":
		default:
			f := field{key: name, name: name, required: sf.Tag.Get("rules") == "required", value: v.Field(i)}
			fields = append(fields, f.keys(sf.Type)...)
		}
	}
	return fields
}

func (f field) keys(t reflect.Type) []field {
	if t != reflect.TypeFor[connect.Secret]() && t != reflect.TypeFor[[]connect.Secret]() {
		return []field{f}
	}
	file, env := f, f
	file.key, file.secret = f.name+"_file", "file"
	env.key, env.secret = f.name+"_env", "env"
	return []field{file, env}
}
