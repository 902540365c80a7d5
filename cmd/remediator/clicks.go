package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	if click.Start.Rule != "" {
		a.startByButton(ctx, slack, click)
		return nil
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

// startByButton starts a rule in the name of whoever clicked, and tells them what became of it.
func (a *api) startByButton(ctx context.Context, slack *connect.Slack, click connect.Click) {
	p := remediation.ByPerson{
		Rule: click.Start.Rule, Target: click.Start.Target, Actor: "slack:" + click.User, Reason: "by the button of run " + click.Start.Run,
		Pressed: click.Start.Rule + " " + click.Start.Target, At: click.Posted,
	}
	text, err := a.pressed(ctx, p)
	a.app.config.Log.WarnContext(ctx, "a rule was started in Slack", "rule", p.Rule, "target", p.Target, "actor", p.Actor, "error", err)
	a.tellWhoClicked(ctx, slack, click, text)
}

// pressed starts what a button is for, and says what became of it.
func (a *api) pressed(ctx context.Context, p remediation.ByPerson) (string, error) {
	if rule, ok := a.app.book.Current().Rule(p.Rule); !ok || !rule.Button {
		return "Nothing was started: the rules in force have no such button.", remediation.ErrNotFound
	} else if by := rule.Approval.By; len(by) > 0 && !slices.Contains(by, p.Actor) {
		return "Nothing was started: " + p.Rule + " may be started by " + strings.Join(by, ", ") + " alone.", guard.Refuse(guard.NeedsApproval, "%s may not start it", p.Actor)
	}
	accepted, err := a.app.engine.Start(ctx, p)
	switch {
	case err != nil:
		return "Nothing was started; the command line may be able to: remediator run " + p.Rule + " --target " + p.Target, err
	case accepted.Duplicate:
		return "This button has been pressed already.", nil
	case len(accepted.Runs) == 0:
		return "Nothing was started: a run on " + p.Target + " is at work.", nil
	default:
		return "Started in your name: run " + accepted.Runs[0].Run, nil
	}
}

// whisper tells the person why their click does nothing.
func (a *api) whisper(ctx context.Context, slack *connect.Slack, click connect.Click, why error) {
	text := "Your answer could not be kept; the command line may be able to: remediator approve or deny " + click.Run
	var refusal *guard.Refusal
	switch {
	case errors.As(why, &refusal):
		text = "Your answer does not count: " + refusal.Detail
	case errors.Is(why, remediation.ErrStaleHint):
		text = "This question has its answer, or its time is over."
	}
	a.tellWhoClicked(ctx, slack, click, text)
}

func (a *api) tellWhoClicked(ctx context.Context, slack *connect.Slack, click connect.Click, text string) {
	ctx, cancel := context.WithTimeout(ctx, whisperWithin)
	defer cancel()
	if err := slack.Whisper(ctx, click.Channel, click.User, text); err != nil {
		a.app.config.Log.WarnContext(ctx, "somebody who clicked was not told what became of it", "user", click.User, "error", err)
	}
}
