package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// whisperWithin bounds the telling of a person who clicked: Slack waits three seconds.
const whisperWithin = 1500 * time.Millisecond

// Click implements http.Clicks.
func (a *api) Click(ctx context.Context, connection string, header http.Header, body []byte) error {
	slack, err := connect.Get[*connect.Slack](a.app.connections(), connection)
	if err != nil {
		return fmt.Errorf("%w: %w", remediation.ErrNotFound, err)
	}
	click, err := slack.Click(header, body, time.Now())
	if err != nil {
		return err
	}
	answer := remediation.Approval{
		Run: click.Run, Digest: click.Digest, Actor: "slack:" + click.User, Approved: click.Approve, At: a.app.store.Now(), Reason: "by the button",
	}
	err = a.Answer(ctx, answer)
	a.app.config.Log.WarnContext(ctx, "a plan was answered in Slack", "run", answer.Run, "approved", answer.Approved, "actor", answer.Actor, "error", err)
	if err != nil {
		a.whisper(ctx, slack, click, err)
	}
	return nil
}

// whisper tells the person why their click does nothing.
func (a *api) whisper(ctx context.Context, slack *connect.Slack, click connect.Click, why error) {
	ctx, cancel := context.WithTimeout(ctx, whisperWithin)
	defer cancel()
	text := "Your answer could not be kept; the command line may be able to: remediator approve or deny " + click.Run
	var refusal *guard.Refusal
	switch {
	case errors.As(why, &refusal):
		text = "Your answer does not count: " + refusal.Detail
	case errors.Is(why, remediation.ErrStaleHint):
		text = "This question has its answer, or its time is over."
	}
	if err := slack.Whisper(ctx, click.Channel, click.User, text); err != nil {
		a.app.config.Log.WarnContext(ctx, "somebody who clicked was not told why it does nothing", "run", click.Run, "error", err)
	}
}
