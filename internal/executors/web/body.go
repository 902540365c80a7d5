package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// What may stand in a body in place of a value.
const (
	factKey      = "$fact"      // {$fact: health.status}: the value of a fact
	operationKey = "$operation" // {$operation: true}: the operation id of the act
)

// maxSent bounds a body, in bytes.
const maxSent = 64 << 10

// placeholder reports whether a mapping stands for a value, and which.
func placeholder(v any) (key string, of any, is bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", nil, false
	}
	for key, of := range m {
		if strings.HasPrefix(key, "$") {
			return key, of, true
		}
	}
	return "", nil, false
}

// checkBody refuses placeholders that mean nothing.
func checkBody(v any) error {
	key, of, is := placeholder(v)
	m, _ := v.(map[string]any)
	path, isText := of.(string)
	yes, _ := of.(bool)
	switch {
	case is && (len(m) != 1 || key != factKey && key != operationKey):
		return errors.New("a key that begins with $ stands alone, and is $fact or $operation")
	case key == factKey && (!isText || !strings.Contains(path, ".")):
		return errors.New("$fact names a fact and its field, such as health.status")
	case key == operationKey && !yes:
		return errors.New("$operation is true")
	case is:
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := checkBody(m[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if list, isList := v.([]any); isList {
		for i, inside := range list {
			if err := checkBody(inside); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
	}
	return nil
}

// fill replaces placeholders of one key. What is put in their place becomes a JSON value and nothing else, whatever is in it.
func fill(v any, key string, value func(of any) (any, error)) (any, error) {
	if found, of, is := placeholder(v); is {
		if found == key {
			return value(of)
		}
		return v, nil
	}
	switch v := v.(type) {
	case map[string]any:
		filled := make(map[string]any, len(v))
		for name, inside := range v {
			var err error
			if filled[name], err = fill(inside, key, value); err != nil {
				return nil, err
			}
		}
		return filled, nil
	case []any:
		filled := make([]any, len(v))
		for i := range v {
			var err error
			if filled[i], err = fill(v[i], key, value); err != nil {
				return nil, err
			}
		}
		return filled, nil
	default:
		return v, nil
	}
}

// place puts the facts' values into a body, and gives a sentence for each. A fact that is not known refuses.
func place(body any, env executors.Env) (any, []string, error) {
	var said []string
	filled, err := fill(body, factKey, func(of any) (any, error) {
		path, _ := of.(string)
		value, err := env.Scalar(path)
		if err != nil {
			return nil, guard.Refuse(guard.UnknownFacts, "the call needs a fact: %s", err)
		}
		said = append(said, fmt.Sprintf("%s is %s", path, brief(value)))
		return value, nil
	})
	slices.Sort(said)
	return filled, slices.Compact(said), err
}

// brief shows a JSON value to people.
func brief(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "…"
	}
	return connect.Line(string(text), 200)
}
