package sources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// decodeExact decodes one JSON value as decodeStrict does into maps, lists and texts. A whole number that 64 bits hold keeps its digits, as
// an int64 or uint64; others are a float64, and one that is larger than that holds is refused.
func decodeExact(body []byte) (any, error) {
	if err := walkStrictly(body, reflect.TypeFor[any]()); err != nil {
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
