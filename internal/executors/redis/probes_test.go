package redis_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors/redis"
	"github.com/mixillo/remediator/internal/sandbox"
)

func TestPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SpoilRedis(sandbox.RedisFault{Command: "PING", Drop: true})
	answer, err := w.probe("redis.ping", "{}")
	must(t, err)
	if f, ok := answer.Fact.(*redis.PingFact); !ok || f.Down || f.Failed != 1 || f.Tries != 2 || f.Error == "" || f.Latency <= 0 {
		t.Errorf("%+v", answer.Fact)
	}
	if !strings.Contains(answer.Summary, "after failing 1 of 2 times") {
		t.Error(answer.Summary)
	}
}

func TestPingFindsItDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	nobody, err := connect.NewRedis(connect.RedisConfig{Endpoint: l.Addr().String(), Insecure: true})
	must(t, err)
	for _, step := range []struct {
		given func()
		says  string
	}{
		{func() { w.connections = connect.Set{"redis": nobody} }, "connection refused"},
		{func() { w.signIn("", sandbox.RedisPassword); must(t, w.PauseRedis(true)) }, "no answer in time"},
		{func() { must(t, w.StopRedis()) }, "the connection broke"},
		{func() {
			must(t, w.StartRedis())
			w.SpoilRedis(sandbox.RedisFault{Command: "PING", Count: 3, Error: "LOADING Redis is loading the dataset in memory"})
		}, "LOADING"},
	} {
		step.given()
		answer, err := w.probe("redis.ping", "{timeout: 500ms}")
		must(t, err)
		f, ok := answer.Fact.(*redis.PingFact)
		if !ok || !f.Down || f.Tries != 3 || f.Failed != 3 || !slices.Contains(answer.Unknown, "latency") {
			t.Errorf("%+v", answer)
		}
		if !strings.Contains(answer.Summary, "is down, failing 3 times: ") || !strings.Contains(answer.Summary, step.says) {
			t.Errorf("%q, want %q", answer.Summary, step.says)
		}
	}
}

// A wrong password says nothing of the server, and is not told.
func TestProbesWithAWrongPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn("", "hunter2-hunter2")
	for _, kind := range []string{"redis.ping", "redis.info"} {
		answer, err := w.probe(kind, "{}")
		if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %+v, %v", kind, answer.Fact, err)
		}
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer, err := w.probe("redis.info", "{}")
	must(t, err)
	f, ok := answer.Fact.(*redis.InfoFact)
	if !ok || f.Role != "master" || f.Keys != 1707 || f.KeysByDatabase["1"] != int64(5) || f.UsedMemory < 1000 || f.Clients < 1 || f.Version == "" {
		t.Errorf("%+v", answer.Fact)
	}
	if !slices.Equal(answer.Unknown, []string{"hit_rate", "memory_ratio"}) {
		t.Errorf("unknown: %v", answer.Unknown)
	}
	w.redis(0, "CONFIG", "SET", "maxmemory", "100mb")
	answer, err = w.probe("redis.info", "{}")
	must(t, err)
	if f, ok = answer.Fact.(*redis.InfoFact); !ok || f.MemoryRatio <= 0 || f.MemoryRatio > 0.5 || slices.Contains(answer.Unknown, "memory_ratio") {
		t.Errorf("%+v", answer)
	}
}
