package web

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
)

// FuzzAnswer: every value of an answer is found by its pointer and no other; no secret that is echoed becomes part of a fact.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"a":{"b~/c":[1,"x",null]},"":{"":true}}`), "/a/b~0~1c/0", []byte(`1.0`))
	f.Add([]byte(`[[],{"01":1e400}]`), "/1/01", []byte(`{"exists":true}`))
	f.Add([]byte(`{"0":9007199254740993}`), "/0", []byte(`9007199254740992`))
	f.Add([]byte(`{} {}`), "x", []byte(`"\ud800"`))
	const secret = "hunterhunter"
	f.Fuzz(func(t *testing.T, body []byte, path string, wished []byte) {
		answer, err := decode(body)
		if (err == nil) != json.Valid(body) {
			t.Fatalf("%q: %v", body, err)
		}
		if err != nil {
			return
		}
		found := map[string]any{}
		listed(answer, "", found)
		for p, want := range found {
			if got, ok := pointer(p).in(answer); !ok || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q of %s is %v, %t", p, body, got, ok)
			}
		}
		got, ok := pointer(path).in(answer)
		want, there := found[plainPointer(path)]
		if pointer(path).check() == nil && (ok != there || ok && !reflect.DeepEqual(got, want)) {
			t.Fatalf("%q of %s is %v, %t", path, body, got, ok)
		}
		if written, err := decode(wished); err == nil {
			w := wish{written}
			if exists, asked := w.existence(); asked && w.met(got, ok) != (exists == ok) || !asked && w.met(got, ok) && !ok {
				t.Fatalf("%s is met by %v, %t", wished, got, ok)
			}
			if !same(written, written) || same(written, got) != same(got, written) {
				t.Fatalf("%s and %v are not the same as themselves", wished, got)
			}
		}
		echoed := strings.ReplaceAll(string(body), "x", secret)
		if shown := fmt.Sprint(object([]byte(echoed), []connect.Value{secret})); strings.Contains(shown, secret) {
			t.Fatalf("%s is shown", shown)
		}
	})
}

// listed notes every value by its pointer.
func listed(v any, path string, into map[string]any) {
	into[path] = v
	switch v := v.(type) {
	case map[string]any:
		for name, inside := range v {
			listed(inside, path+"/"+strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1"), into)
		}
	case []any:
		for i, inside := range v {
			listed(inside, fmt.Sprintf("%s/%d", path, i), into)
		}
	}
}

// plainPointer spells a pointer as listed does: a ~ that escapes nothing stands for itself.
func plainPointer(path string) string {
	var b strings.Builder
	for i := range len(path) {
		b.WriteByte(path[i])
		if path[i] == '~' && (i+1 == len(path) || path[i+1] != '0' && path[i+1] != '1') {
			b.WriteByte('0')
		}
	}
	return b.String()
}
