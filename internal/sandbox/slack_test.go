package sandbox_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"github.com/mixillo/remediator/internal/sandbox"
)

func TestSlackThreads(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	c := slack.New(sandbox.SlackToken, slack.OptionAPIURL(f.SlackURL()))
	_, err := c.AuthTestContext(f.ctx)
	must(t, err)
	channel, ts, err := c.PostMessageContext(f.ctx, "#incidents", slack.MsgOptionText("rolling back", false),
		slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "run", EventPayload: map[string]any{"id": "run-1"}}),
		slack.MsgOptionBlocks(slack.NewSectionBlock(slack.NewTextBlockObject("mrkdwn", "rolling *back*", false, false), nil, nil)))
	must(t, err)
	_, reply, err := c.PostMessageContext(f.ctx, channel, slack.MsgOptionText("fixed", false), slack.MsgOptionTS(ts))
	must(t, err)
	_, _, _, err = c.UpdateMessageContext(f.ctx, channel, ts, slack.MsgOptionText("rolled back", false), slack.MsgOptionBlocks())
	must(t, err)
	must(t, c.AddReactionContext(f.ctx, "white_check_mark", slack.NewRefToMessage(channel, ts)))

	replies, _, _, err := c.GetConversationRepliesContext(f.ctx, &slack.GetConversationRepliesParameters{ChannelID: channel, Timestamp: ts, IncludeAllMetadata: true})
	must(t, err)
	if len(replies) != 2 || replies[1].Timestamp != reply || replies[0].Text != "rolled back" || replies[0].Metadata.EventPayload["id"] != "run-1" {
		t.Errorf("%+v", replies)
	}
	history, err := c.GetConversationHistoryContext(f.ctx, &slack.GetConversationHistoryParameters{ChannelID: channel})
	must(t, err)
	if len(history.Messages) != 1 || history.Messages[0].Metadata.EventType != "" || len(history.Messages[0].Reactions) != 1 {
		t.Errorf("history shows threads' heads, without metadata unless asked: %+v", history.Messages)
	}
	if got := f.SlackMessages()[0]; string(got.Blocks) != "[]" || got.Edits != 1 {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"message_posted", "message_posted", "message_updated", "reaction_added"}, verbs(f.Ledger(), "slack")); diff != "" {
		t.Error(diff)
	}
}

func TestSlackFaults(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	f.SetSlack(sandbox.Fault{Status: 429, RetryAfter: 3 * time.Second})
	c := slack.New(sandbox.SlackToken, slack.OptionAPIURL(f.SlackURL()))
	_, _, err := c.PostMessageContext(f.ctx, "C1", slack.MsgOptionText("x", false))
	var limited *slack.RateLimitedError
	if !errors.As(err, &limited) || limited.RetryAfter != 3*time.Second {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]struct {
		client *slack.Client
		ts     string
		want   string
	}{
		"token":  {slack.New("xoxb-wrong", slack.OptionAPIURL(f.SlackURL())), "", "invalid_auth"},
		"thread": {c, "1.1", "thread_not_found"},
	} {
		_, _, err := c.client.PostMessageContext(f.ctx, "C1", slack.MsgOptionText("x", false), slack.MsgOptionTS(c.ts))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
