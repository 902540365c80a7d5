package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of a rules file: its size in bytes and how deep its values may nest.
const (
	maxText  = 4 << 20
	maxDepth = 32
)

// document parses one YAML text into its top node. A nil node means that nothing can be read; the report says why.
func (r *report) document(in *origin, text []byte) *yaml.Node {
	start := place{in: in, line: 1, col: 1}
	if len(text) > maxText {
		r.add(start, mistake{id: "too-large", message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(text), maxText)})
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.syntax(start, err)
		return nil
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case errors.Is(err, io.EOF):
		r.add(start, mistake{id: "empty-file", message: "the file is empty", hint: "begin with version: 1"})
		return nil
	case err != nil:
		r.syntax(start, err)
		return nil
	}
	r.single(start, loader.Load(&second), &second)
	if len(first.Content) != 1 {
		return nil
	}
	return first.Content[0]
}

// single reports a second document.
func (r *report) single(start place, err error, second *yaml.Node) {
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntax(start, err)
	default:
		start.line, start.col = max(second.Line, 1), max(second.Column, 1)
		r.add(start, mistake{id: "several-documents", message: "a rules file is one document", hint: "remove the line --- and what does not belong"})
	}
}

func (r *report) syntax(p place, err error) {
	var load *yaml.LoadError
	message := "not valid YAML"
	if errors.As(err, &load) {
		message += ": " + load.Message
		if load.ContextMsg != "" {
			message += " (" + load.ContextMsg + ")"
		}
		p.line, p.col = max(load.Mark.Line, 1), max(load.Mark.Column, 1)
	}
	r.add(p, mistake{id: "yaml-syntax", message: message})
}

// plain refuses what YAML allows and a rules file must not hide: anchors, aliases, merges, tags, and keys written twice.
func (r *report) plain(n *yaml.Node, depth int) bool {
	if depth > maxDepth {
		r.at(n, mistake{id: "too-deep", message: fmt.Sprintf("values nest more than %d deep", maxDepth)})
		return false
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.at(n, mistake{id: "anchor", message: "anchors and aliases are not allowed", hint: "write the value where it is used, or under defaults"})
	}
	if n.Kind == yaml.AliasNode {
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.at(n, mistake{id: "tag", message: "tags are not allowed", hint: "remove " + show(n.Tag)})
		return false
	}
	ok := true
	for _, c := range n.Content {
		ok = r.plain(c, depth+1) && ok
	}
	if n.Kind == yaml.MappingNode {
		r.uniqueKeys(n)
	}
	return ok
}

func (r *report) uniqueKeys(n *yaml.Node) {
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			r.at(key, mistake{id: "wrong-type", message: "a key must be text"})
			continue
		}
		if line, twice := first[key.Value]; twice {
			r.at(key, mistake{id: "duplicate-key", message: fmt.Sprintf("%s is written twice", show(key.Value)),
				hint: fmt.Sprintf("the first is on line %d", line)})
			continue
		}
		first[key.Value] = key.Line
	}
}

// show quotes a word of the file unless it is a plain one, and shortens a long one.
func show(s string) string {
	if plain := func(c rune) bool {
		return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
	}; s != "" && len(s) <= 64 && strings.TrimFunc(s, plain) == "" {
		return s
	}
	if runes := []rune(s); len(runes) > 64 {
		s = string(runes[:64]) + "…"
	}
	return strconv.Quote(strings.ToValidUTF8(s, "\ufffd"))
}

// lay puts the entries of a second text in the place of same-named ones under connections, sources and targets.
func (r *report) lay(top *yaml.Node, text []byte) {
	r.overlay = newOrigin("overlay", text)
	over := r.document(r.overlay, text)
	if over == nil {
		return
	}
	r.mark(over)
	if !r.plain(over, 0) || !r.isMapping(over) || top.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(over.Content); i += 2 {
		key, section := over.Content[i], over.Content[i+1]
		switch key.Value {
		case "connections", "sources", "targets":
			if r.isMapping(section) {
				replace(top, key, section)
			}
		default:
			r.at(key, mistake{id: "unknown-key", message: "an overlay cannot change " + show(key.Value), hint: "allowed: connections, sources, targets"})
		}
	}
}

func (r *report) isMapping(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		r.at(n, mistake{id: "wrong-type", message: "must be a mapping (key: value)"})
		return false
	}
	return true
}

func (r *report) mark(n *yaml.Node) {
	r.overlaid[n] = true
	for _, c := range n.Content {
		r.mark(c)
	}
}

// replace puts the pairs of section under key of the mapping top.
func replace(top, key, section *yaml.Node) {
	at := find(top, key.Value)
	if at == nil || at.Kind != yaml.MappingNode {
		set(top, key, section)
		return
	}
	for i := 0; i+1 < len(section.Content); i += 2 {
		set(at, section.Content[i], section.Content[i+1])
	}
}

func set(mapping, key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key.Value {
			mapping.Content[i], mapping.Content[i+1] = key, value
			return
		}
	}
	mapping.Content = append(mapping.Content, key, value)
}

// find is the value under a key, nil if there is none.
func find(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}
