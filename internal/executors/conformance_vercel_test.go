package executors_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/vercel"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["vercel.rollback"] = example{stand: newVercelStand}
	examples["vercel.promote"] = example{stand: newRolledBackStand}
	questions["vercel.deployments"] = question{stand: newVercelStand}
}

// vercelStand is a project whose newest deploy is five minutes old.
type vercelStand struct {
	*testing.T
	*sandbox.World
	client *connect.Vercel
	before string // the deployment that production was rolled back to, "" if it was not
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

// newRolledBackStand is the same after a person's rollback and one more deploy, which waits.
func newRolledBackStand(t *testing.T) stand {
	s := newVercelStand(t).(*vercelStand)
	s.before = "dpl_1"
	must(t, s.RollBackVercel("prj_admin", "dpl_1", "by hand"))
	s.moved()
	must(t, s.DeployVercel("prj_admin", sandbox.VercelDeployment{ID: "dpl_3"}))
	return s
}

// moved waits until production has been moved.
func (s *vercelStand) moved() {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p, err := s.VercelProject("prj_admin")
		must(s.T, err)
		if strings.HasSuffix(p.LastMove, "succeeded") {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("production is still being moved: %s", p.LastMove)
		}
	}
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
	switch {
	case t == conflict && s.before != "": // a person promotes another one
		must(s.T, s.PromoteVercel("prj_admin", "dpl_2"))
		s.moved()
		return true
	case t == conflict:
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
