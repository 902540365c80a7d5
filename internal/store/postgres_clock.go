package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// serverClock is PostgreSQL's clock, read off this process's: all processes of one database judge leases and timers by the same time,
// however wrong their own clocks are. Between two readings it goes on by the monotonic clock, which nobody sets.
type serverClock struct {
	ask  func(ctx context.Context) (time.Time, error)
	seen atomic.Pointer[reading]
}

// reading is what the server's clock showed at a moment of ours, give or take.
type reading struct {
	server, ours time.Time
	doubt        time.Duration
}

// drift is how much an old reading is doubted more each second: several times what clocks differ by.
const drift = 500 * time.Microsecond

// doubtNow is how wrong the clock may be that goes by the reading.
func (r *reading) doubtNow() time.Duration {
	return r.doubt + time.Duration(time.Since(r.ours).Seconds()*float64(drift))
}

func (c *serverClock) now() time.Time {
	r := c.seen.Load()
	return r.server.Add(time.Since(r.ours))
}

// measure takes a new reading and keeps the better one: it is wrong by at most half of the time that the question took.
func (c *serverClock) measure(ctx context.Context) error {
	asked := time.Now()
	server, err := c.ask(ctx)
	if err != nil {
		return fmt.Errorf("asking the database for the time: %w", err)
	}
	half := time.Since(asked) / 2
	if old := c.seen.Load(); old == nil || half <= old.doubtNow() {
		c.seen.Store(&reading{server: server, ours: asked.Add(half), doubt: half})
	}
	return nil
}

// readings is how often a new clock is read: the first answers of a connection are slow.
const readings = 5

// set reads a new clock.
func (c *serverClock) set(ctx context.Context) error {
	for range readings {
		if err := c.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// askTime reads the clock of the server, not the time at which a transaction began.
func (d *postgresDB) askTime(ctx context.Context) (time.Time, error) {
	var us int64
	err := d.reader().QueryRow(ctx, []any{&us}, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`)
	return fromMicros(us), err
}
