package sources

import (
	"strings"
	"testing"
)

func TestDecodeStrictDepth(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	var into any
	if err := decodeStrict(nested(maxDepth), &into); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	wantError(t, decodeStrict(nested(maxDepth+1), &into), "nested deeper than 32")
}

func TestDecodeStrictSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	type target struct {
		Name  string            `json:"name"`
		Inner *struct{ ID int } `json:"inner"`
		Map   map[string]string `json:"map"`
		List  []struct {
			A string `json:"a"`
		} `json:"list"`
	}
	for body, want := range map[string]string{
		`{"name":"x"`:                    "ends in the middle",
		`{"name":"x"}}`:                  "goes on after",
		`{"name":"x"} 1`:                 "goes on after",
		`{"NAME":"x"}`:                   `"name" is written "NAME"`,
		`{"list":[{"a":"x"},{"A":"y"}]}`: `"a" is written "A"`,
		`{"map":{"k":"1","k":"2"}}`:      `"k" is given twice`,
		`{"name":1}`:                     `"name" holds the wrong kind of value, a JSON number`,
		"{\"name\":\"\xc3\x28\"}":        "not valid UTF-8",
		`{"name":"x",}`:                  "invalid character",
		`{"name" "x"}`:                   "invalid character",
		`{"` + strings.Repeat("k", 200) + `":1,"` + strings.Repeat("k", 200) + `":1}`: strings.Repeat("k", 80) + "…",
	} {
		var into target
		wantError(t, decodeStrict([]byte(body), &into), want)
	}
	var into target
	if err := decodeStrict([]byte(`{"name":"x","map":{"K":"1","k":"2","name":"y","NAME":"z"},"other":{"NAME":1}}`), &into); err != nil {
		t.Errorf("keys of maps and of unknown objects are free, but: %v", err)
	}
}
