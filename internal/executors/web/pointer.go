package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
)

// pointer is a JSON pointer (RFC 6901): "/data/token", "/items/0/id"; "" is the whole answer.
type pointer string

var escapes = strings.NewReplacer("~1", "/", "~0", "~")

func (p pointer) check() error {
	if p != "" && !strings.HasPrefix(string(p), "/") {
		return fmt.Errorf("%.80q is no JSON pointer, such as /data/token", string(p))
	}
	return nil
}

// in finds the value in an answer.
func (p pointer) in(answer any) (any, bool) {
	if p == "" {
		return answer, true
	}
	for _, part := range strings.Split(string(p), "/")[1:] {
		part = escapes.Replace(part)
		switch inside := answer.(type) {
		case map[string]any:
			value, ok := inside[part]
			if !ok {
				return nil, false
			}
			answer = value
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(inside) || strconv.Itoa(i) != part {
				return nil, false
			}
			answer = inside[i]
		default:
			return nil, false
		}
	}
	return answer, true
}

// decode reads one JSON value, with numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("it is no JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it is more than one JSON value")
	}
	return v, nil
}

// wish is what a value in an answer should be: a value, or {exists: true} or {exists: false}.
type wish struct{ written any }

const existsKey = "exists"

// existence tells a wish for existence from one for a value.
func (w wish) existence() (exists, asked bool) {
	m, ok := w.written.(map[string]any)
	if !ok || len(m) != 1 {
		return false, false
	}
	exists, asked = m[existsKey].(bool)
	return exists, asked
}

// met reports whether what was found is as wished.
func (w wish) met(value any, found bool) bool {
	if exists, asked := w.existence(); asked {
		return exists == found
	}
	return found && same(plain(w.written), value)
}

// plain gives a value of the rules file the form that decode gives one of an answer.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return v
	}
	if p, err := decode(text); err == nil {
		return p
	}
	return v
}

// exact is up to where whole numbers are told apart by float64.
const exact = 1 << 53

// same compares decoded JSON values; numbers by what they are worth: 1 is 1.0.
func same(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, areNumbers := b.(json.Number)
	if isNumber && areNumbers && x != y {
		f, errX := x.Float64()
		g, errY := y.Float64()
		return errX == nil && errY == nil && f == g && f < exact && f > -exact
	}
	return reflect.DeepEqual(a, b)
}

// kindOf names what a value is, where the value itself is nobody's business.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return "another number"
	case string:
		return "another text"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

// without takes secrets out of the texts of a decoded value: a system may echo what it was sent.
func without(v any, secrets []connect.Value) any {
	switch v := v.(type) {
	case string:
		for _, s := range secrets {
			if s != "" {
				v = strings.ReplaceAll(v, s.Reveal(), s.String())
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = without(v[i], secrets)
		}
	case map[string]any:
		clean := make(map[string]any, len(v))
		for name, inside := range v {
			clean[fmt.Sprint(without(name, secrets))] = without(inside, secrets)
		}
		return clean
	}
	return v
}
