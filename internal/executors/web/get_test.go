package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// server answers with each handler in turn, and then with the last one.
func server(t *testing.T, handlers ...http.HandlerFunc) (string, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, &asked
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func hungBody(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	s.Close()
	return s.URL
}

func ask(t *testing.T, p get, target executors.Target) (Fact, executors.Answer) {
	t.Helper()
	if p.Every == 0 {
		p.Every = time.Millisecond
	}
	if p.Timeout == 0 {
		p.Timeout = 200 * time.Millisecond
	}
	if err := p.Validate(target); err != nil {
		t.Fatal(err)
	}
	answer, err := p.Ask(t.Context(), executors.Env{Target: target, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return *answer.Fact.(*Fact), answer
}

func TestSick(t *testing.T) {
	t.Parallel()
	ok, broken := status(200, `{"status":"ok"}`), status(503, `{"mongodb":{"connected":false}}`)
	for name, tc := range map[string]struct {
		handlers            []http.HandlerFunc
		status, tries, fail int64
		sick, ok            bool
		summary             string
		hangs               bool
	}{
		"healthy":              {handlers: []http.HandlerFunc{ok}, status: 200, tries: 1, ok: true, summary: "/health answered 200 in"},
		"503 each time":        {handlers: []http.HandlerFunc{broken}, status: 503, tries: 3, fail: 3, sick: true, summary: "/health answered 503, failing 3 times"},
		"503 twice, then well": {handlers: []http.HandlerFunc{broken, broken, ok}, status: 200, tries: 3, fail: 2, ok: true, summary: "answered 200 in"},
		"no answer in time":    {handlers: []http.HandlerFunc{hang}, tries: 3, fail: 3, sick: true, summary: "gave no answer, failing 3 times: no answer in time", hangs: true},
		"a body that hangs":    {handlers: []http.HandlerFunc{hungBody}, tries: 3, fail: 3, sick: true, hangs: true},
		"404 is an answer":     {handlers: []http.HandlerFunc{status(404, "")}, status: 404, tries: 1},
		"429 is an answer":     {handlers: []http.HandlerFunc{status(429, "")}, status: 429, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked := server(t, tc.handlers...)
			patience := 3 * time.Second // a machine that is short of time makes nobody sick
			if tc.hangs {
				patience = 0
			}
			fact, answer := ask(t, get{URL: url + "/health?token=hidden", Timeout: patience}, executors.Target{})
			if fact.Status != tc.status || fact.Tries != tc.tries || fact.Failed != tc.fail || fact.Sick != tc.sick || fact.OK != tc.ok {
				t.Errorf("got %+v", fact)
			}
			if asked.Load() != tc.tries {
				t.Errorf("asked %d times", asked.Load())
			}
			if !strings.Contains(answer.Summary, tc.summary) || strings.Contains(answer.Summary, "hidden") || strings.Contains(fact.Error, "hidden") {
				t.Errorf("summary %q, error %q", answer.Summary, fact.Error)
			}
			if (fact.Error != "") != tc.sick {
				t.Errorf("error %q", fact.Error)
			}
		})
	}
}

func TestRefusedConnectionIsSick(t *testing.T) {
	t.Parallel()
	fact, answer := ask(t, get{URL: refusing(t), Tries: 2}, executors.Target{})
	if !fact.Sick || fact.Status != 0 || fact.Tries != 2 || slices.Contains(answer.Unknown, "sick") {
		t.Errorf("got %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	broken, _ := server(t, status(503, ""))
	alive, _ := server(t, status(404, ""))
	for name, tc := range map[string]struct {
		control, targets string
		unknown          bool
	}{
		"answers":          {control: alive},
		"does not answer":  {control: refusing(t), unknown: true},
		"the target's":     {targets: refusing(t), unknown: true},
		"own before other": {control: alive, targets: refusing(t)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fact, answer := ask(t, get{Tries: 1, Control: tc.control}, executors.Target{Health: broken, Control: tc.targets})
			if !fact.Sick || slices.Contains(answer.Unknown, "sick") != tc.unknown || slices.Contains(answer.Unknown, "status") != tc.unknown {
				t.Errorf("got %+v, unknown %v", fact, answer.Unknown)
			}
			if strings.Contains(answer.Summary, "may be ours") != tc.unknown {
				t.Errorf("summary %q", answer.Summary)
			}
		})
	}
	well, _ := server(t, status(200, ""))
	if fact, answer := ask(t, get{URL: well, Control: refusing(t)}, executors.Target{}); !fact.OK || slices.Contains(answer.Unknown, "sick") {
		t.Errorf("the control matters only when the target fails: %+v, %v", fact, answer.Unknown)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		`{"mongodb":{"connected":true},"x":1}`: 2, `[1,2]`: 0, `not json`: 0, `null`: 0, ``: 0,
		`{"big":"` + strings.Repeat("x", maxBody) + `"}`: 0,
	} {
		url, _ := server(t, status(200, body))
		fact, _ := ask(t, get{URL: url}, executors.Target{})
		if fact.JSON == nil || len(fact.JSON) != want || !fact.OK {
			t.Errorf("%.40s: got %v, ok %t", body, fact.JSON, fact.OK)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere, asked := server(t, status(200, ""))
	away, _ := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
	fact, _ := ask(t, get{URL: away}, executors.Target{})
	if fact.Status != http.StatusFound || fact.OK || fact.Sick || asked.Load() != 0 {
		t.Errorf("got %+v, the other host was asked %d times", fact, asked.Load())
	}
	within, _ := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusFound) }, status(200, ""))
	if fact, _ := ask(t, get{URL: within + "/a"}, executors.Target{}); fact.Status != 200 {
		t.Errorf("got %+v", fact)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	plain, _ := server(t, status(200, ""))
	if _, answer := ask(t, get{URL: plain}, executors.Target{}); !slices.Equal(answer.Unknown, []string{"tls_expires_in"}) {
		t.Errorf("unknown %v", answer.Unknown)
	}
	s := httptest.NewTLSServer(status(200, ""))
	t.Cleanup(s.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	code, _, expires, err := exchange(s.Client(), req)
	if err != nil || code != 200 || !expires.Equal(s.Certificate().NotAfter) {
		t.Errorf("got %d, %s, %v", code, expires, err)
	}
	if fact, _ := ask(t, get{URL: s.URL, Tries: 1}, executors.Target{}); !fact.Sick || fact.Error == "" {
		t.Errorf("a certificate nobody vouches for: %+v", fact)
	}
}

func TestCalledOffBetweenTries(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); cancel() })
	p := get{URL: url, Every: time.Hour}
	if _, err := p.Ask(ctx, executors.Env{Now: time.Now()}); err == nil {
		t.Error("a question that was called off has no answer")
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]get{
		"url must be given":                 {},
		"method must be GET or HEAD":        {URL: "http://a", Method: "POST"},
		"tries must be between 1 and 20":    {URL: "http://a", Tries: 21},
		"must not be negative":              {URL: "http://a", Timeout: -1},
		"all tries together may take 1m":    {URL: "http://a", Timeout: time.Minute, Tries: 1},
		"must begin with http":              {URL: "file:///etc/passwd"},
		"an address must begin with http:/": {URL: "http://a", Control: "a"},
	} {
		if err := p.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", p, err, want)
		}
	}
	if err := (&get{}).Validate(executors.Target{Health: "https://a/health"}); err != nil {
		t.Error(err)
	}
}
