package sandbox

import (
	"fmt"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Credentials of the MongoDB stand-in, whose SCRAM-SHA-256 is real: who has others is refused.
const (
	MongoUser     = "remediator"
	MongoPassword = "sandbox-mongodb-password" //nolint:gosec // guards nothing
	mongoSet      = "atlas-sandbox-shard-0"
	mongodb       = "mongodb"
)

// MongoStatus is the state of the stand-in's only member that is up. The zero value is a calm primary.
type MongoStatus struct {
	Role          string             `json:"role"`    // "primary" (also ""), "secondary": there is no primary then, "standalone" or "mongos"
	Others        []string           `json:"others"`  // further members of the set, host:port; nothing answers there
	Version       string             `json:"version"` // "" is 8.0.4
	Connections   int32              `json:"connections"`
	Available     int32              `json:"available"`
	QueuedReaders int64              `json:"queued_readers"`
	QueuedWriters int64              `json:"queued_writers"`
	PerSecond     map[string]float64 `json:"per_second"` // how fast each of the opcounters grows: insert, query, update, delete, getmore, command
	Omit          []string           `json:"omit"`       // sections that serverStatus leaves out, as small Atlas clusters do
}

// MongoOperation is one that is under way.
type MongoOperation struct {
	Namespace      string        `json:"namespace"`
	Op             string        `json:"op"`      // "" is "query"
	Command        string        `json:"command"` // extended JSON, its keys in the order that the server shows them in
	Running        time.Duration `json:"running"` // so far
	WaitingForLock bool          `json:"waiting_for_lock"`
	PlanSummary    string        `json:"plan_summary"`
	App            string        `json:"app"`
	System         bool          `json:"system"` // the server's own, such as replication
}

// MongoProfiler is how the profiler of every database is set.
type MongoProfiler struct {
	Level      int32   `json:"level"`
	SlowMS     int32   `json:"slow_ms"`
	SampleRate float64 `json:"sample_rate"` // 0 is 1
	Filter     string  `json:"filter"`      // extended JSON; "" is none
}

// MongoRecord is a document of system.profile.
type MongoRecord struct {
	Namespace    string        `json:"namespace"`
	Op           string        `json:"op"` // "" is "query"
	Command      string        `json:"command"`
	Originating  string        `json:"originating"` // of a getmore: the command that opened the cursor
	Ago          time.Duration `json:"ago"`
	Took         time.Duration `json:"took"`
	DocsExamined int64         `json:"docs_examined"`
	KeysExamined int64         `json:"keys_examined"`
	Returned     int64         `json:"returned"`
	PlanSummary  string        `json:"plan_summary"`
	App          string        `json:"app"`
	Omit         []string      `json:"omit"` // fields that the record lacks
}

// MongoFault spoils the next calls of a command.
type MongoFault struct {
	Command  string        `json:"command"` // "" is any but those that open and close connections
	Code     int32         `json:"code"`    // a command error, such as 13; 0 is none
	CodeName string        `json:"code_name"`
	Message  string        `json:"message"`
	Labels   []string      `json:"labels"`
	Count    int           `json:"count"` // how many calls; 0 is one
	Delay    time.Duration `json:"delay"` // before anything happens; not divided by Speed
	Hang     bool          `json:"hang"`
	Drop     bool          `json:"drop"`
	Garbage  bool          `json:"garbage"`
}

// MongoDoor is how the stand-in meets connections.
type MongoDoor string

// Open is the usual state. Closed: nothing listens. Hanging: accepted and never answered. Garbled: answered with what is no message. Slammed:
// closed at once. NotAllowed: ended in the TLS handshake with an internal error, as Atlas does to addresses that are not on its access list.
const (
	MongoOpen       MongoDoor = "open"
	MongoClosed     MongoDoor = "closed"
	MongoHanging    MongoDoor = "hanging"
	MongoGarbled    MongoDoor = "garbled"
	MongoSlammed    MongoDoor = "slammed"
	MongoNotAllowed MongoDoor = "not_allowed"
)

// mongoServer stands in for one member of a replica set, as far as reading its state goes.
type mongoServer struct {
	ledger  *ledger
	dice    *dice
	book    *callBook
	secret  scramSecret
	running *sync.WaitGroup

	mu         sync.Mutex
	address    string
	listener   net.Listener
	door       MongoDoor
	gone       chan struct{} // closed when the connections of now are to end
	conns      map[net.Conn]bool
	status     MongoStatus
	started    time.Time
	counted    map[string]float64 // opcounters at `since`
	since      time.Time
	operations []bson.D
	profiler   MongoProfiler
	profile    []bson.D
	cursors    map[int64][]bson.D
	lastCursor int64
	lastConn   int64
	faults     []MongoFault
	commands   map[string]int
}

func newMongoServer(led *ledger, d *dice, b *callBook, running *sync.WaitGroup) *mongoServer {
	now := time.Now()
	m := &mongoServer{
		ledger: led, dice: d, book: b, running: running, door: MongoOpen, gone: make(chan struct{}), conns: map[net.Conn]bool{},
		started: now.Add(-72 * time.Hour), counted: map[string]float64{}, since: now, cursors: map[int64][]bson.D{}, commands: map[string]int{},
		profiler: MongoProfiler{SlowMS: 100},
		status:   MongoStatus{Connections: 40, Available: 1460, PerSecond: map[string]float64{"query": 50, "insert": 5, "update": 10, "command": 80}},
	}
	m.secret = newScramSecret(MongoPassword, []byte(d.letters("abcdefghijklmnopqrstuvwxyz", 16)))
	return m
}

func (w *World) serveMongo() error {
	l, err := w.listen(mongodb, w.cfg.Listen.Systems[mongodb])
	if err != nil {
		return err
	}
	w.mongo.address = l.Addr().String()
	w.mongo.accept(l)
	return nil
}

// MongoURI is the stand-in's connection string, with its credential.
func (w *World) MongoURI() string {
	return fmt.Sprintf("mongodb://%s:%s@%s/mixillo?authSource=admin", MongoUser, MongoPassword, w.places[mongodb])
}

// MongoAddress is the stand-in's host:port.
func (w *World) MongoAddress() string { return w.places[mongodb] }

// MongoCommands tells how often each command has been called.
func (w *World) MongoCommands() map[string]int {
	w.mongo.mu.Lock()
	defer w.mongo.mu.Unlock()
	out := map[string]int{}
	for name, n := range w.mongo.commands {
		out[name] = n
	}
	return out
}

// SetMongoStatus sets what the server says of itself; counters go on from where they are.
func (w *World) SetMongoStatus(s MongoStatus) {
	m := w.mongo
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted, m.since = m.counters(time.Now()), time.Now()
	m.status = s
}

// RestartMongo begins the uptime and the counters anew.
func (w *World) RestartMongo() {
	m := w.mongo
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started, m.since, m.counted = time.Now(), time.Now(), map[string]float64{}
}

// SetMongoOperations sets what is under way.
func (w *World) SetMongoOperations(all []MongoOperation) error {
	docs, err := documents(all, MongoOperation.document)
	if err != nil {
		return err
	}
	w.mongo.mu.Lock()
	defer w.mongo.mu.Unlock()
	w.mongo.operations = docs
	return nil
}

// SetMongoProfile sets how the profiler stands and what it has recorded.
func (w *World) SetMongoProfile(p MongoProfiler, all []MongoRecord) error {
	docs, err := documents(all, MongoRecord.document)
	if err != nil {
		return err
	}
	w.mongo.mu.Lock()
	defer w.mongo.mu.Unlock()
	w.mongo.profiler, w.mongo.profile = p, docs
	return nil
}

// SpoilMongo spoils the next calls of a command.
func (w *World) SpoilMongo(f MongoFault) {
	f.Count = max(f.Count, 1)
	w.mongo.mu.Lock()
	defer w.mongo.mu.Unlock()
	w.mongo.faults = append(w.mongo.faults, f)
}

// SetMongoDoor ends the connections there are, and meets the next ones as told. Opened again, the server listens where it did.
func (w *World) SetMongoDoor(d MongoDoor) error { return w.mongo.setDoor(d) }

type aboutMongo struct {
	Door       MongoDoor        `json:"door"`
	Operations []MongoOperation `json:"operations"`
	Profiler   MongoProfiler    `json:"profiler"`
	Records    []MongoRecord    `json:"records"`
}

// mongoVerbs are the stand-in's part of the control API.
func mongoVerbs() map[string]verb {
	return map[string]verb{
		"set-mongo-status":     quiet((*World).SetMongoStatus),
		"restart-mongo":        quiet(func(w *World, _ struct{}) { w.RestartMongo() }),
		"set-mongo-operations": only(func(w *World, a aboutMongo) error { return w.SetMongoOperations(a.Operations) }),
		"set-mongo-profile":    only(func(w *World, a aboutMongo) error { return w.SetMongoProfile(a.Profiler, a.Records) }),
		"spoil-mongo":          quiet((*World).SpoilMongo),
		"set-mongo-door":       only(func(w *World, a aboutMongo) error { return w.SetMongoDoor(a.Door) }),
	}
}
