package store_test

import (
	"sync/atomic"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

func benchmarkAccept(b *testing.B, clients int, make func(n int64) remediation.Acceptance) {
	s := open(b, store.Config{})
	var n atomic.Int64
	b.SetParallelism(clients)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Accept(b.Context(), make(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

func eventOnly(int64) remediation.Acceptance {
	e := newEvent()
	e.DedupKey, e.Body = e.ID, make([]byte, 1500)
	return remediation.Acceptance{Event: e}
}

func eventWithRun(int64) remediation.Acceptance {
	a := eventOnly(0)
	a.Proposals = []remediation.Proposal{proposal(firing(a.Event.ID), a.Event.ID)}
	return a
}

func BenchmarkAcceptAlone(b *testing.B)          { benchmarkAccept(b, 0, eventOnly) }
func BenchmarkAcceptTogether(b *testing.B)       { benchmarkAccept(b, 32, eventOnly) }
func BenchmarkAcceptRunsTogether(b *testing.B)   { benchmarkAccept(b, 32, eventWithRun) }
func BenchmarkAcceptAloneOneClient(b *testing.B) { benchmarkOneClient(b, eventOnly) }
func BenchmarkAcceptRunsOneClient(b *testing.B)  { benchmarkOneClient(b, eventWithRun) }

func benchmarkOneClient(b *testing.B, make func(n int64) remediation.Acceptance) {
	s := open(b, store.Config{})
	for b.Loop() {
		if _, err := s.Accept(b.Context(), make(0)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
