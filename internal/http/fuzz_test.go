package http

import (
	"encoding/json"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mixillo/remediator/internal/guard"
)

// verbFields are what each verb's body may say.
var verbFields = []struct {
	path   string
	fields []string
}{
	{"/v1/pause", []string{"rule", "target", "reason", "for"}}, {"/v1/resume", []string{"rule", "target"}},
	{"/v1/release", []string{"rule", "target", "storm"}}, {"/v1/approve", []string{"run", "digest", "reason"}}, {"/v1/deny", []string{"run", "digest", "reason"}},
	{"/v1/mark", []string{"target", "revision", "reason"}}, {"/v1/unmark", []string{"target", "revision"}},
	{"/v1/run", []string{"rule", "target", "reason"}}, {"/v1/unpin", []string{"target", "reason"}},
}

// A verb does what its body says in so many words, once, or nothing: no field is misspelt, given twice, or left to widen what is meant.
func FuzzVerbs(f *testing.F) {
	for verb, body := range []string{
		`{"target":"api","reason":"x","for":"1h"}`, `{"target":"api","target":"db"}`, `{"storm":"true"}`, `{"run":"r","digest":"0123456789ab"}`,
		`{"run":"r","digest":"0123456789ab","reason":"\u202e"}`, `{"target":"api","revision":"api-7","reason":"x"}`, `{"Target":"api"}`,
		`{"rule":"r","target":"t","reason":"x"} `, `{"target":null,"reason":"x"}`,
	} {
		f.Add(uint8(verb), []byte(body))
		f.Add(uint8(verb), []byte(strings.Replace(body, `"target"`, `"\u0074arget":"db","target"`, 1)))
	}
	f.Add(uint8(1), []byte("null"))
	s := newStand(accepting)
	h := newEdge(s.cfg).router(bySocket)
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		verb := verbFields[int(n)%len(verbFields)]
		s.book.asked = nil
		w := send(h, nethttp.MethodPost, verb.path, string(body))
		done := w.Code == ok || w.Code == accepted
		if len(s.book.asked) > 1 || done != (len(s.book.asked) == 1) || !done && w.Code != badRequest || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q: %d %s, asked %v", verb.path, body, w.Code, w.Body, s.book.asked)
		}
		if !done {
			return
		}
		said := flat(t, body, verb.fields)
		if p, paused := s.book.asked[0].(guard.Pause); paused {
			_, target := said["target"]
			_, rule := said["rule"]
			if p.Scope == guard.Fleet && (target || rule) || target && p.Name != said["target"] || rule && p.Name != said["rule"] ||
				strings.ContainsAny(p.Reason, "\n\x00") || said["for"] != "" && !p.Until.After(noon) {
				t.Fatalf("%q paused %+v", body, p)
			}
		}
	})
}

// flat reads an object of texts, and fails where it says anything twice or anything else.
func flat(t *testing.T, body []byte, fields []string) map[string]string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(body)))
	next := func() any { v, _ := d.Token(); return v }
	if next() != json.Delim('{') {
		t.Fatalf("%q is taken", body)
	}
	said := map[string]string{}
	for d.More() {
		name, _ := next().(string)
		value := next()
		text, isText := value.(string)
		if _, twice := said[name]; twice || !slices.Contains(fields, name) || !isText && value != nil {
			t.Fatalf("%q is taken", body)
		}
		said[name] = text
	}
	return said
}

// Whatever is asked for is a route of the table, with the right it asks, or refused; without the right nothing is done or told.
func FuzzRoutes(f *testing.F) {
	for _, path := range []string{"/", "/v1/runs/x", "/v1/webhooks/pd", "/v1/webhooks/pd/", "//v1/status", "/v1/./status", "/v1/pause", "/V1/status", "/v1/runs/%2e%2e", "*", ""} {
		f.Add("GET", path)
		f.Add("POST", path)
	}
	f.Add("get", "/v1/status")
	f.Add("HEAD", "/metrics")
	f.Add("CONNECT", "/v1/audit/head")
	s := newStand(accepting)
	e := newEdge(s.cfg)
	open, closed := e.router(bySocket), e.router(byTCP)
	routes := e.routes()
	f.Fuzz(func(t *testing.T, method, path string) {
		u := &url.URL{Path: path}
		if plain, err := url.PathUnescape(path); err == nil && plain != path {
			u = &url.URL{Path: plain, RawPath: path}
		}
		for _, h := range []nethttp.Handler{open, closed} {
			s.book.asked = nil
			w := httptest.NewRecorder()
			h.ServeHTTP(w, (&nethttp.Request{Method: method, URL: u, Header: nethttp.Header{}, Body: nethttp.NoBody, Host: "x"}).WithContext(t.Context()))
			at := slices.IndexFunc(routes, func(r route) bool { return r.method == method && leads(r.pattern, path) })
			switch {
			case at < 0 && w.Code != notFound && w.Code != notAllowed:
				t.Fatalf("%q %q is no route: %d", method, path, w.Code)
			case at < 0 && len(s.book.asked) > 0, at >= 0 && h == closed && routes[at].right == api && (w.Code != forbidden || len(s.book.asked) > 0):
				t.Fatalf("%q %q: %d, asked %v", method, path, w.Code, s.book.asked)
			case at >= 0 && utf8.ValidString(path) && w.Code >= 500:
				t.Fatalf("%q %q: %d %s", method, path, w.Code, w.Body)
			}
		}
	})
}

// leads reads a pattern part by part; {x} is one part that is not empty. No path is the root.
func leads(pattern, path string) bool {
	if path == "" {
		path = "/"
	}
	return slices.EqualFunc(strings.Split(pattern, "/"), strings.Split(path, "/"), func(p, given string) bool {
		return p == given || strings.HasPrefix(p, "{") && given != ""
	})
}
