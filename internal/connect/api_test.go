package connect

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func kept(t *testing.T, text string) Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Secret{File: path}
}

func newAPI(t *testing.T, c APIConfig) *API {
	t.Helper()
	api, err := NewAPI(c)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// Credentials go below the endpoint and nowhere else.
func TestAPIAuthorize(t *testing.T) {
	t.Parallel()
	api := newAPI(t, APIConfig{
		Endpoint: "https://api.example.com/v1", Token: kept(t, "hunter2"), Headers: map[string]string{"X-Team": "core"},
		SecretHeaders: map[string]Secret{"X-Key": kept(t, "hunter3")},
	})
	for address, allowed := range map[string]bool{
		"https://api.example.com/v1/flags":         true,
		"https://api.example.com:443/v1":           true,
		"https://API.example.com/v1/flags?x=1":     true,
		"https://api.example.com/v10/flags":        false,
		"https://api.example.com/":                 false,
		"https://api.example.com/v1/../admin":      false,
		"https://api.example.com/v1/%2e%2e/admin":  false,
		"https://api.example.com:8443/v1/flags":    false,
		"http://api.example.com/v1/flags":          false,
		"https://api.example.com.evil.example/v1/": false,
		"https://evil.example/v1/":                 false,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := api.Authorize(req)
		if (err == nil) != allowed || !allowed && (!errors.Is(err, ErrHostRefused) || len(req.Header) > 0) {
			t.Errorf("%s: got %v, headers %v", address, err, len(req.Header))
		}
		if allowed && (len(secrets) != 2 || req.Header.Get("Authorization") != "Bearer hunter2" || req.Header.Get("X-Key") != "hunter3" || req.Header.Get("X-Team") != "core") {
			t.Errorf("%s: not authorized", address)
		}
	}
}

func TestAPIBelow(t *testing.T) {
	t.Parallel()
	api := newAPI(t, APIConfig{Endpoint: "https://api.example.com/v1/"})
	for path, want := range map[string]string{
		"/flags":               "https://api.example.com/v1/flags",
		"/flags?b=2&a=1":       "https://api.example.com/v1/flags?a=1&b=2",
		"/flags/a%2Fb":         "https://api.example.com/v1/flags/a%2Fb",
		"/":                    "https://api.example.com/v1/",
		"flags":                "",
		"":                     "",
		"//evil.example/":      "",
		"/a//b":                "",
		"https://evil.example": "",
		"/../admin":            "",
		"/a/%2e%2e/b":          "",
		`/a\b`:                 "",
		"/a#b":                 "",
		"/a\nb":                "",
	} {
		u, err := api.Below(path)
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: got %v, %v, want %q", path, u, err, want)
		}
		if (CheckPath(path) == nil) != (want != "") {
			t.Errorf("%q: CheckPath and Below disagree", path)
		}
	}
}

func TestAPICheck(t *testing.T) {
	t.Parallel()
	secret, no := Secret{Env: "X"}, Secret{}
	for want, c := range map[string]APIConfig{
		"endpoint must begin":                  {},
		"needs insecure: true":                 {Endpoint: "http://a"},
		"exclude each other":                   {Endpoint: "https://a", Token: secret, Username: "u", Password: secret},
		"a username needs a password":          {Endpoint: "https://a", Username: "u"},
		"the header Host cannot be set":        {Endpoint: "https://a", Headers: map[string]string{"Host": "b"}},
		"is no name of a header":               {Endpoint: "https://a", SecretHeaders: map[string]Secret{"a b": secret}},
		"secret_headers: either file or env":   {Endpoint: "https://a", SecretHeaders: map[string]Secret{"A": no}},
		"secrets: password: either file or en": {Endpoint: "https://a", Secrets: map[string]Secret{"password": {File: "a", Env: "b"}}},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := c.Open(t.Context()); err == nil {
			t.Errorf("%q: it was opened", want)
		}
	}
}

func TestAPISecrets(t *testing.T) {
	t.Parallel()
	api := newAPI(t, APIConfig{Endpoint: "https://a", Username: "u", Password: kept(t, "pw"), Secrets: map[string]Secret{"key": kept(t, "hunter2\n")}})
	if v, err := api.Secret("key"); err != nil || v.Reveal() != "hunter2" {
		t.Errorf("got %v", err)
	}
	var failed *SecretError
	if _, err := api.Secret("other"); !errors.As(err, &failed) || IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if secrets, err := api.Authorize(req); err != nil || len(secrets) != 2 { // the password, and as the header has it
		t.Errorf("got %v", err)
	}
	if user, password, ok := req.BasicAuth(); !ok || user != "u" || password != "pw" {
		t.Error("no basic authentication")
	}
}
