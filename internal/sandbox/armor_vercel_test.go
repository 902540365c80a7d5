package sandbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/sandbox"
)

// call asks a stand-in as a client would.
func (f *fixture) call(method, url, token, body string) (int, map[string]any) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, url, strings.NewReader(body))
	must(f.T, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(f.T, err)
	out := map[string]any{}
	if len(text) > 0 {
		must(f.T, json.Unmarshal(text, &out))
	}
	return resp.StatusCode, out
}

// TestComputeRefusesWhatTheAPIWould: the wording and the limits of rules.
func TestComputeRefusesWhatTheAPIWould(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 1000})
	if code, out := f.control("add-security-policy", `{"name":"edge"}`); code != 200 {
		t.Fatal(out)
	}
	policy := f.URL("compute") + "/compute/v1/projects/mixillo/global/securityPolicies/edge"
	rule := `{"priority":%d,"action":%q,"description":%q,"match":{"versionedExpr":"SRC_IPS_V1","config":{"srcIpRanges":[%s]}}}`
	tests := []struct {
		path, body, want string
		status           int
	}{
		{"/addRule", fmt.Sprintf(rule, 7, "deny(403)", "x", `"9.9.9.9/32"`), "", 200},
		{"/addRule", fmt.Sprintf(rule, 7, "deny(403)", "x", `"9.9.9.8/32"`), "Cannot have rules with the same priorities", 400},
		{"/addRule", fmt.Sprintf(rule, 8, "deny(403)", strings.Repeat("x", 65), `"9.9.9.9/32"`), "64 characters", 400},
		{"/addRule", fmt.Sprintf(rule, 8, "deny(403)", "x", strings.Repeat(`"9.9.9.9/32",`, 10)+`"9.9.9.9/32"`), "limit of 10", 400},
		{"/addRule", fmt.Sprintf(rule, 8, "deny(403)", "x", `"9.9.9.9/24"`), "valid IP address range", 400},
		{"/addRule", fmt.Sprintf(rule, 8, "throttle", "x", `"9.9.9.9/32"`), "Rate limit options must be specified", 400},
		{"/removeRule?priority=9", "", "does not contain a rule at priority 9", 400},
		{"/removeRule?priority=2147483647", "", "Cannot remove the default rule", 400},
	}
	for _, tt := range tests {
		status, out := f.call(http.MethodPost, policy+tt.path, "", tt.body)
		if text := fmt.Sprint(out); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s: %d %s", tt.path, tt.body, status, text)
		}
	}
	if status, _ := f.call(http.MethodGet, strings.Replace(policy, "mixillo", "other", 1), "", ""); status != 404 {
		t.Errorf("another project answers %d", status)
	}
	writes := 0
	for _, e := range f.Ledger() {
		if e.System == "cloud_armor" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d changes in the ledger", writes)
	}
}

// TestVercelStandIn: no token and another team's project are refused, a rollback keeps deploys from going live, a promotion ends that.
func TestVercelStandIn(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 1000})
	if code, out := f.control("add-vercel-project", `{"id":"prj_1","name":"admin","deployments":[{"id":"dpl_1","created_ago":"2h"},{"id":"dpl_2","created_ago":"1h"}]}`); code != 200 {
		t.Fatal(out)
	}
	base := f.URL("vercel")
	for _, tt := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/v9/projects/admin", "", 403}, {"GET", "/v9/projects/admin", "wrong", 403}, {"GET", "/v9/projects/admin?teamId=x", sandbox.VercelToken, 404},
		{"GET", "/v6/deployments?projectId=prj_1&limit=101", sandbox.VercelToken, 400}, {"POST", "/v1/projects/prj_1/rollback/dpl_9", sandbox.VercelToken, 404},
		{"POST", "/v1/projects/prj_1/rollback/dpl_2", sandbox.VercelToken, 409}, {"POST", "/v1/projects/prj_1/rollback/dpl_1?description=" + strings.Repeat("x", 251), sandbox.VercelToken, 400},
		{"POST", "/v1/projects/prj_1/rollback/dpl_1?description=why", sandbox.VercelToken, 201},
	} {
		if status, out := f.call(tt.method, base+tt.path, tt.token, ""); status != tt.want {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, status, out)
		}
	}
	for s, err := f.VercelProject("admin"); s.Production != "dpl_1"; s, err = f.VercelProject("admin") {
		must(t, err)
	}
	f.control("deploy-vercel", `{"project":"admin","deploy":{"id":"dpl_3"}}`)
	if s, err := f.VercelProject("admin"); err != nil || s.Production != "dpl_1" || s.AutoAssigns || s.Reason != "why" {
		t.Errorf("%+v %v", s, err)
	}
	if status, out := f.call(http.MethodPost, base+"/v10/projects/prj_1/promote/dpl_3", sandbox.VercelToken, ""); status != 201 {
		t.Errorf("%d %v", status, out)
	}
	for s, err := f.VercelProject("admin"); s.Production != "dpl_3"; s, err = f.VercelProject("admin") {
		must(t, err)
	}
	_, page := f.call(http.MethodGet, base+"/v6/deployments?projectId=prj_1&target=production&limit=2", sandbox.VercelToken, "")
	if list := page["deployments"].([]any); len(list) != 2 || list[0].(map[string]any)["uid"] != "dpl_3" || page["pagination"].(map[string]any)["next"] == nil {
		t.Errorf("%v", page)
	}
}
