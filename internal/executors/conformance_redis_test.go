package executors_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/redis"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["redis.flush"] = example{params: "{keyspace: cache}", stand: newRedisStand}
	questions["redis.ping"] = question{params: "{tries: 1, timeout: 200ms}", stand: newRedisStand, tells: downOrError}
	questions["redis.info"] = question{stand: newRedisStand}
}

// redisStand is a real redis-server behind the sandbox's proxy.
type redisStand struct {
	*testing.T
	*sandbox.World
	connections connect.Set
}

func newRedisStand(t *testing.T) stand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	if err := w.StartRedis(); errors.Is(err, sandbox.ErrNoRedis) && os.Getenv("REQUIRE_ALL") == "" {
		t.Skipf("left out: %v", err)
	} else {
		must(t, err)
	}
	must(t, w.FillRedis(sandbox.RedisKeys{Prefix: "cache:", Count: 1200, Bytes: 10}))
	must(t, w.FillRedis(sandbox.RedisKeys{Prefix: "order:", Count: 3, Bytes: 10}))
	secret := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(secret, []byte(sandbox.RedisPassword+"\n"), 0o600))
	server, err := connect.NewRedis(connect.RedisConfig{Endpoint: w.RedisAddress(), Password: connect.Secret{File: secret}, Insecure: true})
	must(t, err)
	return &redisStand{T: t, World: w, connections: connect.Set{"redis": server}}
}

func (s *redisStand) Env() executors.Env {
	return executors.Env{
		Target: executors.Target{Name: "cache", Systems: map[string]any{
			"redis": &redis.Server{Keyspaces: map[string]redis.Keyspace{"cache": {Prefix: "cache:"}}},
		}},
		Connections: s.connections, Now: time.Now(), Speed: speed,
	}
}

// Writes counts the flushes, as the server itself tells them.
func (s *redisStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == "redis" && e.By != sandbox.Human {
			n++
		}
	}
	return n
}

func (s *redisStand) Befall(t trouble, reads bool) bool {
	f := map[trouble]sandbox.RedisFault{
		denied:      {Error: "NOPERM this user has no permissions to run the command"},
		notFound:    {Error: "ERR DB index is out of range"},
		quota:       {Error: "ERR max number of clients reached"},
		conflict:    {Before: []string{"SET", redis.HoldKey, "ann"}},
		hangs:       {Hang: true},
		lateAnswer:  {Hang: true, ApplyThenFail: true},
		garbageBack: {Garbage: true, ApplyThenFail: true},
	}[t]
	f.Command = "EVAL"
	if reads {
		f.Command, f.Count = "", callsOf
	}
	s.SpoilRedis(f)
	return true
}

// downOrError: a server that hangs or takes no more clients is down; what else is answered badly tells nothing.
func downOrError(t *testing.T, tr trouble, answer executors.Answer, err error) {
	t.Helper()
	fact, ok := answer.Fact.(*redis.PingFact)
	if down := slices.Contains([]trouble{quota, hangs}, tr); down != (err == nil) || down && (!ok || !fact.Down) {
		t.Errorf("%+v, %v", answer.Fact, err)
	}
}
