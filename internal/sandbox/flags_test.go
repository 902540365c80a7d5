package sandbox_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/sandbox"
)

// call asks a stand-in and gives its status and what it answered, if that is JSON.
func (f *fixture) ask(method, address, token, body string, headers ...string) (int, map[string]any) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, address, strings.NewReader(body))
	must(f.T, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	if json.NewDecoder(resp.Body).Decode(&out) != nil {
		out = nil
	}
	return resp.StatusCode, out
}

func TestFlags(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	if code, out := f.control("set-flag", `{"key":"pay","enabled":true}`); code != 200 {
		t.Fatalf("got %d, %v", code, out)
	}
	at := f.URL("flags") + "/api/flags/"
	for name, tc := range map[string]struct {
		method, key, token, body, signature string
		want                                int
	}{
		"no token":        {"GET", "pay", "", "", "", 401},
		"wrong token":     {"PATCH", "pay", "x", `{"enabled":false}`, "", 401},
		"no such flag":    {"GET", "other", sandbox.FlagsToken, "", "", 404},
		"none to change":  {"PATCH", "other", sandbox.FlagsToken, `{"enabled":false}`, "", 404},
		"nothing in it":   {"PATCH", "pay", sandbox.FlagsToken, `{}`, "", 422},
		"wrong signature": {"PATCH", "pay", sandbox.FlagsToken, `{"enabled":false}`, "sha256=00", 401},
		"read":            {"GET", "pay", sandbox.FlagsToken, "", "", 200},
	} {
		code, _ := f.ask(tc.method, at+tc.key, tc.token, tc.body, "X-Signature", tc.signature)
		if code != tc.want {
			t.Errorf("%s: got %d, want %d", name, code, tc.want)
		}
	}
	if flag, err := f.Flag("pay"); err != nil || !flag.Enabled || flag.Version != 1 {
		t.Errorf("a refused call changed %+v, %v", flag, err)
	}
	for range 2 { // a change made twice is seen twice
		f.ask("PATCH", at+"pay", sandbox.FlagsToken, `{"enabled":false,"comment":"x"}`, "Idempotency-Key", "r1-0-1")
	}
	flag, err := f.Flag("pay")
	if err != nil || flag.Enabled || flag.Version != 3 || flag.Operation != "r1-0-1" || flag.Comment != "x" {
		t.Errorf("got %+v, %v", flag, err)
	}
	made := 0
	for _, e := range f.Ledger() {
		if e.System == "flags" && e.By != sandbox.Human {
			made++
		}
	}
	if made != 2 {
		t.Errorf("the ledger knows %d changes", made)
	}
}

func TestBackendAPI(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	at := f.URL("api")
	if code, _ := f.ask("POST", at+"/api/auth/login", "", `{"email":"`+sandbox.APIUser+`","password":"no"}`); code != 401 {
		t.Errorf("a wrong password is answered with %d", code)
	}
	_, out := f.ask("POST", at+"/api/auth/login", "", `{"email":"`+sandbox.APIUser+`","password":"`+sandbox.APIPassword+`"}`)
	data, _ := out["data"].(map[string]any)
	token, _ := data["token"].(string)
	f.control("set-backend", `{"mongodb":true,"redis":false,"pending":12}`)
	if _, out := f.ask("GET", at+"/health", "", ""); out["redis"].(map[string]any)["connected"] != false {
		t.Errorf("got %v", out)
	}
	stuck := at + "/api/admin/orders/stuck?status=pending"
	if code, _ := f.ask("GET", stuck, "", ""); code != 401 {
		t.Errorf("without a token: %d", code)
	}
	if code, out := f.ask("GET", stuck, token, ""); code != 200 || out["data"].(map[string]any)["count"] != float64(12) {
		t.Errorf("got %d, %v", code, out)
	}
	f.SetBackend(sandbox.Backend{})
	if code, out := f.ask("GET", stuck, token, ""); code != 500 || out != nil {
		t.Errorf("without its database it answers %d, %v", code, out)
	}
}
