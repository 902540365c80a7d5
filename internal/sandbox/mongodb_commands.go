package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Codes of MongoDB's errors (https://www.mongodb.com/docs/manual/reference/error-codes/).
const (
	mongoUnauthorized = 13
	mongoAuthFailed   = 18
	mongoNoCursor     = 43
	mongoNoCommand    = 59
	mongoBadStage     = 40324
)

// beforeLogin are the commands that need no login; those that open and close connections are only spoilt by name.
var beforeLogin = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "saslStart": true, "saslContinue": true, "endSessions": true, "killCursors": true,
}

// mongoWrites would change something: nobody who only reads calls them.
var mongoWrites = []string{
	"insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite", "create", "createIndexes", "drop", "dropDatabase", "dropIndexes",
	"collMod", "killOp", "killSessions", "setParameter", "setProfilingLevel", "replSetStepDown", "shutdown", "createUser", "updateUser", "renameCollection",
}

func mongoFailure(code int32, name, message string, labels ...string) bson.D {
	d := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: message}, {Key: "code", Value: code}, {Key: "codeName", Value: name}}
	if len(labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: labels})
	}
	return d
}

func succeeded(d bson.D) bson.D { return append(d, bson.E{Key: "ok", Value: 1.0}) }

func (m *mongoServer) perform(c *mongoConn, command bson.D) bson.D {
	name := command[0].Key
	if !c.loggedIn && !beforeLogin[name] {
		return mongoFailure(mongoUnauthorized, "Unauthorized", "Command "+name+" requires authentication")
	}
	if slices.Contains(mongoWrites, name) || m.changes(command) {
		m.ledger.add(Entry{System: mongodb, Verb: name + "_refused", Resource: fmt.Sprint(field(command, "$db")), By: MongoUser})
		return mongoFailure(mongoUnauthorized, "Unauthorized", "not authorized to execute command "+name)
	}
	if strings.HasPrefix(name, "sasl") {
		return m.login(c, command)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch name {
	case "hello", "isMaster", "ismaster":
		return m.hello(c, name)
	case "ping", "endSessions", "killCursors":
		return succeeded(nil)
	case "buildInfo", "buildinfo":
		return succeeded(bson.D{{Key: "version", Value: m.version()}})
	case "serverStatus":
		return m.serverStatus(time.Now())
	case "profile":
		return m.profilerState()
	case "currentOp":
		return succeeded(bson.D{{Key: "inprog", Value: m.operations}})
	case "aggregate", "find", "getMore":
		return m.list(command)
	}
	return mongoFailure(mongoNoCommand, "CommandNotFound", "no such command: '"+name+"'")
}

// changes knows the commands that change something by what they are given.
func (m *mongoServer) changes(command bson.D) bool {
	if level, ok := number(field(command, "profile")); ok && level >= 0 {
		return true
	}
	stages, _ := field(command, "pipeline").(bson.A)
	return slices.ContainsFunc(stages, func(s any) bool {
		stage, _ := s.(bson.D)
		return field(stage, "$out") != nil || field(stage, "$merge") != nil
	})
}

func (m *mongoServer) login(c *mongoConn, command bson.D) bson.D {
	payload, _ := field(command, "payload").(bson.Binary)
	var reply string
	var err error
	done := false
	if command[0].Key == "saslStart" {
		if field(command, "mechanism") != "SCRAM-SHA-256" {
			return mongoFailure(mongoAuthFailed, "AuthenticationFailed", "Unsupported mechanism")
		}
		c.talk = &scram{}
		reply, err = c.talk.first(m.secret, string(payload.Data), m.dice.letters("0123456789abcdef", 24))
	} else if c.talk != nil {
		reply, err = c.talk.final(m.secret, string(payload.Data))
		done = true
	}
	if err != nil || reply == "" {
		m.ledger.add(Entry{System: mongodb, Verb: "authenticate_refused", Resource: "admin", By: MongoUser})
		return mongoFailure(mongoAuthFailed, "AuthenticationFailed", "Authentication failed.")
	}
	c.loggedIn = done
	return succeeded(bson.D{
		{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: done}, {Key: "payload", Value: []byte(reply)},
	})
}

func (m *mongoServer) hello(c *mongoConn, name string) bson.D {
	primary := m.status.Role == "" || m.status.Role == "primary"
	writable := "isWritablePrimary"
	if name != "hello" {
		writable = "ismaster"
	}
	d := bson.D{
		{Key: "helloOk", Value: true}, {Key: writable, Value: primary || m.status.Role == "standalone" || m.status.Role == "mongos"},
		{Key: "maxBsonObjectSize", Value: int32(16777216)}, {Key: "maxMessageSizeBytes", Value: int32(mongoBiggest)},
		{Key: "maxWriteBatchSize", Value: int32(100000)}, {Key: "localTime", Value: time.Now()},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "connectionId", Value: c.id},
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(25)}, {Key: "readOnly", Value: false},
		{Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}},
	}
	switch m.status.Role {
	case "standalone":
		return succeeded(d)
	case "mongos":
		return succeeded(append(d, bson.E{Key: "msg", Value: "isdbgrid"}))
	}
	d = append(d, bson.E{Key: "setName", Value: mongoSet}, bson.E{Key: "setVersion", Value: int32(1)}, bson.E{Key: "me", Value: m.address},
		bson.E{Key: "hosts", Value: append([]string{m.address}, m.status.Others...)}, bson.E{Key: "secondary", Value: !primary})
	if primary {
		d = append(d, bson.E{Key: "primary", Value: m.address})
	}
	return succeeded(d)
}

func (m *mongoServer) version() string {
	if m.status.Version != "" {
		return m.status.Version
	}
	return "8.0.4"
}

// counters are the opcounters as of now.
func (m *mongoServer) counters(now time.Time) map[string]float64 {
	out := maps.Clone(m.counted)
	for name, rate := range m.status.PerSecond {
		out[name] += rate * now.Sub(m.since).Seconds()
	}
	return out
}

func (m *mongoServer) serverStatus(now time.Time) bson.D {
	up := now.Sub(m.started)
	process := "mongod"
	if m.status.Role == "mongos" {
		process = "mongos"
	}
	d := bson.D{
		{Key: "host", Value: m.address}, {Key: "version", Value: m.version()}, {Key: "process", Value: process}, {Key: "pid", Value: int64(1)},
		{Key: "uptime", Value: up.Seconds()}, {Key: "uptimeMillis", Value: up.Milliseconds()}, {Key: "localTime", Value: now},
		{Key: "connections", Value: bson.D{
			{Key: "current", Value: m.status.Connections}, {Key: "available", Value: m.status.Available}, {Key: "active", Value: m.status.Connections / 2},
		}},
		{Key: "globalLock", Value: bson.D{{Key: "currentQueue", Value: bson.D{
			{Key: "total", Value: m.status.QueuedReaders + m.status.QueuedWriters},
			{Key: "readers", Value: m.status.QueuedReaders}, {Key: "writers", Value: m.status.QueuedWriters},
		}}}},
		{Key: "opcounters", Value: m.opcounters(now)},
	}
	if process == "mongod" && m.status.Role != "standalone" {
		primary := m.status.Role != "secondary"
		repl := bson.D{
			{Key: "setName", Value: mongoSet}, {Key: "isWritablePrimary", Value: primary}, {Key: "secondary", Value: !primary}, {Key: "me", Value: m.address},
		}
		if primary {
			repl = append(repl, bson.E{Key: "primary", Value: m.address})
		}
		d = append(d, bson.E{Key: "repl", Value: repl})
	}
	return succeeded(slices.DeleteFunc(d, func(e bson.E) bool { return slices.Contains(m.status.Omit, e.Key) }))
}

func (m *mongoServer) opcounters(now time.Time) bson.D {
	counted := m.counters(now)
	var d bson.D
	for _, name := range []string{"insert", "query", "update", "delete", "getmore", "command"} {
		d = append(d, bson.E{Key: name, Value: int64(counted[name])})
	}
	return d
}

func (m *mongoServer) profilerState() bson.D {
	rate := m.profiler.SampleRate
	if rate == 0 {
		rate = 1
	}
	d := bson.D{{Key: "was", Value: m.profiler.Level}, {Key: "slowms", Value: m.profiler.SlowMS}, {Key: "sampleRate", Value: rate}}
	if m.profiler.Filter != "" {
		d = append(d, bson.E{Key: "filter", Value: bson.D{{Key: "$expr", Value: m.profiler.Filter}}})
	}
	return succeeded(d)
}
