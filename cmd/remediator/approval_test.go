package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// asking is a house whose rollback waits for a human, under further words of `guard`.
func asking(t *testing.T, more string) (*house, string) {
	t.Helper()
	text := string(playbook.Playbook)
	at := strings.Index(text, "- name: roll-back-a-bad-deploy")
	text = text[:at] + strings.Replace(text[at:], "mode: auto", "mode: approve", 1)
	text = swap(t, text, "guard: {failures: 1, probe_after: 0s}", "guard: {failures: 1, probe_after: 0s"+more+"}")
	h := newHouse(t, houseConfig{rules: text, services: []sandbox.Service{{Name: backend, Revisions: []sandbox.Revision{
		{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour},
	}}}})
	_, err := h.world.Deploy(backend, sandbox.Revision{Health: sandbox.Sick503})
	succeed(t, err)
	return h, h.alert(healthFailed, backend)
}

// asked is the run that waits and the post that asks.
func (h *house) asked(t *testing.T) (run remediation.Run, ts string) {
	t.Helper()
	h.await(t, "a human is asked", func() bool {
		for _, r := range h.allRuns(t) {
			if r.Phase == remediation.PhaseAsk {
				run = r
			}
		}
		for _, m := range h.world.SlackMessages() {
			if strings.Contains(string(m.Blocks), run.Asked) && run.Asked != "" {
				ts = m.TS
			}
		}
		return ts != ""
	})
	return run, ts
}

// whispers are what single people were told in Slack.
func (h *house) whispers() (texts []string) {
	for _, e := range h.world.Ledger() {
		if e.Verb == "whispered" {
			texts = append(texts, e.Detail["text"].(string))
		}
	}
	return texts
}

func (h *house) click(t *testing.T, ts, button, user string) {
	t.Helper()
	began := time.Now()
	status, err := h.world.ClickSlack(ts, button, user)
	succeed(t, err)
	want(t, "answer to the click", status, http.StatusOK)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the click was answered after %s", took)
	}
}

func (h *house) done(t *testing.T, id string) edge.RunView {
	t.Helper()
	var view edge.RunView
	h.await(t, "the run is done", func() bool {
		var err error
		view, err = (&api{app: h.app}).Run(t.Context(), id)
		return err == nil && view.Run.State == remediation.Done
	})
	return view
}

// TestApprovedInSlack: one click lets the plan be carried out, and takes the buttons away; further clicks change nothing.
func TestApprovedInSlack(t *testing.T) {
	t.Parallel()
	h, _ := asking(t, "")
	run, ts := h.asked(t)
	h.click(t, ts, connect.ButtonApprove, "U0ANN")
	view := h.done(t, run.ID)
	want(t, "outcome", view.Run.Outcome, remediation.Fixed)
	want(t, "who approved", strings.Join(view.Run.Yes, " "), "slack:U0ANN")
	report, err := h.call(t, "report", run.ID)
	succeed(t, err)
	if !strings.Contains(report, "## What people did\n\n- ") || !strings.Contains(report, "slack:U0ANN approved the plan") {
		t.Errorf("the report does not name who approved:\n%s", report)
	}
	h.await(t, "the buttons are gone", func() bool {
		_, err := h.world.ClickSlack(ts, connect.ButtonDeny, "U0BOB")
		return err != nil
	})
	want(t, "changes", len(h.updates(backend)), 1)
}

// TestDeniedInSlack: a no ends the run with nothing touched, whatever is clicked after it.
func TestDeniedInSlack(t *testing.T) {
	t.Parallel()
	h, _ := asking(t, "")
	run, ts := h.asked(t)
	h.click(t, ts, connect.ButtonDeny, "U0ANN")
	view := h.done(t, run.ID)
	want(t, "outcome", view.Run.Outcome, remediation.RefusedRun)
	want(t, "reason", view.Run.Reason, guard.Denied)
	want(t, "changes", len(h.updates(backend)), 0)
}

// TestTwoPeople: where two have to say yes, one who says it twice is one; whoever may not answer is told so.
func TestTwoPeople(t *testing.T) {
	t.Parallel()
	h, _ := asking(t, `, approvals: 2, approvers: ["slack:U0ANN", "slack:U0BOB", "slack:U0CEE"]`)
	run, ts := h.asked(t)
	h.click(t, ts, connect.ButtonApprove, "U0EVE")
	h.click(t, ts, connect.ButtonApprove, "U0ANN")
	h.await(t, "the first yes is heard", func() bool {
		view, err := (&api{app: h.app}).Run(t.Context(), run.ID)
		return err == nil && len(view.Run.Yes) == 1
	})
	h.click(t, ts, connect.ButtonApprove, "U0ANN")
	want(t, "changes", len(h.updates(backend)), 0)
	told := strings.Join(h.whispers(), "\n")
	if !strings.Contains(told, "slack:U0EVE is not among those who may answer") || !strings.Contains(told, "slack:U0ANN has said yes already") {
		t.Errorf("they were told:\n%s", told)
	}
	h.click(t, ts, connect.ButtonApprove, "U0CEE")
	view := h.done(t, run.ID)
	want(t, "outcome", view.Run.Outcome, remediation.Fixed)
	want(t, "who approved", strings.Join(view.Run.Yes, " "), "slack:U0ANN slack:U0CEE")
}

// TestForgedClick: without the right signature nothing is heard.
func TestForgedClick(t *testing.T) {
	t.Parallel()
	h, _ := asking(t, "")
	run, ts := h.asked(t)
	h.world.SetSlackApp(sandbox.SlackApp{URL: h.url + "/v1/slack/slack", Secret: "another-secret-of-somebody-else"})
	status, err := h.world.ClickSlack(ts, connect.ButtonApprove, "U0ANN")
	succeed(t, err)
	want(t, "answer to a forged click", status, http.StatusUnauthorized)
	h.world.SetSlackApp(sandbox.SlackApp{URL: h.url + "/v1/slack/other", Secret: demoSlackSecret})
	status, err = h.world.ClickSlack(ts, connect.ButtonApprove, "U0ANN")
	succeed(t, err)
	want(t, "answer to a click of another workspace", status, http.StatusNotFound)
	view, err := (&api{app: h.app}).Run(t.Context(), run.ID)
	succeed(t, err)
	if view.Run.Phase != remediation.PhaseAsk && view.Run.Reason != guard.ApprovalExpired {
		t.Errorf("the run went on: %s %s", view.Run.Phase, view.Run.Detail)
	}
}

// TestNobodyApprovesTheirOwn: who starts a run by hand is not who approves it.
func TestNobodyApprovesTheirOwn(t *testing.T) {
	t.Parallel()
	h, _ := asking(t, "")
	other, ts := h.asked(t)
	h.click(t, ts, connect.ButtonDeny, "U0ANN")
	h.done(t, other.ID)
	out, err := h.call(t, "run", "roll-back-a-bad-deploy", "--target", backend, "--reason", "it is the deploy")
	succeed(t, err)
	var started struct{ Run string }
	succeed(t, json.Unmarshal([]byte(out), &started))
	run, ts := h.asked(t)
	want(t, "run that asks", run.ID, started.Run)
	_, err = h.call(t, "approve", run.ID, "--digest", run.Asked)
	if err == nil || !strings.Contains(err.Error(), "another person has to approve") {
		t.Errorf("approving one's own: %v", err)
	}
	h.click(t, ts, connect.ButtonApprove, "U0BOB")
	want(t, "outcome", h.done(t, run.ID).Run.Outcome, remediation.Fixed)
}
