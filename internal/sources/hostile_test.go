package sources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostileBodies are bodies of at most 1 MiB, by what they are made to cost.
func hostileBodies() map[string]string {
	const most = 1 << 20
	group := func(alerts string) string {
		return `{"version":"4","groupKey":"g","status":"firing","alerts":[` + alerts + `]}`
	}
	fire := func(labels string) string {
		return `{"status":"firing","startsAt":"2026-11-23T02:00:00Z","labels":{` + labels + `}}`
	}
	fill := func(head, part, tail string) string {
		return head + strings.TrimSuffix(strings.Repeat(part, (most-len(head)-len(tail))/len(part)), ",") + tail
	}
	var many, wide strings.Builder
	for i := 0; many.Len() < most-200; i++ {
		fmt.Fprintf(&many, `"%x":"",`, i)
	}
	for i := range 64 {
		fmt.Fprintf(&wide, `"%02d":"",`, i)
	}
	head, tail, _ := strings.Cut(group("|"), "|")
	return map[string]string{
		"as many labels as fit":        group(fire(strings.TrimSuffix(many.String(), ","))),
		"empty alerts":                 fill(head, "{},", tail),
		"alerts of empty labels":       fill(head, `{"labels":{}},`, tail),
		"alerts of 64 labels":          fill(head, fire(strings.TrimSuffix(wide.String(), ","))+",", tail),
		"alerts of one label":          fill(head, fire(`"a":""`)+",", tail),
		"objects nobody decodes":       fill(`{"x":[`, "{},", "]}"),
		"numbers nobody decodes":       fill(`{"x":[`, "1,", "]}"),
		"keys nobody decodes":          `{"x":{` + strings.TrimSuffix(many.String(), ",") + "}}",
		"brackets":                     strings.Repeat("[", most),
		"objects in objects":           strings.Repeat(`{"a":`, most/5),
		"nested as deep as is allowed": fill(`{"x":[`, strings.Repeat("[", 29)+strings.Repeat("]", 29)+",", "]}"),
		"a text of escapes":            fill(`{"version":"`, `\u0041`, `"}`),
	}
}

// TestHostileBodiesCostLittle: what reading a body allocates is bounded by its size. Only one that is nothing but alerts within the bounds
// costs more than twice that.
func TestHostileBodiesCostLittle(t *testing.T) {
	kind, _ := Lookup("alertmanager")
	source := configured(t, kind, fixtures["alertmanager"], secretFile(t, testKey))
	for name, body := range hostileBodies() {
		most := uint64(4)
		if name == "alerts of 64 labels" {
			most = 48
		}
		took, allocated := cost(func() { _, _ = source.Parse([]byte(body), received) })
		t.Logf("%-29s %7d bytes: %5.1f MB allocated, %s", name, len(body), float64(allocated)/1e6, took)
		if allocated > most<<20 {
			t.Errorf("%s: %d bytes allocated for %d", name, allocated, len(body))
		}
	}
}

func cost(f func()) (took time.Duration, allocated uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f()
	took = time.Since(began)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

// TestWhatTwoParsersReadDifferently: none of these leads to an alert, wherever in what decides it stands.
func TestWhatTwoParsersReadDifferently(t *testing.T) {
	t.Parallel()
	kind, _ := Lookup("alertmanager")
	source := configured(t, kind, fixtures["alertmanager"], secretFile(t, testKey))
	const valid = `{"version":"4","groupKey":"g","status":"firing","alerts":[{"status":"firing","startsAt":"2026-11-23T02:00:00Z",` +
		`"labels":{"alertname":"Down","service":"api"},"annotations":{"summary":"s"}}]}`
	if d, err := source.Parse([]byte(valid), received); err != nil || len(d.Alerts) != 1 {
		t.Fatalf("the body that all others are made of: %v", err)
	}
	for name, c := range map[string][2]string{
		"key twice":                      {`"groupKey":"g"`, `"groupKey":"g","groupKey":"h"`},
		"key twice, once escaped":        {`"groupKey":"g"`, `"groupKey":"g","group\u004bey":"h"`},
		"key in another case":            {`"groupKey":"g"`, `"groupKey":"g","GROUPKEY":"h"`},
		"key with a long s":              {`"version":"4"`, `"version":"4","ver\u017fion":"3"`},
		"key with a Kelvin sign":         {`"groupKey":"g"`, `"groupKey":"g","groupKey":"h"`},
		"alert's key twice":              {`"status":"firing","startsAt"`, `"status":"firing","status":"resolved","startsAt"`},
		"alert's key in another case":    {`"labels":{`, `"Labels":{"alertname":"Other"},"labels":{`},
		"alert's key with a long s":      {`"labels":{`, `"labelſ":{"alertname":"Other"},"labels":{`},
		"label twice":                    {`"service":"api"`, `"service":"api","service":"web"`},
		"label twice, once escaped":      {`"service":"api"`, `"service":"api","\u0073ervice":"web"`},
		"labels both half a pair":        {`"service":"api"`, `"a\ud800":"1","a\ud801":"2"`},
		"half a pair in a label":         {`"api"`, `"a\ud800"`},
		"the other half in a label":      {`"api"`, `"\udc00pi"`},
		"halves the wrong way round":     {`"api"`, `"\udc00\ud800"`},
		"half a pair before a letter":    {`"api"`, `"\ud800\u0061"`},
		"half a pair in a name":          {`"service"`, `"service\udfff"`},
		"half a pair in an annotation":   {`"s"`, `"\uD83D"`},
		"NUL itself":                     {`"api"`, "\"api\x00\""},
		"not UTF-8":                      {`"api"`, "\"api\xff\""},
		"overlong UTF-8":                 {`"api"`, "\"api\xc0\xaf\""},
		"a surrogate in UTF-8":           {`"api"`, "\"api\xed\xa0\x80\""},
		"number too large":               {`"version":"4"`, `"version":"4","truncatedAlerts":18446744073709551616`},
		"number of a million digits":     {`"version":"4"`, `"version":"4","truncatedAlerts":` + strings.Repeat("9", 900_000)},
		"number with a huge exponent":    {`"version":"4"`, `"version":"4","truncatedAlerts":1e999999`},
		"nested deep in an annotation":   {`"s"`, strings.Repeat("[", 40) + strings.Repeat("]", 40)},
		"nested deep where nobody reads": {`"version":"4"`, `"version":"4","x":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)},
	} {
		if !strings.Contains(valid, c[0]) {
			t.Fatalf("%s: the body holds no %s", name, c[0])
		}
		if d, err := source.Parse([]byte(strings.Replace(valid, c[0], c[1], 1)), received); err == nil {
			t.Errorf("%s was taken for %+v", name, d)
		}
	}
	for name, tail := range map[string]string{"a second value": "{}", "a bracket": "}", "text": "x", "NUL": "\x00"} {
		if d, err := source.Parse([]byte(valid+tail), received); err == nil {
			t.Errorf("%s behind the value: taken for %+v", name, d)
		}
	}
	for name, c := range map[string][2]string{ // what nobody decodes may hold what it likes; a whole pair is one character
		"half a pair where nobody reads": {`"version":"4"`, `"version":"4","x":"\ud800\u0000"`},
		"a whole pair":                   {`"api"`, `"\ud83d\ude00"`},
		"labels in two cases":            {`"service":"api"`, `"service":"api","Service":"web"`},
		"space everywhere":               {`"service":"api"`, "\r\n\t \"service\" \n : \t\"api\" "},
		"an unknown key":                 {`"version":"4"`, `"version":"4","x":[1,-2.5e3,true,false,null,"\"\\",{"y":{}}]`},
	} {
		if _, err := source.Parse([]byte(strings.Replace(valid, c[0], c[1], 1)), received); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecodeStrict: whatever is decoded strictly is what a decoder that knows no folding reads, and nothing panics.
func FuzzDecodeStrict(f *testing.F) {
	type target struct {
		Name  string            `json:"name"`
		Map   map[string]string `json:"map"`
		List  []*target         `json:"list"`
		Any   any               `json:"any"`
		Later json.RawMessage   `json:"later"`
	}
	for _, seed := range []string{
		`{"name":"x","map":{"a":"b"},"list":[{"name":"y"},null],"any":[1,{"k":[]}],"later":{"a":1}}`, `{"n\u0061me":"\ud83d\ude00"}`,
		`[`, `{"name" : "x" , "other":-1.5e3}`, `{"name":"\ud800"}`, `nul`, "", `{"":{"":[{}]}}`, `{"list":[[]]}`, `{"NAME":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got target
		if decodeStrict(body, &got) != nil {
			return
		}
		free := map[string]any{}
		if err := json.Unmarshal(body, &free); err != nil && !bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
			t.Fatalf("%q was decoded, but is no object: %v", body, err)
		}
		if name, _ := free["name"].(string); name != got.Name {
			t.Fatalf("%q: the name is %q, not %q", body, got.Name, name)
		}
	})
}
