package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// flagAPI keeps one JSON value, which every call but GET replaces by its body, and remembers the calls.
type flagAPI struct {
	mu    sync.Mutex
	value string
	calls []string // method, address and body
	heads []http.Header
	says  http.HandlerFunc // what a call is answered with in place of {}
}

func (f *flagAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		if f.value == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(f.value))
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.calls, f.heads = append(f.calls, r.Method+" "+r.URL.String()+" "+string(body)), append(f.heads, r.Header)
	f.value = string(body)
	if f.says != nil {
		f.says(w, r)
	}
}

func (f *flagAPI) set(value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value = value
}

type callFact struct {
	Text  string  `cel:"text"`
	Count int64   `cel:"count"`
	Ratio float64 `cel:"ratio"`
}

func newFlagAPI(t *testing.T, value string) (*flagAPI, executors.Env) {
	t.Helper()
	f := &flagAPI{value: value}
	url, _ := server(t, f.ServeHTTP)
	env := connected(t, url+"/api")
	env.Facts = map[string]any{"probe": &callFact{Text: "down", Count: 7}}
	env.Unknown = map[string][]string{"probe": {"ratio"}}
	return f, env
}

func switchOff() *call {
	return &call{
		Connection: "api", Method: "PUT", Path: "/flags/pay", Headers: map[string]string{"X-Reason": "remediation"},
		Body: map[string]any{"on": false, "why": map[string]any{"$fact": "probe.text"}, "n": map[string]any{"$fact": "probe.count"}, "op": map[string]any{"$operation": true}},
		Sign: signature{Secret: "key", Prefix: "sha256="}, Reads: reading{Path: "/flags/pay", JSON: "/on", Before: true, After: false},
		Inverse: inverse{Body: map[string]any{"on": true}},
	}
}

func planCall(t *testing.T, a *call, env executors.Env) executors.Change {
	t.Helper()
	if err := a.Validate(env.Target); err != nil {
		t.Fatal(err)
	}
	c, err := a.Plan(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(c); strings.Contains(string(text), "hunter2") {
		t.Errorf("the change tells a secret: %s", text)
	}
	return c
}

func TestCall(t *testing.T) {
	t.Parallel()
	f, env := newFlagAPI(t, `{"on":true}`)
	c := planCall(t, switchOff(), env)
	if _, err := (&call{}).Apply(t.Context(), env, c, "r1-0-1"); err != nil {
		t.Fatal(err)
	}
	const body = `{"n":7,"on":false,"op":"r1-0-1","why":"down"}`
	if len(f.calls) != 1 || f.calls[0] != "PUT /api/flags/pay "+body {
		t.Errorf("called %q", f.calls)
	}
	mac := hmac.New(sha256.New, []byte("hunter2-key"))
	_, _ = mac.Write([]byte(body))
	for name, want := range map[string]string{
		"Idempotency-Key": "r1-0-1", "X-Signature": "sha256=" + hex.EncodeToString(mac.Sum(nil)), "X-Reason": "remediation",
		"Authorization": "Bearer " + testToken, "X-Team-Key": "hunter2-team", "Content-Type": "application/json",
	} {
		if got := f.heads[0].Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if o, err := (&call{}).Observe(t.Context(), env, c, "r1-0-1", executors.Receipt{}); err != nil || o.Progress != executors.Applied {
		t.Errorf("observed %+v, %v", o, err)
	}
	if c.After[callState] != `PUT /flags/pay with {"n":{"$fact":"probe.count"},"on":false,"op":{"$operation":true},"why":{"$fact":"probe.text"}}` {
		t.Errorf("what is approved: %v", c.After)
	}
	if !strings.Contains(fmt.Sprint(c.Evidence), `probe.text is "down"`) || c.Before["/on of GET /flags/pay"] != "true" {
		t.Errorf("got %v, %v", c.Evidence, c.Before)
	}
}

// An approval is for what the rule says, and not for what a probe found in one moment.
func TestCallDigest(t *testing.T) {
	t.Parallel()
	_, env := newFlagAPI(t, `{"on":true}`)
	c := planCall(t, switchOff(), env)
	env.Facts = map[string]any{"probe": &callFact{Text: "up", Count: 8}}
	if planCall(t, switchOff(), env).Digest() != c.Digest() {
		t.Error("another sample is another plan")
	}
	other := switchOff()
	other.Body = map[string]any{"on": false}
	if planCall(t, other, env).Digest() == c.Digest() {
		t.Error("another body is the same plan")
	}
}

func TestCallWithoutReads(t *testing.T) {
	t.Parallel()
	_, env := newFlagAPI(t, "")
	a := &call{Connection: "api", Method: "DELETE", Path: "/cache"}
	c := planCall(t, a, env)
	r, err := a.Apply(t.Context(), env, c, "r1-0-1")
	if err != nil || c.Reversible || c.UndoHint == "" {
		t.Fatalf("got %v, %+v", err, c)
	}
	for want, receipt := range map[executors.Progress]executors.Receipt{executors.Applied: r, executors.Unclear: {}} {
		if o, err := a.Observe(t.Context(), env, c, "r1-0-1", receipt); err != nil || o.Progress != want {
			t.Errorf("observed %+v, %v, want %s", o, err, want)
		}
	}
	if _, err := a.Undo(t.Context(), env, c); err == nil {
		t.Error("it was taken back without knowing what is there")
	}
}

func TestCallRefusals(t *testing.T) {
	t.Parallel()
	fact := func(path string) func(*call) {
		return func(a *call) { a.Body = map[string]any{"x": map[string]any{"$fact": path}} }
	}
	for name, tc := range map[string]struct {
		value  string
		change func(*call)
		want   guard.Reason
	}{
		"already":               {`{"on":false}`, nil, guard.NothingToDo},
		"another value":         {`{"on":"maybe"}`, nil, guard.HumanHand},
		"not there":             {`{}`, nil, guard.UnknownFacts},
		"no such flag":          {"", nil, guard.UnknownFacts},
		"a fact nobody asked":   {`{"on":true}`, fact("other.text"), guard.UnknownFacts},
		"a fact without value":  {`{"on":true}`, fact("probe.ratio"), guard.UnknownFacts},
		"no such field":         {`{"on":true}`, fact("probe.nothing"), guard.UnknownFacts},
		"a body beyond bounds":  {`{"on":true}`, func(a *call) { a.Body = strings.Repeat("x", maxSent) }, guard.OutOfBounds},
		"there, and should not": {`{"on":true}`, func(a *call) { a.Reads.Before = map[string]any{"exists": false} }, guard.HumanHand},
	} {
		f, env := newFlagAPI(t, tc.value)
		a := switchOff()
		if tc.change != nil {
			tc.change(a)
		}
		if err := a.Validate(env.Target); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := a.Plan(t.Context(), env)
		var r *guard.Refusal
		if !errors.As(err, &r) || r.Reason != tc.want || len(f.calls) > 0 {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
}

func TestCallAgainstAnotherHand(t *testing.T) {
	t.Parallel()
	f, env := newFlagAPI(t, `{"on":true}`)
	a := switchOff()
	c := planCall(t, a, env)
	f.set(`{"on":null}`)
	var r *guard.Refusal
	if _, err := a.Apply(t.Context(), env, c, "r1-0-1"); !errors.As(err, &r) || r.Reason != guard.HumanHand || len(f.calls) > 0 {
		t.Errorf("got %v after %q", err, f.calls)
	}
	if o, err := a.Observe(t.Context(), env, c, "r1-0-1", executors.Receipt{}); err != nil || o.Progress != executors.Foreign {
		t.Errorf("observed %+v, %v", o, err)
	}
	if _, err := a.Undo(t.Context(), env, c); !errors.As(err, &r) || r.Reason != guard.HumanHand {
		t.Errorf("got %v", err)
	}
}

// What is no plain yes is no yes: a redirect, a page of something else.
func TestCallAnswers(t *testing.T) {
	t.Parallel()
	elsewhere, asked := server(t, status(200, "{}"))
	for name, tc := range map[string]struct {
		says   http.HandlerFunc
		answer string
		fails  bool
	}{
		"empty":             {says: status(204, "")},
		"json":              {says: status(201, `{"ok":true}`)},
		"a page":            {says: status(200, "<html>log in"), fails: true},
		"text that is fine": {says: status(200, "ok"), answer: "any"},
		"redirect within":   {says: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/api/flags/pay", http.StatusFound) }, fails: true},
		"redirect with body": {says: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/api/flags/pay", http.StatusTemporaryRedirect)
		}, fails: true},
		"redirect to elsewhere": {says: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, fails: true},
	} {
		f, env := newFlagAPI(t, `{"on":true}`)
		f.says = tc.says
		a := switchOff()
		a.Answer = tc.answer
		_, err := a.Apply(t.Context(), env, planCall(t, a, env), "r1-0-1")
		if (err != nil) != tc.fails || connect.IsAmbiguous(err) != tc.fails || len(f.calls) != 1 || asked.Load() != 0 {
			t.Errorf("%s: got %v, ambiguous %t, after %q", name, err, connect.IsAmbiguous(err), f.calls)
		}
	}
}

func TestCallWithoutItsKey(t *testing.T) {
	t.Parallel()
	f, env := newFlagAPI(t, `{"on":true}`)
	a := switchOff()
	a.Sign.Secret = "gone"
	if _, err := a.Apply(t.Context(), env, planCall(t, a, env), "r1-0-1"); err == nil || connect.IsAmbiguous(err) || len(f.calls) > 0 {
		t.Errorf("got %v after %q", err, f.calls)
	}
}

func TestDeleteIsSeenAsAbsent(t *testing.T) {
	t.Parallel()
	f, env := newFlagAPI(t, `{"on":true}`)
	a := &call{Connection: "api", Method: "DELETE", Path: "/flags/pay", Reads: reading{Path: "/flags/pay", After: map[string]any{"exists": false}}}
	c := planCall(t, a, env)
	if o, err := a.Observe(t.Context(), env, c, "x", executors.Receipt{}); err != nil || o.Progress != executors.NotApplied {
		t.Errorf("observed %+v, %v", o, err)
	}
	f.set("")
	if o, err := a.Observe(t.Context(), env, c, "x", executors.Receipt{}); err != nil || o.Progress != executors.Applied {
		t.Errorf("observed %+v, %v", o, err)
	}
}

func TestCallParameters(t *testing.T) {
	t.Parallel()
	with := func(change func(*call)) *call { a := switchOff(); change(a); return a }
	for want, a := range map[string]*call{
		"connection must name":          with(func(a *call) { a.Connection = "" }),
		"method must be POST":           with(func(a *call) { a.Method = "GET" }),
		"answer must be":                with(func(a *call) { a.Answer = "x" }),
		"algorithm must be":             with(func(a *call) { a.Sign.Algorithm = "md5" }),
		"sign must name":                with(func(a *call) { a.Sign.Secret = "" }),
		"idempotency-key cannot be set": with(func(a *call) { a.Headers = map[string]string{"idempotency-key": "x"} }),
		"is no path":                    with(func(a *call) { a.Path = "https://evil.example" }),
		"lead elsewhere":                with(func(a *call) { a.Reads.Path = "/a/../b" }),
		"reads needs a path":            with(func(a *call) { a.Reads.Path = "" }),
		"what the value is after":       with(func(a *call) { a.Reads.After = nil }),
		"before and after are the same": with(func(a *call) { a.Reads.Before = false }),
		"before and after are values":   with(func(a *call) { a.Reads.After = map[string]any{"exists": true} }),
		"is no JSON pointer":            with(func(a *call) { a.Reads.JSON = "on" }),
		"undo needs reads":              with(func(a *call) { a.Reads = reading{} }),
		"method of undo":                with(func(a *call) { a.Inverse.Method = "GET" }),
		"begins with $ stands alone":    with(func(a *call) { a.Body = map[string]any{"$fact": "a.b", "x": 1} }),
		"is $fact or $operation":        with(func(a *call) { a.Body = []any{map[string]any{"$alert": "a"}} }),
		"$fact names a fact":            with(func(a *call) { a.Body = map[string]any{"x": map[string]any{"$fact": "a"}} }),
		"$operation is true":            with(func(a *call) { a.Inverse.Body = map[string]any{"$operation": "x"} }),
	} {
		if err := a.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Whatever a fact says: one call to the one address, whose body is JSON with the same keys, and in which the text is one text.
func TestHostileFactsInBody(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	f, env := newFlagAPI(t, "")
	env.Facts = map[string]any{}
	a := &call{Connection: "api", Method: "POST", Path: "/notes", Body: map[string]any{"a": map[string]any{"$fact": "probe.text"}, "b": "fixed"}}
	for i := range 500 {
		hostile := hostileText(dice, i)
		env.Facts["probe"] = &callFact{Text: hostile}
		c := planCall(t, a, env)
		if _, err := a.Apply(t.Context(), env, c, "r1-0-1"); err != nil {
			t.Fatal(err)
		}
		body, fixed := strings.CutPrefix(f.calls[i], "POST /api/notes ")
		var got map[string]string
		if err := json.Unmarshal([]byte(body), &got); err != nil || !fixed || len(got) != 2 || got["b"] != "fixed" || got["a"] != connect.Line(hostile, 1000) {
			t.Fatalf("%q: %v, called %q", hostile, err, f.calls[i])
		}
		if len(f.calls) != i+1 || len(f.heads[i]) != len(f.heads[0]) || strings.ContainsAny(fmt.Sprint(c.Evidence, c.Summary, c.After), "\x00\n\x1b") {
			t.Fatalf("%q: %+v, %v", hostile, c, f.heads[i])
		}
	}
}

// hostileText is what JSON, addresses, headers, terminals and C strings trip over, and random bytes.
func hostileText(dice *rand.Rand, i int) string {
	known := []string{
		"", `"`, `\`, `"}`, `","on":true,"x":"`, `\u0000`, "\x00", "\n", "\r\nX-Evil: 1", "\x1b[2J", "\u202e", "\u2028", "\xff\xfe", `{"$operation":true}`,
		"{{ .Target.Name }}", "../../admin", "http://evil.example/", "//evil.example", "?admin=1", "#", "%2e%2e", "$(reboot)", "</script>", "null", "1e999",
		strings.Repeat("x", 5000), "😀", "\ud7ff", "@evil.example", "'; DROP TABLE flags",
	}
	if i < len(known) {
		return known[i]
	}
	random := make([]byte, dice.IntN(200))
	for j := range random {
		random[j] = byte(dice.IntN(256))
	}
	return string(random) + known[dice.IntN(len(known))]
}
