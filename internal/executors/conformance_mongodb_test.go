package executors_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/mongodb"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	questions["mongodb.ping"] = question{params: "{timeout: 200ms}", stand: newMongoStand, tells: unusableOrUnknown}
	questions["mongodb.server_status"] = question{params: "{sample: 50ms}", stand: newMongoStand}
	questions["mongodb.current_op"] = question{params: "{longer_than: 10s}", stand: newMongoStand}
	questions["mongodb.slow_queries"] = question{params: "{window: 10m, slower_than: 200ms}", stand: newMongoStand}
}

// mongoStand is a MongoDB that meets troubles.
type mongoStand struct {
	*testing.T
	*sandbox.World
	client *connect.Mongo
}

func newMongoStand(t *testing.T) stand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	uri := filepath.Join(t.TempDir(), "uri")
	must(t, os.WriteFile(uri, []byte(w.MongoURI()), 0o600))
	client, err := connect.NewMongo(connect.MongoConfig{URI: connect.Secret{File: uri}, Insecure: true})
	must(t, err)
	must(t, w.SetMongoOperations([]sandbox.MongoOperation{
		{Namespace: "mixillo.orders", Command: `{"find": "orders", "filter": {"status": "new"}}`, Running: 30 * time.Second},
	}))
	must(t, w.SetMongoProfile(sandbox.MongoProfiler{Level: 1, SlowMS: 100}, []sandbox.MongoRecord{
		{Namespace: "mixillo.orders", Command: `{"find": "orders", "filter": {"status": "new"}}`, Took: time.Second, Ago: time.Minute},
	}))
	return &mongoStand{T: t, World: w, client: client}
}

func (s *mongoStand) Env() executors.Env {
	return executors.Env{
		Target:      executors.Target{Name: "backend", Systems: map[string]any{"mongodb": &mongodb.Section{Database: "mixillo"}}},
		Connections: connect.Set{"mongodb": s.client}, Now: time.Now(), Speed: speed,
	}
}

// Writes counts what the stand-in was asked to change, all of which it refuses.
func (s *mongoStand) Writes() int {
	n := 0
	for _, e := range s.Ledger() {
		if e.System == "mongodb" {
			n++
		}
	}
	return n
}

func (s *mongoStand) Befall(t trouble, _ bool) bool {
	switch t {
	case hangs:
		must(s.T, s.SetMongoDoor(sandbox.MongoHanging))
		return true
	case garbageBack:
		s.SpoilMongo(sandbox.MongoFault{Garbage: true, Count: callsOf})
		return true
	}
	fault, known := map[trouble]sandbox.MongoFault{
		denied:   {Code: 13, CodeName: "Unauthorized", Message: "not authorized on admin to execute command"},
		notFound: {Code: 59, CodeName: "CommandNotFound", Message: "no such command"},
		quota:    {Code: 462, CodeName: "IngressRequestRateLimitExceeded", Labels: []string{"SystemOverloadedError", "RetryableError"}},
	}[t]
	fault.Count = callsOf
	s.SpoilMongo(fault)
	return known
}

// unusableOrUnknown: a database that does not answer as it should is never told to be usable.
func unusableOrUnknown(t *testing.T, tr trouble, answer executors.Answer, err error) {
	t.Helper()
	fact, ok := answer.Fact.(*mongodb.PingFact)
	if err == nil && (!ok || fact.OK || fact.Reason == "none" || len(answer.Unknown) == 0) {
		t.Errorf("all is well: %+v", answer)
	}
	if down := tr == hangs || tr == garbageBack; err == nil && down != fact.Down {
		t.Errorf("down is %t: %s", fact.Down, answer.Summary)
	}
}
