package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

const (
	firstDelay = time.Second
	lastDelay  = 5 * time.Minute
	// A message that keeps failing is given up at this age, but never before it had a fair number of attempts: it may have spent its
	// life behind another.
	givenUpAfter = 24 * time.Hour
	fairAttempts = 10
	// What only tells subscribers is old soon, and a call for a human may wait behind it.
	updateGivenUpAfter = 2 * time.Minute
	updateAttempts     = 5
)

// errNoClient: the rules file in force has no such connection; a reload may bring it back. Nothing was called.
var errNoClient = errors.New("no client")

// settle turns the end of an attempt into what the outbox records.
func (n *Notifier) settle(ctx context.Context, m remediation.Message, got told, failure error) remediation.Sent {
	now := n.cfg.Now()
	s := remediation.Sent{ID: m.ID, At: now, State: remediation.MessageQueued, RemoteID: got.remote}
	var limited *connect.RateLimited
	switch {
	case failure == nil:
		s.State, s.Error, s.NotBefore = got.state, got.why, now.Add(got.wait)
	case ctx.Err() != nil:
		s.Error, s.NotBefore = "interrupted: "+failure.Error(), now
	case m.Kind == remediation.StatusUpdate && n.expired(m, now):
		s.State, s.Error = remediation.MessageDead, "given up: "+failure.Error()
	case errors.As(failure, &limited):
		s.Error, s.NotBefore = failure.Error(), now.Add(limited.RetryAfter+n.spread(firstDelay))
	case errors.Is(failure, breaker.ErrOpen):
		s.Error, s.NotBefore = failure.Error(), now.Add(n.scaled(breakerPause))
	case connect.IsPermanent(failure):
		s.State, s.Error = remediation.MessageDead, failure.Error()
	case n.expired(m, now):
		s.State, s.Error = remediation.MessageDead, "given up: "+failure.Error()
	default:
		s.Error, s.NotBefore = failure.Error(), now.Add(n.delay(m.Attempts))
	}
	if s.State != remediation.MessageQueued {
		s.NotBefore = time.Time{}
		return s
	}
	if harmless(failure) && !inDoubt(m) {
		s.Error = noEffect(m.Attempts) + s.Error
	}
	return s
}

// harmless reports whether the failure proves that nothing took effect.
func harmless(failure error) bool {
	return failure == nil || errors.Is(failure, breaker.ErrOpen) || errors.Is(failure, errNoClient) || !connect.IsAmbiguous(failure)
}

// noEffect begins the recorded error of an attempt that provably changed nothing, as did all before it. The attempt's number is in it
// because a later attempt that died with its process leaves the error of the one before.
func noEffect(attempt int) string { return fmt.Sprintf("attempt %d had no effect: ", attempt) }

// inDoubt reports whether an earlier attempt may have taken effect.
func inDoubt(m remediation.Message) bool {
	return m.Attempts > 1 && !strings.HasPrefix(m.Error, noEffect(m.Attempts-1))
}

func (n *Notifier) expired(m remediation.Message, now time.Time) bool {
	if m.Kind == remediation.StatusUpdate {
		return m.Attempts >= updateAttempts && now.Sub(m.CreatedAt) > n.scaled(updateGivenUpAfter)
	}
	return m.Attempts >= fairAttempts && now.Sub(m.CreatedAt) > n.scaled(givenUpAfter)
}

// delay before the attempt after this one: doubled each time, within a fifth of it by chance.
func (n *Notifier) delay(attempts int) time.Duration {
	d := lastDelay
	if attempts < 10 { // 2^9 s is past the longest delay
		d = min(firstDelay<<max(attempts-1, 0), lastDelay)
	}
	d = n.scaled(d)
	return d - d/5 + n.spread(2*d/5)
}

// spread is a random part of d.
func (n *Notifier) spread(d time.Duration) time.Duration {
	return time.Duration(n.cfg.Jitter() * float64(d))
}

func (n *Notifier) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / n.cfg.Speed)
}
