package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// TestRolesShareOneDatabase: a public intake, a page and a private worker are three processes on one PostgreSQL. What the intake keeps
// the worker has at once, and the page tells of it.
func TestRolesShareOneDatabase(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.New(t, "fsync=off")
	succeed(t, cluster.Create("remediator", ""))
	process := map[string]*daemon{}
	for _, role := range roles() {
		process[role] = startServe(t, smallPlace(t), "--db", cluster.DSN("remediator"), "--roles", role)
	}
	page := process["ui"]
	fires := firingBody(t, "HealthCheckFailed", "api", time.Now())
	for role, answers := range map[string][2]int{"ingest": {202, 403}, "ui": {503, 200}, "worker": {503, 403}} {
		p := process[role]
		code, _, _ := send(t, p.alert(t, bytes.NewReader(fires)))
		want(t, role+" answers a delivery", code, answers[0])
		code, said := p.verb(t, "status")
		if code == exitFine != (answers[1] == 200) || answers[1] == 403 && !strings.Contains(said, "lacks the role ui") {
			t.Errorf("%s answers a verb with %d: %s", role, code, said)
		}
		code, _ = p.verb(t, "health", "--server", p.url)
		want(t, role+" answers about its health", code, exitFine)
	}
	var listed struct{ Runs []remediation.Run }
	awaitWithin(t, 60*time.Second, "the run is done", func() bool {
		_, said := page.verb(t, "runs", "-o", "json", "--state", "done")
		return json.Unmarshal([]byte(said), &listed) == nil && len(listed.Runs) == 1
	})
	want(t, "outcome", listed.Runs[0].Outcome, remediation.Observed)
	for role, p := range process {
		want(t, "exit code of "+role, p.end(t), exitFine)
	}
}

// TestRolesNeedTheirOwnSecrets: the intake opens no connection, and the worker knows no webhook's secret.
func TestRolesNeedTheirOwnSecrets(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.New(t, "fsync=off")
	succeed(t, cluster.Create("remediator", ""))
	dir := smallPlace(t)
	path := filepath.Join(dir, defaultRules)
	text := strings.Replace(smallRules, "targets:", "connections:\n  slack: {token_file: none, channel: c}\ntargets:", 1)
	succeed(t, os.WriteFile(path, []byte(text), 0o600))
	for role, c := range map[string]struct {
		connections int
		refused     string
	}{"ui": {0, ""}, "worker": {1, ""}, "ingest": {0, "bearer_token"}} {
		a, err := newApp(t.Context(), appConfig{
			Rules: path, DSN: cluster.DSN("remediator"), Roles: []string{role}, Lease: time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v; want a word about %s", role, err, c.refused)
			}
			continue
		}
		succeed(t, err)
		want(t, "connections of "+role, len(a.connections()), c.connections)
		succeed(t, a.close())
	}
}
