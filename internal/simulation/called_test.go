package simulation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// Reassign calls the people who are named.
func (p *pagerPort) Reassign(ctx context.Context, id string, _ connect.People) error {
	return p.Escalate(ctx, id)
}

// Snooze lets an acknowledgement end by itself: no rule of the town has one.
func (p *pagerPort) Snooze(context.Context, string, time.Duration) error { panic("nobody snoozes") }

// RequestResponders asks more people to help.
func (p *pagerPort) RequestResponders(ctx context.Context, id string, _ connect.People, text string) error {
	return p.logs(ctx, "responders", id, text)
}

// SetPriority says how much is at stake.
func (p *pagerPort) SetPriority(ctx context.Context, id, _ string) error {
	return p.known(ctx, "priority", id, func(*incident) error { return nil })
}

// StatusUpdate tells the incident's subscribers.
func (p *pagerPort) StatusUpdate(ctx context.Context, id, text string) error {
	return p.logs(ctx, "status update", id, text)
}

// logs keeps what people are told, once each.
func (p *pagerPort) logs(ctx context.Context, what, id, text string) error {
	return p.known(ctx, what, id, func(in *incident) error {
		marker := text[strings.LastIndexByte(text, '\n')+1:]
		for _, former := range in.log {
			p.s.holds(!strings.HasSuffix(former, marker), "G2", "people are told twice on %s: %s", in.id, marker)
		}
		in.log = append(in.log, text)
		return nil
	})
}

// Logged looks for what they were told.
func (p *pagerPort) Logged(ctx context.Context, id, line string) (found bool, err error) {
	err = p.known(ctx, "log", id, func(in *incident) error {
		found = slices.ContainsFunc(in.log, func(text string) bool { return strings.HasSuffix(text, "\n"+line) })
		return nil
	})
	return found, err
}
