package simulation

import (
	"context"
	"fmt"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// slackPort is Slack as one life of a replica reaches it.
type slackPort struct{ *life }

// Close implements io.Closer.
func (*slackPort) Close() error { return nil }

// Post posts.
func (p *slackPort) Post(ctx context.Context, post connect.Post) (string, error) {
	p.enter("post")
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if p.s.strikes(slackFails) {
		return "", (&port{p.life}).silence(ctx)
	}
	for _, text := range p.s.posts {
		if strings.HasSuffix(text, post.Marker) {
			p.s.violate("G2", "the post %s is in Slack twice", post.Marker)
		}
	}
	p.s.posts = append(p.s.posts, post.Text+"\n"+post.Marker)
	ts := fmt.Sprintf("ts-%d", len(p.s.posts))
	p.s.judgeRoom(post, ts)
	p.leave("post", true)
	return ts, nil
}

// judgeRoom: what is posted of one incident stands in one thread, whichever run it is of. A thread that was begun by the other road may have had no
// incident then: it is another one while its key fires anew, and those who know the incident may join it later.
func (s *sim) judgeRoom(post connect.Post, ts string) {
	thread := post.Thread
	if thread == "" {
		thread = ts
	}
	rec, ok := s.record(post.Marker[:max(strings.LastIndexByte(post.Marker, '-'), 0)])
	if !ok || rec.Run.Origin != remediation.ByAlert {
		return
	}
	if rec.Run.Alert.Source != "pd" || rec.Run.Alert.IncidentID == "" {
		s.others[thread] = true
	}
	if s.others[thread] {
		return
	}
	former, known := s.threads[rec.Run.Alert.IncidentID]
	s.holds(!known || former == thread, "G2", "the posts of incident %s stand in the threads %s and %s", rec.Run.Alert.IncidentID, former, thread)
	s.threads[rec.Run.Alert.IncidentID] = thread
}

// report is a run's as the store has it; what it says has ended.
func (l *life) report(_ context.Context, run string) (remediation.Report, error) {
	rec, ok := l.s.record(run)
	if !ok {
		return remediation.Report{}, remediation.ErrNotFound
	}
	l.s.holds(rec.Run.State == remediation.Done, "G14", "the report of run %s is posted while it is %s", run, rec.Run.State)
	return remediation.NewReport(remediation.Told{Run: rec.Run, Steps: rec.Steps, Rulings: rec.Rulings, Entries: rec.Entries}), nil
}

// Find finds a post by its marker.
func (p *slackPort) Find(_ context.Context, _, _, marker string) (string, bool, error) {
	p.enter("find post")
	for i, text := range p.s.posts {
		if strings.HasSuffix(text, marker) {
			return fmt.Sprintf("ts-%d", i+1), true, nil
		}
	}
	return "", false, nil
}

// Clickable: the town's Slack has buttons.
func (*slackPort) Clickable() bool { return true }

// Replace takes the buttons of a post away.
func (p *slackPort) Replace(ctx context.Context, _, _, _ string) error {
	p.enter("replace post")
	if p.s.strikes(slackFails) {
		return (&port{p.life}).silence(ctx)
	}
	p.leave("replace post", true)
	return ctx.Err()
}
