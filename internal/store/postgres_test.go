package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// replicas opens several stores on one database, as processes of their own would: each with its pool and its name.
func replicas(t testing.TB, n int, c store.Config) []*store.Store {
	t.Helper()
	c.DSN = postgresDSN(t)
	all := make([]*store.Store, n)
	for i := range all {
		c.Owner = fmt.Sprintf("replica-%d", i)
		all[i] = open(t, c)
	}
	return all
}

// worldOf is the world as one replica sees it, by the clock that all share.
func worldOf(t *testing.T, s *store.Store) *world {
	w := &world{t: t, clock: newClock(), subject: s}
	w.clock.us.Store(s.Now().UnixMicro())
	return w
}

// together runs the functions at the same time.
func together(fns ...func()) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for _, fn := range fns {
		all.Go(func() { <-begin; fn() })
	}
	close(begin)
	all.Wait()
}

func TestManyProcessesOpenAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	servers.Cluster(t)
	for range 3 {
		dsn := servers.Database(t, "")
		var opened []func()
		for i := range 4 {
			opened = append(opened, func() {
				s, err := store.Open(t.Context(), store.Config{DSN: dsn, Owner: fmt.Sprint("replica-", i)})
				if err != nil {
					t.Errorf("opening: %v", err)
					return
				}
				if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); err != nil {
					t.Errorf("accepting: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
		}
		together(opened...)
	}
}

// Both roads of one outage reach two replicas in the same moment and make one run.
func TestBothRoadsAtOnceMakeOneRun(t *testing.T) {
	t.Parallel()
	const outages = 25
	all := replicas(t, 2, store.Config{})
	var deliveries []func()
	for i := range outages {
		key := fmt.Sprint("outage-", i)
		sender, pagerduty := pages(key)
		for road, a := range []remediation.Proposal{proposal(sender, "api"), proposal(pagerduty, "api")} {
			e := newEvent()
			deliveries = append(deliveries, func() {
				_, err := all[road].Accept(t.Context(), remediation.Acceptance{Event: e, Proposals: []remediation.Proposal{a}})
				if err != nil {
					t.Errorf("accepting %s: %v", key, err)
				}
			})
		}
	}
	together(deliveries...)
	counts, err := all[0].Counts(t.Context())
	must(t, err)
	if counts.Runs[remediation.Running] != outages {
		t.Errorf("%d outages made %d runs", outages, counts.Runs[remediation.Running])
	}
}

// bornOn gives each replica a run per target of its own.
func bornOn(t *testing.T, s *store.Store, n int, target func(i int) string) []remediation.Run {
	w := worldOf(t, s)
	var runs []remediation.Run
	for i := range n {
		got := w.propose(firing(newID()), target(i))
		run, err := s.Run(t.Context(), got.Runs[0].Run)
		must(t, err)
		runs = append(runs, run.Run)
	}
	return runs
}

// intents makes a commit with an intent for each run, through the replica that holds it, and counts what was let through.
func intents(t *testing.T, s *store.Store, runs []remediation.Run, limits guard.Limits, done func(error)) []func() {
	var all []func()
	for _, run := range runs {
		all = append(all, func() {
			now := s.Now()
			c := remediation.Commit{Now: now, Run: run, Lease: now.Add(lease)}
			c.Intent = &remediation.Intent{
				Query:  remediation.SnapshotQuery{Now: now, Run: run.ID, Rule: "restart", Target: run.Target, First: true},
				Limits: limits, Act: guard.Act{Run: run.ID, Rule: "restart", Target: run.Target, At: now},
			}
			done(s.Commit(t.Context(), c))
		})
	}
	return all
}

// tally counts how intents ended.
type tally struct {
	mu      sync.Mutex
	acted   int
	refused map[guard.Reason]int
	errs    []error
}

func (c *tally) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var refusal *guard.Refusal
	switch {
	case err == nil:
		c.acted++
	case errors.As(err, &refusal):
		if c.refused == nil {
			c.refused = map[guard.Reason]int{}
		}
		c.refused[refusal.Reason]++
	default:
		c.errs = append(c.errs, err)
	}
}

func TestReplicasShareBudgetsAndLocks(t *testing.T) {
	t.Parallel()
	const each, budget = 10, 4
	for name, c := range map[string]struct {
		target func(i int) string
		limits guard.Limits
		acted  int
		reason guard.Reason
	}{
		"fleet budget": {
			target: func(i int) string { return fmt.Sprint("t-", newID()) },
			limits: guard.Limits{Rule: plenty.Rule, Target: plenty.Target, Fleet: []guard.Window{{Most: budget, Per: time.Hour}}},
			acted:  budget, reason: guard.BudgetExhausted,
		},
		"one target": {target: func(int) string { return "api" }, limits: plenty, acted: 1, reason: guard.TargetBusy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var (
				got tally
				fns []func()
			)
			for _, s := range replicas(t, 2, store.Config{}) {
				fns = append(fns, intents(t, s, bornOn(t, s, each, c.target), c.limits, got.note)...)
			}
			together(fns...)
			if got.acted != c.acted || got.refused[c.reason] != 2*each-c.acted || len(got.errs) > 0 {
				t.Errorf("acted %d, refused %v, errors %v; want %d acts", got.acted, got.refused, got.errs, c.acted)
			}
		})
	}
}

// Once Pause has returned on one replica, no intent is kept on another.
func TestPauseHoldsOnEveryReplica(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2, store.Config{})
	for range 3 {
		runs := bornOn(t, all[1], 12, func(int) string { return fmt.Sprint("t-", newID()) })
		acts := func() int {
			acts, err := all[0].Acts(t.Context(), noon)
			must(t, err)
			return len(acts)
		}
		var (
			got    tally
			former = acts()
			before int
		)
		fns := intents(t, all[1], runs, plenty, got.note)
		together(append(fns, func() {
			must(t, all[0].Pause(t.Context(), guard.Pause{Scope: guard.Fleet, Since: noon}))
			before = acts()
		})...)
		if after := acts(); after != before || got.acted != after-former || len(got.errs) > 0 {
			t.Errorf("%d acts when the pause had returned, %d later; %d say they acted; errors %v", before, after, got.acted, got.errs)
		}
		if _, err := all[0].Resume(t.Context(), guard.Fleet, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// Two notifiers never have the same message in hand.
func TestLaneIsWorkedByOneReplica(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2, store.Config{})
	w := worldOf(t, all[0])
	for range 20 {
		run := bornOn(t, all[0], 1, func(int) string { return "api" + newID() })[0]
		m := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.Slack, CreatedAt: noon}
		must(t, all[0].Commit(t.Context(), remediation.Commit{Now: w.clock.now(), Run: run, Messages: []remediation.Message{m}}))
		var (
			mu    sync.Mutex
			taken int
			fns   []func()
		)
		for _, s := range slices.Concat(all, all) {
			fns = append(fns, func() {
				lane := remediation.Lane{Run: run.ID, Channel: remediation.Slack}
				_, _, ok, err := s.Next(t.Context(), lane, s.Now(), time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("taking: %v", err)
				}
				if ok {
					taken++
				}
			})
		}
		together(fns...)
		if taken != 1 {
			t.Errorf("the message was taken %d times", taken)
		}
	}
}

// A process that was stopped for longer than its lease finds its run taken, and whatever it brings is refused.
func TestLateResultsAreRefused(t *testing.T) {
	t.Parallel()
	const short = 300 * time.Millisecond
	all := replicas(t, 2, store.Config{Lease: short})
	run := bornOn(t, all[0], 1, func(int) string { return "api" })[0]
	take := func() (err error) {
		_, err = all[1].Claim(t.Context(), remediation.Claim{
			Hint: remediation.Hint{Run: run.ID}, Owner: "replica-1", Now: all[1].Now(), Lease: short,
		})
		return err
	}
	if err := take(); !errors.Is(err, remediation.ErrStaleHint) {
		t.Fatalf("taken while its lease lasts: %v", err)
	}
	eventually(t, "the run is taken over", func() bool { return take() == nil })
	for _, fn := range intents(t, all[0], []remediation.Run{run}, plenty, func(err error) {
		if !errors.Is(err, remediation.ErrFenced) {
			t.Errorf("a late intent: %v", err)
		}
	}) {
		fn()
	}
	if err := all[0].Renew(t.Context(), run.ID, run.Epoch, all[0].Now().Add(time.Hour)); !errors.Is(err, remediation.ErrFenced) {
		t.Errorf("a late renewal: %v", err)
	}
	acts, err := all[1].Acts(t.Context(), noon)
	must(t, err)
	if len(acts) != 0 {
		t.Errorf("the late intent left %+v", acts)
	}
}

// A process that was stopped in the middle of a transaction holds nobody for long.
func TestStoppedProcessLetsGo(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2, store.Config{})
	end := all[0].HoldFleet(t.Context())
	defer end()
	began := time.Now()
	must(t, all[1].Pause(t.Context(), guard.Pause{Scope: guard.Fleet, Since: noon}))
	if took := time.Since(began); took < time.Second || took > 8*time.Second {
		t.Errorf("a pause behind a process that is stopped took %s", took)
	}
}

// With as many rows as a year brings, nothing that is done often reads a whole table.
func TestStatementsReadNoWholeTableOnPostgreSQL(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{DSN: postgresDSN(t)})
	for _, query := range []string{
		`INSERT INTO events SELECT 'event-' || i, 'source', '', '', i, i, CASE WHEN i % 1000 = 0 THEN 'pending' ELSE 'matched' END, '', '', 0, i, '', ''
			FROM generate_series(1, 20000) AS i`,
		`INSERT INTO runs (id, origin, target, source, episode, incident_key, incident_id, fingerprint, starts_at, ended_at, state, outcome, reason,
			acted, version, epoch, lease_owner, lease_until, due_at, created_at, data)
			SELECT 'run-' || i, 'alert', 'target-' || i % 20, 'source', 'episode-' || i, 'key-' || i, 'incident-' || i, 'f', i, i % 2,
			CASE WHEN i % 1000 = 0 THEN 'running' ELSE 'done' END, 'fixed', '', 0, 0, 1, '', 0, CASE WHEN i % 1000 = 0 THEN i ELSE 0 END, i, '{}'
			FROM generate_series(1, 20000) AS i`,
		`INSERT INTO outbox SELECT 'message-' || i, 'run-' || i, 'slack', 0, CASE WHEN i % 1000 = 0 THEN 'queued' ELSE 'sent' END, 1, i, '', '', i, '{}'
			FROM generate_series(1, 20000) AS i`,
		`INSERT INTO stale_alerts SELECT 'source', 'episode-' || i, 'target-' || i % 20, 'key-' || i, 'incident-' || i, 'f', 0, i, i
			FROM generate_series(1, 20000) AS i`,
		`INSERT INTO rulings SELECT 'event-' || i, 0, 'run-' || i, 'rule', 'target', 'auto', 'chosen', '' FROM generate_series(1, 20000) AS i`,
	} {
		for first := 1; first < 20000; first += 2000 { // a transaction has ten seconds
			part := fmt.Sprintf("(%d, %d)", first, first+1999)
			must(t, s.Exec(t.Context(), strings.Replace(query, "(1, 20000)", part, 1)))
		}
	}
	must(t, s.Exec(t.Context(), `INSERT INTO holds SELECT 'incident-' || i, 'key-' || i, 'ann', i FROM generate_series(1, 2000) AS i`))
	must(t, s.Exec(t.Context(), `ANALYZE`))
	wholeTables(t, s, "Seq Scan")
}

func wholeTables(t *testing.T, s *store.Store, words string) {
	t.Helper()
	plans, err := s.Explain(t.Context())
	must(t, err)
	for name, steps := range plans {
		for _, step := range steps {
			if strings.Contains(step, words) {
				t.Errorf("%s: %q in %s", name, step, strings.Join(steps, "\n"))
			}
		}
	}
}
