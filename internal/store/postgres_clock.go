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

// reading is what the server's clock showed at a moment of ours.
type reading struct{ server, ours time.Time }

// roundTrip is how long a reading may take to be believed: it may be wrong by half of that.
const roundTrip = 500 * time.Millisecond

func (c *serverClock) now() time.Time {
	r := c.seen.Load()
	return r.server.Add(time.Since(r.ours))
}

// measure takes a new reading. One that took too long is not used, unless there is no other.
func (c *serverClock) measure(ctx context.Context) error {
	asked := time.Now()
	server, err := c.ask(ctx)
	if err != nil {
		return fmt.Errorf("asking the database for the time: %w", err)
	}
	took := time.Since(asked)
	if took > roundTrip && c.seen.Load() != nil {
		return nil
	}
	c.seen.Store(&reading{server: server, ours: asked.Add(took / 2)})
	return nil
}

// askTime reads the clock of the server, not the time at which a transaction began.
func (d *postgresDB) askTime(ctx context.Context) (time.Time, error) {
	var us int64
	err := d.reader().QueryRow(ctx, []any{&us}, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`)
	return fromMicros(us), err
}
