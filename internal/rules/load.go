package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// Options change how a rules file is read.
type Options struct {
	// Speed divides every duration of the file, for a world that runs faster than real; 0 and 1 leave them as written. Texts of
	// expressions stay as they are.
	Speed float64
	// Overlay is YAML whose entries under connections, sources and targets take the place of same-named ones.
	Overlay []byte
	// Addresses take the place of parameters that are written exactly so, such as a status page's address.
	Addresses map[string]string
}

// Load reads a rules file; name is only for messages. The error is Diagnostics, with every mistake found. It reads no other file but
// those of the system's time zones, and calls nothing.
func Load(name string, text []byte, o Options) (*Set, error) {
	b := newBuilder(name, text, o)
	top := b.document(b.file, text)
	if top == nil || !b.plain(top, 0) || !b.isMapping(top) {
		return nil, b.err()
	}
	if len(o.Overlay) > 0 {
		b.lay(top, o.Overlay)
	}
	b.build(top)
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.set, nil
}

// builder makes a Set of the file's nodes.
type builder struct {
	*report
	set         *Set
	speed       float64
	addresses   map[string]string // of Options
	defaults    defaultsText
	budgets     budgets // of the defaults
	freezes     []guard.Freeze
	languages   languages
	lines       map[string]int // of rules by name
	freezeLines map[string]int
	kinds       map[string]string // of connections by name, "" for a kind that is not known
	missed      map[string]bool   // connections by name and kind that were reported
}

func newBuilder(name string, text []byte, o Options) *builder {
	sum := sha256.New()
	_, _ = sum.Write(text)
	if len(o.Overlay) > 0 {
		_, _ = sum.Write([]byte{0})
		_, _ = sum.Write(o.Overlay)
	}
	for _, address := range slices.Sorted(maps.Keys(o.Addresses)) {
		_, _ = fmt.Fprintf(sum, "\x00%s\x00%s", address, o.Addresses[address])
	}
	return &builder{
		report: newReport(name, text),
		set: &Set{
			Name: name, Hash: hex.EncodeToString(sum.Sum(nil)), Text: slices.Clone(text),
			Sources: map[string]sources.Source{}, SourceKinds: map[string]string{},
			Connections: map[string]connect.Config{}, Targets: map[string]executors.Target{}, byName: map[string]*Rule{},
			Intake: DefaultIntake(),
		},
		speed: o.Speed, addresses: o.Addresses, languages: languages{}, lines: map[string]int{}, freezeLines: map[string]int{}, kinds: map[string]string{}, missed: map[string]bool{},
	}
}

func (b *builder) decoder() *decoder { return newDecoder(b.report, b.speed) }

func (b *builder) build(top *yaml.Node) {
	var file fileText
	d := b.decoder()
	d.into(top, &file)
	if file.Version != nil && *file.Version != 1 {
		b.at(d.node(file.Version, top), mistake{id: "bad-value", message: "this program reads version 1 of the rules file"})
	}
	b.intake(file.Intake)
	b.entries(file.Connections, b.connection)
	b.entries(file.Sources, b.source)
	b.entries(file.Targets, b.target)
	b.protect(d, file.Protected)
	b.retention(d, file.Retention)
	b.freezing(file.Freezes)
	b.severities(file.Severities)
	b.defaults = file.Defaults
	b.checkGuard(d, &file.Defaults.Guard)
	b.budgets = b.defaults.Guard.over(builtinBudgets())
	b.checkTell(d, &file.Defaults.Tell)
	b.checkEscalate(d, &file.Defaults.Escalate)
	matchers := make([][]matcher, 0, len(file.Rules))
	for i, n := range file.Rules {
		r := b.rule(n)
		r.Index = i
		b.set.Rules = append(b.set.Rules, r)
		b.set.byName[r.Name] = r
		matchers = append(matchers, r.matchers)
	}
	b.set.index = newIndex(matchers)
}

// entries walks a section whose keys are names.
func (b *builder) entries(section *yaml.Node, each func(key, value *yaml.Node)) {
	if section == nil || absent(section) || !b.isMapping(section) {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(section.Content); i += 2 {
		key := section.Content[i]
		if key.Kind != yaml.ScalarNode || seen[key.Value] {
			continue
		}
		seen[key.Value] = true
		if !isName(key.Value, "_-") {
			b.at(key, mistake{id: "bad-name", message: fmt.Sprintf("%s is no name", show(key.Value)),
				hint: "a name is made of small letters, digits, - and _, at most 63 of them, and begins with a letter or digit"})
			continue
		}
		each(key, section.Content[i+1])
	}
}

// isName reports whether the text is made of small letters, digits and, not at its front, the joining characters.
func isName(text, joints string) bool {
	if text == "" || len(text) > 63 || strings.ContainsRune(joints, rune(text[0])) {
		return false
	}
	return strings.TrimFunc(text, func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune(joints, c)
	}) == ""
}

// kind splits off the optional key `kind` of an entry; without it the entry's name is its kind.
func (b *builder) kind(key, value *yaml.Node) (where *yaml.Node, kind string, rest *yaml.Node) {
	named, rest := b.split(value, "kind")
	if named == nil {
		return key, key.Value, value
	}
	b.decoder().into(named, &kind)
	return named, kind, rest
}

// split takes a key out of an entry: its value, nil where it is not there, and the entry without it.
func (b *builder) split(value *yaml.Node, key string) (found, rest *yaml.Node) {
	if value.Kind != yaml.MappingNode {
		return nil, value
	}
	if found = find(value, key); found == nil {
		return nil, value
	}
	copied := *value
	copied.Content = nil
	for i := 0; i+1 < len(value.Content); i += 2 {
		if value.Content[i].Value != key {
			copied.Content = append(copied.Content, value.Content[i], value.Content[i+1])
		}
	}
	if b.overlaid[value] {
		b.overlaid[&copied] = true
	}
	return found, &copied
}

// fill decodes an entry into its kind's parameters. It gives false when something is wrong with them.
func (b *builder) fill(n *yaml.Node, parameters any) bool {
	before := b.count
	d := b.decoder()
	d.into(n, parameters)
	return b.count == before
}

// blame reports what an entry's kind says against its parameters; nil is nothing.
func (b *builder) blame(key, entry *yaml.Node, err error) {
	var (
		several    interface{ Unwrap() []error }
		expression *sources.ExpressionError
		parameter  *sources.ParameterError
	)
	where := entry
	if absent(entry) {
		where = key
	}
	switch {
	case err == nil:
	case errors.As(err, &several):
		for _, one := range several.Unwrap() {
			b.blame(key, entry, one)
		}
	case errors.As(err, &expression):
		if written := findExpression(entry, expression); written != nil {
			where = written
		}
		b.issues(where, complainOf(expression))
	case errors.As(err, &parameter):
		b.within(below(where, parameter.Path), parameter.Offset, mistake{id: "bad-parameters", message: plainWords(err.Error())})
	default:
		b.at(where, mistake{id: "bad-parameters", message: plainWords(err.Error())})
	}
}

// findExpression finds where an expression is written: under its parameter's key, or under a key within that.
func findExpression(entry *yaml.Node, e *sources.ExpressionError) *yaml.Node {
	written := find(entry, e.Field)
	if written == nil || e.Key == "" {
		return written
	}
	return find(written, e.Key)
}

// below follows keys, and places in lists, as far as they are written.
func below(n *yaml.Node, path []string) *yaml.Node {
	for _, part := range path {
		next := find(n, part)
		if place, err := strconv.Atoi(part); n.Kind == yaml.SequenceNode && err == nil && place >= 0 && place < len(n.Content) {
			next = n.Content[place]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

func (b *builder) unknownKind(n *yaml.Node, what, name string, known []string) {
	b.at(n, mistake{id: "unknown-kind", message: fmt.Sprintf("there is no kind of %s called %s", what, show(name)), hint: suggest(name, known)})
}

// validate lets parameters judge themselves and reports what they say.
func (b *builder) validate(parameters any, t executors.Target, n *yaml.Node, about string) {
	v, ok := parameters.(interface {
		Validate(t executors.Target) error
	})
	if !ok {
		return
	}
	if err := v.Validate(t); err != nil {
		b.at(n, mistake{id: "bad-parameters", message: about + plainWords(err.Error())})
	}
}

func (b *builder) checkURL(d *decoder, text *string) {
	if *text == "" {
		return
	}
	u, err := url.Parse(*text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
		b.at(d.node(text, nil), mistake{id: "bad-value", message: "must be an address such as https://api.example.com/health"})
	case connect.CheckHost(u) != nil:
		b.at(d.node(text, nil), mistake{id: "bad-value", message: "this is a link-local or metadata address, which is never asked"})
	}
}
