package sources

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deeply a body may be nested, counted in objects and arrays.
const maxDepth = 32

// decodeStrict decodes one JSON value and refuses what two parsers could read differently: a key given twice, a key that differs
// from a known one only in case (encoding/json would take it), text that is not UTF-8, anything after the value, and deep nesting.
// Unknown keys are allowed, so that a sender may add some.
func decodeStrict(body []byte, into any) error {
	if err := walkStrictly(body, reflect.TypeOf(into)); err != nil {
		return err
	}
	return decode(body, into)
}

// decodeExact decodes one JSON value as decodeStrict does into maps, lists and texts. A whole number that 64 bits hold keeps its digits, as
// an int64 or uint64; others are a float64, and one that is larger than that holds is refused.
func decodeExact(body []byte) (any, error) {
	if err := walkStrictly(body, nil); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("reading the body as JSON: %w", err)
	}
	return exact(v)
}

// exact puts numbers in place of their texts. Its recursion is bounded by maxDepth.
func exact(v any) (_ any, err error) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if v[key], err = exact(inner); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, inner := range v {
			if v[i], err = exact(inner); err != nil {
				return nil, err
			}
		}
	case json.Number:
		return exactNumber(v.String())
	}
	return v, nil
}

func exactNumber(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the body as JSON: the number %s is too large", clip(text))
	}
	return f, nil
}

// walkStrictly reads the body token by token beside the type it will be decoded into, nil for none.
func walkStrictly(body []byte, t reflect.Type) error {
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := (strictWalk{dec}).value(t, 0); err != nil {
		return fmt.Errorf("reading the body as JSON: %w", syntax(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body goes on after its JSON value")
	}
	return nil
}

func decode(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("reading the body as JSON: field %q holds the wrong kind of value, a JSON %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("reading the body as JSON: %w", err)
	}
	return nil
}

// syntax says a truncated body in words: io.EOF reads as if nothing were wrong.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in the middle")
	}
	return err
}

// strictWalk reads one value token by token beside the type it will be decoded into; a nil type is one that is not decoded.
type strictWalk struct{ dec *json.Decoder }

func (w strictWalk) value(t reflect.Type, depth int) error {
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	delim, nested := token.(json.Delim)
	switch {
	case !nested:
		return nil
	case depth >= maxDepth:
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	case delim == '{':
		return w.object(t, depth+1)
	default:
		return w.array(t, depth+1)
	}
}

func (w strictWalk) array(t reflect.Type, depth int) error {
	element := elementType(t)
	for w.dec.More() {
		if err := w.value(element, depth); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w strictWalk) object(t reflect.Type, depth int) error {
	known := knownKeys(t)
	seen := map[string]bool{}
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if seen[key] {
			return fmt.Errorf("the key %q is given twice", clip(key))
		}
		seen[key] = true
		inner, err := known.of(key)
		if err != nil {
			return err
		}
		if err := w.value(inner, depth); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// keys says which type the value of each key of an object is decoded into: by name for a struct, one for all for a map.
type keys struct {
	fields map[string]reflect.Type
	all    reflect.Type
}

func knownKeys(t reflect.Type) keys {
	t = dereference(t)
	switch {
	case t == nil:
		return keys{}
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

func elementType(t reflect.Type) reflect.Type {
	if t = dereference(t); t == nil || t.Kind() != reflect.Slice || t.Elem().Kind() == reflect.Uint8 {
		return nil
	}
	return t.Elem()
}

func dereference(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
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
