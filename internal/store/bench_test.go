package store_test

import (
	"testing"

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
