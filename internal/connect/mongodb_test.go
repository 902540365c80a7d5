package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/mixillo/remediator/internal/sandbox"
)

// mongoTest is a sandbox with a MongoDB, and a connection to it.
type mongoTest struct {
	*testing.T
	*sandbox.World
	*Mongo
	uri string // file
}

func newMongoTest(t *testing.T, change func(*MongoConfig)) *mongoTest {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &mongoTest{T: t, World: w, uri: filepath.Join(t.TempDir(), "uri")}
	m.write(w.MongoURI())
	cfg := MongoConfig{URI: Secret{File: m.uri}, Insecure: true, Timeout: 2 * time.Second}
	if change != nil {
		change(&cfg)
	}
	if m.Mongo, err = NewMongo(cfg); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mongoTest) write(uri string) {
	m.Helper()
	if err := os.WriteFile(m.uri, []byte(uri+"\n"), 0o600); err != nil {
		m.Fatal(err)
	}
}

func (m *mongoTest) ping(ctx context.Context) ([]MongoMember, error) {
	return m.Ask(ctx, MongoAsk{Doing: "pinging", ReadPreference: MongoPrimary}, func(ctx context.Context, s *MongoSession) error {
		return s.Run(ctx, "admin", bson.D{{Key: "ping", Value: 1}}, nil)
	})
}

func TestMongoAnswersAndIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := newMongoTest(t, nil)
	members, err := m.ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(members) != 1 || members[0].Kind != "RSPrimary" || members[0].Address != m.MongoAddress() || members[0].Reason != "" {
		t.Errorf("members %+v", members)
	}
	if n := m.MongoCommands()["ping"]; n != 1 {
		t.Errorf("%d pings for one", n)
	}
}

func TestMongoReasons(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spy  func(*mongoTest)
		want MongoReason
	}{
		{"closed", func(m *mongoTest) { m.door(sandbox.MongoClosed) }, MongoRefused},
		{"hanging", func(m *mongoTest) { m.door(sandbox.MongoHanging) }, MongoNoAnswer},
		{"garbled", func(m *mongoTest) { m.door(sandbox.MongoGarbled) }, MongoBroken},
		{"slammed", func(m *mongoTest) { m.door(sandbox.MongoSlammed) }, MongoBroken},
		{"not on Atlas's access list", func(m *mongoTest) {
			m.door(sandbox.MongoNotAllowed)
			m.write(m.MongoURI() + "&tls=true")
		}, MongoNotAllowed},
		{"no TLS there", func(m *mongoTest) {
			m.door(sandbox.MongoGarbled)
			m.write(m.MongoURI() + "&tls=true")
		}, MongoTLS},
		{"no primary", func(m *mongoTest) { m.SetMongoStatus(sandbox.MongoStatus{Role: "secondary"}) }, MongoNoPrimary},
		{"wrong password", func(m *mongoTest) { m.write(strings.Replace(m.MongoURI(), sandbox.MongoPassword, "hunter2", 1)) }, MongoAuthentication},
		{"Atlas's wrong password", func(m *mongoTest) {
			m.SpoilMongo(sandbox.MongoFault{Command: "saslContinue", Code: 8000, CodeName: "AtlasError", Message: "bad auth : Authentication failed."})
		}, MongoAuthentication},
		{"not allowed to ask", func(m *mongoTest) {
			m.SpoilMongo(sandbox.MongoFault{Code: 13, CodeName: "Unauthorized", Message: "not authorized on admin"})
		}, MongoUnauthorized},
		{"overloaded", func(m *mongoTest) {
			m.SpoilMongo(sandbox.MongoFault{Code: 462, CodeName: "IngressRequestRateLimitExceeded", Labels: []string{"SystemOverloadedError", "RetryableError"}})
		}, MongoOverloaded},
		{"another code", func(m *mongoTest) { m.SpoilMongo(sandbox.MongoFault{Code: 96, CodeName: "OperationFailed"}) }, MongoCommand},
		{"the command hangs", func(m *mongoTest) { m.SpoilMongo(sandbox.MongoFault{Command: "ping", Hang: true}) }, MongoNoAnswer},
		{"the command's connection ends", func(m *mongoTest) { m.SpoilMongo(sandbox.MongoFault{Command: "ping", Drop: true}) }, MongoBroken},
		{"the command's answer is garbage", func(m *mongoTest) { m.SpoilMongo(sandbox.MongoFault{Command: "ping", Garbage: true}) }, MongoBroken},
		{"no host of ours", func(m *mongoTest) { m.write(strings.Replace(m.MongoURI(), m.MongoAddress(), "169.254.169.254", 1)) }, MongoUnusable},
		{"a name that is none", func(m *mongoTest) { m.write(strings.Replace(m.MongoURI(), m.MongoAddress(), "db.invalid", 1)) }, MongoDNS},
		{"no secret", func(m *mongoTest) { m.write("") }, MongoUnusable},
		{"no address", func(m *mongoTest) { m.write("sandbox-mongodb-password") }, MongoUnusable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMongoTest(t, func(c *MongoConfig) { c.Timeout = time.Second })
			tt.spy(m)
			began := time.Now()
			_, err := m.ping(t.Context())
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
			if got := MongoReasonOf(err); got != tt.want {
				t.Errorf("reason %q, want %q: %v", got, tt.want, err)
			}
			if err == nil || strings.Contains(err.Error(), sandbox.MongoPassword) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret, or is none: %v", err)
			}
			if IsAmbiguous(err) || IsThrottled(err) != (tt.want == MongoOverloaded) {
				t.Errorf("ambiguous %t, throttled %t", IsAmbiguous(err), IsThrottled(err))
			}
			if n := m.MongoCommands()["ping"]; n > 1 {
				t.Errorf("%d pings for one", n)
			}
		})
	}
}

func (m *mongoTest) door(d sandbox.MongoDoor) {
	m.Helper()
	if err := m.SetMongoDoor(d); err != nil {
		m.Fatal(err)
	}
}

func TestMongoIsCalledOff(t *testing.T) {
	t.Parallel()
	m := newMongoTest(t, func(c *MongoConfig) { c.Timeout = time.Minute })
	m.door(sandbox.MongoHanging)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := m.ping(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || MongoReasonOf(err) != MongoCalledOff || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %s, %v", time.Since(began), MongoReasonOf(err), err)
	}
}

// TestMongoLeavesNothingBehind is not parallel: it looks at the goroutines of the whole process.
func TestMongoLeavesNothingBehind(t *testing.T) {
	for _, door := range []sandbox.MongoDoor{sandbox.MongoOpen, sandbox.MongoHanging, sandbox.MongoClosed, sandbox.MongoGarbled} {
		m := newMongoTest(t, func(c *MongoConfig) { c.Timeout = 300 * time.Millisecond })
		m.door(door)
		_, _ = m.ping(t.Context())
		left := driverGoroutines()
		for deadline := time.Now().Add(2 * time.Second); left != "" && time.Now().Before(deadline); left = driverGoroutines() {
			time.Sleep(5 * time.Millisecond)
		}
		if left != "" {
			t.Errorf("door %s: the driver still runs:\n%s", door, left)
		}
	}
}

// driverGoroutines gives the stacks that the driver has part in, other than the sandbox's use of bson.
func driverGoroutines() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var ours []string
	for _, stack := range strings.Split(string(all), "\n\n") {
		if strings.Contains(stack, "mongo-driver/v2/x/") || strings.Contains(stack, "mongo-driver/v2/mongo") {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}

func TestMongoReadsThePasswordAnew(t *testing.T) {
	t.Parallel()
	m := newMongoTest(t, nil)
	right := m.MongoURI()
	m.write(strings.Replace(right, sandbox.MongoPassword, "old", 1))
	if _, err := m.ping(t.Context()); MongoReasonOf(err) != MongoAuthentication {
		t.Errorf("the old password: %v", err)
	}
	m.write(right)
	if _, err := m.ping(t.Context()); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestMongoSendsNothingThatWrites(t *testing.T) {
	t.Parallel()
	m := newMongoTest(t, nil)
	before := m.MongoCommands()
	for _, command := range []bson.D{
		{{Key: "insert", Value: "orders"}},
		{{Key: "killOp", Value: 1}, {Key: "op", Value: 7}},
		{{Key: "profile", Value: 1}},
		{{Key: "profile", Value: -1.0}},
		{{Key: "aggregate", Value: "orders"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$out", Value: "x"}}}}},
		{},
	} {
		_, err := m.Ask(t.Context(), MongoAsk{Doing: "trying"}, func(ctx context.Context, s *MongoSession) error {
			_, listed := s.All(ctx, "mixillo", command, 1)
			ran := s.Run(ctx, "mixillo", command, nil)
			if listed == nil || ran == nil {
				t.Errorf("%v was sent", command)
			}
			return ran
		})
		if MongoReasonOf(err) != MongoUnusable {
			t.Errorf("%v: %v", command, err)
		}
	}
	for _, name := range []string{"insert", "killOp", "profile", "aggregate"} {
		if m.MongoCommands()[name] != before[name] {
			t.Errorf("%s reached the server", name)
		}
	}
}

func TestMongoReadsEveryBatch(t *testing.T) {
	t.Parallel()
	m := newMongoTest(t, nil)
	var records []sandbox.MongoRecord
	for range 500 {
		records = append(records, sandbox.MongoRecord{Namespace: "mixillo.orders", Took: time.Second})
	}
	if err := m.SetMongoProfile(sandbox.MongoProfiler{Level: 1}, records); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int]int{1000: 500, 450: 450} {
		var docs []bson.Raw
		_, err := m.Ask(t.Context(), MongoAsk{Doing: "listing"}, func(ctx context.Context, s *MongoSession) (err error) {
			docs, err = s.All(ctx, "mixillo", bson.D{{Key: "find", Value: "system.profile"}}, most)
			return err
		})
		if err != nil || len(docs) != want {
			t.Errorf("%d documents of at most %d: %v", len(docs), most, err)
		}
	}
	if m.MongoCommands()["getMore"] < 2 {
		t.Error("nothing was read in batches")
	}
}

// names is a resolver of scripted records.
type names struct {
	srv []*net.SRV
	txt []string
	err error
}

func (n names) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", n.srv, n.err
}

func (n names) LookupTXT(context.Context, string) ([]string, error) {
	if n.txt == nil {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return n.txt, nil
}

func TestMongoSettles(t *testing.T) {
	t.Parallel()
	shards := []*net.SRV{{Target: "s0.ab1cd.mongodb.net.", Port: 27017}, {Target: "S1.ab1cd.mongodb.net.", Port: 27018}}
	const srv = "mongodb+srv://u:p%40ss@cluster.ab1cd.mongodb.net/"
	tests := []struct {
		name     string
		uri      string
		names    names
		insecure bool
		endpoint string
		want     string // the driver's connection string
		reason   MongoReason
	}{
		{name: "plain", uri: "mongodb://u:p@a.example:1,b.example/db?replicaSet=rs&tls=true&w=majority&maxPoolSize=9&retryReads=true",
			want: "mongodb://u:p@a.example:1,b.example/db?replicaset=rs&tls=true"},
		{name: "SRV", uri: srv + "?retryWrites=true&appName=x", names: names{srv: shards, txt: []string{"authSource=admin&replicaSet=rs"}},
			want: "mongodb://u:p%40ss@s0.ab1cd.mongodb.net:27017,s1.ab1cd.mongodb.net:27018/?authsource=admin&replicaset=rs&tls=true"},
		{name: "the string overrides TXT", uri: srv + "?authSource=own", names: names{srv: shards, txt: []string{"authSource=admin"}},
			want: "mongodb://u:p%40ss@s0.ab1cd.mongodb.net:27017,s1.ab1cd.mongodb.net:27018/?authsource=own&tls=true"},
		{name: "no TXT", uri: srv, names: names{srv: shards[:1]}, want: "mongodb://u:p%40ss@s0.ab1cd.mongodb.net:27017/?tls=true"},
		{name: "a stand-in", uri: srv + "?tls=false", insecure: true, endpoint: "127.0.0.1:9", want: "mongodb://u:p%40ss@127.0.0.1:9/?tls=false"},
		{name: "another domain", uri: srv, names: names{srv: []*net.SRV{{Target: "s0.evil.example."}}}, reason: MongoUnusable},
		{name: "a domain that only looks alike", uri: srv, names: names{srv: []*net.SRV{{Target: "s0.xab1cd.mongodb.net."}}}, reason: MongoUnusable},
		{name: "no records", uri: srv, reason: MongoDNS},
		{name: "DNS fails", uri: srv, names: names{err: &net.DNSError{Err: "timeout", IsTimeout: true}}, reason: MongoDNS},
		{name: "TXT sets TLS", uri: srv, names: names{srv: shards, txt: []string{"tls=false"}}, reason: MongoUnusable},
		{name: "two TXT", uri: srv, names: names{srv: shards, txt: []string{"authSource=a", "authSource=b"}}, reason: MongoUnusable},
		{name: "SRV with a port", uri: "mongodb+srv://u:p@c.ab1cd.mongodb.net:1/", reason: MongoUnusable},
		{name: "plaintext", uri: "mongodb://u:p@a.example/", reason: MongoUnusable},
		{name: "plaintext SRV", uri: srv + "?tls=false", reason: MongoUnusable},
		{name: "no check of certificates", uri: srv + "?tlsInsecure=true", reason: MongoUnusable},
		{name: "nor of names", uri: srv + "?tlsAllowInvalidHostnames=true", reason: MongoUnusable},
		{name: "a mechanism that calls a metadata server", uri: srv + "?authMechanism=MONGODB-AWS", reason: MongoUnusable},
		{name: "a password that is not escaped", uri: "mongodb://u:p/ss@a.example/?tls=true", reason: MongoUnusable},
		{name: "another scheme", uri: "https://u:p@a.example/", reason: MongoUnusable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &Mongo{cfg: MongoConfig{Insecure: tt.insecure, Endpoint: tt.endpoint}, resolver: tt.names}
			place, err := m.settle(t.Context(), Value(tt.uri))
			if tt.reason != "" {
				if err == nil || mongoReason(err) != tt.reason {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || place.URI.Reveal() != tt.want {
				t.Errorf("got %s, %v", place.URI.Reveal(), err)
			}
			if shown := fmt.Sprintf("%v %+v", place, place.Secrets); strings.Contains(shown, "p%40ss") {
				t.Errorf("printing shows the password: %s", shown)
			}
		})
	}
}

func TestMongoReachesItsOwnHosts(t *testing.T) {
	t.Parallel()
	d := &mongoDialer{hosts: newHostList([]string{"127.0.0.1:9", "metadata.google.internal"})}
	for _, address := range []string{"127.0.0.1:10", "localhost:9", "169.254.169.254:80", "metadata.google.internal:80"} {
		if _, err := d.DialContext(t.Context(), "tcp", address); !errors.Is(err, ErrHostRefused) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:9"); errors.Is(err, ErrHostRefused) {
		t.Errorf("its own host: %v", err)
	}
}

func TestMongoConfigIsChecked(t *testing.T) {
	t.Parallel()
	uri := Secret{Env: "MONGODB_URI"}
	for name, c := range map[string]MongoConfig{
		"no uri":               {},
		"an odd preference":    {URI: uri, ReadPreference: "nearest"},
		"a negative timeout":   {URI: uri, Timeout: -1},
		"an endpoint with URL": {URI: uri, Endpoint: "mongodb://127.0.0.1"},
	} {
		if c.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
	if err := (&MongoConfig{URI: uri, ReadPreference: MongoPrimary, Endpoint: "127.0.0.1:27017"}).Check(); err != nil {
		t.Error(err)
	}
}
