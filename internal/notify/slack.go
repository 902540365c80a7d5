package notify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/remediation"
)

// room is what is asked of a *connect.Slack.
type room interface {
	io.Closer
	Post(ctx context.Context, p connect.Post) (string, error)
	Find(ctx context.Context, channel, thread, marker string) (string, bool, error)
	Replace(ctx context.Context, channel, ts, text string) error
	Clickable() bool
}

// tellSlack posts into the thread of the lane's first message. The marker lets a post whose answer was lost be found again.
func (n *Notifier) tellSlack(ctx context.Context, m remediation.Message, thread string) (told, error) {
	slack, err := client[room](n, m)
	if err != nil {
		return told{}, err
	}
	if m.Kind == remediation.Replace {
		return replace(ctx, slack, m, thread)
	}
	if m.Kind == remediation.ReportRun {
		if m.Text, err = n.reportPart(ctx, m); err != nil {
			return told{}, err
		}
	}
	if inDoubt(m) {
		ts, found, err := slack.Find(ctx, m.Room, thread, m.ID)
		if err != nil {
			return told{}, fmt.Errorf("looking for an earlier post: %w", err)
		}
		if found {
			return sentAs(ts), nil
		}
	}
	before(m.Channel, remediation.Post)
	post := connect.Post{
		Channel: m.Room, Thread: thread, Broadcast: thread != "" && m.Kind == remediation.Escalate, Text: m.Text, Mentions: m.Mentions, Marker: m.ID,
	}
	if m.Asks != "" && slack.Clickable() {
		post.Ask = &connect.Ask{Run: m.Run, Digest: m.Asks}
	}
	if slack.Clickable() {
		for _, rule := range m.Starts {
			post.Starts = append(post.Starts, connect.Start{Rule: rule, Target: m.Target, Run: m.Run})
		}
	}
	ts, err := slack.Post(ctx, post)
	if err != nil && thread != "" && connect.IsPermanent(err) { // somebody may have deleted the thread: that it is told matters more than where
		post.Thread, post.Broadcast = "", false
		ts, err = slack.Post(ctx, post)
	}
	if err != nil {
		return told{}, fmt.Errorf("posting: %w", err)
	}
	after(m.Channel, remediation.Post)
	return sentAs(ts), nil
}

// reportPart is what a part of a run's report says now; of one that is gone it is said how it was to be had.
func (n *Notifier) reportPart(ctx context.Context, m remediation.Message) (string, error) {
	if n.cfg.Report == nil {
		return m.Text, nil
	}
	r, err := n.cfg.Report(ctx, m.Run)
	if errors.Is(err, remediation.ErrNotFound) {
		return m.Text, nil
	}
	if err != nil {
		return "", fmt.Errorf("%w for the report: %w", errOutbox, err)
	}
	posts := r.Posts()
	return posts[min(m.Part, len(posts)-1)], nil
}

// replace puts the message in the place of the one it is of, which is found by its marker. Replacing it again changes nothing.
func replace(ctx context.Context, slack room, m remediation.Message, thread string) (told, error) {
	ts, found, err := slack.Find(ctx, m.Room, thread, m.Of)
	switch {
	case err != nil:
		return told{}, fmt.Errorf("looking for the post to replace: %w", err)
	case !found:
		return told{state: remediation.MessageSkipped, why: "the post to replace is not there"}, nil
	}
	before(m.Channel, m.Kind)
	if err := slack.Replace(ctx, m.Room, ts, m.Text); err != nil {
		return told{}, fmt.Errorf("replacing a post: %w", err)
	}
	after(m.Channel, m.Kind)
	return sentAs(ts), nil
}

func sentAs(remote string) told { return told{state: remediation.MessageSent, remote: remote} }

// client finds the message's connection among those in force.
func client[C io.Closer](n *Notifier, m remediation.Message) (C, error) {
	c, err := connect.Get[C](n.cfg.Connections(), m.Connection)
	if err != nil {
		return c, fmt.Errorf("%w: %w", errNoClient, err)
	}
	return c, nil
}

// before and after mark the remote calls for crash tests: after one, the system has committed what we have not recorded yet.
func before(c remediation.Channel, k remediation.MessageKind) {
	failpoint.Here("notify." + string(c) + "." + string(k) + ".before")
}

func after(c remediation.Channel, k remediation.MessageKind) {
	failpoint.Here("notify." + string(c) + "." + string(k) + ".after")
}
