package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

const child = "REMEDIATOR_STORE_TEST_CHILD"

// TestMain lets the test binary be a second process: one that accepts until it is killed, holds runs until then, or only
// tries to open the file.
func TestMain(m *testing.M) {
	if path := os.Getenv(child); path != "" {
		acceptForever(path)
	}
	if dsn := os.Getenv(holderDSN); dsn != "" {
		holdForever(dsn)
	}
	code := m.Run()
	servers.Remove()
	os.Exit(code)
}

func acceptForever(path string) {
	s, err := store.Open(context.Background(), store.Config{DSN: "sqlite:" + path, Owner: owner})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				e := newEvent()
				e.ID = fmt.Sprintf("pid-%d-%d-%d", os.Getpid(), i, n)
				e.DedupKey = e.ID
				p := proposal(firing(e.ID), e.ID)
				p.Run.ID = "run-" + e.ID
				if _, err := s.Accept(context.Background(), remediation.Acceptance{Event: e, Proposals: []remediation.Proposal{p}}); err == nil {
					fmt.Println(e.ID)
				}
			}
		}()
	}
	select {}
}

func TestNothingAcceptedIsLostToAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "remediator.db")
	var acked []string
	for range 3 {
		acked = append(acked, killAfter(t, path, 100)...)
	}
	s := open(t, store.Config{DSN: "sqlite:" + path})
	for _, id := range acked {
		if _, err := s.Event(t.Context(), id); err != nil {
			t.Fatalf("accepted and lost: %v", err)
		}
		if _, err := s.Run(t.Context(), "run-"+id); err != nil {
			t.Fatalf("accepted, and its run lost: %v", err)
		}
	}
	due, err := s.Due(t.Context(), time.Now())
	must(t, err)
	if len(due.Runs) < 300 {
		t.Errorf("%d runs are due at once after the restart, want all of at least 300", len(due.Runs))
	}
}

// killAfter runs a process that accepts, kills it after some acceptances, and gives all that it said it had accepted.
func killAfter(t *testing.T, path string, n int) []string {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var acked []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if acked = append(acked, lines.Text()); len(acked) == n {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	if len(acked) < n {
		t.Fatalf("the child accepted %v", acked)
	}
	return acked[:len(acked)-1] // the last line may be cut short
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "remediator.db")
	open(t, store.Config{DSN: "sqlite:" + path})
	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	said, _ := bufio.NewReader(out).ReadString('\n')
	stop() // one that was let in would write on and on
	if want := fmt.Sprintf("in use by another process (pid %d", os.Getpid()); cmd.Wait() == nil || !strings.Contains(said, want) {
		t.Errorf("the second process said %q, want %q", said, want)
	}
}

func TestOpenRefusesWhatItCannotServe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]store.Config{
		"other database": {DSN: "mysql://host/db", Owner: owner},
		"no path":        {DSN: "sqlite:", Owner: owner},
		"no directory":   {DSN: "sqlite:" + filepath.Join(t.TempDir(), "none", "db"), Owner: owner},
		"no owner":       {DSN: "sqlite:" + filepath.Join(t.TempDir(), "db")},
	} {
		if s, err := store.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		}
	}
}

func TestFileIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a strange name?#%41.db")
	s := open(t, store.Config{DSN: "sqlite:" + path})
	_, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()})
	must(t, err)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", info.Name(), info.Mode())
		}
	}
}

func TestAcceptIsAGroupCommit(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := open(t, store.Config{Registerer: registry})
	const n = 1000
	hold(t, s, func() {
		acceptMany(t, s, n)
	})
	if commits := counter(t, registry, "remediator_store_commits_total", "accept"); commits > n/50 {
		t.Errorf("%.0f commits for %d deliveries that waited together", commits, n)
	}
	counts, err := s.Counts(t.Context())
	must(t, err)
	if counts.Events[remediation.EventMatched] != n || counts.Runs[remediation.Running] != n {
		t.Errorf("stored %+v", counts)
	}
}

// hold keeps the writing connection while deliveries gather, so that they wait together.
func hold(t *testing.T, s *store.Store, gather func()) {
	conn, err := s.Writer().Conn(t.Context())
	must(t, err)
	time.AfterFunc(300*time.Millisecond, func() { _ = conn.Close() })
	gather()
}

func acceptMany(t *testing.T, s *store.Store, n int) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			id := fmt.Sprint("e", i)
			_, err := s.Accept(t.Context(), remediation.Acceptance{
				Event: newEvent(), Proposals: []remediation.Proposal{proposal(firing(id), id)},
			})
			if err != nil {
				t.Errorf("accepting: %v", err)
			}
		})
	}
	all.Wait()
}

func TestPoisonousDeliveryFailsAlone(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{})
	twin := proposal(firing("twin"), "api")
	poison := remediation.Acceptance{Event: newEvent(), Proposals: []remediation.Proposal{twin, {Run: twin.Run}}}
	poison.Proposals[1].Run.Target = "web" // admitted, under an id that exists
	var poisoned error
	hold(t, s, func() {
		var all sync.WaitGroup
		all.Go(func() { _, poisoned = s.Accept(t.Context(), poison) })
		all.Go(func() { acceptMany(t, s, 50) })
		all.Wait()
	})
	if !errors.Is(poisoned, remediation.ErrUnavailable) {
		t.Errorf("the poisonous delivery: %v", poisoned)
	}
	if _, err := s.Event(t.Context(), poison.Event.ID); !errors.Is(err, remediation.ErrNotFound) {
		t.Errorf("a part of the poisonous delivery was stored: %v", err)
	}
	if s.Err() != nil {
		t.Errorf("the store is broken: %v", s.Err())
	}
}

func TestWaiterThatLeavesHarmsNobody(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{})
	hold(t, s, func() {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.Accept(ctx, remediation.Acceptance{Event: newEvent()}); !errors.Is(err, remediation.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left: %v", err)
			}
		})
		all.Go(func() { acceptMany(t, s, 20) })
		cancel()
		all.Wait()
	})
	if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestBrokenStoreAcceptsNothing(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{})
	must(t, s.Err())
	s.BreakDown(errors.New("fsync: input/output error"))
	s.BreakDown(errors.New("again"))
	if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("accept: %v", err)
	}
	if err := s.KeepRules(t.Context(), "h", nil, noon); !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("another write: %v", err)
	}
	select {
	case err := <-s.Broken():
		if err.Error() != "fsync: input/output error" || s.Err().Error() != err.Error() {
			t.Errorf("broken by %v, %v", err, s.Err())
		}
	default:
		t.Error("nobody is told that the store is broken")
	}
}

func TestClosedStoreAcceptsNothing(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{})
	must(t, s.Close())
	if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); !errors.Is(err, remediation.ErrUnavailable) {
		t.Errorf("accept: %v", err)
	}
}

// A dead process leaves its job running and its leader in office; both would stand in the way of the next one.
func TestOpenTakesOverTheQueue(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.propose(firing("e"), "api")
	db := w.subject.(*store.Store).Writer()
	_, err := db.ExecContext(t.Context(), `UPDATE river_job SET state = 'running', attempted_at = CURRENT_TIMESTAMP`)
	must(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO river_leader (elected_at, expires_at, leader_id) VALUES (CURRENT_TIMESTAMP, '2999-01-01', 'dead')`)
	must(t, err)
	w.reopen()
	db = w.subject.(*store.Store).Writer()
	for query, want := range map[string]int{
		`SELECT count(*) FROM river_job WHERE state = 'available'`: 1,
		`SELECT count(*) FROM river_leader`:                        0,
	} {
		var got int
		must(t, db.QueryRowContext(t.Context(), query).Scan(&got))
		if got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

func TestStatementsReadNoWholeTable(t *testing.T) {
	t.Parallel()
	wholeTables(t, open(t, store.Config{}), "SCAN")
}

func TestViews(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := w.subject.(*store.Store)
	run := w.born(firing("e"), "api")
	debt := remediation.Debt{Target: "api", Kind: "pinned_traffic", Run: run.ID, Detail: "d", Since: noon}
	message := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.Slack, State: remediation.MessageQueued, CreatedAt: noon}
	entry := remediation.Entry{Run: run.ID, At: noon, Kind: remediation.EntryIntent, Text: "t"}
	must(t, w.commit(&run, func(c *remediation.Commit) {
		c.Intent, c.Debts = w.intent(run, "restart", plenty), []remediation.Debt{debt}
		c.Messages, c.Entries = []remediation.Message{message}, []remediation.Entry{entry}
		c.Steps = []remediation.Step{{Run: run.ID, Kind: "restart"}}
	}))
	later := w.born(firing("f"), "web")

	v, err := s.Run(t.Context(), run.ID)
	must(t, err)
	if v.Run.Version != 1 || len(v.Steps) != 1 || len(v.Rulings) != 1 || len(v.Entries) != 1 || v.Entries[0] != entry || len(v.Messages) != 1 {
		t.Errorf("view %+v", v)
	}
	for name, c := range map[string]struct {
		filter store.Filter
		want   []string
	}{
		"all":    {store.Filter{}, []string{later.ID, run.ID}},
		"limit":  {store.Filter{Limit: 1}, []string{later.ID}},
		"before": {store.Filter{Before: later.ID}, []string{run.ID}},
		"target": {store.Filter{Target: "api"}, []string{run.ID}},
		"state":  {store.Filter{State: remediation.Done}, nil},
	} {
		runs, err := s.ListRuns(t.Context(), c.filter)
		must(t, err)
		var got []string
		for _, r := range runs {
			got = append(got, r.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	acts, err := s.Acts(t.Context(), noon)
	must(t, err)
	if len(acts) != 1 || acts[0].Run != run.ID || !acts[0].At.Equal(noon) {
		t.Errorf("acts %+v", acts)
	}
	must(t, s.KeepRules(t.Context(), "h", []byte("version: 1"), noon))
	must(t, s.KeepRules(t.Context(), "h", []byte("other"), noon))
	if text, err := s.Rules(t.Context(), "h"); err != nil || string(text) != "version: 1" {
		t.Errorf("rules %q, %v", text, err)
	}
	if _, err := s.Rules(t.Context(), "none"); !errors.Is(err, remediation.ErrNotFound) {
		t.Errorf("unknown rules: %v", err)
	}
}

func TestDebtIsSettledByItsRunOrALaterOne(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := w.subject.(*store.Store)
	old, opener, unpin := w.born(firing("a"), "a"), w.born(firing("b"), "b"), w.born(firing("c"), "c")
	write := func(by *remediation.Run, d remediation.Debt, open int) {
		t.Helper()
		d.Target, d.Kind = "api", "pinned_traffic"
		must(t, w.commit(by, func(c *remediation.Commit) { c.Debts = []remediation.Debt{d} }))
		debts, err := s.Debts(t.Context())
		must(t, err)
		if len(debts) != open {
			t.Errorf("open debts %+v, want %d", debts, open)
		}
	}
	write(&opener, remediation.Debt{Run: opener.ID, Detail: "d", Since: noon}, 1)
	write(&old, remediation.Debt{Run: old.ID, SettledAt: noon}, 1) // the reminder of an older act
	write(&unpin, remediation.Debt{Run: unpin.ID, SettledAt: noon}, 0)
	write(&unpin, remediation.Debt{Run: unpin.ID, Detail: "d", Since: noon}, 1)
}
