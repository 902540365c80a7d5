package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
)

const (
	breakerFailures = 5
	// breakerPause is short: an escalation waits behind its lane's earlier messages.
	breakerPause = 10 * time.Second
)

// gate stands before one connection: its breaker, and how long the system asked to be left alone.
type gate struct {
	system *breaker.System

	mu    sync.Mutex
	until time.Time
}

func (n *Notifier) gate(connection string) *gate {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g, ok := n.gates[connection]; ok {
		return g
	}
	g := &gate{system: breaker.NewSystem(breaker.SystemConfig{
		Name:     connection,
		Failures: breakerFailures,
		Pause:    n.scaled(breakerPause),
		Counts:   isOutage,
		Changed: func(name, state string) {
			n.cfg.Log.Warn("the breaker of a connection changed", "connection", name, "state", state)
		},
	})}
	n.gates[connection] = g
	return g
}

// isOutage reports whether the failure speaks of the system's health: a refusal, a rate limit, our own configuration or our own
// stopping does not.
func isOutage(err error) bool {
	var limited *connect.RateLimited
	return !errors.As(err, &limited) && !connect.IsPermanent(err) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, errNoClient) && !errors.Is(err, errOutbox)
}

// limit remembers a rate limit, so that other messages do not add to it.
func (g *gate) limit(now time.Time, err error) {
	var limited *connect.RateLimited
	if !errors.As(err, &limited) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := now.Add(limited.RetryAfter); until.After(g.until) {
		g.until = until
	}
}

// limited gives how long the system still wants to be left alone.
func (g *gate) limited(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.until.Sub(now), 0)
}
