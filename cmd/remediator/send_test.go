package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// sendersRules is what somebody who plays the senders needs of a rules file: the sources with their secrets.
const sendersRules = `version: 1
sources:
  pagerduty: {signing_secret_file: %[1]s/signing}
  alertmanager: {bearer_token_file: %[1]s/bearer}
connections:
  pagerduty: {token_file: not/needed, from: bot@example.com}
targets:
  api: {health: "http://127.0.0.1:9/health"}
rules:
  - {name: look, match: [alertname="X"], target: api, gather: {health: {http.get: {}}}, if: health.sick}
`

// sends plays a sender against the house's server.
func (h *house) sends(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(h.dir, "senders.yaml")
	succeed(t, os.WriteFile(path, fmt.Appendf(nil, sendersRules, h.dir), 0o600))
	return h.call(t, append([]string{"send", "--rules", path, "--to", h.url}, args...)...)
}

// drills plays a drill of the bad deploy's alert.
func (h *house) drills(t *testing.T, source, expect string) (string, error) {
	t.Helper()
	return h.sends(t, source, "--drill", "--label", "alertname="+healthFailed, "--label", "service="+backend, "--label", "severity=critical", "--expect", expect)
}

// touched is all that the stand-ins have seen of us.
func (h *house) touched() (all []string) {
	for _, e := range h.world.Ledger() {
		if e.By != sandbox.Human && (e.System == "cloud_run" || e.System == "pagerduty" || e.System == "slack") {
			all = append(all, e.System+" "+e.Verb+" "+e.Resource)
		}
	}
	return all
}

const rollbackChosen = "rule=" + rollBack + " verdict=chosen target=" + backend + " action=cloud_run.rollback"

// TestDrillBesideARealOutage: before, during and after it a drill is decided as the alert is, and only the alert leaves traces.
func TestDrillBesideARealOutage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	before := len(h.touched())
	for _, source := range []string{"alertmanager", "pagerduty"} {
		said, err := h.drills(t, source, rollbackChosen)
		if err != nil || !strings.Contains(said, "as expected") || !strings.Contains(said, "a drill, nothing was touched: it would ") {
			t.Errorf("a drill by %s: %v\n%s", source, err, said)
		}
	}
	said, err := h.drills(t, "alertmanager", "rule="+restartSick)
	if !errors.Is(err, errProblem) || !strings.Contains(said, "expected: rule="+restartSick) || !strings.Contains(said, "got:      "+rollbackChosen) {
		t.Errorf("a drill that is decided otherwise: %v\n%s", err, said)
	}
	_, err = h.call(t, "pause", "--reason", "moving")
	succeed(t, err)
	if said, err := h.drills(t, "pagerduty", "rule="+rollBack+" verdict=refused reason=paused outcome=refused"); err != nil {
		t.Errorf("a drill that has to be refused: %v\n%s", err, said)
	}
	_, err = h.call(t, "resume")
	succeed(t, err)
	if after := h.touched(); len(after) != before {
		t.Errorf("drills have touched something: %v", after[before:])
	}

	incident := h.alert(healthFailed, backend)
	if said, err := h.sends(t, "pagerduty", "--drill", "--label", "alertname="+healthFailed, "--label", "service="+backend); err != nil {
		t.Errorf("a drill beside the alert: %v\n%s", err, said)
	}
	want(t, "the alert's outcome", h.run(t, backend, incident).Run.Outcome, remediation.Fixed)
	want(t, "changes", len(h.updates(backend)), 1)
	if said, err := h.drills(t, "alertmanager", "rule="+rollBack+" verdict=if_false"); err != nil {
		t.Errorf("a drill of what is well again: %v\n%s", err, said)
	}
	h.drillsShow(t)
}

// drillsShow: the lists mark what was a drill, and no drill has told anybody.
func (h *house) drillsShow(t *testing.T) {
	t.Helper()
	drills := 0
	for _, r := range h.allRuns(t) {
		if r.Origin != remediation.ByDrill {
			continue
		}
		drills++
		said, err := h.call(t, "runs", r.ID)
		if err != nil || !strings.Contains(said, "(drill "+r.Drill+")") || r.Told > 0 {
			t.Errorf("a drill is shown as: %v\n%s", err, said)
		}
	}
	want(t, "drills", drills, 6)
	listed, err := h.call(t, "runs")
	succeed(t, err)
	want(t, "drills in the list", strings.Count(listed, "  (drill "), drills)
	want(t, "rollbacks in the metrics", h.metric(t, fmt.Sprintf(`remediator_runs_total{outcome="observed",rule=%q}`, rollBack)), "0")
}

// TestSend: the road is proved by the sender's own test, and what the server says is told in words.
func TestSend(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{})
	for source, says := range map[string]string{"pagerduty": "PagerDuty's test of the subscription", "alertmanager": "accepted: event "} {
		if said, err := h.sends(t, source, "--wait"); err != nil || !strings.Contains(said, says) || !strings.Contains(said, "verdict=not_matched") {
			t.Errorf("%s: %v\n%s", source, err, said)
		}
	}
	said, err := h.sends(t, "alertmanager", "--event", "resolved", "-o", "json")
	var got sentAnswer
	if err != nil || json.Unmarshal([]byte(said), &got) != nil || got.Event == "" || got.ID == "" {
		t.Errorf("%v\n%s", err, said)
	}
	body := filepath.Join(h.dir, "body.json")
	succeed(t, os.WriteFile(body, firingBody(t, "Else", "api", time.Now()), 0o600))
	if said, err := h.sends(t, "alertmanager", "--file", body); err != nil || strings.Contains(said, "under the id") {
		t.Errorf("a file as it is: %v\n%s", err, said)
	}
	forger := &house{stage: &stage{dir: shortDir(t), url: h.url}, socket: h.socket}
	for _, name := range []string{"signing", "bearer"} {
		succeed(t, os.WriteFile(filepath.Join(forger.dir, name), []byte("a-wrong-secret-of-at-least-24-bytes"), 0o600))
	}
	for _, source := range []string{"pagerduty", "alertmanager"} {
		if said, err := forger.sends(t, source); err == nil || !strings.Contains(err.Error(), "refused: the server answered 401") || strings.Contains(err.Error()+said, "a-wrong-secret") {
			t.Errorf("a wrong secret of %s: %v\n%s", source, err, said)
		}
	}
}

// TestSendRefusesToSend what was asked for wrongly: nothing reaches the server.
func TestSendRefusesToSend(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	for _, name := range []string{"signing", "bearer"} {
		succeed(t, os.WriteFile(filepath.Join(dir, name), []byte("a-secret-of-at-least-24-bytes"), 0o600))
	}
	path := filepath.Join(dir, "rules.yaml")
	succeed(t, os.WriteFile(path, fmt.Appendf(nil, sendersRules, dir), 0o600))
	server := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { t.Error("something was sent") }))
	defer server.Close()
	for name, args := range map[string][]string{
		"no source":             {"--to", server.URL},
		"an unknown source":     {"slack", "--to", server.URL},
		"no address":            {"alertmanager"},
		"no URL":                {"alertmanager", "--to", "nowhere"},
		"a user in the URL":     {"alertmanager", "--to", "http://ann:secret@127.0.0.1:1"},
		"an unknown event":      {"alertmanager", "--to", server.URL, "--event", "melted"},
		"a made-up incident":    {"pagerduty", "--to", server.URL, "--event", "triggered"},
		"a certificate alone":   {"alertmanager", "--to", server.URL, "--client-cert", "c"},
		"expected, not drilled": {"alertmanager", "--to", server.URL, "--expect", "rule=look"},
		"an unknown field":      {"alertmanager", "--to", server.URL, "--drill", "--expect", "colour=red"},
		"a bad id":              {"alertmanager", "--to", server.URL, "--id", "a/b"},
		"a bad time":            {"alertmanager", "--to", server.URL, "--began", "yesterday"},
		"a drill of a list":     {"alertmanager", "--to", server.URL, "--drill", "--file", filepath.Join(dir, "signing")},
	} {
		root := newRoot()
		root.SetOut(io.Discard)
		root.SetArgs(append([]string{"send", "--rules", path}, args...))
		var usage usageError
		if err := root.ExecuteContext(t.Context()); !errors.As(err, &usage) || strings.Contains(err.Error(), "secret-of") {
			t.Errorf("%s: %v, want a usage error", name, err)
		}
	}
}

func TestPlainHTTPOnlyHere(t *testing.T) {
	t.Parallel()
	for host, here := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "10.0.0.1": false, "localhost.example.com": false} {
		want(t, host, loopback(host), here)
	}
}

func TestExpectation(t *testing.T) {
	t.Parallel()
	chosen := decision{Rule: "r", Verdict: "chosen", Target: "api", Action: "fake.act", Mode: "auto", Outcome: "observed"}
	refused := decision{Rule: "q", Verdict: "refused", Target: "api", Reason: "cooldown", Outcome: "refused"}
	all := []decision{chosen, refused}
	for text, met := range map[string]bool{
		"rule=r": true, "rule=q": false, "rule=q reason=cooldown": true, "rule=r reason=cooldown": false, "verdict=refused reason=cooldown": true,
		"rule=r verdict=chosen target=api action=fake.act": true, "rule=r action=fake.other": false, "target=web": false, "verdict=not_matched": false,
	} {
		e, err := parseExpectation(strings.Fields(text))
		succeed(t, err)
		want(t, text, e.met(all), met)
	}
	for _, wrong := range []string{"rule", "rule=", "=r", "rule=a rule=b", "colour=red"} {
		if _, err := parseExpectation([]string{wrong}); err == nil {
			t.Errorf("%q was taken for an expectation", wrong)
		}
	}
	if e, err := parseExpectation(nil); err != nil || len(e) > 0 {
		t.Errorf("nothing is expected: %v, %v", e, err)
	}
}
