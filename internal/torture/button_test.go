package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	presses    = 1000
	pressHands = 20 // services on which the button is pressed at the same time
	pressFor   = 1500 * time.Millisecond
)

// TestStopButton: the button is pressed while outages come in. When did the last change begin that was made after the answer?
func TestStopButton(t *testing.T) {
	for database, p := range map[string]plan{
		"sqlite":   {name: "stop button, sqlite", servers: 1, place: onSQLite},
		"postgres": {name: "stop button, postgres", servers: 3, place: onPostgres},
	} {
		t.Run(database, func(t *testing.T) {
			measured(t, database)
			p.services, p.rate = pressHands, *rate
			c := newCampaign(t, p)
			ctx, calm := context.WithCancel(t.Context())
			defer calm()
			c.open(ctx)
			c.senderFor(nil)
			b := button{campaign: c}
			var all sync.WaitGroup
			for i, name := range c.names() {
				all.Go(func() { b.pressAlways(ctx, name, c.dice(uint64(200+i))) }) //nolint:gosec // a small number
			}
			all.Wait()
			late := spreadOf(b.late)
			c.figure(map[string]any{
				"presses": b.pressed, "of the whole fleet": b.fleet, "runs held back by one": b.held, "changes begun after the answer": len(b.late),
				"the latest after": late.Max.String(), "worst_s": late.Max.Seconds(),
			})
			if late.Max > time.Second {
				t.Errorf("a change began %s after the button was pressed", late.Max)
			}
			c.finish(t.Context(), calm)
		})
	}
}

type button struct {
	*campaign
	mu      sync.Mutex
	pressed int
	fleet   int
	held    int // presses that a run met: it acted only after the release
	late    []time.Duration
}

// pressAlways breaks a service and presses the button while the alert is being worked on, again and again.
func (b *button) pressAlways(ctx context.Context, name string, dice *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		b.mu.Lock()
		enough := b.pressed >= presses
		b.pressed++
		b.mu.Unlock()
		if enough {
			return
		}
		story := []string{"bad deploy", "sick"}[dice.IntN(2)]
		if err := b.press(ctx, b.set(story, name, n), dice); err != nil {
			b.stats.blame("pressing the button on %s: %v", name, err)
			return
		}
	}
}

func (b *button) press(ctx context.Context, s *scene, dice *rand.Rand) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	pause(ctx, time.Duration(dice.Int64N(int64(800*time.Millisecond))))
	what, targets := map[string]string{"target": s.service}, []string{s.service}
	if dice.IntN(10) == 0 {
		what, targets = map[string]string{}, b.names()
	}
	request := map[string]string{"reason": "the torture presses it", "for": "10m"}
	for k, v := range what {
		request[k] = v
	}
	base := b.replicas[dice.IntN(len(b.replicas))].base()
	if err := b.api.callAt(ctx, base, http.MethodPost, "/v1/pause", request, &struct{}{}); err != nil {
		return err
	}
	answered := time.Now()
	pause(ctx, pressFor)
	released := time.Now()
	if err := b.api.insist(ctx, http.MethodPost, "/v1/resume", what, &struct{}{}); err != nil {
		return err
	}
	b.count(s, targets, answered, released)
	within, cancel := context.WithTimeout(ctx, outageWithin)
	defer cancel()
	repeats, enough := context.WithCancel(within)
	defer enough()
	go s.repeat(repeats, 0)
	if !s.awaitOutcome(within) {
		return fmt.Errorf("the outage %s did not end after the release", s.outage)
	}
	enough()
	s.resolve()
	s.tidy(within)
	return nil
}

// count looks in the ledger for changes between the answer and the release.
func (b *button) count(s *scene, targets []string, answered, released time.Time) {
	pause(context.Background(), 3*look)
	all, _ := b.world.ledger.entries()
	names := map[string]bool{}
	for _, t := range targets {
		names[t] = true
	}
	acted := false
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(targets) > 1 {
		b.fleet++
	}
	for _, e := range all[s.began:] {
		m, ok := asMutation(e)
		if !ok || !names[m.Resource] || m.Time.After(released) {
			continue
		}
		acted = acted || m.Resource == s.service
		if m.Time.After(answered) {
			b.late = append(b.late, m.Time.Sub(answered))
		}
	}
	if !acted {
		b.held++
	}
}
