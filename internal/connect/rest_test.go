package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const restToken = "s3cret/token+of=rest"

func newRESTServer(t *testing.T, h http.HandlerFunc) *REST {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(restToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewREST(RESTConfig{System: "thing", Endpoint: server.URL + "/base", Insecure: true, Timeout: 200 * time.Millisecond, Authorize: Bearer(Secret{File: path})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRESTCall(t *testing.T) {
	t.Parallel()
	var seen string
	r := newRESTServer(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		seen = fmt.Sprintf("%s %s %s %s %s", q.Method, q.RequestURI, q.Header.Get("Authorization"), q.Header.Get("Content-Type"), body)
		_, _ = io.WriteString(w, `{"name": "x"}`)
	})
	var out struct{ Name string }
	for want, q := range map[string]Request{
		"GET /base/a%2Fb?q=1+2 Bearer " + restToken + "  ":                              {Path: "/" + url.PathEscape("a/b"), Query: url.Values{"q": {"1 2"}}},
		"POST /base/c Bearer " + restToken + ` application/json {"k":"v"}`:              {Method: http.MethodPost, Path: "/c", Body: map[string]string{"k": "v"}},
		"POST /base/d Bearer " + restToken + ` application/x-www-form-urlencoded k=v+w`: {Method: http.MethodPost, Path: "/d", Body: url.Values{"k": {"v w"}}},
	} {
		out.Name = ""
		if err := r.Do(t.Context(), q, &out); err != nil || out.Name != "x" {
			t.Errorf("%q, %v", out.Name, err)
		}
		if seen != want {
			t.Errorf("sent %q, want %q", seen, want)
		}
	}
}

// TestRESTFailures: what a failed call says of itself, and of whether it may have taken effect.
func TestRESTFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer                        http.HandlerFunc
		ambiguous, permanent, limited bool
		says                          string
	}{
		"refused":      {answer: answers(403, "no "+restToken), says: "the answer is 403 Forbidden: no [secret]"},
		"not found":    {answer: answers(404, "{}"), permanent: true, says: "404"},
		"conflict":     {answer: answers(409, "{}"), permanent: true, says: "409"},
		"rate limited": {answer: answers(429, "{}"), limited: true, says: "rate limited"},
		"broken":       {answer: answers(502, "<html>"), ambiguous: true, says: "502"},
		"garbage":      {answer: answers(200, "<html>"), ambiguous: true, says: "not the JSON"},
		"cut off":      {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ambiguous: true, says: "EOF"},
		"hangs":        {answer: func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }, ambiguous: true, says: "Post"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRESTServer(t, c.answer)
			var out struct{}
			err := r.Do(t.Context(), Request{Doing: "changing it", Method: http.MethodPost, Path: "/x", Mutates: true}, &out)
			if err == nil || IsAmbiguous(err) != c.ambiguous || IsPermanent(err) != c.permanent || IsThrottled(err) != c.limited {
				t.Errorf("ambiguous %t, permanent %t, throttled %t: %v", IsAmbiguous(err), IsPermanent(err), IsThrottled(err), err)
			}
			if text := fmt.Sprint(err); !strings.Contains(text, c.says) || strings.Contains(text, restToken) || !strings.Contains(text, "changing it") {
				t.Errorf("said %q", text)
			}
			if IsAmbiguous(r.Do(t.Context(), Request{Doing: "reading it", Path: "/x"}, &out)) {
				t.Error("a read may have taken effect")
			}
		})
	}
}

// TestRESTAccept: a versioned API is asked for the version, any other for JSON.
func TestRESTAccept(t *testing.T) {
	t.Parallel()
	for want, header := range map[string]http.Header{
		"application/json":         nil,
		"application/vnd.v2+json":  {"Accept": {"application/vnd.v2+json"}},
		"application/vnd.low+json": {"accept": {"application/vnd.low+json"}},
	} {
		var seen []string
		r := newRESTServer(t, func(w http.ResponseWriter, q *http.Request) {
			seen = q.Header.Values("Accept")
			_, _ = io.WriteString(w, "{}")
		})
		if err := r.Do(t.Context(), Request{Path: "/x", Header: header}, nil); err != nil || fmt.Sprint(seen) != "["+want+"]" {
			t.Errorf("sent %q, want %q (%v)", seen, want, err)
		}
	}
}

func answers(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func TestRESTSendsNothingWithoutItsSecret(t *testing.T) {
	t.Parallel()
	called := false
	r := newRESTServer(t, func(http.ResponseWriter, *http.Request) { called = true })
	r.cfg.Authorize = Bearer(Secret{File: filepath.Join(t.TempDir(), "none")})
	err := r.Do(t.Context(), Request{Doing: "changing it", Mutates: true}, nil)
	var secret *SecretError
	if !errors.As(err, &secret) || IsAmbiguous(err) || IsPermanent(err) || called {
		t.Errorf("called %t: %v", called, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Do(ctx, Request{Doing: "changing it"}, nil); err == nil {
		t.Error("went on after it was called off")
	}
}

func TestRESTEndpoint(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "thing.example.com", "http://thing.example.com", "https://u:p@thing.example.com", "https://thing.example.com?q=1"} {
		if _, err := NewREST(RESTConfig{System: "thing", Endpoint: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
