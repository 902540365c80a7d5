package notify

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// roomFake keeps what is posted, but into threads that are gone.
type roomFake struct {
	posts []connect.Post
	gone  []string
}

func (*roomFake) Close() error    { return nil }
func (*roomFake) Clickable() bool { return false }
func (*roomFake) Find(context.Context, string, string, string) (string, bool, error) {
	return "", false, nil
}
func (*roomFake) Replace(context.Context, string, string, string) error { return nil }
func (r *roomFake) Post(_ context.Context, p connect.Post) (string, error) {
	if slices.Contains(r.gone, p.Thread) {
		return "", errPermanent
	}
	r.posts = append(r.posts, connect.Post{Thread: p.Thread, Text: p.Text, Broadcast: p.Broadcast})
	return "17." + p.Marker, nil
}

// A call for a human is seen by the whole room, because a thread calls nobody who is not in it; what else is told stays in the thread.
func TestACallForAHumanLeavesTheThread(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gone []string
		want []connect.Post
	}{
		"in the thread":                {nil, []connect.Post{{Text: "about to act"}, {Text: "not fixed", Thread: "17.m1", Broadcast: true}, {Text: "ended", Thread: "17.m1"}}},
		"whose first post was deleted": {[]string{"17.m1"}, []connect.Post{{Text: "about to act"}, {Text: "not fixed"}, {Text: "ended"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &roomFake{gone: c.gone}
			s := newStand(connect.Set{"slack": r},
				remediation.Message{ID: "m1", Channel: remediation.Slack, Kind: remediation.Post, Text: "about to act"},
				remediation.Message{ID: "m2", Channel: remediation.Slack, Kind: remediation.Escalate, Text: "not fixed"},
				remediation.Message{ID: "m3", Channel: remediation.Slack, Kind: remediation.Post, Text: "ended"},
			)
			s.finish(t, rooms, 3)
			if diff := cmp.Diff(c.want, r.posts); diff != "" {
				t.Errorf("posts (-want +got):\n%s", diff)
			}
		})
	}
}
