package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const kindFlush = "redis.flush"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: kindFlush,
		Doc:  "Empties a part of a Redis server that the target declares: a logical database, or the keys with a prefix. There is no way back.",
		New:  func() executors.Action { return &flush{} },
	})
}

// flushScript is one call: the server runs a script alone, so that its precondition, the flush and our mark are one step.
//
//go:embed flush.lua
var flushScript string

const (
	// markStays is for how long the server tells what became of a flush.
	markStays = 7 * 24 * time.Hour
	pageSize  = 1000
	samples   = 3
)

// flush empties one declared keyspace.
type flush struct {
	// Keyspace is the name of one of the target's keyspaces.
	Keyspace string `yaml:"keyspace" rules:"required"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *flush) Validate(t executors.Target) error {
	s, err := section(t)
	if err != nil {
		return err
	}
	_, err = a.keyspace(s)
	return err
}

func (a *flush) keyspace(s *Server) (Keyspace, error) {
	k, ok := s.Keyspaces[a.Keyspace]
	switch {
	case a.Keyspace == "":
		return Keyspace{}, errors.New("keyspace must be given")
	case !ok:
		return Keyspace{}, fmt.Errorf("the target declares no keyspace %q that may be flushed; it has %q", a.Keyspace, slices.Sorted(maps.Keys(s.Keyspaces)))
	}
	return k, k.check()
}

// part is what a flush empties, and the server as it was looked at.
type part struct {
	Database int    `json:"database"`
	Prefix   string `json:"prefix,omitempty"` // "": all keys
	MaxKeys  int64  `json:"max_keys"`
	RunID    string `json:"run_id"`  // of the server's process
	Evicted  string `json:"evicted"` // keys evicted so far: a mark of ours may be one of the next
	Flushes  string `json:"flushes"` // how often a database was flushed so far
}

func (p part) name() string { return fmt.Sprintf("%d/%s", p.Database, p.Prefix) }

func (p part) words() string {
	if p.Prefix == "" {
		return fmt.Sprintf("all keys of database %d", p.Database)
	}
	return fmt.Sprintf("the keys of database %d that begin with %s", p.Database, p.Prefix)
}

// Plan implements executors.Action. What is approved is the keyspace and the most it may hold: how many keys there are differs from one
// moment to the next, and is told as evidence.
func (a *flush) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	section, server, err := opened(env)
	if err != nil {
		return executors.Change{}, err
	}
	k, err := a.keyspace(section)
	if err != nil {
		return executors.Change{}, err
	}
	p := part{Database: server.Database(), Prefix: k.Prefix, MaxKeys: section.maxKeys()}
	if k.Database != nil {
		p.Database = *k.Database
	}
	var found keysFound
	err = server.Session(ctx, p.Database, func(ctx context.Context, s *connect.Session) error {
		if err := p.look(ctx, s); err != nil {
			return err
		}
		found, err = p.count(ctx, s)
		return err
	})
	if err != nil {
		return executors.Change{}, err
	}
	if found.n == 0 {
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "there are no keys: %s, at %s", p.words(), server.Address())
	}
	return p.change(env, server.Address(), found)
}

// look refuses what must not be flushed, and notes the server as it is.
func (p *part) look(ctx context.Context, s *connect.Session) error {
	lines, err := s.Info(ctx, "all")
	if err != nil {
		return err
	}
	held, err := s.Read(ctx, "looking for a hold", "EXISTS", HoldKey)
	if err != nil {
		return err
	}
	p.RunID, p.Evicted, p.Flushes = lines["run_id"], lines["evicted_keys"], flushes(lines)
	switch {
	case lines["cluster_enabled"] == "1":
		return guard.Refuse(guard.OutOfBounds, "the server is part of a cluster, whose keys are spread over many: one of them is not flushed alone")
	case lines["role"] == "":
		return guard.Refuse(guard.UnknownFacts, "the server does not tell its role")
	case lines["role"] != "master":
		return guard.Refuse(guard.SystemDown, "the server that answers is a replica: it is not flushed")
	case p.RunID == "" || p.Evicted == "":
		return guard.Refuse(guard.UnknownFacts, "the server does not tell which process it is and how many keys it has evicted")
	case held == int64(1):
		return guard.Refuse(guard.Held, "the key %s is set in database %d", HoldKey, p.Database)
	}
	return nil
}

// flushes is how often the server has flushed a database, from lines such as "cmdstat_flushdb:calls=1,usec=9"; a command that never ran has
// none.
func flushes(lines map[string]string) string {
	calls := func(command string) string {
		written, _, _ := strings.Cut(strings.TrimPrefix(lines["cmdstat_"+command], "calls="), ",")
		return written
	}
	return calls("flushdb") + "+" + calls("flushall")
}

// keysFound is what a keyspace holds, or as much of it as was looked at.
type keysFound struct {
	n       int64
	samples []string
}

// count looks at no more keys than may be flushed. A prefix is matched against all keys of the database, so that they count.
func (p *part) count(ctx context.Context, s *connect.Session) (keysFound, error) {
	size, err := s.Read(ctx, "counting the keys", "DBSIZE")
	if err != nil {
		return keysFound{}, err
	}
	n, ok := size.(int64)
	switch {
	case !ok:
		return keysFound{}, guard.Refuse(guard.UnknownFacts, "the server does not tell how many keys it has")
	case n > p.MaxKeys:
		return keysFound{}, guard.Refuse(guard.OutOfBounds, "database %d holds %d keys, more than the target's max_keys of %d", p.Database, n, p.MaxKeys)
	}
	seen := map[string]bool{} // a key may be told twice while the server's table is resized
	for cursor := "0"; ; {
		var keys []any
		if cursor, keys, err = p.page(ctx, s, cursor); err != nil {
			return keysFound{}, err
		}
		for _, key := range keys {
			if name, ok := key.(string); ok && !strings.HasPrefix(name, ownKeys) {
				seen[name] = true
			}
		}
		enough := p.Prefix == "" && len(seen) >= samples || int64(len(seen)) > p.MaxKeys
		if enough || cursor == "0" {
			return p.found(n, seen), nil
		}
	}
}

func (p *part) found(size int64, seen map[string]bool) keysFound {
	f := keysFound{n: int64(len(seen))}
	if p.Prefix == "" && f.n > 0 {
		f.n = size
	}
	for _, name := range slices.Sorted(maps.Keys(seen))[:min(samples, len(seen))] {
		f.samples = append(f.samples, shown(name))
	}
	return f
}

func (p *part) page(ctx context.Context, s *connect.Session, cursor string) (next string, keys []any, err error) {
	answer, err := s.Read(ctx, "listing the keys", "SCAN", cursor, "MATCH", p.Prefix+"*", "COUNT", pageSize)
	if err != nil {
		return "", nil, err
	}
	list, ok := answer.([]any)
	if ok && len(list) == 2 {
		next, ok = list[0].(string)
	}
	if !ok || next == "" {
		return "", nil, guard.Refuse(guard.UnknownFacts, "the server's list of keys cannot be read")
	}
	keys, ok = list[1].([]any)
	if !ok {
		return "", nil, guard.Refuse(guard.UnknownFacts, "the server's list of keys cannot be read")
	}
	return next, keys, nil
}

func (p *part) change(env executors.Env, address string, found keysFound) (executors.Change, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return executors.Change{}, fmt.Errorf("storing what is flushed: %w", err)
	}
	return executors.Change{
		Kind: kindFlush, Target: env.Target.Name,
		Summary:  fmt.Sprintf("flush %s at %s (%d keys)", p.words(), address, found.n),
		Before:   executors.State{"keyspace": p.words(), "keys": fmt.Sprintf("up to %d", p.MaxKeys)},
		After:    executors.State{"keyspace": p.words(), "keys": "none"},
		Selects:  []string{System + "/" + address + "/" + p.name()},
		Etag:     p.RunID,
		Data:     data,
		UndoHint: "what is flushed does not come back: a cache fills again, and anything else has to be restored from a backup",
		Evidence: []string{
			fmt.Sprintf("there are %d keys, among them %s", found.n, strings.Join(found.samples, ", ")),
			"the server is a master, and nobody has set " + HoldKey,
		},
		PlannedAt: env.Now,
	}, nil
}

// Apply implements executors.Action. A call that the server comes to only after our patience has ended is refused by the script itself.
func (a *flush) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	const doing = "flushing keys"
	p, server, err := planned(env, c)
	if err != nil {
		return executors.Receipt{}, connect.RedisConflict(doing, err.Error())
	}
	mark := flushKeys + operation
	err = server.Session(ctx, p.Database, func(ctx context.Context, s *connect.Session) error {
		until, err := deadline(ctx, s)
		if err != nil {
			return err
		}
		answer, err := s.Change(ctx, doing, "EVAL", flushScript, 2, mark, HoldKey, p.RunID, until, p.MaxKeys, p.Prefix, int64(markStays/time.Second))
		if err != nil {
			return err
		}
		return judged(doing, answer)
	})
	return executors.Receipt{Handle: mark}, err
}

// planned gives what a stored change flushes, and its server.
func planned(env executors.Env, c executors.Change) (part, *connect.Redis, error) {
	var p part
	if err := json.Unmarshal(c.Data, &p); err != nil {
		return part{}, nil, fmt.Errorf("reading what is to be flushed: %w", err)
	}
	_, server, err := opened(env)
	return p, server, err
}

// deadline is when our patience ends, in microseconds of the server's clock.
func deadline(ctx context.Context, s *connect.Session) (int64, error) {
	const doing = "reading the server's clock"
	answer, err := s.Read(ctx, doing, "TIME")
	if err != nil {
		return 0, err
	}
	ends, bounded := ctx.Deadline()
	list, ok := answer.([]any)
	if !ok || len(list) != 2 || !bounded {
		return 0, connect.RedisConflict(doing, "the answer is no time")
	}
	seconds, noSeconds := strconv.ParseInt(fmt.Sprint(list[0]), 10, 64)
	micros, noMicros := strconv.ParseInt(fmt.Sprint(list[1]), 10, 64)
	if noSeconds != nil || noMicros != nil {
		return 0, connect.RedisConflict(doing, "the answer is no time")
	}
	return seconds*1_000_000 + micros + time.Until(ends).Microseconds(), nil
}

// judged reads the script's answer. A flush that stopped half-way was accepted too: Observe tells how it ended.
func judged(doing string, answer any) error {
	list, _ := answer.([]any)
	if len(list) == 0 {
		return connect.RedisUnclear(doing, "the answer cannot be read")
	}
	switch list[0] {
	case "done", "stopped", "again":
		return nil
	case "refused":
		return connect.RedisConflict(doing, shown(fmt.Sprint(list[1:]...)))
	default:
		return connect.RedisUnclear(doing, "the answer cannot be read")
	}
}

// Undo implements executors.Action: there is none.
func (a *flush) Undo(context.Context, executors.Env, executors.Change) (executors.Change, error) {
	return executors.Change{}, guard.Refuse(guard.NoDestination, "what was flushed does not come back")
}
