package mongodb

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/mixillo/remediator/internal/executors"
)

func command(t *testing.T, text string) bson.Raw {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(text), false, &d); err != nil {
		t.Fatal(err)
	}
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestShape(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, op, command, want string }{
		{"find", "query", `{"find": "o", "filter": {"a": 1, "b": {"$in": [1, 2, 3]}}, "sort": {"c": -1, "d": 1}, "limit": 5}`,
			"find {filter: {a: ?, b: {$in: [?]}}, sort: {c: -1, d: 1}}"},
		{"a value that looks like a direction", "query", `{"find": "o", "filter": {"a": 1, "b": -1}}`, "find {filter: {a: ?, b: ?}}"},
		{"nothing asked", "query", `{"find": "o", "filter": {}}`, "find"},
		{"aggregate", "command", `{"aggregate": "o", "pipeline": [{"$match": {"a": "x"}}, {"$sort": {"b": 1}}, {"$limit": 5}]}`,
			"aggregate {pipeline: [{$match: {a: ?}}, {$sort: {b: 1}}, {$limit: ?}]}"},
		{"an update's record", "update", `{"q": {"a": 1}, "u": {"$set": {"b": 2}}, "multi": true}`, "update {q: {a: ?}, u: {$set: {b: ?}}}"},
		{"an update's command", "command", `{"update": "o", "updates": [{"q": {"a": 1}, "u": {"b": 2}}, {"q": {"a": 2}, "u": {"b": 3}}]}`,
			"update {updates: [{q: {a: ?}, u: {b: ?}}]}"},
		{"distinct", "command", `{"distinct": "o", "key": "secret", "query": {"a": 1}}`, "distinct {key: ?, query: {a: ?}}"},
		{"an insert's documents", "insert", `{"insert": "o", "documents": [{"a": "secret"}]}`, "insert"},
		{"a name that is a value", "query", `{"find": "o", "filter": {"carts.507f1f77bcf86cd799439011.items.3.qty": 1}}`,
			"find {filter: {carts.?.items.?.qty: ?}}"},
		{"what the server has cut", "query", `{"$truncated": "{ find: secret"}`, "query"},
		{"hostile names", "que\nry", `{"find": "o", "filter": {"a\n<!channel> *b*": 1}}`, "find {filter: {a???channel???b?: ?}}"},
		{"a verb that is none", "que\nry", `{"rm -rf": "o"}`, "que?ry"},
		{"too deep", "query", `{"find": "o", "filter": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}}}`,
			"find {filter: {a: {b: {c: {d: {e: {f: {g: …}}}}}}}}"},
	}
	for _, tt := range tests {
		if got := shape(tt.op, command(t, tt.command)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	long := `{"find": "o", "filter": {"` + strings.Repeat("x", 5000) + `": 1}}`
	if got := shape("query", command(t, long)); len(got) > longestShape+3 {
		t.Errorf("%d bytes", len(got))
	}
	if got := shape("query", bson.Raw{1, 2, 3}); got != "query" {
		t.Errorf("of what is no document: %s", got)
	}
	if got := shape("query", nil); got != "query" {
		t.Errorf("of nothing: %s", got)
	}
}

func TestIndexFields(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, command, want string }{
		{"equality, sort, range", `{"find": "o", "filter": {"r": {"$gt": 1}, "e": 1}, "sort": {"s": 1}}`, "e s r"},
		{"in and and", `{"find": "o", "filter": {"$and": [{"a": {"$in": [1]}}, {"b": {"$lt": 1}}]}}`, "a b"},
		{"a document for a value", `{"find": "o", "filter": {"a": {"x": 1}}}`, "a"},
		{"sort alone", `{"find": "o", "sort": {"s": -1}}`, "s"},
		{"nothing asked", `{"find": "o", "filter": {}}`, ""},
		{"what excludes", `{"find": "o", "filter": {"a": {"$ne": 1}, "b": {"$exists": true}}}`, ""},
		{"or", `{"find": "o", "filter": {"$or": [{"a": 1}, {"b": 1}], "c": 1}}`, ""},
		{"expr", `{"find": "o", "filter": {"$expr": {"$gt": ["$a", "$b"]}}}`, ""},
		{"the id", `{"find": "o", "filter": {"_id": 1, "a": 1}}`, ""},
		{"twice", `{"find": "o", "filter": {"a": {"$gte": 1, "$lt": 5}}, "sort": {"a": 1}}`, "a"},
		{"update", `{"q": {"a": 1}, "u": {"$set": {"b": 1}}}`, "a"},
		{"count", `{"count": "o", "query": {"a": 1}}`, "a"},
		{"aggregate", `{"aggregate": "o", "pipeline": [{"$match": {"a": 1}}, {"$sort": {"b": 1}}, {"$group": {"_id": "$c"}}]}`, "a b"},
		{"a match that comes late", `{"aggregate": "o", "pipeline": [{"$group": {"_id": "$c"}}, {"$match": {"a": 1}}]}`, ""},
		{"a name that is a value", `{"find": "o", "filter": {"carts.507f1f77bcf86cd799439011": 1}}`, ""},
		{"many", `{"find": "o", "filter": {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}}`, "a b c d e f"},
	}
	for _, tt := range tests {
		if got := strings.Join(indexFields(command(t, tt.command)), " "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := indexFields(bson.Raw{9}); got != nil {
		t.Errorf("of what is no document: %v", got)
	}
}

func p[T any](v T) *T { return &v }

func TestRatesAreOfOneProcess(t *testing.T) {
	t.Parallel()
	at := func(change func(*statusReply)) statusReply {
		s := statusReply{Host: "a:1", Process: "mongod", PID: 7, UptimeMillis: p(int64(10_000))}
		o := &s.Opcounters
		o.Insert, o.Query, o.Update, o.Delete, o.Getmore, o.Command = p(int64(5)), p(int64(100)), p(int64(0)), p(int64(0)), p(int64(0)), p(int64(9))
		if change != nil {
			change(&s)
		}
		return s
	}
	later := func(s *statusReply) { s.UptimeMillis, s.Opcounters.Query = p(int64(12_000)), p(int64(150)) }
	tests := []struct {
		name   string
		second func(*statusReply)
		known  bool
	}{
		{"as it should be", later, true},
		{"another server", func(s *statusReply) { later(s); s.Host = "b:1" }, false},
		{"another process", func(s *statusReply) { later(s); s.PID = 8 }, false},
		{"a restart", func(s *statusReply) { later(s); s.UptimeMillis = p(int64(100)) }, false},
		{"a counter that went back", func(s *statusReply) { later(s); s.Opcounters.Query = p(int64(99)) }, false},
		{"no time between", func(s *statusReply) { s.Opcounters.Query = p(int64(150)) }, false},
		{"no uptime", func(s *statusReply) { later(s); s.UptimeMillis = nil }, false},
		{"a counter is left out", func(s *statusReply) { later(s); s.Opcounters.Delete = nil }, false},
	}
	for _, tt := range tests {
		fact, unknown := judge(at(nil), at(tt.second))
		if got := !slices.Contains(unknown, "operations_per_second"); got != tt.known {
			t.Errorf("%s: known %t", tt.name, got)
		}
		if tt.known && (fact.QueriesPerSecond != 25 || fact.OperationsPerSecond != 25) {
			t.Errorf("%s: %+v", tt.name, fact)
		}
	}
}

func TestCountsThatAreNone(t *testing.T) {
	t.Parallel()
	var s statusReply
	s.Connections.Current, s.Connections.Available = p(int64(-1)), p(int64(10))
	_, unknown := judge(s, s)
	for _, name := range []string{"connections", "connection_ratio", "role", "queued"} {
		if !slices.Contains(unknown, name) {
			t.Errorf("%s is known: %v", name, unknown)
		}
	}
	s.Connections.Current, s.Connections.Available = p(int64(0)), p(int64(0))
	if _, unknown := judge(s, s); !slices.Contains(unknown, "connection_ratio") {
		t.Error("a ratio of nothing is known")
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for want, values := range map[time.Duration][]time.Duration{0: nil, 7: {7}, 9: {9, 1}, 95: hundred} {
		if got := percentile(values, 0.95); got != want {
			t.Errorf("of %d values: %d, want %d", len(values), got, want)
		}
	}
}

func TestTiesAreBroken(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		var g groups
		for _, name := range order {
			g.add("db."+name, "find", time.Second)
		}
		common, _ := g.commonest()
		costly, _ := g.costliest()
		if common.namespace != "db.a" || costly.namespace != "db.a" {
			t.Errorf("added as %v: %v, %v", order, common, costly)
		}
	}
}

func TestAProfilerThatKeepsNothingTellsNothing(t *testing.T) {
	t.Parallel()
	env := executors.Env{Now: time.Now()}
	answer := (&slowQueries{}).answer(env, "mixillo", profilerReply{Was: p(int64(1)), SampleRate: p(0.0)}, nil)
	if !slices.Contains(answer.Unknown, "count") {
		t.Errorf("known: %+v, but for %v", answer.Fact, answer.Unknown)
	}
	answer = (&slowQueries{}).answer(env, "mixillo", profilerReply{Was: p(int64(1))}, nil)
	if slices.Contains(answer.Unknown, "count") {
		t.Error("a server that does not say its rate keeps all")
	}
}
