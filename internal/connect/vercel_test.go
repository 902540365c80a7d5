package connect

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newVercelServer(t *testing.T, h http.HandlerFunc) *Vercel {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(restToken), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := NewVercel(VercelConfig{Token: Secret{File: path}, Team: "team_1", Endpoint: server.URL, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// TestVercelCalls: the paths and parameters of the REST reference, and moves that are answered without a body.
func TestVercelCalls(t *testing.T) {
	t.Parallel()
	var seen string
	v := newVercelServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Method + " " + r.RequestURI
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
		}
	})
	for want, call := range map[string]func() error{
		"POST /v1/projects/prj%2F1/rollback/dpl_1?description=a+b&teamId=team_1": func() error { return v.RollBack(t.Context(), "prj/1", "dpl_1", "a b") },
		"POST /v10/projects/prj_1/promote/dpl_1?teamId=team_1":                   func() error { return v.Promote(t.Context(), "prj_1", "dpl_1") },
	} {
		if err := call(); err != nil || seen != want {
			t.Errorf("sent %q, want %q: %v", seen, want, err)
		}
	}
}

// TestVercelAnswers: what is no answer to the question is an error, not a project without deployments.
func TestVercelAnswers(t *testing.T) {
	t.Parallel()
	body := ""
	v := newVercelServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	for _, body = range []string{"", "{}", "[]", "null", `{"error":{}}`} {
		if _, err := v.Project(t.Context(), "admin"); err == nil {
			t.Errorf("%q is taken for a project", body)
		}
		if _, _, err := v.Production(t.Context(), "prj_1"); err == nil {
			t.Errorf("%q is taken for a list of deployments", body)
		}
	}
	body = `{"deployments":[{"uid":"dpl_1"}],"pagination":{"count":1,"next":17}}`
	if all, whole, err := v.Production(t.Context(), "prj_1"); err != nil || whole || len(all) != 1 || all[0].Name() != "dpl_1" {
		t.Errorf("%v %t %v", all, whole, err)
	}
}

func TestVercelConfig(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]VercelConfig{
		"token_file": {}, "plaintext": {Token: Secret{Env: "X"}, Endpoint: "http://example.com"},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
