package executors_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/vercel"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["vercel.rollback"] = example{stand: newVercelStand}
	questions["vercel.deployments"] = question{stand: newVercelStand}
}

// vercelStand is a project whose newest deploy is five minutes old.
type vercelStand struct {
	*testing.T
	*sandbox.World
	client *connect.Vercel
}

func newVercelStand(t *testing.T) stand {
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.AddVercelProject(sandbox.VercelProject{ID: "prj_admin", Name: "mixillo-admin", Team: "team_mixillo", Deployments: []sandbox.VercelDeployment{
		{ID: "dpl_1", CreatedAgo: 24 * time.Hour, Commit: "aaaaaaaaaaaaaaaa"}, {ID: "dpl_2", CreatedAgo: 5 * time.Minute, Commit: "bbbbbbbbbbbbbbbb"},
	}})
	client, err := connect.NewVercel(connect.VercelConfig{Token: token(t, sandbox.VercelToken), Team: "team_mixillo", Endpoint: w.URL("vercel"), Insecure: true})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return &vercelStand{T: t, World: w, client: client}
}

func (s *vercelStand) Env() executors.Env {
	return executors.Env{
		Target:      executors.Target{Name: "admin", Migrations: "none", Systems: map[string]any{"vercel": &vercel.Project{Project: "mixillo-admin"}}},
		Connections: connect.Set{"vercel": s.client}, Now: time.Now(), Speed: speed,
	}
}

func (s *vercelStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == "vercel" && e.By != sandbox.Human {
			n++
		}
	}
	return n
}

func (s *vercelStand) Befall(t trouble, reads bool) bool {
	if t == conflict {
		must(s.T, s.DeployVercel("prj_admin", sandbox.VercelDeployment{ID: "dpl_3"}))
		return true
	}
	f := httpTrouble(t)
	f.Count = callsOf
	if !reads {
		f.Method, f.Count = http.MethodPost, 1
	}
	must(s.T, s.Spoil("vercel", f))
	return true
}
