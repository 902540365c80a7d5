package sources

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a body, beside its size: how deeply it may be nested, counted in objects and arrays, and how many entries a list that is
// decoded or an object may have. Two bytes of an empty entry become a hundred once decoded.
const (
	maxDepth   = 32
	maxEntries = 10_000
)

// decodeStrict decodes one JSON value and refuses what two parsers could read differently: a key given twice, a key that differs
// from a known one only in case (encoding/json would take it), text that is not UTF-8, anything after the value, deep nesting and,
// where it is decoded, a text with half a surrogate pair (which becomes U+FFFD). Unknown keys are
// allowed, so that a sender may add some. Of what it does not decode it keeps nothing.
func decodeStrict(body []byte, into any) error {
	if err := walkStrictly(body, reflect.TypeOf(into)); err != nil {
		return err
	}
	return decode(body, into)
}

// walkStrictly judges the body beside the type that it will be decoded into.
func walkStrictly(body []byte, t reflect.Type) error {
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	if err := checkSyntax(body); err != nil {
		return err
	}
	w := strictWalk{body: body, known: map[reflect.Type]keys{}}
	if err := w.value(t, 0); err != nil {
		return fmt.Errorf("reading the body as JSON: %w", err)
	}
	return nil
}

func decode(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("reading the body as JSON: field %q holds the wrong kind of value, a JSON %s", wrong.Field, clip(wrong.Value))
	}
	if err != nil {
		return fmt.Errorf("reading the body as JSON: %w", err)
	}
	return nil
}

// skipped takes any JSON value and keeps nothing of it.
type skipped struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// checkSyntax lets encoding/json judge the grammar, and says in words what is often wrong.
func checkSyntax(body []byte) error {
	err := json.Unmarshal(body, &skipped{})
	switch {
	case err == nil:
		return nil
	case strings.HasSuffix(err.Error(), "end of JSON input"):
		return errors.New("reading the body as JSON: it ends in the middle")
	case strings.HasSuffix(err.Error(), "after top-level value"):
		return errors.New("the body goes on after its JSON value")
	default:
		return fmt.Errorf("reading the body as JSON: %w", err)
	}
}

// strictWalk goes through a valid body beside the type it will be decoded into; a nil type is one that is not decoded.
type strictWalk struct {
	body  []byte
	at    int
	names [][]byte // keys of the objects that are open, the innermost one's last
	known map[reflect.Type]keys
}

// peek passes over white space and gives the byte there.
func (w *strictWalk) peek() byte {
	for bytes.IndexByte([]byte(" \t\r\n"), w.body[w.at]) >= 0 {
		w.at++
	}
	return w.body[w.at]
}

func (w *strictWalk) value(t reflect.Type, depth int) error {
	t = decoded(t)
	switch c := w.peek(); {
	case (c == '{' || c == '[') && depth >= maxDepth:
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	case c == '{':
		return w.object(t, depth+1)
	case c == '[':
		return w.array(t, depth+1)
	case c == '"':
		_, err := w.text(t != nil)
		return err
	default: // a number, true, false or null
		for w.at < len(w.body) && bytes.IndexByte([]byte(",]} \t\r\n"), w.body[w.at]) < 0 {
			w.at++
		}
		return nil
	}
}

// more steps to the next entry; false where the list or object ends.
func (w *strictWalk) more(end byte) bool {
	w.at++ // the bracket or comma before
	if w.peek() == end {
		w.at++
		return false
	}
	return true
}

func (w *strictWalk) array(t reflect.Type, depth int) error {
	element := elementType(t)
	for n := 1; w.more(']'); n++ {
		if element != nil && n > maxEntries {
			return fmt.Errorf("a list in it has more than %d entries", maxEntries)
		}
		if err := w.value(element, depth); err != nil {
			return err
		}
		if w.peek() == ']' {
			w.at++
			break
		}
	}
	return nil
}

func (w *strictWalk) object(t reflect.Type, depth int) error {
	seen := nameSet{first: len(w.names)}
	defer func() { w.names = w.names[:seen.first] }()
	known := w.keysOf(t)
	for n := 1; w.more('}'); n++ {
		if n > maxEntries {
			return fmt.Errorf("an object in it has more than %d keys", maxEntries)
		}
		inner, err := w.key(&seen, known, t != nil)
		if err != nil {
			return err
		}
		w.peek() // the colon
		w.at++
		if err := w.value(inner, depth); err != nil {
			return err
		}
		if w.peek() == '}' {
			w.at++
			break
		}
	}
	return nil
}

// key reads a key of an object and gives the type that its value is decoded into.
func (w *strictWalk) key(seen *nameSet, known keys, isDecoded bool) (reflect.Type, error) {
	raw, err := w.text(isDecoded)
	if err != nil {
		return nil, err
	}
	name := raw[1 : len(raw)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(raw, &plain); err != nil {
			return nil, err
		}
		name = []byte(plain)
	}
	if seen.add(w, name) {
		return nil, fmt.Errorf("the key %q is given twice", clip(string(name)))
	}
	return known.of(string(name))
}

// text passes over a text and gives it with its quotes. Where it is decoded, what its escapes stand for is judged.
func (w *strictWalk) text(isDecoded bool) ([]byte, error) {
	start := w.at
	for w.at++; w.body[w.at] != '"'; w.at++ {
		if w.body[w.at] != '\\' {
			continue
		}
		w.at++
		if w.body[w.at] == 'u' && isDecoded {
			if err := w.escape(); err != nil {
				return nil, err
			}
		}
	}
	w.at++
	return w.body[start:w.at], nil
}

// escape judges the four digits behind \u, and those of the second half of a pair.
func (w *strictWalk) escape() error {
	unit := w.unit(w.at + 1)
	w.at += 4
	switch {
	case !utf16.IsSurrogate(unit):
		return nil
	case bytes.HasPrefix(w.body[w.at+1:], []byte(`\u`)) && utf16.DecodeRune(unit, w.unit(w.at+3)) != utf8.RuneError:
		w.at += 6
		return nil
	default:
		return errors.New("a text in it holds half a surrogate pair")
	}
}

func (w *strictWalk) unit(at int) rune {
	unit, err := strconv.ParseUint(string(w.body[at:at+4]), 16, 16)
	if err != nil {
		return 0 // the grammar asks for four digits
	}
	return rune(unit)
}

// nameSet is the keys of one object: the walk's names from first on and, once they are many, an index of them.
type nameSet struct {
	first int
	index map[string]struct{}
}

// add reports whether the name was there.
func (s *nameSet) add(w *strictWalk, name []byte) bool {
	const few = 16
	if s.index == nil && len(w.names)-s.first < few {
		there := slices.ContainsFunc(w.names[s.first:], func(n []byte) bool { return bytes.Equal(n, name) })
		w.names = append(w.names, name)
		return there
	}
	if s.index == nil {
		s.index = make(map[string]struct{}, 2*few)
		for _, n := range w.names[s.first:] {
			s.index[string(n)] = struct{}{}
		}
	}
	_, there := s.index[string(name)]
	s.index[string(name)] = struct{}{}
	return there
}

// keys says which type the value of each key of an object is decoded into: by name for a struct, one for all for a map.
type keys struct {
	fields map[string]reflect.Type
	all    reflect.Type
}

// keysOf is knownKeys, made once for each type.
func (w *strictWalk) keysOf(t reflect.Type) keys {
	k, ok := w.known[t]
	if !ok {
		k = knownKeys(t)
		w.known[t] = k
	}
	return k
}

func knownKeys(t reflect.Type) keys {
	switch {
	case t == nil:
		return keys{}
	case t.Kind() == reflect.Interface:
		return keys{all: t}
	case t.Kind() == reflect.Map:
		return keys{all: t.Elem()}
	case t.Kind() == reflect.Struct:
		return keys{fields: structFields(t)}
	default:
		return keys{}
	}
}

func structFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	return fields
}

func (k keys) of(key string) (reflect.Type, error) {
	if t, ok := k.fields[key]; ok {
		return t, nil
	}
	for name := range k.fields {
		if strings.EqualFold(name, key) {
			return nil, fmt.Errorf("the key %q is written %q here", name, clip(key))
		}
	}
	return k.all, nil
}

// elementType is nil where the elements are not decoded.
func elementType(t reflect.Type) reflect.Type {
	switch {
	case t == nil:
		return nil
	case t.Kind() == reflect.Interface:
		return t
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		return t.Elem()
	default:
		return nil
	}
}

// decoded is the type that pointers lead to; nil for json.RawMessage, which is judged when it is decoded itself.
func decoded(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	return t
}

// clip shortens text from outside for a message.
func clip(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
