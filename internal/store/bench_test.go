package store_test

import (
	"fmt"
	"testing"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// clients per core, who each wait for their answer.
const clients = 32

func benchmarkAccept(b *testing.B, s *store.Store, newOne func() remediation.Acceptance) {
	b.SetParallelism(clients)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Accept(b.Context(), newOne()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// durable is a store on a PostgreSQL that syncs what is committed.
func durable(b *testing.B) *store.Store {
	c := postgrestest.New(b)
	must(b, c.Create("remediator", ""))
	return open(b, store.Config{DSN: c.DSN("remediator")})
}

func eventOnly() remediation.Acceptance {
	e := newEvent()
	e.DedupKey, e.Body = e.ID, make([]byte, 1500)
	return remediation.Acceptance{Event: e}
}

func eventWithRun() remediation.Acceptance {
	a := eventOnly()
	a.Proposals = []remediation.Proposal{proposal(firing(a.Event.ID), a.Event.ID)}
	return a
}

// One delivery at a time needs a commit for each; many that wait share one.
func BenchmarkAcceptAlone(b *testing.B) { benchmarkOneClient(b, open(b, store.Config{}), eventOnly) }
func BenchmarkAcceptRunsAlone(b *testing.B) {
	benchmarkOneClient(b, open(b, store.Config{}), eventWithRun)
}
func BenchmarkAcceptTogether(b *testing.B) { benchmarkAccept(b, open(b, store.Config{}), eventOnly) }
func BenchmarkAcceptRunsTogether(b *testing.B) {
	benchmarkAccept(b, open(b, store.Config{}), eventWithRun)
}

func BenchmarkPostgresAcceptRunsAlone(b *testing.B)    { benchmarkOneClient(b, durable(b), eventWithRun) }
func BenchmarkPostgresAcceptTogether(b *testing.B)     { benchmarkAccept(b, durable(b), eventOnly) }
func BenchmarkPostgresAcceptRunsTogether(b *testing.B) { benchmarkAccept(b, durable(b), eventWithRun) }

func benchmarkOneClient(b *testing.B, s *store.Store, newOne func() remediation.Acceptance) {
	for b.Loop() {
		if _, err := s.Accept(b.Context(), newOne()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// What one more firing of an alert costs, and its end, after the alert has come often: one that flaps has thousands of runs behind it.
func BenchmarkRecurringAlert(b *testing.B) {
	for _, past := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("past=%d", past), func(b *testing.B) {
			s := open(b, store.Config{})
			_, err := s.Writer().Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				INSERT INTO runs (id, origin, target, source, episode, incident_key, incident_id, fingerprint, starts_at, ended_at, state, outcome, reason,
					acted, version, epoch, lease_owner, lease_until, due_at, created_at, data, self_resolving)
				SELECT printf('0%035d', i), 'alert', 'api', 'alertmanager', 'e' || i, 'key', '', 'f', i, i, 'done', 'fixed', '', 0, 1, 1, '', 0, 0, i, hex(zeroblob(700)), 1
				FROM n WHERE $1 > 0`, past)
			must(b, err)
			for i := 0; b.Loop(); i++ {
				a := firing(fmt.Sprint("now", i))
				a.IncidentKey, a.SelfResolving = "key", true
				got, err := s.Accept(b.Context(), remediation.Acceptance{Event: newEvent(), Proposals: []remediation.Proposal{proposal(a, "api")}})
				must(b, err)
				_, err = s.Accept(b.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{
					{Source: a.Source, Episode: a.Episode, IncidentKey: "key", Fingerprint: alert.Fingerprint(a.Labels), At: noon},
				}})
				must(b, err)
				if len(got.Runs) > 0 {
					_, err = s.Writer().Exec(`UPDATE runs SET state = 'done', outcome = 'fixed', due_at = 0 WHERE id = $1`, got.Runs[0].Run)
					must(b, err)
				}
			}
		})
	}
}
