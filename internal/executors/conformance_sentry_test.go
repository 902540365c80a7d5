package executors_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/sentry"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() { questions["sentry.issues"] = question{stand: newSentryStand} }

// readStand is a system behind HTTP that is only read. It runs at real speed, so that what was reported stays within the windows.
type readStand struct {
	*testing.T
	*sandbox.World
	env   executors.Env
	spoil func(sandbox.Fault) error
}

func newReadStand(t *testing.T) *readStand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return &readStand{T: t, World: w, env: executors.Env{Target: executors.Target{Name: "backend"}}}
}

// tokenFile keeps a credential as the rules file names it.
func tokenFile(t *testing.T, token string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
	return connect.Secret{File: path}
}

func newSentryStand(t *testing.T) stand {
	s := newReadStand(t)
	client, err := connect.NewSentry(connect.SentryConfig{
		Endpoint: s.URL("sentry"), Organization: sandbox.SentryOrganization, Token: tokenFile(t, sandbox.SentryToken), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	s.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "TypeError: x is undefined", Count: 3, Users: 2, Release: "backend@7", Ago: time.Minute})
	s.env.Connections = connect.Set{"sentry": client}
	s.env.Target.Systems = map[string]any{"sentry": &sentry.Project{Project: "backend"}}
	s.spoil = func(f sandbox.Fault) error { return s.Spoil("sentry", f) }
	return s
}

func (s *readStand) Env() executors.Env {
	s.env.Now = time.Now()
	return s.env
}

func (*readStand) Writes() int { return 0 }

func (s *readStand) Befall(tr trouble, _ bool) bool {
	f := sandbox.Fault{Count: callsOf, Hang: tr == hangs, Garbage: tr == garbageBack}
	f.Status = map[trouble]int{denied: http.StatusForbidden, notFound: http.StatusNotFound, quota: http.StatusTooManyRequests}[tr]
	must(s.T, s.spoil(f))
	return true
}
