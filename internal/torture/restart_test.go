package torture

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	manyRows  = 100_000
	rowsRate  = 2000 // a second, to get there
	restarts  = 10
	acceptFor = time.Second      // the goal
	settleFor = 10 * time.Second // the goal
)

// TestRestart: a server with many rows is killed while it acts. How long until it takes deliveries again, and until the run is settled?
func TestRestart(t *testing.T) {
	measured(t, "sqlite")
	c := newCampaign(t, plan{name: "restart with 100 000 events", lease: 0, servers: 1, services: 12, rate: rowsRate, place: onSQLite})
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	c.open(ctx)
	c.senderFor(nil)
	succeed(t, eventually(ctx, "the rows are there", 10*time.Minute, func() (bool, error) { return c.sender.tally().Accepted >= int64(part(manyRows)), nil }))
	succeed(t, c.sender.finish(windDown))
	former := c.sender.journal
	c.sending.Journal, c.sending.Rate, c.sending.Seed = former+"-after", 20, *seed+1
	c.senderFor(nil)
	var accepting, settled []time.Duration
	for n := range part(restarts) {
		a, s, err := c.restart(ctx, n)
		succeed(t, err)
		accepting, settled = append(accepting, a), append(settled, s)
	}
	a, s := spreadOf(accepting), spreadOf(settled)
	c.figure(map[string]any{"death to accepting": a.String(), "death to settled": s.String(), "accepting_max_s": a.Max.Seconds(), "settled_max_s": s.Max.Seconds()})
	if a.Max > acceptFor || s.Max > settleFor {
		t.Errorf("the goals are %s and %s", acceptFor, settleFor)
	}
	c.finish(t.Context(), calm, former)
}

// restart kills the server as soon as it has changed a service.
func (c *campaign) restart(ctx context.Context, n int) (accepting, settled time.Duration, err error) {
	s := c.set("sick", c.names()[n%len(c.names())], n)
	if err := s.begin(ctx); err != nil {
		return 0, 0, err
	}
	within, cancel := context.WithTimeout(ctx, outageWithin)
	defer cancel()
	_, acted := s.world.ledger.await(within, s.began, func(e sandbox.Entry) bool {
		m, ok := asMutation(e)
		return ok && m.Resource == s.service
	})
	if !acted {
		return 0, 0, fmt.Errorf("nothing was done about %s", s.outage)
	}
	c.replicas[0].kill()
	died := time.Now()
	probe := sender{senderConfig: c.sending, client: http.Client{Timeout: time.Second}}
	noise := newNoise(uint64(n)+*seed, nil)
	for accepting == 0 {
		d, _ := noise.next(time.Now())
		if r, err := probe.post(d); err == nil && r.Status == http.StatusAccepted {
			accepting = time.Since(died)
		} else if !pause(within, 5*time.Millisecond) {
			return 0, 0, fmt.Errorf("the server takes nothing any more")
		}
	}
	if !s.awaitOutcome(within) {
		return 0, 0, fmt.Errorf("the run of %s was not settled", s.outage)
	}
	settled = time.Since(died)
	s.resolve()
	s.tidy(ctx)
	return accepting, settled, nil
}
