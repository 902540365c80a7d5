package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

const (
	holderDSN   = "REMEDIATOR_STORE_TEST_HOLDER"
	holderLease = "REMEDIATOR_STORE_TEST_LEASE"
)

// holder is a worker whose visits never end: it claims the run, says so, and keeps it.
type holder struct {
	*store.Store
	owner string
	lease time.Duration
}

// holdForever is the life of a process that is going to be killed.
func holdForever(dsn string) {
	lease, err := time.ParseDuration(os.Getenv(holderLease))
	if err != nil {
		panic(err)
	}
	h := holder{owner: uuid.NewString(), lease: lease}
	if h.Store, err = store.Open(context.Background(), store.Config{DSN: dsn, Owner: h.owner, Lease: lease}); err == nil {
		err = h.Start(context.Background(), h)
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("up")
	select {}
}

func (h holder) Advance(ctx context.Context, hint remediation.Hint) error {
	c, err := h.Claim(ctx, remediation.Claim{Hint: hint, Owner: h.owner, Now: h.Now(), Lease: h.lease})
	if err != nil {
		return err
	}
	fmt.Println("claimed", c.Run.ID)
	for {
		time.Sleep(h.lease / 3)
		if err := h.Renew(context.WithoutCancel(ctx), c.Run.ID, c.Run.Epoch, h.Now().Add(h.lease)); err != nil {
			return err
		}
	}
}

func (holder) Match(context.Context, string) error             { return nil }
func (holder) Deliver(context.Context, remediation.Lane) error { return nil }
func (holder) Rejudge(context.Context) error                   { return nil }

// claims are what the processes of a database say, each with the one that says it.
type claim struct {
	by  *exec.Cmd
	run string
	at  time.Time
}

func startHolder(t testing.TB, dsn string, lease time.Duration, claims chan<- claim) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderDSN+"="+dsn, holderLease+"="+lease.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	up := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if run, ok := strings.CutPrefix(lines.Text(), "claimed "); ok {
				claims <- claim{cmd, run, time.Now()}
			} else {
				close(up)
			}
		}
	}()
	<-up
}

// takeovers kills the process that holds a run, again and again, and measures how long the run is left alone.
func takeovers(t testing.TB, replicas, kills int, lease time.Duration) []time.Duration {
	dsn := postgresDSN(t)
	intake := open(t, store.Config{DSN: dsn, Roles: []string{"ingest"}})
	claims := make(chan claim, 100)
	for range replicas {
		startHolder(t, dsn, lease, claims)
	}
	_, err := intake.Accept(t.Context(), remediation.Acceptance{
		Event: newEvent(), Proposals: []remediation.Proposal{proposal(firing("e"), "api")},
	})
	must(t, err)
	held := <-claims
	var took []time.Duration
	for range kills {
		time.Sleep(rand.N(lease))
		must(t, held.by.Process.Kill())
		killed := time.Now()
		select {
		case next := <-claims:
			if next.by == held.by || next.run != held.run {
				t.Fatalf("claimed %s by %v after %s by %v", next.run, next.by, held.run, held.by)
			}
			held = next
		case <-time.After(3*lease + 20*time.Second):
			t.Fatal("the run of the dead process was never taken over")
		}
		took = append(took, held.at.Sub(killed))
		startHolder(t, dsn, lease, claims)
	}
	slices.Sort(took)
	return took
}

func TestDeadReplicaIsReplaced(t *testing.T) {
	t.Parallel()
	const short = 2 * time.Second
	took := takeovers(t, 2, 2, short)
	// The sweep and the claim may take a second each, and the machine its time.
	if worst := took[len(took)-1]; worst > short+8*time.Second {
		t.Errorf("taken over after %s", worst)
	}
}

func benchmarkTakeover(b *testing.B, replicas int) {
	took := takeovers(b, replicas, b.N, store.DefaultLease)
	b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
	b.ReportMetric(took[len(took)-1].Seconds(), "max-s")
}

// The figures of a replica's death, at the default lease: go test -run - -bench Takeover -benchtime 20x
func BenchmarkTakeoverTwoReplicas(b *testing.B)   { benchmarkTakeover(b, 2) }
func BenchmarkTakeoverThreeReplicas(b *testing.B) { benchmarkTakeover(b, 3) }

// BenchmarkHandOver measures from an answered delivery at a process without workers to the visit by another.
func BenchmarkHandOver(b *testing.B) {
	dsn := postgresDSN(b)
	intake := open(b, store.Config{DSN: dsn, Owner: "intake", Roles: []string{"ingest"}})
	visited := make(chan time.Time, 100)
	worker := open(b, store.Config{DSN: dsn, Owner: "worker"})
	must(b, worker.Start(b.Context(), &recorder{answer: func(string) error { visited <- time.Now(); return nil }}))
	var took []time.Duration
	for b.Loop() {
		a := eventWithRun()
		_, err := intake.Accept(b.Context(), a)
		must(b, err)
		kept := time.Now()
		took = append(took, (<-visited).Sub(kept))
		for drained := false; !drained; { // the sweep may visit it too
			select {
			case <-visited:
			case <-time.After(200 * time.Millisecond):
				drained = true
			}
		}
		must(b, intake.Exec(b.Context(), `UPDATE runs SET due_at = 0`))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
}
