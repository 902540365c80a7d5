package redis_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/redis"
	"github.com/mixillo/remediator/internal/sandbox"
)

// world is a real redis-server with a cache and something that is none.
type world struct {
	*testing.T
	*sandbox.World
	section     *redis.Server
	connections connect.Set
}

func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: 1000})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	if err := w.StartRedis(settings...); errors.Is(err, sandbox.ErrNoRedis) && os.Getenv("REQUIRE_ALL") == "" {
		t.Skipf("left out: %v", err)
	} else {
		must(t, err)
	}
	must(t, w.FillRedis(sandbox.RedisKeys{Prefix: "cache:", Count: 1700, Bytes: 10}))
	must(t, w.FillRedis(sandbox.RedisKeys{Prefix: "cacheless:", Count: 2, Bytes: 10}))
	must(t, w.FillRedis(sandbox.RedisKeys{Database: 1, Prefix: "session:", Count: 5, Bytes: 10}))
	one := 1
	f := &world{T: t, World: w, section: &redis.Server{Keyspaces: map[string]redis.Keyspace{
		"cache": {Prefix: "cache:"}, "sessions": {Database: &one, Whole: true},
	}}}
	f.signIn("", sandbox.RedisPassword)
	return f
}

func (w *world) signIn(user, password string) {
	w.Helper()
	secret := filepath.Join(w.TempDir(), "password")
	must(w.T, os.WriteFile(secret, []byte(password), 0o600))
	server, err := connect.NewRedis(connect.RedisConfig{Endpoint: w.RedisAddress(), User: user, Password: connect.Secret{File: secret}, Insecure: true})
	must(w.T, err)
	w.connections = connect.Set{"redis": server}
}

func (w *world) env() executors.Env {
	return executors.Env{
		Target:      executors.Target{Name: "cache", Systems: map[string]any{"redis": w.section}},
		Connections: w.connections, Now: time.Now(), Speed: 1000,
	}
}

func (w *world) redis(database int, command ...string) string {
	w.Helper()
	words, err := w.Redis(database, command...)
	must(w.T, err)
	return strings.Join(words, " ")
}

func (w *world) flushOf(keyspace string) executors.Action {
	w.Helper()
	kind, _ := executors.LookupAction("redis.flush")
	a := kind.New()
	must(w.T, yaml.Unmarshal([]byte("{keyspace: "+keyspace+"}"), a))
	return a
}

// plan gives a change as it comes out of the store.
func (w *world) plan(a executors.Action) executors.Change {
	w.Helper()
	c, err := a.Plan(w.Context(), w.env())
	must(w.T, err)
	text, err := json.Marshal(c)
	must(w.T, err)
	var back executors.Change
	must(w.T, json.Unmarshal(text, &back))
	return back
}

func (w *world) observed(a executors.Action, c executors.Change, operation string, want executors.Progress) executors.Observation {
	w.Helper()
	o, err := a.Observe(w.Context(), w.env(), c, operation, executors.Receipt{})
	must(w.T, err)
	if o.Progress != want {
		w.Fatalf("observed %s (%s), want %s", o.Progress, o.Detail, want)
	}
	return o
}

// flushes counts what the server itself has told of removals for us.
func (w *world) flushes() (n int) {
	for _, e := range w.Ledger() {
		if e.System == "redis" && e.By != sandbox.Human {
			n++
		}
	}
	return n
}

func (w *world) probe(kind, params string) (executors.Answer, error) {
	w.Helper()
	k, _ := executors.LookupProbe(kind)
	p := k.New()
	must(w.T, yaml.Unmarshal([]byte(params), p))
	return p.Ask(w.Context(), w.env())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
