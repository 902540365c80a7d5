package sandbox_test

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/mixillo/remediator/internal/sandbox"
)

// mongo connects the real driver to the stand-in.
func (f *fixture) mongo(uri string) *mongo.Client {
	f.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(2 * time.Second).SetRetryReads(false).SetMaxAdaptiveRetries(0))
	must(f.T, err)
	f.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

func (f *fixture) runMongo(c *mongo.Client, database string, command bson.D) (bson.M, error) {
	var out bson.M
	err := c.Database(database).RunCommand(f.Context(), command).Decode(&out)
	return out, err
}

func TestMongoTakesOnlyItsPassword(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	right := f.MongoURI()
	for name, uri := range map[string]string{
		"another password": strings.Replace(right, sandbox.MongoPassword, "other", 1),
		"another user":     strings.Replace(right, sandbox.MongoUser, "other", 1),
		"no credential":    strings.Replace(right, sandbox.MongoUser+":"+sandbox.MongoPassword+"@", "", 1),
	} {
		if _, err := f.runMongo(f.mongo(uri), "admin", bson.D{{Key: "ping", Value: 1}}); err == nil {
			t.Errorf("%s is let in", name)
		}
	}
	if _, err := f.runMongo(f.mongo(right), "admin", bson.D{{Key: "ping", Value: 1}}); err != nil {
		t.Error(err)
	}
}

func TestMongoRefusesWritersAndKeepsCount(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	c := f.mongo(f.MongoURI())
	_, inserted := c.Database("mixillo").Collection("orders").InsertOne(t.Context(), bson.D{{Key: "a", Value: 1}})
	_, killed := f.runMongo(c, "admin", bson.D{{Key: "killOp", Value: 1}, {Key: "op", Value: 7}})
	_, profiled := f.runMongo(c, "mixillo", bson.D{{Key: "profile", Value: 2}})
	if inserted == nil || killed == nil || profiled == nil {
		t.Errorf("written: %v, %v, %v", inserted, killed, profiled)
	}
	var verbs []string
	for _, e := range f.Ledger() {
		if e.System == "mongodb" {
			verbs = append(verbs, e.Verb)
		}
	}
	if got := strings.Join(verbs, " "); got != "insert_refused killOp_refused profile_refused" {
		t.Errorf("the ledger has %s", got)
	}
}

func TestMongoIsDrivenByControlVerbs(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	c := f.mongo(f.MongoURI())
	for verb, args := range map[string]string{
		"set-mongo-status":     `{"connections": 1490, "available": 10, "version": "6.0.1"}`,
		"set-mongo-operations": `{"operations": [{"namespace": "a.b", "command": "{\"find\": \"b\", \"filter\": {}}", "running": "40s"}]}`,
		"set-mongo-profile":    `{"profiler": {"level": 1}, "records": [{"namespace": "mixillo.b", "took": "2s", "ago": "1m"}]}`,
		"restart-mongo":        `{}`,
	} {
		if code, out := f.control(verb, args); code != 200 {
			t.Fatalf("%s: %d %v", verb, code, out)
		}
	}
	status, err := f.runMongo(c, "admin", bson.D{{Key: "serverStatus", Value: 1}})
	must(t, err)
	if status["version"] != "6.0.1" || status["uptimeMillis"].(int64) > 60_000 {
		t.Errorf("status %v", status)
	}
	pipeline := bson.A{bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}}}}}
	cursor, err := c.Database("admin").Aggregate(t.Context(), pipeline)
	must(t, err)
	var operations []bson.D
	must(t, cursor.All(t.Context(), &operations))
	if len(operations) != 1 || !strings.Contains(operations[0].String(), `"find":"b","filter"`) {
		t.Errorf("operations %v", operations)
	}
	_, err = c.Database("admin").Aggregate(t.Context(), append(pipeline, bson.D{{Key: "$lookup", Value: bson.D{}}}))
	if err == nil {
		t.Error("a stage that the stand-in does not know passes")
	}
	if code, _ := f.control("set-mongo-operations", `{"operations": [{"command": "no JSON"}]}`); code == 200 {
		t.Error("a command that is no JSON is taken")
	}
}

func TestMongoIsSpoiltAndShut(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	c := f.mongo(f.MongoURI())
	ping := bson.D{{Key: "ping", Value: 1}}
	if code, out := f.control("spoil-mongo", `{"code": 13, "message": "no", "delay": "1ms"}`); code != 200 {
		t.Fatalf("spoil-mongo: %d %v", code, out)
	}
	if _, err := f.runMongo(c, "admin", ping); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("spoilt: %v", err)
	}
	if _, err := f.runMongo(c, "admin", ping); err != nil {
		t.Errorf("spoilt once, and again: %v", err)
	}
	if code, out := f.control("set-mongo-door", `{"door": "closed"}`); code != 200 {
		t.Fatalf("set-mongo-door: %d %v", code, out)
	}
	if conn, err := net.Dial("tcp", f.MongoAddress()); err == nil {
		_ = conn.Close()
		t.Error("a closed door is open")
	}
	must(t, f.SetMongoDoor(sandbox.MongoOpen))
	if _, err := f.runMongo(f.mongo(f.MongoURI()), "admin", ping); err != nil {
		t.Errorf("opened again: %v", err)
	}
}

// TestMongoSurvivesNonsense: what is no message ends its connection and nothing else.
func TestMongoSurvivesNonsense(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	message := func(length, op int32, body ...byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(length))
		b = append(b, make([]byte, 8)...)
		return append(binary.LittleEndian.AppendUint32(b, uint32(op)), body...)
	}
	for name, b := range map[string][]byte{
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"too long":         message(1<<30, 2013),
		"negative":         message(-1, 2013),
		"an empty message": message(16, 2013),
		"an odd section":   message(25, 2013, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f),
		"no document":      message(31, 2013, 0, 0, 0, 0, 0, 10, 0, 0, 0, 1, 1, 1, 1, 1, 1),
		"an empty query":   message(20, 2004, 0, 0, 0, 0),
		"an unknown code":  message(20, 7, 0, 0, 0, 0),
	} {
		conn, err := net.Dial("tcp", f.MongoAddress())
		must(t, err)
		_, err = conn.Write(b)
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s is answered with %d bytes", name, n)
		}
		_ = conn.Close()
	}
	if _, err := f.runMongo(f.mongo(f.MongoURI()), "admin", bson.D{{Key: "ping", Value: 1}}); err != nil {
		t.Error(err)
	}
}
