package torture

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

const (
	floodDeliveries = 100_000
	floodAlerts     = 10_000
	floodWithin     = time.Minute
	floodServices   = 200
	floodMemory     = 256 << 20
	floodTargets    = 3 // that want action are a storm
)

// TestFlood: a hundred thousand deliveries of ten thousand alerts in a minute. Runs before it act; of it, no more act than make a storm;
// after the release they act again; everything is accounted for.
func TestFlood(t *testing.T) {
	for database, place := range map[string]func(*testing.T, *campaign){"sqlite": onSQLite, "postgres": onPostgres} {
		t.Run(database, func(t *testing.T) {
			measured(t, database)
			flood(t, plan{name: "flood, " + database, servers: 1, services: floodServices + 2, rate: *rate, storm: floodTargets, place: place})
		})
	}
}

func flood(t *testing.T, p plan) {
	t.Helper()
	c := newCampaign(t, p)
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	c.open(ctx)
	names := c.names()
	targets, apart := names[:floodServices], names[floodServices:]
	c.senderFor(nil)
	for n := range 2 {
		c.mustHeal(ctx, apart[n], n)
	}
	succeed(t, c.sender.finish(windDown))
	first := c.sender.journal
	for _, name := range targets {
		succeed(t, wasSick(ctx, c.set("sick code", name, 0)))
	}
	before := c.world.ledger.size()
	took := c.flood(targets)
	memory, err := peakMemory(c.replicas[0].pid())
	succeed(t, err)
	over := time.Now()
	succeed(t, c.settled(ctx, 10*floodWithin))
	settled := time.Since(over)
	during, pages := c.since(before)
	succeed(t, c.api.insist(ctx, http.MethodPost, "/v1/release", map[string]string{"storm": "true"}, &struct{}{}))
	last := c.sender.journal
	c.sending.Journal, c.sending.Rate = last+"-after", *rate
	c.senderFor(nil)
	c.mustHeal(ctx, apart[0], 10)
	a := c.finish(t.Context(), calm, first, last)
	c.figure(map[string]any{
		"taken within": took.String(), "a second": float64(part(floodDeliveries)) / took.Seconds(), "peak memory (MB)": memory >> 20,
		"done and told after": settled.String(), "changes during the storm": during, "pages of the storm": pages, "accounted for": a.Receipts, "found": told(a.Faults),
	})
	if memory > floodMemory || during >= floodTargets || pages > 1 {
		t.Errorf("%d MB, %d changes, %d pages", memory>>20, during, pages)
	}
}

// mustHeal plays an outage that the rules can mend.
func (c *campaign) mustHeal(ctx context.Context, name string, n int) {
	c.t.Helper()
	end, err := c.set("sick", name, n).outcome(ctx)
	succeed(c.t, err)
	if end != remediation.Fixed {
		c.t.Errorf("an outage of %s ended %s", name, end)
	}
}

// flood sends everything and gives the time until the last delivery was taken.
func (c *campaign) flood(targets []string) time.Duration {
	c.sending.Journal += "-flood"
	c.sending.Rate = floodDeliveries / int(floodWithin.Seconds())
	c.senderFor(&storm{Deliveries: part(floodDeliveries), Alerts: part(floodAlerts), Targets: targets})
	began := time.Now()
	succeed(c.t, eventually(c.t.Context(), "the flood was taken", 10*floodWithin, func() (bool, error) {
		return c.sender.tally().Accepted >= int64(part(floodDeliveries)), nil
	}))
	took := time.Since(began)
	succeed(c.t, c.sender.finish(windDown))
	return took
}

// since counts the changes and the pages of a storm after a place in the ledger.
func (c *campaign) since(place int) (changes, pages int) {
	all, err := c.world.ledger.entries()
	succeed(c.t, err)
	for _, e := range all[place:] {
		if _, ok := asMutation(e); ok {
			changes++
		}
		if e.Verb == "incident_created" && strings.HasPrefix(detail(e, "incident_key"), "remediator-storm-") {
			pages++
		}
	}
	return changes, pages
}
