package sandbox

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// clause is one comparison of a filter; all clauses of a filter must hold.
// The last of several values is never empty.
type clause struct {
	path, op string
	values   []string
}

func (c clause) matches(value string) bool {
	switch c.op {
	case "!=":
		return !slices.Contains(c.values, value)
	case "starts_with":
		return strings.HasPrefix(value, c.values[0])
	case ":":
		return strings.Contains(value, c.values[0])
	default:
		return slices.Contains(c.values, value)
	}
}

var (
	filterToken = regexp.MustCompile(`^\s*(?:(AND\b)|([A-Za-z_][\w.]*)\s*(!=|>=|<=|=|>|<|:)\s*(one_of|starts_with)?(\([^)]*\)|"(?:[^"\\]|\\.)*"|[\w.:+-]+))`)
	quoted      = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// parseFilter reads the part of Google's filter language that clients of this
// service need: comparisons joined by AND, with one_of and starts_with.
func parseFilter(text string) ([]clause, error) {
	var out []clause
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := filterToken.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("could not parse filter at %q", strings.TrimSpace(rest))
		}
		rest = rest[len(m[0]):]
		if m[1] != "" {
			continue
		}
		values, err := filterValues(m[5])
		if err != nil {
			return nil, err
		}
		c := clause{path: singular(m[2]), op: m[3], values: values}
		if m[4] == "starts_with" {
			c.op = m[4]
		}
		out = append(out, c)
	}
	return out, nil
}

// singular: the API takes resource.label.x and resource.labels.x alike.
func singular(path string) string {
	path = strings.Replace(path, "resource.label.", "resource.labels.", 1)
	return strings.Replace(path, "metric.label.", "metric.labels.", 1)
}

func filterValues(text string) ([]string, error) {
	if !strings.HasPrefix(text, "(") && !strings.HasPrefix(text, `"`) {
		return []string{text}, nil
	}
	var out []string
	for _, q := range quoted.FindAllString(text, -1) {
		v, err := strconv.Unquote(q)
		if err != nil {
			return nil, fmt.Errorf("could not parse the string %s in the filter", q)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no string in %q", text)
	}
	return out, nil
}
