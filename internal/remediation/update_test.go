package remediation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// posts are what was posted of a run, in order, without its report.
func posts(v store.RunView) (texts []string) {
	for _, m := range v.Messages {
		if m.Channel == remediation.Slack && m.Kind != remediation.ReportRun {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// People are told every so often how a run at work stands, and no more once it is over. The call for a human after half an hour is news too.
func TestUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "do: [{fake.act: {to: worse}}]", "verify: {if: health.ok, hold: 1m, within: 40m, every: 10s}",
		"escalate: {after: 30m, need: call the database's owner}", "tell: {slack: {connection: chat, every: 15m, mention: [U024BE7LH]}}"))
	v := w.play(down(api))
	texts := posts(v)
	var updates int
	for _, text := range texts {
		if strings.HasPrefix(text, "Update: ") {
			updates++
			for _, part := range []string{"Status: changed at 12:00:", "not well yet: api is ", "Next: if it does not get well, a human is called, by 12:40:"} {
				if !strings.Contains(text, part) {
					t.Errorf("the update does not say %q:\n%s", part, text)
				}
			}
		}
	}
	if updates != 1 || v.Run.DoneAt.Sub(noon) < 40*time.Minute {
		t.Errorf("%d updates in %s:\n%s", updates, v.Run.DoneAt.Sub(noon), strings.Join(texts, "\n--\n"))
	}
	var calls []remediation.Message
	for _, m := range v.Messages {
		if m.Channel == remediation.Slack && m.Kind == remediation.Escalate {
			calls = append(calls, m)
		}
	}
	if len(calls) != 1 || len(calls[0].Mentions) != 1 {
		t.Fatalf("calls for a human: %+v", calls)
	}
	for _, part := range []string{"not fixed within 30m0s", "Issue: api: ", "Tried: set api from bad to worse", "Need: call the database's owner"} {
		if !strings.Contains(calls[0].Text, part) {
			t.Errorf("the call does not say %q:\n%s", part, calls[0].Text)
		}
	}
}

// A run that helped is summed up: what, why, what mended it.
func TestResolvedIsSummedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", "tell: {slack: {connection: chat}}"))
	texts := posts(w.play(down(api)))
	last := texts[len(texts)-1]
	for _, part := range []string{"Resolved: api: ", "Summary: rule cure mended api", "Cause: ", "Fix: set api from bad to good", "Verified: ", "Report: remediator report "} {
		if !strings.Contains(last, part) {
			t.Errorf("it does not say %q:\n%s", part, last)
		}
	}
	for _, text := range texts {
		if strings.HasPrefix(text, "Update: ") {
			t.Errorf("an update of a run that took minutes: %s", text)
		}
	}
}
