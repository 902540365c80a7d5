package notify

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// slowShelf is an Outbox of one message that takes its time, and remembers which leases were asked for and for how long each was used.
type slowShelf struct {
	next   time.Duration // how long Next takes
	hangs  bool          // End takes as long as it is let
	leases []time.Duration
	used   []time.Duration
	from   time.Time
	taken  bool
}

func (s *slowShelf) Next(_ context.Context, l remediation.Lane, now time.Time, lease time.Duration) (remediation.Message, string, bool, error) {
	if s.taken {
		return remediation.Message{}, "", false, nil
	}
	s.taken, s.from, s.leases = true, now, append(s.leases, lease)
	time.Sleep(s.next)
	return remediation.Message{ID: "m1", Run: l.Run, Channel: l.Channel, Kind: remediation.Note, IncidentID: "Q1", Connection: "pagerduty", CreatedAt: now}, "", true, nil
}

func (s *slowShelf) End(ctx context.Context, _ remediation.Sent) error {
	if s.hangs {
		<-ctx.Done()
	}
	s.used = append(s.used, time.Since(s.from))
	return nil
}

func (s *slowShelf) OtherRuns(context.Context, remediation.Message) (int, error) { return 0, nil }

// hangingPager answers a note after a while, or not at all.
type hangingPager struct {
	pagerFake
	after time.Duration
}

func (p *hangingPager) Note(ctx context.Context, _, _ string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.after):
		return nil
	}
}

func slowNotifier(s *slowShelf, p *hangingPager, lease time.Duration) *Notifier {
	return New(Config{
		Outbox: s, Connections: func() connect.Set { return connect.Set{"pagerduty": p} }, Lease: lease,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// TestLeaseOutlivesTheLongestAttempt: with a system and an outbox that hang as long as they are let, the end is written down, or given up,
// while nobody else may take the message.
func TestLeaseOutlivesTheLongestAttempt(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, time.Minute} {
		for _, next := range []time.Duration{0, 100 * time.Millisecond, 9 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				s := &slowShelf{hangs: true, next: next}
				n := slowNotifier(s, &hangingPager{after: time.Hour}, lease)
				for range longestStretch + 1 {
					s.taken = false
					if err := n.Deliver(t.Context(), lane); err != nil {
						t.Fatal(err)
					}
				}
				for i, used := range s.used {
					if used >= s.leases[i] && next < s.leases[i]/2 {
						t.Errorf("lease %s, outbox %s: attempt %d used %s of its lease of %s", lease, next, i+1, used, s.leases[i])
					}
				}
			})
		}
	}
}

func TestLeaseIsShortUntilASystemIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := &slowShelf{}, &hangingPager{after: time.Hour}
		n := slowNotifier(s, p, 0)
		deliver := func(after time.Duration) {
			s.taken, p.after = false, after
			if err := n.Deliver(t.Context(), lane); err != nil {
				t.Fatal(err)
			}
		}
		for _, after := range []time.Duration{time.Hour, time.Hour, time.Hour, 40 * time.Second, time.Second, time.Second} {
			deliver(after)
		}
		want := []time.Duration{20 * time.Second, 40 * time.Second, 60 * time.Second, 60 * time.Second, 20 * time.Second, 20 * time.Second}
		if diff := cmp.Diff(want, s.leases); diff != "" {
			t.Errorf("leases (-want +got):\n%s", diff)
		}
		if used := s.used[3]; used != 40*time.Second {
			t.Errorf("a system that needs 40s was given %s", used)
		}
	})
}

func TestLeaseIsStretchedByNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := slowNotifier(&slowShelf{}, &hangingPager{}, 4*time.Second)
		stopped, stop := context.WithCancel(t.Context())
		stop()
		s := &slowShelf{}
		n.cfg.Outbox = s
		_, _ = n.next(stopped, lane)
		n.adapt(lane.Channel, errors.New("refused"), false)
		if got := n.span(lane.Channel); got.lease != 4*time.Second {
			t.Errorf("the lease is %s", got.lease)
		}
		n.adapt(lane.Channel, context.DeadlineExceeded, true)
		if got := n.span(rooms.Channel); got.lease != 4*time.Second {
			t.Errorf("a slow PagerDuty stretches Slack's lease to %s", got.lease)
		}
	})
}
