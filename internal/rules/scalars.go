package rules

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar decodes what is neither mapping nor list.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	if v.Kind() == reflect.Interface {
		d.anything(n, v)
		return
	}
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, v)
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		d.duration(n, v)
	case v.Kind() == reflect.String:
		d.text(n, v)
	case v.Kind() == reflect.Bool && n.Tag == "!!bool":
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.CanInt():
		d.whole(n, v)
	case v.CanFloat():
		d.number(n, v)
	default:
		d.wrongType(n, v)
	}
}

// wrongType says what a value has to be, in words of the file.
func (d *decoder) wrongType(n *yaml.Node, v reflect.Value) {
	d.at(n, mistake{id: "wrong-type", message: "must be " + wanted(v)})
}

func wanted(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "a duration such as 30m"
	case v.Type() == reflect.TypeFor[time.Time]():
		return "a time such as 2026-12-24T18:00:00+01:00"
	case v.Kind() == reflect.String:
		return "text"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanInt():
		return "a whole number"
	case v.CanFloat():
		return "a number"
	default:
		return "something else"
	}
}

func isText(n *yaml.Node) bool { return n.Style&quotedStyles != 0 || n.Tag == "!!str" }

func (d *decoder) text(n *yaml.Node, v reflect.Value) {
	if !isText(n) {
		m := mistake{id: "wrong-type", message: "must be text"}
		if !absent(n) {
			m.hint = "write it in quotes: " + strconv.Quote(n.Value)
		}
		d.at(n, m)
		return
	}
	text := n.Value
	if d.fill != nil {
		filled, wrong := d.fill(text)
		if wrong != nil {
			d.within(n, wrong.offset, mistake{id: "bad-template", message: wrong.message, hint: wrong.hint})
			return
		}
		text = filled
	}
	if e, ok := v.Interface().(enum); ok && !d.allowed(n, text, e.Values()) {
		return
	}
	v.SetString(text)
}

func (d *decoder) allowed(n *yaml.Node, text string, values []string) bool {
	for _, v := range values {
		if v == text {
			return true
		}
	}
	d.at(n, mistake{id: "bad-value", message: show(text) + " is not one of the allowed words", hint: suggest(text, values)})
	return false
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value) {
	length, ok := parseDuration(n.Value)
	switch {
	case !ok:
		d.wrongType(n, v)
	case length < 0:
		d.at(n, mistake{id: "bad-value", message: "a duration must not be negative"})
	default:
		v.SetInt(int64(scale(length, d.speed)))
	}
}

// moment decodes a time of RFC 3339, whose offset from UTC is part of it.
func (d *decoder) moment(n *yaml.Node, v reflect.Value) {
	at, err := time.Parse(time.RFC3339, n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.wrongType(n, v)
		return
	}
	v.Set(reflect.ValueOf(at))
}

// scale shortens a duration by the world's speed.
func scale(length time.Duration, speed float64) time.Duration {
	if speed <= 0 || speed == 1 {
		return length
	}
	return time.Duration(float64(length) / speed)
}

// parseDuration reads Go's durations and, at their front, whole days: 2d, 1d12h.
func parseDuration(text string) (time.Duration, bool) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		length, err := time.ParseDuration(text)
		return length, err == nil
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > 36500 {
		return 0, false
	}
	length := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return length, true
	}
	more, err := time.ParseDuration(rest)
	return length + more, err == nil && more >= 0 && more < 24*time.Hour
}

func (d *decoder) whole(n *yaml.Node, v reflect.Value) {
	number, err := strconv.ParseInt(n.Value, 10, 64)
	switch {
	case n.Tag != "!!int" || err != nil:
		d.wrongType(n, v)
	case v.OverflowInt(number):
		d.at(n, mistake{id: "bad-value", message: "the number is too large"})
	default:
		v.SetInt(number)
	}
}

func (d *decoder) number(n *yaml.Node, v reflect.Value) {
	number, err := strconv.ParseFloat(n.Value, 64)
	if n.Tag != "!!int" && n.Tag != "!!float" || err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		d.wrongType(n, v)
		return
	}
	v.SetFloat(number)
}

// anything decodes free-form values: texts, numbers, booleans, lists and mappings.
func (d *decoder) anything(n *yaml.Node, v reflect.Value) {
	var free any
	switch {
	case n.Kind == yaml.MappingNode:
		free = decodeFree[map[string]any](d, n)
	case n.Kind == yaml.SequenceNode:
		free = decodeFree[[]any](d, n)
	case isText(n):
		free = decodeFree[string](d, n)
	case n.Decode(&free) != nil:
		d.at(n, mistake{id: "bad-value", message: "cannot be read"})
		return
	}
	if free != nil && reflect.TypeOf(free).AssignableTo(v.Type()) {
		v.Set(reflect.ValueOf(free))
	}
}

func decodeFree[T any](d *decoder, n *yaml.Node) T {
	var value T
	d.into(n, &value)
	return value
}

// plainWords makes a message of a foreign error fit one line.
func plainWords(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// atLeast reports a written number that is too small.
func (d *decoder) atLeast(n *yaml.Node, name string, number *int, least int) {
	if number != nil && *number < least {
		d.at(n, mistake{id: "bad-value", message: fmt.Sprintf("%s must be at least %d", name, least)})
	}
}
