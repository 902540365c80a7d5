package remediation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// Limits of a system's breaker: so many failures in a row open it for so long, in real time.
const (
	systemFailures = 5
	systemPause    = 30 * time.Second
)

// Systems holds one breaker per outside system. Safe for concurrent use.
type Systems struct {
	metrics *Metrics
	pause   time.Duration
	mu      sync.Mutex
	bySys   map[string]*breaker.System
}

// NewSystems makes the breakers; speed is how much faster than real the world runs.
func NewSystems(m *Metrics, speed float64) *Systems {
	return &Systems{metrics: m, pause: executors.Env{Speed: speed}.Scale(systemPause), bySys: map[string]*breaker.System{}}
}

func (s *Systems) of(system string) *breaker.System {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bySys[system]
	if !ok {
		b = breaker.NewSystem(breaker.SystemConfig{
			Name: system, Failures: systemFailures, Pause: s.pause, Counts: countsAgainst, Changed: s.metrics.systemBreaker,
		})
		s.bySys[system] = b
	}
	return b
}

// Do runs a call behind the system's breaker; bypass is for the way back, which no breaker may block.
func (s *Systems) Do(system string, bypass bool, call func() error) error {
	if bypass {
		return call()
	}
	return s.of(system).Do(call)
}

// Peek runs a call that says nothing to the system's breaker: an open one lets it not through all the same.
func (s *Systems) Peek(system string, call func() error) error { return s.of(system).Peek(call) }

// countsAgainst: a system that answers clearly is well, whatever it answers.
func countsAgainst(err error) bool {
	return asRefusal(err) == nil && (connect.IsAmbiguous(err) || errors.Is(err, context.DeadlineExceeded))
}
