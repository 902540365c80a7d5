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
			for n := range takeovers {
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
		s := c.set("sick code", c.names()[(n+try)%len(c.names())], 1000*n+try)
		s.outage = fmt.Sprintf("%s-take-%d-%d", s.service, n, try)
		if err := s.begin(ctx); err != nil {
			return 0, err
		}
		select {
		case died := <-armed:
			d, err := c.nextRecord(ctx, db, died)
			s.resolve()
			return d, err
		case <-time.After(3 * time.Second): // another server has it
			s.resolve()
		}
	}
	return 0, fmt.Errorf("no run came to %s", victim.name)
}

// nextRecord waits for the first record, after a death, of the run that the dead one held.
func (c *campaign) nextRecord(ctx context.Context, db *sql.DB, died time.Time) (time.Duration, error) {
	var run string
	var at int64
	held := `SELECT id FROM runs WHERE state = 'running' AND lease_owner <> '' AND lease_until > $1 ORDER BY lease_until LIMIT 1`
	if !c.query(ctx, db, []any{&run}, held, died.UnixMicro()) {
		return 0, fmt.Errorf("the dead server held no run")
	}
	err := eventually(ctx, "the run is taken over", time.Minute, func() (bool, error) {
		return c.query(ctx, db, []any{&at}, `SELECT at FROM journal WHERE run = $1 AND at > $2 ORDER BY seq LIMIT 1`, run, died.UnixMicro()), nil
	})
	return time.UnixMicro(at).Sub(died), err
}
