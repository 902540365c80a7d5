package store_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// clients per core, who each wait for their answer.
const clients = 32

func benchmarkAccept(b *testing.B, newOne func() remediation.Acceptance) {
	s := open(b, store.Config{})
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
func BenchmarkAcceptAlone(b *testing.B)        { benchmarkOneClient(b, eventOnly) }
func BenchmarkAcceptRunsAlone(b *testing.B)    { benchmarkOneClient(b, eventWithRun) }
func BenchmarkAcceptTogether(b *testing.B)     { benchmarkAccept(b, eventOnly) }
func BenchmarkAcceptRunsTogether(b *testing.B) { benchmarkAccept(b, eventWithRun) }

func benchmarkOneClient(b *testing.B, newOne func() remediation.Acceptance) {
	s := open(b, store.Config{})
	for b.Loop() {
		if _, err := s.Accept(b.Context(), newOne()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
