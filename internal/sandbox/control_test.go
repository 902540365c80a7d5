package sandbox_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

func (f *fixture) control(verb, args string) (int, map[string]any) {
	f.Helper()
	resp, err := http.Post(f.ControlURL()+"/control/"+verb, "application/json", strings.NewReader(args))
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	must(f.T, json.NewDecoder(resp.Body).Decode(&out))
	return resp.StatusCode, out
}

func TestControlDrivesTheWorld(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	for verb, args := range map[string]string{
		"add-service":        `{"name":"mixillo-backend","revisions":[{"name":"mixillo-backend-00001-aaa","created_ago":"72h"}]}`,
		"set-operation-time": `{"min":"1s","max":"2s"}`,
	} {
		if code, out := f.control(verb, args); code != 200 {
			t.Fatalf("%s: %d %v", verb, code, out)
		}
	}
	_, out := f.control("deploy", `{"service":"mixillo-backend","deploy":{"health":"sick"}}`)
	if f.Serving(backend)[out["revision"].(string)] != 100 {
		t.Errorf("deploy answered %v, serving %v", out, f.Serving(backend))
	}
	age := time.Since(f.list(0)[0].GetCreateTime().AsTime())
	if other := time.Since(f.list(0)[1].GetCreateTime().AsTime()); max(age, other) < 71*time.Hour {
		t.Errorf("the written duration was not understood: %v %v", age, other)
	}
	if code, _ := f.control("apply-then-fail", `{"service":"mixillo-backend","code":"UNAVAILABLE"}`); code != 200 {
		t.Errorf("code names: %d", code)
	}
	_, out = f.control("trigger-incident", `{"title":"down","key":"k"}`)
	if f.Incident(out["id"].(string)).Key != "k" {
		t.Errorf("trigger-incident answered %v", out)
	}
	id := out["id"].(string)
	for _, step := range [][2]string{
		{"human-acknowledges", "acknowledged"}, {"human-unacknowledges", "triggered"}, {"human-acknowledges", "acknowledged"},
		{"acknowledgement-ends", "triggered"}, {"resolve-alert", "resolved"},
	} {
		if code, out := f.control(step[0], `{"incident":"`+id+`","alert":{"key":"k"}}`); code != 200 || f.Incident(id).Status != step[1] {
			t.Errorf("%s: %d %v, the incident is %s", step[0], code, out, f.Incident(id).Status)
		}
	}
	for verb, args := range map[string]string{"nope": `{}`, "set-load": `{"service":"nope"}`, "deploy": `{`, "latency": `{"service":"mixillo-backend","delay":"soon"}`} {
		if code, _ := f.control(verb, args); code/100 != 4 {
			t.Errorf("%s %s: %d", verb, args, code)
		}
	}
}

func TestStateAndLedgerOverHTTP(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	trigger(f)
	var state struct {
		Services  []sandbox.ServiceState `json:"services"`
		Incidents []sandbox.Incident     `json:"incidents"`
	}
	f.read("/state", &state)
	if len(state.Services) != 1 || state.Services[0].Serving["mixillo-backend-00003-ccc"] != 100 || len(state.Incidents) != 1 {
		t.Errorf("%+v", state)
	}
	var entries []sandbox.Entry
	f.read("/ledger", &entries)
	if diff := cmp.Diff([]string{"add_service"}, verbs(entries, "cloud_run")); diff != "" {
		t.Error(diff)
	}
}

func (f *fixture) read(path string, into any) {
	f.Helper()
	resp, err := http.Get(f.ControlURL() + path)
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	must(f.T, json.NewDecoder(resp.Body).Decode(into))
}

func TestLedgerFileIsWrittenBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	f := badDeploy(t, sandbox.Config{Ledger: path})
	f.SetOperationTime(0, 0)
	f.rollBack("mixillo-backend-00002-bbb")
	raw, err := os.ReadFile(path)
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	var last sandbox.Entry
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if last.Verb != "update_service" || last.Seq != len(lines) || last.By != "remediator@mixillo.iam.gserviceaccount.com" {
		t.Errorf("%+v", last)
	}
	want := map[string]any{"before": []any{"LATEST=100"}, "after": []any{"mixillo-backend-00002-bbb=100"}}
	if diff := cmp.Diff(want, map[string]any{"before": last.Detail["traffic_before"], "after": last.Detail["traffic_after"]}); diff != "" {
		t.Error(diff)
	}
	again, err := sandbox.Start(sandbox.Config{Ledger: path})
	must(t, err)
	defer func() { must(t, again.Close()) }()
	again.TriggerIncident(sandbox.Incident{Title: "x"})
	if got := again.Ledger(); got[len(got)-1].Seq != len(lines)+1 {
		t.Errorf("a second start does not go on from the file: %d", got[len(got)-1].Seq)
	}
}

func TestFixedAddressesAndFailures(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	if _, err := sandbox.Start(sandbox.Config{Listen: sandbox.Addresses{Google: f.GoogleEndpoint()}}); err == nil {
		t.Error("a taken port must fail")
	}
	if _, err := sandbox.Start(sandbox.Config{Ledger: filepath.Join(t.TempDir(), "no", "dir")}); err == nil {
		t.Error("a ledger that cannot be opened must fail")
	}
}
