package main

import (
	"os"
	"strings"
	"testing"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// calling is a house in which a human was called about the lost database, and the post that calls.
func calling(t *testing.T, rules string) (*house, string) {
	t.Helper()
	h := newHouse(t, houseConfig{rules: rules, services: []sandbox.Service{{Name: backend}}})
	succeed(t, h.world.SetMongoDoor(sandbox.MongoSlammed))
	succeed(t, h.world.SetDependency(backend, false))
	incident := h.alert(healthCheckFailed, backend)
	want(t, "outcome", h.run(t, backend, incident).Run.Outcome, remediation.Observed)
	for _, m := range h.world.SlackMessages() {
		if strings.Contains(string(m.Blocks), restartButton) {
			return h, m.TS
		}
	}
	t.Fatal("no call for help has a button")
	return nil, ""
}

const restartButton = "start:restart-the-service"

// started are the runs that people have begun.
func (h *house) started(t *testing.T) (all []remediation.Run) {
	t.Helper()
	for _, r := range h.allRuns(t) {
		if r.Origin == remediation.ByHand {
			all = append(all, r)
		}
	}
	return all
}

// TestButtonStartsARule: whoever presses it is named, and pressed again it does nothing more.
func TestButtonStartsARule(t *testing.T) {
	t.Parallel()
	h, ts := calling(t, "")
	succeed(t, h.world.SetDependency(backend, true))
	h.click(t, ts, restartButton, "U0ANN")
	h.click(t, ts, restartButton, "U0BOB")
	runs := h.started(t)
	want(t, "runs", len(runs), 1)
	view := h.done(t, runs[0].ID)
	want(t, "who started it", view.Run.Actor, "slack:U0ANN")
	want(t, "outcome", view.Run.Outcome, remediation.Fixed)
	want(t, "changes", len(h.updates(backend)), 1)
	if told := strings.Join(h.whispers(), "\n"); !strings.Contains(told, "Started in your name: run "+runs[0].ID) || !strings.Contains(told, "pressed already") {
		t.Errorf("they were told:\n%s", told)
	}
}

// TestButtonOfWhoMayNot: the rules in force say who may press, and whether there is a button at all.
func TestButtonOfWhoMayNot(t *testing.T) {
	t.Parallel()
	shipped := string(playbook.Playbook)
	h, ts := calling(t, swap(t, shipped, "    button: true", "    guard: {approvers: [\"slack:U0CEE\"]}\n    button: true"))
	h.click(t, ts, restartButton, "U0ANN")
	succeed(t, os.WriteFile(h.rules, []byte(swap(t, shipped, "    button: true", "    button: false")), 0o600))
	_, err := h.call(t, "reload")
	succeed(t, err)
	h.click(t, ts, restartButton, "U0CEE")
	want(t, "runs", len(h.started(t)), 0)
	if told := strings.Join(h.whispers(), "\n"); !strings.Contains(told, "may be started by slack:U0CEE alone") || !strings.Contains(told, "have no such button") {
		t.Errorf("they were told:\n%s", told)
	}
}
