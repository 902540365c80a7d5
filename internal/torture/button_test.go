package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
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
			succeed(t, eventually(ctx, "every server listens", time.Minute, func() (bool, error) {
				return !slices.ContainsFunc(c.replicas, func(r *replica) bool { return !r.listening() }), nil
			}))
			c.senderFor(nil)
			b := button{campaign: c}
			var all sync.WaitGroup
			for i, name := range c.names() {
				all.Go(func() { b.pressAlways(ctx, name, c.dice(uint64(200+i))) })
			}
			all.Wait()
			late := spreadOf(b.late)
			c.figure(map[string]any{
				"presses": b.pressed, "of the whole fleet": b.fleet, "runs held back by one": b.held, "runs stopped at the last moment": b.human,
				"changes begun after the answer": len(b.late),
				"the latest after":               late.Max.String(), "worst_s": late.Max.Seconds(),
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
	whole   sync.Mutex // held while the whole fleet's button is pressed
	mu      sync.Mutex
	pressed int
	fleet   int
	human   int // runs stopped between intent and call, which called a human
	held    int // presses that a run met: it acted only after the release
	late    []time.Duration
}

// pressAlways breaks a service and presses the button while the alert is being worked on, again and again.
func (b *button) pressAlways(ctx context.Context, name string, dice *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		b.mu.Lock()
		enough := b.pressed >= part(presses)
		if !enough {
			b.pressed++
			if b.pressed%50 == 0 {
				b.t.Logf("%s: %d of %d presses, %d late", b.name, b.pressed, part(presses), len(b.late))
			}
		}
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
	p := press{of: map[string]string{"target": s.service}, on: []string{s.service}, at: b.replicas[dice.IntN(len(b.replicas))].base()}
	hold := b.hold
	if dice.IntN(10) == 0 {
		p.of, p.on, hold = map[string]string{}, b.names(), b.holdAll
	}
	if err := hold(ctx, s, p); err != nil {
		return err
	}
	return b.goOn(ctx, s)
}

// press is one press of the button: what it stops, on which targets, and the server it is pressed at.
type press struct {
	of map[string]string
	on []string
	at string
}

// holdAll is hold for the whole fleet's button: a second press of it would be lifted with the first.
func (b *button) holdAll(ctx context.Context, s *scene, p press) error {
	b.whole.Lock()
	defer b.whole.Unlock()
	return b.hold(ctx, s, p)
}

// hold presses the button, looks whether it holds, and releases it.
func (b *button) hold(ctx context.Context, s *scene, p press) error {
	request := map[string]string{"reason": "the torture presses it", "for": "10m"}
	maps.Copy(request, p.of)
	if err := b.api.callAt(ctx, p.at, http.MethodPost, "/v1/pause", request, &struct{}{}); err != nil {
		return err
	}
	answered := time.Now()
	pause(ctx, pressFor)
	released := time.Now()
	if err := b.api.insist(ctx, http.MethodPost, "/v1/resume", p.of, &struct{}{}); err != nil {
		return err
	}
	b.count(s, p.on, answered, released)
	return nil
}

// goOn waits until the outage is mended after all: what was refused while the button was pressed is judged again. Where a run was stopped
// between its intent and its call, a human has been called and goes on.
func (b *button) goOn(ctx context.Context, s *scene) error {
	within, cancel := context.WithTimeout(ctx, outageWithin)
	defer cancel()
	for s.awaitOutcome(within) {
		s.mu.Lock()
		ends := s.outages[s.outage].Ended
		s.mu.Unlock()
		mended := slices.ContainsFunc(ends, func(o remediation.Outcome) bool { return o != remediation.RefusedRun })
		if !mended && !b.handedOver(within, s) {
			continue
		}
		s.resolve()
		s.tidy(within)
		return nil
	}
	return fmt.Errorf("nothing was done about the outage %s after the release: its runs are %s", s.outage, b.became(ctx, s))
}

// handedOver reports whether a run of the scene was stopped at the last moment and has called a human.
func (b *button) handedOver(ctx context.Context, s *scene) bool {
	all, err := b.api.runs(ctx, s.service)
	s.note(err)
	stopped := slices.ContainsFunc(all, func(r remediation.Run) bool {
		return r.Alert.Labels["outage"] == s.outage && r.Outcome == remediation.RefusedRun && r.Acted && r.Escalated
	})
	if stopped {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.human++
	}
	return stopped
}

// became tells how the runs of a scene stand, and what was decided about the events that they are for.
func (b *button) became(ctx context.Context, s *scene) string {
	all, err := b.api.runs(ctx, s.service)
	var words []string
	for _, r := range all {
		if r.Alert.Labels["outage"] != s.outage {
			continue
		}
		words = append(words, fmt.Sprintf("%s %s %s %s %s: %s", r.ID, r.Rule, r.State, r.Outcome, r.Reason, r.Detail))
		var event struct{ Rulings []remediation.Ruling }
		err = errors.Join(err, b.api.insist(ctx, http.MethodGet, "/v1/events/"+r.Event, nil, &event))
		for _, ruling := range event.Rulings {
			words = append(words, fmt.Sprintf("%s %s: %s", ruling.Rule, ruling.Verdict, ruling.Detail))
		}
	}
	return fmt.Sprint(strings.Join(words, "; "), err)
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
