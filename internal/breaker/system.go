package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// ErrOpen is returned, wrapped, when a system's breaker lets no call through.
var ErrOpen = errors.New("the system's breaker is open")

// System is the breaker of one outside system, in this process only. Safe for concurrent use.
type System struct {
	inner *gobreaker.CircuitBreaker[any]
}

// SystemConfig says when a system's breaker opens and who is told.
type SystemConfig struct {
	Name     string
	Failures uint32        // consecutive failures that open it
	Pause    time.Duration // how long it stays open before one call is let through
	Counts   func(error) bool
	// Changed is told the new state; it must not ask the breaker for its state, which would deadlock gobreaker.
	Changed func(name, state string)
}

// NewSystem makes a closed breaker.
func NewSystem(c SystemConfig) *System {
	settings := gobreaker.Settings{
		Name:        c.Name,
		MaxRequests: 1,
		Timeout:     c.Pause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.Failures },
		IsSuccessful: func(err error) bool {
			return err == nil || c.Counts != nil && !c.Counts(err)
		},
	}
	if c.Changed != nil {
		settings.OnStateChange = func(name string, _, to gobreaker.State) { c.Changed(name, to.String()) }
	}
	return &System{inner: gobreaker.NewCircuitBreaker[any](settings)}
}

// Do runs the call unless the breaker is open; then it returns ErrOpen without calling.
func (s *System) Do(call func() error) error {
	_, err := s.inner.Execute(func() (any, error) { return nil, call() })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return fmt.Errorf("calling %s: %w", s.inner.Name(), ErrOpen)
	}
	return err
}

// Peek runs the call unless the breaker is open, and whatever becomes of it counts for nothing.
func (s *System) Peek(call func() error) error {
	if s.inner.State() == gobreaker.StateOpen {
		return fmt.Errorf("calling %s: %w", s.inner.Name(), ErrOpen)
	}
	return call()
}
