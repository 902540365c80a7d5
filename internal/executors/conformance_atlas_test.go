package executors_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/atlas"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["atlas.restore_access_entry"] = example{params: "{entry: 203.0.113.7}", stand: newAtlasStand}
	questions["atlas.cluster"] = question{stand: newAtlasStand}
	questions["atlas.access_list"] = question{stand: newAtlasStand}
	questions["atlas.performance_advisor"] = question{params: "{window: 30m}", stand: newAtlasStand}
}

// atlasStand is a project with a cluster, one of whose two recorded entries is missing.
type atlasStand struct {
	*testing.T
	*sandbox.World
	env executors.Env
}

func newAtlasStand(t *testing.T) stand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetAtlasCluster(sandbox.AtlasCluster{Name: "Main"})
	must(t, w.AddAtlasEntry(sandbox.AtlasEntry{Entry: "198.51.100.0/24", Comment: "office"}))
	w.AddAtlasSlowQuery(sandbox.AtlasSlowQuery{Cluster: "Main", Namespace: "shop.orders", Took: 3 * time.Second, Ago: time.Minute})
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(sandbox.AtlasClientSecret), 0o600))
	api, err := connect.NewAtlas(connect.AtlasConfig{
		Endpoint: w.URL("atlas"), Insecure: true, Project: sandbox.AtlasProject, ClientID: sandbox.AtlasClientID, ClientSecret: connect.Secret{File: secret},
	})
	must(t, err)
	t.Cleanup(func() { must(t, api.Close()) })
	section := &atlas.Cluster{
		Cluster: "Main", Egress: []string{"203.0.113.7"},
		AccessList: []atlas.Entry{{Entry: "203.0.113.7", Comment: "backend", Lasts: 2 * time.Hour}, {Entry: "198.51.100.0/24"}},
	}
	return &atlasStand{T: t, World: w, env: executors.Env{
		Target:      executors.Target{Name: "database", Systems: map[string]any{atlas.System: section}},
		Connections: connect.Set{atlas.System: api}, Speed: speed,
	}}
}

func (s *atlasStand) Env() executors.Env {
	s.env.Now = time.Now()
	return s.env
}

func (s *atlasStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == "atlas" && e.By == sandbox.AtlasClientID && !strings.HasSuffix(e.Verb, "_refused") {
			n++
		}
	}
	return n
}

func (s *atlasStand) Befall(t trouble, reads bool) bool {
	f := spoiled(t)
	f.Path, f.Method = "/api/atlas", http.MethodPost
	if reads {
		f.Method, f.Count = http.MethodGet, callsOf
	}
	if t == conflict {
		must(s.T, s.AddAtlasEntry(sandbox.AtlasEntry{Entry: "203.0.113.7", Comment: "by hand"}))
		return true
	}
	must(s.T, s.Spoil("atlas", f))
	return true
}

// spoiled is how a system's stand-in meets a trouble.
func spoiled(t trouble) sandbox.Fault {
	return map[trouble]sandbox.Fault{
		denied: {Status: http.StatusForbidden}, notFound: {Status: http.StatusNotFound}, quota: {Status: http.StatusTooManyRequests, RetryAfter: time.Second},
		conflict: {Status: http.StatusConflict}, hangs: {Hang: true}, lateAnswer: {ApplyThenFail: true, Hang: true}, garbageBack: {ApplyThenFail: true, Garbage: true},
	}[t]
}
