package torture

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/store"
)

const takeovers = 20 // of each number of servers

// TestTakeover: the server that holds a run kills itself in the middle of a visit. How long until another one's record stands in the
// run's journal?
func TestTakeover(t *testing.T) {
	measured(t, "postgres")
	for _, servers := range []int{2, 3} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			c := newCampaign(t, plan{name: fmt.Sprintf("takeover, %d servers", servers), servers: servers, services: 10, rate: 20, place: onPostgres})
			ctx, calm := context.WithCancel(t.Context())
			defer calm()
			c.open(ctx)
			c.senderFor(nil)
			db, err := c.rows.open()
			succeed(t, err)
			defer func() { _ = db.Close() }()
			var all []time.Duration
			for n := range part(takeovers) {
				d, err := c.takeOver(ctx, db, n)
				succeed(t, err)
				all = append(all, d)
			}
			s := spreadOf(all)
			c.figure(map[string]any{"lease": store.DefaultLease.String(), "death to the next record": s.String(), "p50_s": s.P50.Seconds(), "max_s": s.Max.Seconds()})
			if s.Max > 15*time.Second {
				t.Errorf("a run was taken over after %s", s.Max)
			}
			c.finish(t.Context(), calm)
		})
	}
}

// takeOver arms one server, lets it come by a run, and waits for what another makes of it.
func (c *campaign) takeOver(ctx context.Context, db *sql.DB, n int) (time.Duration, error) {
	victim := c.replicas[n%len(c.replicas)]
	armed := victim.arm("observe.before:1")
	victim.kill()
	if err := eventually(ctx, "the armed server is up", time.Minute, func() (bool, error) { return victim.listening(), nil }); err != nil {
		return 0, err
	}
	for try := range 30 {
		s := c.set("sick", c.names()[(n+try)%len(c.names())], 0)
		s.outage = fmt.Sprintf("%s-take-%d-%d", s.service, n, try)
		if err := s.begin(ctx); err != nil {
			return 0, err
		}
		within, cancel := context.WithTimeout(ctx, outageWithin)
		ended := s.awaitOutcome(within)
		cancel()
		s.resolve()
		s.tidy(ctx)
		if !ended {
			return 0, fmt.Errorf("nobody ended the run of %s", s.outage)
		}
		select {
		case died := <-armed:
			return c.nextRecord(ctx, db, s.outage, died)
		default: // another server had it
		}
	}
	return 0, fmt.Errorf("no run came to %s", victim.name)
}

// nextRecord is how long after a death the first record came in the journal of the outage's run, which the dead one held.
func (c *campaign) nextRecord(ctx context.Context, db *sql.DB, outage string, died time.Time) (time.Duration, error) {
	var at int64
	const next = `SELECT at FROM journal WHERE at > $1 AND run IN (SELECT id FROM runs WHERE origin = 'alert' AND data LIKE $2) ORDER BY at LIMIT 1`
	if !c.query(ctx, db, []any{&at}, next, died.UnixMicro(), "%\""+outage+"\"%") {
		return 0, fmt.Errorf("no record of %s came after the death", outage)
	}
	return time.UnixMicro(at).Sub(died), nil
}
