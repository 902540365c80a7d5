package connect

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// node is a piece of a JSON document.
type node = map[string]any

// contract judges requests by PagerDuty's published OpenAPI document.
type contract struct{ doc node }

var loadContract = sync.OnceValues(func() (contract, error) {
	var c contract
	b, err := os.ReadFile("testdata/pagerduty-openapi.json")
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c.doc)
})

// judge gives everything in which a request breaks the contract.
func (c contract) judge(r *http.Request, body []byte) []string {
	path, op := c.operation(r)
	if op == nil {
		return []string{fmt.Sprintf("%s %s is no operation", r.Method, r.URL.Path)}
	}
	problems := c.parameters(op, c.deref(path), r)
	content, _ := dig(op, "requestBody", "content", "application/json", "schema").(node)
	if content == nil {
		return problems
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return append(problems, "body: "+err.Error())
	}
	return append(problems, c.schema("body", content, value)...)
}

func (c contract) operation(r *http.Request) (path, op node) {
	paths, _ := c.doc["paths"].(node)
	for template, v := range paths {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(template), `\{id\}`, "[^/]+") + "$"
		if !regexp.MustCompile(pattern).MatchString(r.URL.Path) {
			continue
		}
		path, _ = v.(node)
		op, _ = path[strings.ToLower(r.Method)].(node)
		return path, op
	}
	return nil, nil
}

func (c contract) parameters(op, path node, r *http.Request) []string {
	var problems []string
	known := map[string]bool{}
	for _, raw := range slices.Concat(list(op["parameters"]), list(path["parameters"])) {
		param := c.deref(raw)
		name, _ := param["name"].(string)
		values := r.URL.Query()[name]
		switch param["in"] {
		case "query":
			known[name] = true
		case "header":
			values = r.Header.Values(name)
		default:
			continue
		}
		if len(values) == 0 && param["required"] == true {
			problems = append(problems, name+" is missing")
		}
		for _, v := range values {
			problems = append(problems, c.parameter(name, param, v)...)
		}
	}
	for name := range r.URL.Query() {
		if !known[name] {
			problems = append(problems, "query parameter "+name+" is unknown")
		}
	}
	return problems
}

func (c contract) parameter(name string, param node, text string) []string {
	schema := c.deref(param["schema"])
	if schema["format"] == "email" {
		if _, err := mail.ParseAddress(text); err != nil {
			return []string{name + ": " + err.Error()}
		}
	}
	var value any = text
	switch schema["type"] {
	case "integer", "number", "boolean":
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return []string{fmt.Sprintf("%s: %q is no %v", name, text, schema["type"])}
		}
	case "array":
		value = []any{text}
	}
	return c.schema(name, schema, value)
}

// schema checks the subset of JSON Schema that the document uses for requests.
func (c contract) schema(at string, raw, value any) []string {
	s := c.deref(raw)
	if problem := kindProblem(at, s["type"], value); problem != "" {
		return []string{problem}
	}
	if enum := list(s["enum"]); enum != nil && !slices.Contains(enum, value) {
		return []string{fmt.Sprintf("%s: %v is not one of %v", at, value, enum)}
	}
	var problems []string
	for _, part := range list(s["allOf"]) {
		problems = append(problems, c.schema(at, part, value)...)
	}
	if choices := list(s["oneOf"]); choices != nil && !slices.ContainsFunc(choices, func(choice any) bool { return len(c.schema(at, choice, value)) == 0 }) {
		problems = append(problems, at+": no alternative fits")
	}
	object, _ := value.(node)
	for _, name := range list(s["required"]) {
		if _, ok := object[fmt.Sprint(name)]; !ok && object != nil {
			problems = append(problems, fmt.Sprintf("%s.%v is missing", at, name))
		}
	}
	properties, _ := s["properties"].(node)
	for name, v := range object {
		if properties[name] != nil {
			problems = append(problems, c.schema(at+"."+name, properties[name], v)...)
		}
	}
	for i, v := range list(value) {
		if s["items"] != nil {
			problems = append(problems, c.schema(fmt.Sprintf("%s[%d]", at, i), s["items"], v)...)
		}
	}
	return problems
}

func kindProblem(at string, kind, value any) string {
	ok := true
	switch kind {
	case "object":
		_, ok = value.(node)
	case "array":
		_, ok = value.([]any)
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "integer":
		n, isNumber := value.(float64)
		ok = isNumber && n == float64(int64(n))
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%s: %v is no %v", at, value, kind)
}

// deref follows references, also into arrays ("…/allOf/0").
func (c contract) deref(raw any) node {
	n, _ := raw.(node)
	for range 10 {
		ref, ok := n["$ref"].(string)
		if !ok {
			return n
		}
		n, _ = dig(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(node)
	}
	return n
}

func dig(v any, keys ...string) any {
	for _, key := range keys {
		switch at := v.(type) {
		case node:
			v = at[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// TestContractBites plants mistakes: a validator that lets everything pass proves nothing.
func TestContractBites(t *testing.T) {
	t.Parallel()
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	good := node{"Accept": "application/vnd.pagerduty+json;version=2", "Content-Type": "application/json", "From": "bot@example.com"}
	tests := []struct {
		name, method, url, body, want string
		without                       string
	}{
		{name: "good", method: "PUT", url: "/incidents", body: `{"incidents":[{"id":"P1","type":"incident","status":"resolved"}]}`},
		{name: "unknown operation", method: "POST", url: "/incidents/P1/nots", want: "no operation"},
		{name: "header", method: "PUT", url: "/incidents", body: `{"incidents":[]}`, without: "From", want: "From is missing"},
		{name: "enum", method: "PUT", url: "/incidents", body: `{"incidents":[{"id":"P1","type":"incident","status":"acked"}]}`, want: "acked is not one of"},
		{name: "required", method: "PUT", url: "/incidents", body: `{"incidents":[{"type":"incident"}]}`, want: "id is missing"},
		{name: "type", method: "PUT", url: "/incidents", body: `{"incidents":{}}`, want: "no array"},
		{name: "reference", method: "PUT", url: "/incidents", body: `{"incidents":[{"id":"P1","type":"incident","escalation_policy":{"id":"E","type":"policy"}}]}`, want: "policy is not one of"},
		{name: "integer", method: "PUT", url: "/incidents", body: `{"incidents":[{"id":"P1","type":"incident","escalation_level":"2"}]}`, want: "no integer"},
		{name: "query", method: "GET", url: "/incidents?statuses[]=open", want: "open is not one of"},
		{name: "unknown query", method: "GET", url: "/incidents?incidentkey=x", want: "incidentkey is unknown"},
		{name: "no body", method: "POST", url: "/incidents/P1/notes", want: "body"},
	}
	for _, tt := range tests {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.url, nil)
		for name, v := range good {
			if name != tt.without {
				r.Header.Set(name, fmt.Sprint(v))
			}
		}
		problems := strings.Join(c.judge(r, []byte(tt.body)), "; ")
		if !strings.Contains(problems, tt.want) || (tt.want == "") != (problems == "") {
			t.Errorf("%s: problems %q, want %q", tt.name, problems, tt.want)
		}
	}
}
