package sandbox

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RedisPassword is what the sandbox's Redis asks for.
const RedisPassword = "sandbox-redis-password"

// RedisFault spoils the next calls of the sandbox's Redis.
type RedisFault struct {
	Command       string        `json:"command"`         // EVAL, say; "" is any
	Count         int           `json:"count"`           // how many calls; 0 is one
	Delay         time.Duration `json:"delay"`           // before anything happens; not divided by Speed
	Error         string        `json:"error"`           // answered instead, such as "NOPERM …"
	Drop          bool          `json:"drop"`            // close the connection without an answer
	Hang          bool          `json:"hang"`            // never answer
	Garbage       bool          `json:"garbage"`         // answer what is not Redis's protocol
	ApplyThenFail bool          `json:"apply_then_fail"` // all this after it took effect
	Twice         bool          `json:"twice"`           // have it carried out two times, and answer the second
	Before        []string      `json:"before"`          // what somebody else has done right before it, in the same database
}

// RedisKeys are keys that an application has written.
type RedisKeys struct {
	Database int    `json:"database"`
	Prefix   string `json:"prefix"` // followed by 1, 2, …
	Count    int    `json:"count"`
	Bytes    int    `json:"bytes"` // of each value
}

// redisStandIn is a real redis-server behind a proxy of ours, which spoils calls. It is started by StartRedis alone; before, whoever connects
// is hung up on.
type redisStandIn struct {
	ledger *ledger
	book   *callBook
	caller string

	mu       sync.Mutex
	listener net.Listener
	server   *redisServer // nil while it is stopped
	faults   []RedisFault
	clients  map[net.Conn]bool

	// turn is held for one command at a time, so that it is known whose doing it is what the server tells.
	turn           sync.Mutex
	admin, monitor *redisWire
	turns          int
}

func newRedisStandIn(l *ledger, b *callBook, caller string) *redisStandIn {
	return &redisStandIn{ledger: l, book: b, caller: caller, clients: map[net.Conn]bool{}}
}

// RedisAddress is the host:port of the sandbox's Redis, whether it runs or not.
func (w *World) RedisAddress() string { return w.places["redis"] }

// StartRedis starts a real redis-server, with settings such as "--maxmemory", "4mb", after which all that it held before is gone. It is
// ErrNoRedis where none is installed.
func (w *World) StartRedis(settings ...string) error {
	r := w.redis
	if err := r.stop(); err != nil { // before taking the turn: a call to a server that stands still may have it
		return err
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	server, err := startRedisServer(settings...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	if r.admin, err = r.enter(server); err != nil {
		return err
	}
	if r.monitor, err = r.enter(server); err != nil {
		return err
	}
	_, err = r.monitor.ask("MONITOR")
	return err
}

func (r *redisStandIn) enter(server *redisServer) (*redisWire, error) {
	conn, err := server.dial()
	if err != nil {
		return nil, fmt.Errorf("connecting to redis: %w", err)
	}
	wire := newRedisWire(conn)
	_, err = wire.ask("AUTH", RedisPassword)
	return wire, err
}

// StopRedis ends the server as a crash would.
func (w *World) StopRedis() error {
	w.ledger.add(Entry{System: "redis", Verb: "stop", Resource: "server", By: Human})
	return w.redis.stop()
}

func (r *redisStandIn) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	server := r.server
	r.server = nil
	if server == nil {
		return nil
	}
	for c := range r.clients {
		_ = c.Close()
	}
	return server.stop()
}

// PauseRedis lets the server stand still, or go on: connections are taken and nothing is answered.
func (w *World) PauseRedis(still bool) error {
	server, err := w.redis.running()
	if err != nil {
		return err
	}
	return halt(server.cmd.Process, still)
}

func (r *redisStandIn) running() (*redisServer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil, errors.New("redis is not running")
	}
	return r.server, nil
}

// SpoilRedis spoils the next calls.
func (w *World) SpoilRedis(f RedisFault) {
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	f.Count = max(f.Count, 1)
	w.redis.faults = append(w.redis.faults, f)
}

// Redis has somebody else run a command in a database, and gives the words of the answer.
func (w *World) Redis(database int, command ...string) ([]string, error) {
	w.redis.turn.Lock()
	defer w.redis.turn.Unlock()
	return w.redis.byHand(database, command)
}

// byHand needs the turn.
func (r *redisStandIn) byHand(database int, command []string) ([]string, error) {
	if _, err := r.running(); err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, errors.New("no command for redis")
	}
	if _, err := r.admin.ask("SELECT", strconv.Itoa(database)); err != nil {
		return nil, err
	}
	answer, err := r.admin.ask(command...)
	if err != nil {
		return nil, err
	}
	r.ledger.add(Entry{System: "redis", Verb: strings.ToLower(command[0]), Resource: fmt.Sprintf("db%d", database), By: Human})
	_, err = r.done()
	return answer, err
}

// FillRedis has the application write keys.
func (w *World) FillRedis(k RedisKeys) error {
	const script = `for i = 1, tonumber(ARGV[2]) do redis.call('SET', ARGV[1] .. i, string.rep('x', tonumber(ARGV[3]))) end`
	_, err := w.Redis(k.Database, "EVAL", script, "0", k.Prefix, strconv.Itoa(k.Count), strconv.Itoa(k.Bytes))
	return err
}

// done reads, up to now, which commands the server says it has run since it was last asked. It needs the turn.
func (r *redisStandIn) done() ([][]string, error) {
	r.turns++
	token := "turn-" + strconv.Itoa(r.turns)
	if _, err := r.admin.ask("ECHO", token); err != nil {
		return nil, err
	}
	var ran [][]string
	for {
		_, words, err := r.monitor.frame()
		if err != nil {
			return nil, fmt.Errorf("watching redis: %w", err)
		}
		command := monitored(words[0])
		if len(command) == 2 && command[1] == token {
			return ran, nil
		}
		ran = append(ran, command)
	}
}

// monitored reads a line of MONITOR: 1700000000.123456 [0 lua] "unlink" "cache:1".
func monitored(line string) (command []string) {
	_, rest, _ := strings.Cut(line, "] ")
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			break
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			word = quoted
		}
		command = append(command, word)
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	return command
}

// record notes what one call of the client's has changed, as the server itself tells it.
func (r *redisStandIn) record(ran [][]string) {
	keys, verb := 0, ""
	for _, command := range ran {
		switch name := strings.ToLower(append(command, "")[0]); name {
		case "flushdb", "flushall":
			verb = "flush"
		case "unlink", "del":
			keys += len(command) - 1
			verb = pick(verb == "flush", verb, "unlink")
		case "set":
			verb = pick(verb == "", "set", verb)
		}
	}
	if verb != "" {
		r.ledger.add(Entry{System: "redis", Verb: verb, Resource: "keys", By: r.caller, Detail: map[string]any{"keys": keys}})
	}
}
