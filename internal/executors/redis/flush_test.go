package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/redis"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

func TestFlushOfAPrefixLeavesTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.flushOf("cache")
	c := w.plan(a)
	if c.Reversible || !strings.Contains(c.Summary, "(1700 keys)") || c.Selects[0] != "redis/"+w.RedisAddress()+"/0/cache:" {
		t.Errorf("planned %+v", c)
	}
	_, err := a.Apply(t.Context(), w.env(), c, "r1-0-1")
	must(t, err)
	if o := w.observed(a, c, "r1-0-1", executors.Applied); !strings.HasPrefix(o.Detail, "1700 keys were removed") {
		t.Error(o.Detail)
	}
	if keys := w.redis(0, "DBSIZE") + " " + w.redis(0, "EXISTS", "cacheless:1", "cacheless:2", "remediator:flush:r1-0-1") + " " + w.redis(1, "DBSIZE"); keys != "3 3 5" {
		t.Errorf("left: %s", keys)
	}
	if ttl := w.redis(0, "TTL", "remediator:flush:r1-0-1"); ttl < "6000" {
		t.Errorf("the mark stays for %s s", ttl)
	}
	if _, err := a.Undo(t.Context(), w.env(), c); !refused(err, guard.NoDestination) {
		t.Errorf("the undo: %v", err)
	}
}

func TestFlushOfADatabaseLeavesTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.flushOf("sessions")
	c := w.plan(a)
	_, err := a.Apply(t.Context(), w.env(), c, "r1-0-1")
	must(t, err)
	w.observed(a, c, "r1-0-1", executors.Applied)
	if keys := w.redis(0, "DBSIZE") + " " + w.redis(1, "KEYS", "*"); keys != "1702 remediator:flush:r1-0-1" {
		t.Errorf("left: %s", keys)
	}
}

// Applied once: a call that is carried out twice, or made again, flushes nothing that came since.
func TestFlushTakesEffectOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.flushOf("cache")
	c := w.plan(a)
	w.SpoilRedis(sandbox.RedisFault{Command: "EVAL", Twice: true})
	_, err := a.Apply(t.Context(), w.env(), c, "r1-0-1")
	must(t, err)
	w.redis(0, "SET", "cache:new", "x")
	_, err = a.Apply(t.Context(), w.env(), c, "r1-0-1")
	must(t, err)
	if n := w.flushes(); n != 1 || w.redis(0, "EXISTS", "cache:new") != "1" {
		t.Errorf("%d flushes: %v", n, w.Ledger())
	}
}

// The server out of memory is the one to be flushed: it refuses to note our mark before something is gone.
func TestFlushOfAServerOutOfMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.redis(0, "CONFIG", "SET", "maxmemory", "1")
	if _, err := w.Redis(0, "SET", "a", "b"); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("the server is not out of memory: %v", err)
	}
	for _, keyspace := range []string{"cache", "sessions"} {
		a := w.flushOf(keyspace)
		c := w.plan(a)
		_, err := a.Apply(t.Context(), w.env(), c, "r1-0-1")
		must(t, err)
		w.observed(a, c, "r1-0-1", executors.Applied)
	}
}

// A call that reaches the server only after we have given it up is not carried out: "not applied" stays true.
func TestFlushThatComesTooLateIsNotMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.flushOf("cache")
	c := w.plan(a)
	w.SpoilRedis(sandbox.RedisFault{Command: "EVAL", Delay: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	before := w.redis(0, "INFO", "commandstats")
	if _, err := a.Apply(ctx, w.env(), c, "r1-0-1"); !connect.IsAmbiguous(err) {
		t.Fatalf("got %v", err)
	}
	w.observed(a, c, "r1-0-1", executors.NotApplied)
	evals := func(text string) string {
		_, rest, _ := strings.Cut(text, "cmdstat_eval:calls=")
		n, _, _ := strings.Cut(rest, ",")
		return n
	}
	for deadline := time.Now().Add(time.Minute); evals(w.redis(0, "INFO", "commandstats")) == evals(before); {
		if time.Now().After(deadline) {
			t.Fatal("the call never reached the server")
		}
	}
	if n := w.redis(0, "EXISTS", "cache:1"); n != "1" || w.flushes() != 0 {
		t.Error("a call that was given up has flushed the keys")
	}
}

func TestFlushRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given func(*world)
		want  guard.Reason
	}{
		"a replica":           {func(w *world) { w.redis(0, "REPLICAOF", "127.0.0.1", "1") }, guard.SystemDown},
		"a hold":              {func(w *world) { w.redis(0, "SET", redis.HoldKey, "ann") }, guard.Held},
		"too many keys":       {func(w *world) { w.section.MaxKeys = 1701 }, guard.OutOfBounds},
		"nothing to flush":    {func(w *world) { w.redis(0, "FLUSHDB") }, guard.NothingToDo},
		"marks of ours alone": {func(w *world) { w.redis(0, "FLUSHDB"); w.redis(0, "SET", "remediator:flush:x", "done 1") }, guard.NothingToDo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.given(w)
			_, err := w.flushOf("cache").Plan(t.Context(), w.env())
			if !refused(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func refused(err error, reason guard.Reason) bool {
	var r *guard.Refusal
	return errors.As(err, &r) && r.Reason == reason
}

// What changes between the plan and the call is seen by the call itself.
func TestFlushLosesItsPrecondition(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]func(*world){
		"a hold":    func(w *world) { w.redis(0, "SET", redis.HoldKey, "ann") },
		"a replica": func(w *world) { w.redis(0, "REPLICAOF", "127.0.0.1", "1") },
		"a restart": func(w *world) {
			must(w.T, w.StartRedis())
			must(w.T, w.FillRedis(sandbox.RedisKeys{Prefix: "cache:", Count: 3, Bytes: 1}))
		},
		"more keys":      func(w *world) { must(w.T, w.FillRedis(sandbox.RedisKeys{Prefix: "more:", Count: 400, Bytes: 1})) },
		"no keys at all": func(w *world) { w.redis(0, "FLUSHDB") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.section.MaxKeys = 2000
			a := w.flushOf("cache")
			c := w.plan(a)
			given(w)
			if _, err := a.Apply(t.Context(), w.env(), c, "r1-0-1"); !connect.IsConflict(err) || connect.IsAmbiguous(err) {
				t.Errorf("got %v, want a conflict", err)
			}
			if n := w.flushes(); n != 0 {
				t.Errorf("%d flushes", n)
			}
		})
	}
}

// A mark that is not there proves nothing where something may have removed it.
func TestFlushObservesHonestly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given func(*world)
		want  executors.Progress
		says  string
	}{
		"nothing happened":      {func(*world) {}, executors.NotApplied, "nothing can have removed one"},
		"a restart":             {func(w *world) { must(w.T, w.StartRedis()) }, executors.Unclear, "another process"},
		"a replica":             {func(w *world) { w.redis(0, "REPLICAOF", "127.0.0.1", "1") }, executors.Unclear, "replica"},
		"a flush by hand":       {func(w *world) { w.redis(3, "FLUSHALL") }, executors.Unclear, "was flushed since"},
		"evictions":             {evict, executors.Unclear, "evicted"},
		"a flush that stopped":  {func(w *world) { w.redis(0, "SET", "remediator:flush:r1-0-1", "stopped 500 NOPERM no") }, executors.Failed, "500 keys were removed, and then the server refused to go on: NOPERM no"},
		"a mark without an end": {func(w *world) { w.redis(0, "SET", "remediator:flush:r1-0-1", "begun") }, executors.Unclear, "does not tell how it ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.flushOf("cache")
			c := w.plan(a)
			tt.given(w)
			if o := w.observed(a, c, "r1-0-1", tt.want); !strings.Contains(o.Detail, tt.says) {
				t.Errorf("it says %q", o.Detail)
			}
		})
	}
}

func evict(w *world) {
	w.redis(0, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	w.redis(0, "CONFIG", "SET", "maxmemory", "1")
	_, _ = w.Redis(0, "SET", "a", "b") // makes room, or is refused
}

// A user who may look and mark, but not remove: nothing is gone, nothing is marked, and that is known.
func TestFlushWithoutTheRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.redis(0, "ACL", "SETUSER", "bot", "on", ">pw", "~*", "+@all", "-unlink")
	w.signIn("bot", "pw")
	a := w.flushOf("cache")
	c := w.plan(a)
	_, err := a.Apply(t.Context(), w.env(), c, "r1-0-1")
	if err == nil || connect.IsAmbiguous(err) || connect.IsConflict(err) || !strings.Contains(err.Error(), "can't run this command") {
		t.Errorf("got %v", err)
	}
	w.observed(a, c, "r1-0-1", executors.NotApplied)
	if w.redis(0, "DBSIZE") != "1702" {
		t.Error("something is gone")
	}
}

// Names of keys are data of strangers, and a digest does not hang on how many there are.
func TestPlanOfAFlush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.plan(w.flushOf("cache"))
	w.redis(0, "SET", "cache:\x1b[31m\n"+strings.Repeat("long", 100), "x")
	second := w.plan(w.flushOf("cache"))
	if first.Digest() != second.Digest() || first.Digest() == w.plan(w.flushOf("sessions")).Digest() {
		t.Error("the digest is not that of the keyspace")
	}
	text := strings.Join(second.Evidence, "")
	if strings.ContainsAny(text, "\x1b\n") || len(text) > 500 || !strings.Contains(text, "1701 keys, among them cache:") {
		t.Errorf("the evidence: %q", text)
	}
}

func TestSection(t *testing.T) {
	t.Parallel()
	minus := -1
	for name, tt := range map[string]struct {
		keyspace redis.Keyspace
		says     string // "" where it is right
	}{
		"a prefix":                     {redis.Keyspace{Prefix: "cache:"}, ""},
		"a whole database":             {redis.Keyspace{Whole: true}, ""},
		"nothing":                      {redis.Keyspace{}, "prefix must be given"},
		"both":                         {redis.Keyspace{Prefix: "cache:", Whole: true}, "exclude each other"},
		"everything":                   {redis.Keyspace{Prefix: "**"}, "literally"},
		"a pattern":                    {redis.Keyspace{Prefix: "ca?he"}, "literally"},
		"a class":                      {redis.Keyspace{Prefix: "[a-z]"}, "literally"},
		"a short prefix":               {redis.Keyspace{Prefix: "c"}, "at least 2"},
		"our own keys":                 {redis.Keyspace{Prefix: "remediator:flush:"}, "remediator itself"},
		"what holds our own keys":      {redis.Keyspace{Prefix: "rem"}, "remediator itself"},
		"no database of that number":   {redis.Keyspace{Prefix: "cache:", Database: &minus}, "database"},
		"a character that is not seen": {redis.Keyspace{Prefix: "cache:\x00"}, "literally"},
	} {
		err := (&redis.Server{Keyspaces: map[string]redis.Keyspace{"k": tt.keyspace}}).Validate(executors.Target{})
		if (tt.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
