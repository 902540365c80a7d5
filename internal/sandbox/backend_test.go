package sandbox_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

func (f *fixture) health() int {
	f.Helper()
	resp, err := http.Get(f.BackendURL(backend) + "/health")
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func TestHealthFollowsTheServingRevision(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{Speed: 20})
	f.SetOperationTime(0, 0)
	if got := f.health(); got != http.StatusServiceUnavailable {
		t.Errorf("the sick revision answers %d", got)
	}
	f.rollBack("mixillo-backend-00002-bbb")
	if got := f.health(); got != http.StatusServiceUnavailable {
		t.Errorf("a revision without instances starts cold, got %d", got)
	}
	f.eventually(func() bool { return f.health() == http.StatusOK })
	resp, err := http.Get(f.BackendURL(backend) + "/control")
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("/control answers %d", resp.StatusCode)
	}
}

func TestDependencyMakesEveryRevisionSick(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	must(t, f.AddService(sandbox.Service{Name: backend}))
	must(t, f.SetDependency(backend, false))
	resp, err := http.Get(f.BackendURL(backend) + "/health")
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	var got map[string]any
	must(t, json.NewDecoder(resp.Body).Decode(&got))
	want := map[string]any{"status": "error", "mongodb": map[string]any{"connected": false}}
	if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != 503 {
		t.Errorf("status %d %s", resp.StatusCode, diff)
	}
	must(t, f.SetDependency(backend, true))
	if code := f.health(); code != 200 {
		t.Errorf("mended, /health answers %d", code)
	}
}

func TestRequiredEnvironment(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	must(t, f.AddService(sandbox.Service{Name: backend}))
	must(t, f.RequireEnv(backend, "POOL", "50"))
	if code := f.health(); code != 503 {
		t.Errorf("without the variable /health answers %d", code)
	}
	_, err := f.Deploy(backend, sandbox.Revision{Env: map[string]string{"POOL": "50"}})
	must(t, err)
	if code := f.health(); code != 200 {
		t.Errorf("with the variable /health answers %d", code)
	}
}

func TestForcedTrafficToADeadRevision(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	name, err := f.Deploy(backend, sandbox.Revision{Health: sandbox.NeverReady, NoTraffic: true})
	must(t, err)
	must(t, f.Split(backend, sandbox.Share{Revision: name, Percent: 100}))
	time.Sleep(20 * time.Millisecond)
	if code := f.health(); code != 503 {
		t.Errorf("a revision that cannot start answers %d", code)
	}
}
