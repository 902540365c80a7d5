package executors_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/web"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	questions["http.check"] = question{params: systemCheck, stand: newAPIStand, tells: notOK}
	examples["http.call"] = example{params: switchOff, stand: newFlagStand}
}

const systemCheck = `
connection: api
tries: 1
steps:
  - {name: health, path: /health, expect: {json: {/mongodb/connected: true, /redis/connected: true}}}
  - {name: login, method: POST, path: /api/auth/login, login: true, body: {email: monitor@mixillo.com}, secrets: {password: monitor}, take: {token: /data/token}}
  - {name: database, path: "/api/admin/orders/stuck?status=pending", bearer: token, expect: {json: {/data/count: {exists: true}}}}
`

const switchOff = `
connection: flags
method: PATCH
path: /api/flags/new-payments
body: {enabled: false, comment: {$operation: true}}
sign: {secret: signing, prefix: "sha256="}
reads: {path: /api/flags/new-payments, json: /enabled, before: true, after: false}
undo: {body: {enabled: true}}
`

// apiStand is a system of the sandbox's that is reached by a connection of kind http.
type apiStand struct {
	*sandbox.World
	t      *testing.T
	system string
	set    connect.Set
}

func newHTTPStand(t *testing.T, system string, c connect.APIConfig) *apiStand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	c.Endpoint, c.Insecure = w.URL(system), true
	api, err := connect.NewAPI(c)
	must(t, err)
	t.Cleanup(func() { must(t, api.Close()) })
	return &apiStand{World: w, t: t, system: system, set: connect.Set{system: api}}
}

func newAPIStand(t *testing.T) stand {
	return newHTTPStand(t, "api", connect.APIConfig{Secrets: map[string]connect.Secret{"monitor": kept(t, sandbox.APIPassword)}})
}

func newFlagStand(t *testing.T) stand {
	s := newHTTPStand(t, "flags", connect.APIConfig{
		Token: kept(t, sandbox.FlagsToken), Secrets: map[string]connect.Secret{"signing": kept(t, sandbox.FlagsSigningKey)},
	})
	s.SetFlag(sandbox.Flag{Key: "new-payments", Enabled: true})
	return s
}

// kept is a secret in a file of the test's.
func kept(t *testing.T, secret string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(path, []byte(secret), 0o600))
	return connect.Secret{File: path}
}

func (s *apiStand) Env() executors.Env {
	return executors.Env{Target: executors.Target{Name: "backend"}, Connections: s.set, Now: time.Now(), Speed: speed}
}

func (s *apiStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == s.system && e.By != sandbox.Human {
			n++
		}
	}
	return n
}

var httpStatuses = map[trouble]int{
	denied: http.StatusForbidden, notFound: http.StatusNotFound, quota: http.StatusTooManyRequests, conflict: http.StatusConflict,
}

func (s *apiStand) Befall(t trouble, reads bool) bool {
	f := sandbox.Fault{Method: http.MethodPatch, Status: httpStatuses[t], Hang: t == hangs || t == lateAnswer, Garbage: t == garbageBack}
	f.ApplyThenFail = !reads && (t == lateAnswer || t == garbageBack)
	if reads {
		f.Method, f.Count = "", callsOf
	}
	must(s.t, s.Spoil(s.system, f))
	return true
}

// notOK: a chain that is answered badly is told as it was answered, and not as well.
func notOK(t *testing.T, tr trouble, answer executors.Answer, err error) {
	t.Helper()
	fact, ok := answer.Fact.(*web.CheckFact)
	if err != nil || len(answer.Unknown) > 0 {
		return
	}
	if !ok || fact.OK || fact.FailedStep == "" || fact.Reason == "" || strings.Contains(fmt.Sprint(fact, answer.Summary), sandbox.APIPassword) {
		t.Errorf("%s: %+v, %s", tr, answer.Fact, answer.Summary)
	}
}
