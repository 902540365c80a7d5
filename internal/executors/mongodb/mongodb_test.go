package mongodb_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/mongodb"
	"github.com/mixillo/remediator/internal/sandbox"
)

// world is a sandbox with a MongoDB, and our environment in it.
type world struct {
	*testing.T
	*sandbox.World
	uri string // file
	env executors.Env
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := sandbox.Start(sandbox.Config{Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w := &world{T: t, World: s, uri: filepath.Join(t.TempDir(), "uri")}
	w.write(s.MongoURI())
	client, err := connect.NewMongo(connect.MongoConfig{URI: connect.Secret{File: w.uri}, Insecure: true})
	must(t, err)
	w.env = executors.Env{
		Target:      executors.Target{Name: "backend", Systems: map[string]any{"mongodb": &mongodb.Section{Database: "mixillo"}}},
		Connections: connect.Set{"mongodb": client}, Now: time.Now(),
	}
	return w
}

func (w *world) write(uri string) {
	w.Helper()
	must(w.T, os.WriteFile(w.uri, []byte(uri), 0o600))
}

func (w *world) door(d sandbox.MongoDoor) { must(w.T, w.SetMongoDoor(d)) }

// ask puts a question with the parameters of a rules file.
func ask[F any](w *world, kind, params string) (*F, executors.Answer) {
	w.Helper()
	answer, err := probe(w.T, kind, params).Ask(w.Context(), w.env)
	must(w.T, err)
	return answer.Fact.(*F), answer
}

func probe(t *testing.T, kind, params string) executors.Probe {
	t.Helper()
	k, ok := executors.LookupProbe(kind)
	if !ok {
		t.Fatalf("there is no %s", kind)
	}
	p := k.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	return p
}

// secretless: nothing that is told shows the password, or a value of the users' data.
func secretless(t *testing.T, answer executors.Answer) {
	t.Helper()
	b, err := json.Marshal(answer)
	must(t, err)
	for _, secret := range []string{sandbox.MongoPassword, "hunter2", "alice", "4242"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the answer shows %q: %s", secret, b)
		}
	}
}

func says(t *testing.T, summary string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(summary, p) {
			t.Errorf("the summary lacks %q: %s", p, summary)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	nothing := []string{"latency", "latency_ms", "connect_ms"}
	nobody := append(slices.Clone(nothing), "topology", "primary_known", "primary")
	tests := []struct {
		name     string
		befall   func(*world)
		reason   string
		ok, down bool
		unknown  []string
		topology string
		says     string
	}{
		{name: "fine", befall: func(*world) {}, reason: "none", ok: true, topology: "replica_set", says: "1 of 1 member reachable, the primary is"},
		{name: "standalone", befall: func(w *world) { w.SetMongoStatus(sandbox.MongoStatus{Role: "standalone"}) }, reason: "none", ok: true, topology: "standalone"},
		{name: "sharded", befall: func(w *world) { w.SetMongoStatus(sandbox.MongoStatus{Role: "mongos"}) }, reason: "none", ok: true, topology: "sharded"},
		{name: "a member is dead", befall: func(w *world) { w.SetMongoStatus(sandbox.MongoStatus{Others: []string{"127.0.0.1:1"}}) },
			reason: "none", ok: true, topology: "replica_set", says: "1 of 2 members reachable"},
		{name: "dead", befall: func(w *world) { w.door(sandbox.MongoClosed) }, reason: "refused", down: true, unknown: nobody},
		{name: "silent", befall: func(w *world) { w.door(sandbox.MongoHanging) }, reason: "no_answer", down: true, unknown: nobody},
		{name: "nonsense", befall: func(w *world) { w.door(sandbox.MongoGarbled) }, reason: "broken", down: true, unknown: nobody},
		{name: "no primary", befall: func(w *world) { w.SetMongoStatus(sandbox.MongoStatus{Role: "secondary"}) },
			reason: "no_primary", down: true, unknown: nothing, topology: "replica_set", says: "none is primary"},
		{name: "no primary, asked directly", befall: func(w *world) {
			w.SetMongoStatus(sandbox.MongoStatus{Role: "secondary"})
			w.write(w.MongoURI() + "&directConnection=true")
		}, reason: "no_primary", down: true, topology: "replica_set", says: "has no primary"},
		{name: "wrong password", befall: func(w *world) { w.write(strings.Replace(w.MongoURI(), sandbox.MongoPassword, "hunter2", 1)) },
			reason: "authentication", unknown: append(slices.Clone(nothing), "ok"), topology: "replica_set"},
		{name: "not on the access list", befall: func(w *world) { w.door(sandbox.MongoNotAllowed); w.write(w.MongoURI() + "&tls=true") },
			reason: "address_not_allowed", unknown: append(slices.Clone(nobody), "ok", "down"), says: "may be on our side"},
		{name: "no such name", befall: func(w *world) { w.write(strings.Replace(w.MongoURI(), w.MongoAddress(), "db.invalid", 1)) },
			reason: "dns", unknown: append(slices.Clone(nobody), "ok", "down"), says: "may be on our side"},
		{name: "the secret is gone", befall: func(w *world) { must(w.T, os.Remove(w.uri)) },
			reason: "unusable", unknown: append(slices.Clone(nobody), "ok", "down"), says: "may be on our side"},
		{name: "the ping hangs", befall: func(w *world) { w.SpoilMongo(sandbox.MongoFault{Command: "ping", Hang: true}) },
			reason: "no_answer", down: true, unknown: nothing, topology: "replica_set"},
		{name: "overloaded", befall: func(w *world) {
			w.SpoilMongo(sandbox.MongoFault{Command: "ping", Code: 462, Labels: []string{"SystemOverloadedError"}, Count: 9})
		}, reason: "overloaded", unknown: nothing, topology: "replica_set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.befall(w)
			began := time.Now()
			fact, answer := ask[mongodb.PingFact](w, "mongodb.ping", "{timeout: 1s}")
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
			if fact.Reason != tt.reason || fact.OK != tt.ok || fact.Down != tt.down || fact.Topology != tt.topology {
				t.Errorf("got %+v", fact)
			}
			slices.Sort(answer.Unknown)
			slices.Sort(tt.unknown)
			if !slices.Equal(answer.Unknown, tt.unknown) {
				t.Errorf("unknown: %v, want %v", answer.Unknown, tt.unknown)
			}
			if fact.OK && (fact.Latency <= 0 || !fact.PrimaryKnown || fact.Reachable != 1) {
				t.Errorf("got %+v", fact)
			}
			says(t, answer.Summary, tt.says)
			secretless(t, answer)
		})
	}
}

func TestServerStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetMongoStatus(sandbox.MongoStatus{
		Connections: 1400, Available: 100, QueuedReaders: 7, QueuedWriters: 5, Version: "7.0.1",
		PerSecond: map[string]float64{"query": 20000, "insert": 10000, "command": 0},
	})
	fact, answer := ask[mongodb.StatusFact](w, "mongodb.server_status", "{sample: 200ms}")
	if fact.Connections != 1400 || fact.Available != 100 || fact.ConnectionRatio < 0.93 || fact.ConnectionRatio > 0.94 {
		t.Errorf("connections: %+v", fact)
	}
	if fact.Queued != 12 || fact.QueuedReaders != 7 || fact.QueuedWriters != 5 {
		t.Errorf("queued: %+v", fact)
	}
	if fact.QueriesPerSecond < 19000 || fact.QueriesPerSecond > 21000 || fact.InsertsPerSecond < 9000 || fact.InsertsPerSecond > 11000 ||
		fact.OperationsPerSecond != fact.QueriesPerSecond+fact.InsertsPerSecond {
		t.Errorf("rates: %+v", fact)
	}
	if fact.Role != "primary" || fact.Version != "7.0.1" || fact.Host != w.MongoAddress() || fact.Uptime < 71*time.Hour {
		t.Errorf("who: %+v", fact)
	}
	if len(answer.Unknown) > 0 {
		t.Errorf("unknown: %v", answer.Unknown)
	}
	says(t, answer.Summary, "1400 of 1500 connections (93 %)", "12 operations queued", "primary", "version 7.0.1")
	secretless(t, answer)
}

func TestServerStatusRoles(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]string{"primary": "primary", "secondary": "secondary", "standalone": "standalone", "mongos": "router"} {
		w := newWorld(t)
		w.SetMongoStatus(sandbox.MongoStatus{Role: role, Available: 1})
		if fact, _ := ask[mongodb.StatusFact](w, "mongodb.server_status", "{sample: 50ms}"); fact.Role != want {
			t.Errorf("%s is told as %s", role, fact.Role)
		}
	}
}

func TestServerStatusOfASmallCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetMongoStatus(sandbox.MongoStatus{Omit: []string{"connections", "globalLock", "opcounters", "uptimeMillis", "uptime"}})
	_, answer := ask[mongodb.StatusFact](w, "mongodb.server_status", "{sample: 50ms}")
	for _, name := range []string{
		"connections", "available", "connection_ratio", "queued", "queued_readers", "queued_writers", "uptime", "operations_per_second", "queries_per_second",
	} {
		if !slices.Contains(answer.Unknown, name) {
			t.Errorf("%s is left out and known: %v", name, answer.Unknown)
		}
	}
	says(t, answer.Summary, "connections unknown", "operations per second unknown")
}

func TestCurrentOp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	find := func(who string, running time.Duration) sandbox.MongoOperation {
		return sandbox.MongoOperation{
			Namespace: "mixillo.orders", Command: fmt.Sprintf(`{"find": "orders", "filter": {"customer": %q, "card": 4242}, "sort": {"created": -1}}`, who),
			Running: running, PlanSummary: "COLLSCAN", App: "backend",
		}
	}
	ours := find("alice", time.Hour)
	ours.App = connect.MongoAppName
	theirs := find("alice", time.Hour)
	theirs.System = true
	must(t, w.SetMongoOperations([]sandbox.MongoOperation{
		find("alice", 40*time.Second), find("bob", 6*time.Second), find("carol", 4*time.Second), ours, theirs,
		{Namespace: "mixillo.users", Op: "update", Command: `{"q": {"_id": "alice"}, "u": {"$set": {"card": 4242}}}`, Running: time.Minute},
		{Namespace: "mixillo.users", Op: "update", Command: `{"q": {"_id": "x"}}`, Running: time.Second, WaitingForLock: true},
		{Namespace: "admin.$cmd", Op: "command", Command: `{"hello": 1, "maxAwaitTimeMS": 10000}`, Running: 9 * time.Second},
		{Namespace: "local.oplog.rs", Op: "getmore", Command: `{"getMore": 7}`, Running: time.Hour},
		{Namespace: "other.things", Op: "none", Running: time.Hour},
	}))
	fact, answer := ask[mongodb.CurrentFact](w, "mongodb.current_op", "{longer_than: 5s}")
	want := mongodb.CurrentFact{
		Count: 3, Longest: time.Minute, LongestMS: 60_000, Namespace: "mixillo.orders", ShapeCount: 2, WaitingForLock: 1, CollectionScans: 2,
		Shape: "find {filter: {customer: ?, card: ?}, sort: {created: -1}}",
	}
	if *fact != want {
		t.Errorf("got  %+v\nwant %+v", *fact, want)
	}
	says(t, answer.Summary, "3 operations running for longer than 5s, the longest for 1m0s", "1 waiting for a lock")
	secretless(t, answer)
	if fact, _ := ask[mongodb.CurrentFact](w, "mongodb.current_op", "{database: other}"); fact.Count != 0 || fact.Shape != "" {
		t.Errorf("of another database: %+v", fact)
	}
}

func TestSlowQueries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scan := func(took time.Duration) sandbox.MongoRecord {
		return sandbox.MongoRecord{
			Namespace: "mixillo.orders", Took: took, Ago: time.Minute, PlanSummary: "COLLSCAN", DocsExamined: 10_000, Returned: 10,
			Command: `{"find": "orders", "filter": {"created": {"$gte": 4242}, "status": "alice"}, "sort": {"total": -1}}`,
		}
	}
	old, ours := scan(time.Hour), scan(time.Hour)
	old.Ago, ours.App = 20*time.Minute, connect.MongoAppName
	must(t, w.SetMongoProfile(sandbox.MongoProfiler{Level: 1, SlowMS: 100}, []sandbox.MongoRecord{
		scan(time.Second), scan(3 * time.Second), old, ours, scan(150 * time.Millisecond),
		{Namespace: "mixillo.users", Took: 500 * time.Millisecond, Command: `{"find": "users", "filter": {"mail": "alice"}}`, DocsExamined: 1, Returned: 1},
		{Namespace: "mixillo.system.profile", Took: time.Hour, Command: `{"find": "system.profile"}`},
		{Namespace: "mixillo.orders", Op: "getmore", Took: time.Second, Command: `{"getMore": 4242}`, PlanSummary: "COLLSCAN",
			Originating: `{"find": "orders", "filter": {"created": {"$gte": 1}, "status": "x"}, "sort": {"total": -1}}`, DocsExamined: 10_000, Returned: 10},
	}))
	fact, answer := ask[mongodb.SlowFact](w, "mongodb.slow_queries", "{window: 10m, slower_than: 200ms}")
	if fact.Count != 4 || fact.P95 != 3*time.Second || fact.P95MS != 3000 || fact.CollectionScans != 3 || fact.Threshold != 200*time.Millisecond {
		t.Errorf("got %+v", fact)
	}
	if fact.Namespace != "mixillo.orders" || fact.ShapeCount != 3 || fact.Shape != "find {filter: {created: {$gte: ?}, status: ?}, sort: {total: -1}}" {
		t.Errorf("worst: %+v", fact)
	}
	if fact.MissingIndex != "mixillo.orders (status, total, created)" || fact.MissingIndexNamespace != "mixillo.orders" ||
		!slices.Equal(fact.MissingIndexFields, []string{"status", "total", "created"}) {
		t.Errorf("index: %+v", fact)
	}
	if want := 30001.0 / 31; fact.ExaminedPerReturned != want {
		t.Errorf("%v documents for each, want %v", fact.ExaminedPerReturned, want)
	}
	says(t, answer.Summary, "4 operations on mixillo took longer than 200ms", "p95 3000 ms", "an index is missing: mixillo.orders (status, total, created)")
	secretless(t, answer)
}

func TestSlowQueriesOfAProfiler(t *testing.T) {
	t.Parallel()
	one := sandbox.MongoRecord{Namespace: "mixillo.orders", Took: time.Second, Command: `{"count": "orders", "query": {}}`}
	tests := []struct {
		name     string
		profiler sandbox.MongoProfiler
		records  []sandbox.MongoRecord
		since    time.Duration // ago; 0: no bound
		unknown  []string
		says     string
		judge    func(*mongodb.SlowFact) bool
	}{
		{"off", sandbox.MongoProfiler{Level: 0}, []sandbox.MongoRecord{one}, 0, []string{"count", "p95", "missing_index", "threshold"}, "is off",
			func(f *mongodb.SlowFact) bool { return f.Level == 0 && f.Count == 0 }},
		{"its own threshold is higher", sandbox.MongoProfiler{Level: 1, SlowMS: 700}, []sandbox.MongoRecord{one}, 0, []string{"examined_per_returned"},
			"longer than 700ms", func(f *mongodb.SlowFact) bool { return f.Threshold == 700*time.Millisecond }},
		{"all is recorded", sandbox.MongoProfiler{Level: 2, SlowMS: 700}, []sandbox.MongoRecord{one}, 0, nil, "longer than 100ms", nil},
		{"a sample", sandbox.MongoProfiler{Level: 1, SampleRate: 0.25}, []sandbox.MongoRecord{one}, 0, nil, "keeps 25 % of them",
			func(f *mongodb.SlowFact) bool { return f.SampleRate == 0.25 }},
		{"a filter", sandbox.MongoProfiler{Level: 1, Filter: "x"}, []sandbox.MongoRecord{one}, 0, []string{"threshold"}, "a filter of its own", nil},
		{"nothing slow", sandbox.MongoProfiler{Level: 1}, nil, 0, []string{"p95", "p95_ms", "examined_per_returned"}, "no operation on mixillo", nil},
		{"only begun", sandbox.MongoProfiler{Level: 1}, nil, time.Second, []string{"count", "p95"}, "only begun", nil},
		{"since the act", sandbox.MongoProfiler{Level: 1}, []sandbox.MongoRecord{one}, 30 * time.Second, nil, "in the last 30s", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i := range tt.records {
				tt.records[i].Omit = []string{"docsExamined"}
			}
			must(t, w.SetMongoProfile(tt.profiler, tt.records))
			if tt.since > 0 {
				w.env.Since = w.env.Now.Add(-tt.since)
			}
			fact, answer := ask[mongodb.SlowFact](w, "mongodb.slow_queries", "{}")
			for _, name := range tt.unknown {
				if !slices.Contains(answer.Unknown, name) {
					t.Errorf("%s is known: %v", name, answer.Unknown)
				}
			}
			if tt.judge != nil && !tt.judge(fact) {
				t.Errorf("got %+v", fact)
			}
			says(t, answer.Summary, tt.says)
		})
	}
}

func TestValidation(t *testing.T) {
	t.Parallel()
	with := executors.Target{Systems: map[string]any{"mongodb": &mongodb.Section{Database: "mixillo"}}}
	tests := []struct {
		kind, params string
		target       executors.Target
		fine         bool
	}{
		{"mongodb.ping", "{}", executors.Target{}, true},
		{"mongodb.ping", "{timeout: 1m}", with, false},
		{"mongodb.ping", "{timeout: -1s}", with, false},
		{"mongodb.server_status", "{sample: 3s}", with, true},
		{"mongodb.server_status", "{sample: 4s}", with, false},
		{"mongodb.server_status", "{sample: 1ms}", with, false},
		{"mongodb.current_op", "{longer_than: 100ms, database: mixillo}", with, true},
		{"mongodb.current_op", "{longer_than: 99ms}", with, false},
		{"mongodb.current_op", "{longer_than: 25h}", with, false},
		{"mongodb.current_op", "{database: a.b}", with, false},
		{"mongodb.slow_queries", "{}", with, true},
		{"mongodb.slow_queries", "{database: mixillo}", executors.Target{}, true},
		{"mongodb.slow_queries", "{}", executors.Target{}, false},
		{"mongodb.slow_queries", "{database: $external}", with, false},
		{"mongodb.slow_queries", "{window: 9s}", with, false},
		{"mongodb.slow_queries", "{window: 25h}", with, false},
		{"mongodb.slow_queries", "{slower_than: 1us}", with, false},
	}
	for _, tt := range tests {
		err := probe(t, tt.kind, tt.params).(interface {
			Validate(executors.Target) error
		}).Validate(tt.target)
		if (err == nil) != tt.fine {
			t.Errorf("%s %s: %v", tt.kind, tt.params, err)
		}
	}
	if (&mongodb.Section{}).Validate(executors.Target{}) == nil || (&mongodb.Section{Database: "a/b"}).Validate(executors.Target{}) == nil {
		t.Error("a section without a usable name passes")
	}
}

func TestFactsThatSpeakOfThePrimaryAgree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ping, _ := ask[mongodb.PingFact](w, "mongodb.ping", "{}")
	status, _ := ask[mongodb.StatusFact](w, "mongodb.server_status", "{sample: 50ms}")
	a, b := ping.Claims(), status.Claims()
	if len(a) != 1 || len(b) != 1 || a["mongodb/primary"] != b["mongodb/primary"] || a["mongodb/primary"] != w.MongoAddress() {
		t.Errorf("%v and %v", a, b)
	}
	var ofNone mongodb.PingFact
	if len(ofNone.Claims()) != 0 {
		t.Error("who knows no primary claims one")
	}
}
