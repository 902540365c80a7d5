package torture

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// firstSecret is the key of the first secret that a kind of source takes.
func firstSecret(kind string) string {
	k, _ := sources.Lookup(kind)
	parameters := reflect.TypeOf(k.New("x")).Elem()
	for field := range parameters.Fields() {
		if field.Type == reflect.TypeFor[[]connect.Secret]() || field.Type == reflect.TypeFor[connect.Secret]() {
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			return name
		}
	}
	return "secret"
}

// away is something that a server cannot do without, taken away and brought back.
type away struct {
	take, bring func() error
}

// TestDeadDatabase: whatever is sent while nothing can be kept is answered 503 with Retry-After, and taken once when it is sent again.
func TestDeadDatabase(t *testing.T) {
	t.Run("postgres stopped", func(t *testing.T) {
		dir := workplace(t)
		cluster, err := postgrestest.Start(filepath.Join(dir, "pg"), "max_connections=200")
		if errors.Is(err, postgrestest.ErrMissing) {
			leaveOut(t, err.Error())
		}
		succeed(t, err)
		t.Cleanup(func() { _ = cluster.Remove() })
		succeed(t, cluster.Create("torture", ""))
		dsn := cluster.DSN("torture")
		g := newGate(t, dir, dsn, database{driver: "pgx", source: dsn}, "")
		g.keepsNothing(away{func() error { return cluster.Stop(true) }, cluster.Restart})
	})
	t.Run("sqlite on a full disk", func(t *testing.T) {
		dir := workplace(t)
		disk := filepath.Join(dir, "disk")
		mountSmall(t, disk)
		path, filler := filepath.Join(disk, "db"), filepath.Join(disk, "filler")
		g := newGate(t, dir, "sqlite:"+path, database{driver: "sqlite", source: "file:" + path + "?_pragma=busy_timeout(10000)"}, "")
		g.keepsNothing(away{func() error {
			if err := fill(filler); !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("the disk could not be filled: %w", err)
			}
			return nil
		}, func() error { return os.Remove(filler) }})
	})
}

// keepsNothing plays every sender while something is away, and after.
func (g *gate) keepsNothing(a away) {
	t := g.t
	t.Helper()
	held := map[string]request{}
	for _, source := range g.players() {
		held[source] = g.firing(source, "held") // while there is a secret to sign it with
	}
	succeed(t, a.take())
	for source, r := range held {
		for range 3 {
			got, err := g.send(r)
			succeed(t, err)
			if got.code != http.StatusServiceUnavailable || got.retry == "" {
				t.Errorf("%s: answered %d, Retry-After %q: %s", source, got.code, got.retry, got.body)
			}
		}
	}
	succeed(t, a.bring())
	if len(held) < 2 {
		t.Fatalf("only %d senders can be played", len(held))
	}
	for source, r := range held {
		if err := takenInTheEnd(t.Context(), g.client, g.base, r); err != nil {
			t.Error(err)
		}
		if n := g.count(`SELECT count(*) FROM events WHERE source = $1`, source); n != 1 {
			t.Errorf("%s: %d events of one delivery", source, n)
		}
		runs := g.count(`SELECT count(*) FROM runs`)
		if err := takenInTheEnd(t.Context(), g.client, g.base, r); err != nil {
			t.Error(err)
		}
		if more := g.count(`SELECT count(*) FROM runs`) - runs; more != 0 {
			t.Errorf("%s: the delivery sent once more made %d runs", source, more)
		}
	}
}

// TestUnreadableSecret: a delivery that cannot be judged is kept by its sender, and taken once it can.
func TestUnreadableSecret(t *testing.T) {
	g := fileGate(t, "")
	secret := filepath.Join(g.dir, "secret")
	g.keepsNothing(away{func() error { return os.Rename(secret, secret+".away") }, func() error { return os.Rename(secret+".away", secret) }})
}

// TestRotation: while secrets are rotated, by files that are replaced and with two of them listed, whatever is signed with one that is
// valid is taken.
func TestRotation(t *testing.T) {
	g := fileGate(t, "")
	path := filepath.Join(g.dir, "rules.yaml")
	text, err := os.ReadFile(path)
	succeed(t, err)
	secret, next := filepath.Join(g.dir, "secret"), filepath.Join(g.dir, "next")
	both := strings.ReplaceAll(string(text), "_file: "+secret+"}", "_file: ["+secret+", "+next+"]}")
	succeed(t, os.WriteFile(next, []byte(gateKey), 0o600))
	var (
		rotor   rotor
		all     sync.WaitGroup
		over    = time.Now().Add(time.Duration(whole(4, 30)) * time.Second)
		rounds  int
		reloads int
	)
	rotor.key = gateKey
	for n := range 8 {
		all.Go(func() { rotor.sign(g, []string{alertmanagerSource, pagerDutySource}[n%2], over) })
	}
	for ; time.Now().Before(over); rounds++ {
		fresh := fmt.Sprintf("the-secret-of-round-%d-of-the-rotation", rounds)
		succeed(t, os.WriteFile(path, []byte(both), 0o600))
		g.reload()
		succeed(t, replaceFile(next, fresh)) // valid from here on, beside the old one
		rotor.use(fresh)
		succeed(t, replaceFile(secret, fresh)) // the old one is not any more
		succeed(t, os.WriteFile(path, text, 0o600))
		g.reload()
		reloads += 2
	}
	all.Wait()
	g.figure("rotation", map[string]any{"rounds": rounds, "reloads": reloads, "taken": rotor.taken.Load(), "refused": rotor.refused.Load()})
	if rounds < 3 || rotor.taken.Load() < 100 || rotor.refused.Load() > 0 {
		t.Errorf("%d rounds, %d taken, %d refused: %v", rounds, rotor.taken.Load(), rotor.refused.Load(), rotor.first.Load())
	}
}

// rotor is a secret that is replaced while senders sign with it.
type rotor struct {
	mu             sync.RWMutex // held to read while a delivery signed with key is on its way
	key            string
	taken, refused atomic.Int64
	first          atomic.Value
}

// use waits for those that are on their way with the old secret.
func (r *rotor) use(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key = key
}

func (r *rotor) sign(g *gate, source string, over time.Time) {
	for time.Now().Before(over) {
		r.mu.RLock()
		got, err := g.send(g.quiet(source).with(r.key))
		r.mu.RUnlock()
		if err == nil && got.code == http.StatusAccepted {
			r.taken.Add(1)
			continue
		}
		r.refused.Add(1)
		r.first.CompareAndSwap(nil, fmt.Sprint(source, " ", got, " ", err))
	}
}

// replaceFile puts a file in the place of another at once, as secret stores do.
func replaceFile(path, content string) error {
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
