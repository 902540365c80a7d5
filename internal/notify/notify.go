// Package notify is the edge out: it tells the outbox's messages to PagerDuty and Slack, each in its lane's order and, where the
// system lets itself be asked, exactly once. A message ends as sent, skipped (it needed no telling) or dead (it could not be told);
// until then it waits in the outbox, so that a dead PagerDuty loses nothing.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// Config is what a Notifier needs.
type Config struct {
	Outbox      remediation.Outbox
	Connections func() connect.Set // the clients in force; asked for each message
	// Report gives the report of a run as it stands in the records; nil: only how to get it is posted.
	Report     func(ctx context.Context, run string) (remediation.Report, error)
	Now        func() time.Time      // nil: time.Now
	Jitter     func() float64        // in [0,1); nil: random
	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: metrics are kept but not shown
	// Lease is how long a message stays with the one who tells it, and so how long it waits after a crash; 0 means 20 s. It is real time,
	// and bounds an attempt: see span.
	Lease time.Duration
	// Speed is how much faster than real the world runs (1, or 0, except in the demo): waits divide by it.
	Speed float64
}

// Notifier tells messages. Safe for concurrent use.
type Notifier struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex
	gates   map[string]*gate            // by connection name
	stretch map[remediation.Channel]int // see span
}

// New makes a Notifier. It calls nothing.
func New(c Config) *Notifier {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Speed <= 0 {
		c.Speed = 1
	}
	if c.Lease <= 0 {
		c.Lease = defaultLease
	}
	return &Notifier{cfg: c, metrics: newMetrics(c.Registerer), gates: map[string]*gate{}, stretch: map[remediation.Channel]int{}}
}

// Deliver tells the lane's messages in order until none is due. An error is the outbox's or the context's: how the telling itself
// went is recorded in the outbox. A context that ends in the middle of a call leaves the message queued.
func (n *Notifier) Deliver(ctx context.Context, l remediation.Lane) error {
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("telling run %s on %s: %w", l.Run, l.Channel, err)
		}
		more, err := n.next(ctx, l)
		if err != nil || !more {
			return err
		}
	}
}

// next tells one message. It reports whether the lane may hold another that is due.
func (n *Notifier) next(ctx context.Context, l remediation.Lane) (bool, error) {
	s := n.span(l.Channel)
	bounded, stop := context.WithTimeout(ctx, s.attempt) // from here on, because the lease begins before the outbox has answered
	defer stop()
	m, thread, ok, err := n.cfg.Outbox.Next(ctx, l, n.cfg.Now(), s.lease)
	if err != nil {
		return false, fmt.Errorf("taking the next message of run %s for %s: %w", l.Run, l.Channel, err)
	}
	if !ok {
		return false, nil
	}
	got, failure := n.attempt(bounded, m, thread)
	n.adapt(l.Channel, failure, ctx.Err() == nil && bounded.Err() != nil)
	sent := n.settle(ctx, m, got, failure)
	// What took effect must be written down even while the process is being stopped.
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.record)
	defer cancel()
	if err := n.cfg.Outbox.End(record, sent); err != nil {
		return false, fmt.Errorf("recording message %s as %s: %w", m.ID, sent.State, err)
	}
	n.metrics.count(m, sent)
	n.report(ctx, m, sent, failure)
	return sent.State != remediation.MessageQueued, nil
}

// told is how one attempt ended that did not fail. With MessageQueued nothing took effect and it is tried again after wait.
type told struct {
	state  remediation.MessageState
	remote string
	why    string
	wait   time.Duration
}

// attempt makes one attempt behind the connection's gate. What pages people or ends a page goes round it: a breaker never blocks the
// way back.
func (n *Notifier) attempt(ctx context.Context, m remediation.Message, thread string) (told, error) {
	g := n.gate(m.Connection)
	var got told
	call := func() (err error) {
		got, err = n.tell(ctx, m, thread)
		g.limit(n.cfg.Now(), err)
		return err
	}
	if m.Kind == remediation.Resolve || m.Kind == remediation.Escalate {
		err := call()
		return got, err
	}
	if wait := g.limited(n.cfg.Now()); wait > 0 {
		return told{state: remediation.MessageQueued, why: "the system asked to be left alone", wait: wait}, nil
	}
	err := g.system.Do(call)
	return got, err
}

func (n *Notifier) tell(ctx context.Context, m remediation.Message, thread string) (told, error) {
	switch m.Channel {
	case remediation.PagerDuty:
		return n.tellPagerDuty(ctx, m, thread)
	case remediation.Slack:
		return n.tellSlack(ctx, m, thread)
	default:
		return told{state: remediation.MessageDead, why: fmt.Sprintf("no channel is called %q", m.Channel)}, nil
	}
}

// report says on the log what somebody may have to look at.
func (n *Notifier) report(ctx context.Context, m remediation.Message, s remediation.Sent, failure error) {
	log := n.cfg.Log.With("run", m.Run, "message", m.ID, "channel", m.Channel, "kind", m.Kind, "attempts", m.Attempts)
	switch {
	case s.State == remediation.MessageDead:
		log.ErrorContext(ctx, "a message was given up: nobody was told", "reason", s.Error)
	case s.State == remediation.MessageSkipped:
		log.WarnContext(ctx, "a message was not told", "reason", s.Error)
	case s.State == remediation.MessageQueued && failure != nil && !errors.Is(failure, breaker.ErrOpen):
		log.WarnContext(ctx, "a message could not be told yet", "reason", s.Error, "again_at", s.NotBefore)
	case s.State == remediation.MessageQueued:
		log.DebugContext(ctx, "a message waits", "reason", s.Error, "again_at", s.NotBefore)
	default:
		log.DebugContext(ctx, "a message was told", "remote_id", s.RemoteID)
	}
}
