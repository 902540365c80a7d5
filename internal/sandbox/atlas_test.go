package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

const atlasGroup = "/api/atlas/v2/groups/" + sandbox.AtlasProject

// atlasToken fetches a token as a service account does.
func (f *fixture) atlasToken(secret string) (int, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.URL("atlas")+"/api/oauth/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	must(f.T, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(sandbox.AtlasClientID, secret)
	code, out := f.send(req)
	token, _ := out["access_token"].(string)
	return code, token
}

func (f *fixture) send(req *http.Request) (int, map[string]any) {
	f.Helper()
	resp, err := http.DefaultClient.Do(req)
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	if resp.StatusCode != http.StatusNoContent {
		must(f.T, json.NewDecoder(resp.Body).Decode(&out))
	}
	return resp.StatusCode, out
}

// atlas calls the Administration API.
func (f *fixture) atlas(token, method, path, body string) (int, map[string]any) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.ctx, method, f.URL("atlas")+path, strings.NewReader(body))
	must(f.T, err)
	req.Header.Set("Accept", "application/vnd.atlas.2025-03-12+json")
	req.Header.Set("Authorization", "Bearer "+token)
	return f.send(req)
}

func TestAtlasCredentials(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	if code, _ := f.atlasToken("wrong"); code != http.StatusUnauthorized {
		t.Errorf("a wrong secret gets %d", code)
	}
	_, token := f.atlasToken(sandbox.AtlasClientSecret)
	for path, want := range map[string]int{
		atlasGroup + "/accessList": 200, "/api/atlas/v2/groups/000000000000000000000000/accessList": 404, atlasGroup + "/nothing": 404,
		atlasGroup + "/accessList/192.0.2.1": 404, atlasGroup + "/clusters/Main": 404, atlasGroup + "/accessList?itemsPerPage=501": 400,
	} {
		if code, out := f.atlas(token, http.MethodGet, path, ""); code != want || want != 200 && out["errorCode"] == nil {
			t.Errorf("%s: %d %v, want %d", path, code, out, want)
		}
	}
	if code, out := f.atlas("other", http.MethodGet, atlasGroup+"/accessList", ""); code != 401 || out["reason"] != "Unauthorized" {
		t.Errorf("another token: %d %v", code, out)
	}
	f.ExpireAtlasTokens()
	if code, _ := f.atlas(token, http.MethodGet, atlasGroup+"/accessList", ""); code != 401 {
		t.Errorf("an expired token: %d", code)
	}
	_, token = f.atlasToken(sandbox.AtlasClientSecret)
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, f.URL("atlas")+atlasGroup+"/accessList", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if code, _ := f.send(req); code != http.StatusNotAcceptable {
		t.Errorf("no version: %d", code)
	}
}

// TestAtlasAccessList: entries come and go as Atlas lets them, and each change is one line of the ledger.
func TestAtlasAccessList(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	_, token := f.atlasToken(sandbox.AtlasClientSecret)
	ends := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	post := func(entry string, want int) {
		t.Helper()
		if code, out := f.atlas(token, http.MethodPost, atlasGroup+"/accessList", "["+entry+"]"); code != want {
			t.Errorf("%s: %d %v, want %d", entry, code, out, want)
		}
	}
	post(`{"ipAddress":"203.0.113.7","comment":"a","deleteAfterDate":"`+ends(time.Hour)+`"}`, 201)
	post(`{"cidrBlock":"203.0.113.7/32","comment":"b"}`, 201) // overwrites, and nobody is told
	for _, bad := range []string{
		``, `{}`, `{"ipAddress":"203.0.113.8","cidrBlock":"203.0.113.8/32"}`, `{"cidrBlock":"203.0.113.8/24"}`, `{"ipAddress":"here"}`,
		`{"ipAddress":"203.0.113.8","deleteAfterDate":"` + ends(-time.Minute) + `"}`, `{"ipAddress":"203.0.113.8","deleteAfterDate":"` + ends(8*24*time.Hour) + `"}`,
	} {
		post(bad, 400)
	}
	f.SetAtlas(sandbox.AtlasBehaviour{RefuseDuplicates: true})
	post(`{"ipAddress":"203.0.113.7"}`, 409)
	entry := atlasGroup + "/accessList/" + url.PathEscape("203.0.113.7/32")
	if code, out := f.atlas(token, http.MethodGet, entry, ""); code != 200 || out["comment"] != "b" || out["ipAddress"] != "203.0.113.7" || out["cidrBlock"] != "203.0.113.7/32" {
		t.Errorf("%d %v", code, out)
	}
	if code, _ := f.atlas(token, http.MethodDelete, entry, ""); code != 204 {
		t.Errorf("deleting answers %d", code)
	}
	var refused int
	var done []string
	for _, v := range verbs(f.Ledger(), "atlas") {
		if strings.HasSuffix(v, "_refused") {
			refused++
			continue
		}
		done = append(done, v)
	}
	if diff := cmp.Diff([]string{"access_entry_added", "access_entry_overwritten", "access_entry_deleted"}, done); diff != "" || refused != 8 {
		t.Errorf("%d refused; %s", refused, diff)
	}
	must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: "198.51.100.1", Lasts: time.Millisecond}))
	for deadline := time.Now().Add(time.Second); len(f.AtlasEntries()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an entry does not expire")
		}
	}
}

func TestAtlasPages(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	_, token := f.atlasToken(sandbox.AtlasClientSecret)
	f.SetAtlas(sandbox.AtlasBehaviour{PageSize: 2})
	for i := range 5 {
		must(t, f.AddAtlasEntry(sandbox.AtlasEntry{Entry: fmt.Sprintf("192.0.2.%d", i)}))
	}
	for page, want := range map[int][2]int{1: {2, 2}, 2: {2, 2}, 3: {1, 1}, 4: {0, 1}} { // results and links
		_, out := f.atlas(token, http.MethodGet, fmt.Sprintf("%s/accessList?pageNum=%d&itemsPerPage=500", atlasGroup, page), "")
		results, _ := out["results"].([]any)
		links, _ := out["links"].([]any)
		if got := [2]int{len(results), len(links)}; got != want || out["totalCount"] != float64(5) {
			t.Errorf("page %d holds %v, want %v", page, got, want)
		}
	}
}

// TestVendorsByControl: what tests do by methods, people do by verbs.
func TestVendorsByControl(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	for _, step := range [][2]string{
		{"atlas-set-cluster", `{"name":"Main","seen_ago":"1h"}`}, {"atlas-add-entry", `{"entry":"192.0.2.1","lasts":"1h"}`}, {"atlas-add-entry", `{"entry":"192.0.2.2"}`},
		{"atlas-remove-entry", `{"entry":"192.0.2.2"}`}, {"atlas-add-entry-before-next-change", `{"entry":"192.0.2.3"}`},
		{"atlas-add-slow-query", `{"cluster":"Main","namespace":"a.b","took":"3s","ago":"1m"}`}, {"atlas-suggest-index", `{"cluster":"Main","namespace":"a.b","fields":["x","-y"]}`},
		{"atlas-expire-tokens", `{}`}, {"atlas-behave", `{"token_life":"5m","rollout":"1m","page_size":10}`}, {"spoil", `{"system":"atlas","fault":{"status":503}}`},
		{"set-status-page", `{"name":"mongodb","indicator":"major","updated_ago":"5m"}`}, {"set-google-incidents", `{"incidents":[{"id":"x","begun_ago":"1h"}]}`},
		{"set-stripe-status", `{"page":"down","page_ago":"48h"}`},
	} {
		if code, out := f.control(step[0], step[1]); code != 200 {
			t.Errorf("%s: %d %v", step[0], code, out)
		}
	}
	for _, bad := range [][2]string{{"atlas-add-entry", `{"entry":"x"}`}, {"atlas-remove-entry", `{"entry":"192.0.2.9"}`}, {"atlas-add-entry-before-next-change", `{}`}} {
		if code, _ := f.control(bad[0], bad[1]); code == 200 {
			t.Errorf("%s took %s", bad[0], bad[1])
		}
	}
	if all := f.AtlasEntries(); len(all) != 1 || all[0].Lasts > time.Hour {
		t.Errorf("%+v", all)
	}
	var state struct {
		Endpoints map[string]string `json:"endpoints"`
	}
	f.read("/state", &state)
	if state.Endpoints["atlas"] != f.URL("atlas") || state.Endpoints["status"] != f.URL("status") {
		t.Errorf("%v", state.Endpoints)
	}
}
