package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// TestScripts plays the command line's scripts; `exits CODE command…` runs a command and judges its exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE command [args…]")
	}
	wish, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		code = ended.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != wish {
		ts.Fatalf("%s ended with %d, not %d", strings.Join(args[1:], " "), code, wish)
	}
}

// deliver sends a firing alert and gives the answer.
func (p *daemon) deliver(t *testing.T, since time.Time) string {
	t.Helper()
	status, _, body := send(t, p.alert(t, bytes.NewReader(firingBody(t, healthFailed, "api", since))))
	want(t, "status", status, nethttp.StatusAccepted)
	return body
}

// status is what `remediator status` says.
func (p *daemon) status(t *testing.T) edge.Status {
	t.Helper()
	code, said := p.verb(t, "status")
	want(t, "exit code of status", code, exitFine)
	var s edge.Status
	succeed(t, json.Unmarshal([]byte(said), &s))
	return s
}

// TestServeInAnEmptyDirectory: one rules file and its secret are enough.
func TestServeInAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	code, _ := p.verb(t, "health", "--server", p.url)
	want(t, "exit code of health", code, exitFine)
	p.deliver(t, time.Now())
	var listed struct{ Runs []remediation.Run }
	awaitWithin(t, 20*time.Second, "the run is done", func() bool {
		_, said := p.verb(t, "runs", "-o", "json", "--state", "done")
		return json.Unmarshal([]byte(said), &listed) == nil && len(listed.Runs) == 1
	})
	run := listed.Runs[0]
	want(t, "outcome", run.Outcome, remediation.Observed)
	_, said := p.verb(t, "runs")
	if !strings.Contains(said, run.ID) {
		t.Errorf("runs does not list %s:\n%s", run.ID, said)
	}
	_, said = p.verb(t, "runs", run.ID)
	for _, words := range []string{"chosen", "look-at-the-health", "it would only call a human", "journal"} {
		if !strings.Contains(said, words) {
			t.Errorf("runs %s does not say %q:\n%s", run.ID, words, said)
		}
	}
	code, _ = p.verb(t, "runs", "no-such-run")
	want(t, "exit code for a run that is not there", code, exitProblem)
	code, _ = p.verb(t, "runs", "--state", "sleeping")
	want(t, "exit code for a state that is none", code, exitUsage)
}

// TestSecondServeOnOneDatabase is told who has it.
func TestSecondServeOnOneDatabase(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	code, said := p.verb(t, "serve", "--web.listen-address", "127.0.0.1:0")
	want(t, "exit code", code, exitProblem)
	for _, words := range []string{"in use by another process", fmt.Sprint(p.cmd.Process.Pid)} {
		if !strings.Contains(said, words) {
			t.Errorf("the error does not say %q: %s", words, said)
		}
	}
	p.deliver(t, time.Now())
	want(t, "events of the first", p.status(t).Counts.Events[string(remediation.EventMatched)], 1)
}

// TestTokenOpensTheAPI: over TCP the verbs need the token; without one they are served on the socket alone.
func TestTokenOpensTheAPI(t *testing.T) {
	t.Parallel()
	dir := smallPlace(t)
	for name, text := range map[string]string{"api-token": "an-api-token-of-at-least-24-bytes", "another": "another-token-of-at-least-24-bytes"} {
		succeed(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	p := startServe(t, dir, "--web.token-file", "api-token")
	code, _ := p.verb(t, "status", "--server", p.url, "--token-file", "api-token")
	want(t, "exit code with the token", code, exitFine)
	code, said := p.verb(t, "status", "--server", p.url, "--token-file", "another")
	want(t, "exit code with another token", code, exitProblem)
	if strings.Contains(said, "another-token") {
		t.Errorf("the error tells the token: %s", said)
	}
	want(t, "status of the API without a token", statusOf(t.Context(), p.url+"/v1/status"), nethttp.StatusUnauthorized)
	info, err := os.Stat(filepath.Join(dir, "remediator.db.sock"))
	succeed(t, err)
	want(t, "the socket's mode", info.Mode().Perm(), 0o600)
}

// TestTermDrains: a delivery under way is taken to its end, new ones are not, and the next process finds it.
func TestTermDrains(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	address := strings.TrimPrefix(p.url, "http://")
	conn, err := net.Dial("tcp", address)
	succeed(t, err)
	defer func() { _ = conn.Close() }()
	body := firingBody(t, healthFailed, "api", time.Now())
	_, err = fmt.Fprintf(conn, "POST /v1/webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		smallToken, len(body), body[:10])
	succeed(t, err)
	want(t, "status meanwhile", statusOf(t.Context(), p.url+"/-/ready"), nethttp.StatusOK) // the server has read the first part by now
	succeed(t, p.cmd.Process.Signal(syscall.SIGTERM))
	awaitWithin(t, 10*time.Second, "nobody listens any more", func() bool { return statusOf(t.Context(), p.url+"/-/ready") == 0 })
	_, err = conn.Write(body[10:])
	succeed(t, err)
	answer, err := nethttp.ReadResponse(bufio.NewReader(conn), nil)
	succeed(t, err)
	_ = answer.Body.Close()
	want(t, "answer to the delivery under way", answer.StatusCode, nethttp.StatusAccepted)
	want(t, "exit code", p.wait(t), exitFine)
	if _, err := os.Stat(filepath.Join(p.dir, "remediator.db.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket was left behind: %v", err)
	}
	next := startServe(t, p.dir)
	want(t, "events", next.status(t).Counts.Events[string(remediation.EventMatched)], 1)
	want(t, "exit code of the next", next.end(t), exitFine)
}

// TestHangUpReloads: good rules come into force, bad ones change nothing.
func TestHangUpReloads(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	file, first := filepath.Join(p.dir, defaultRules), p.status(t).RulesHash
	succeed(t, os.WriteFile(file, []byte(smallRules+"# and a word\n"), 0o600))
	succeed(t, p.cmd.Process.Signal(syscall.SIGHUP))
	awaitWithin(t, 10*time.Second, "the rules are others", func() bool { return p.status(t).RulesHash != first })
	second := p.status(t).RulesHash

	succeed(t, os.WriteFile(file, []byte(smallRules+"    do: [{cloud_run.rollbak: {}}]\n"), 0o600))
	succeed(t, p.cmd.Process.Signal(syscall.SIGHUP))
	awaitWithin(t, 10*time.Second, "the log says why not", func() bool { return strings.Contains(p.log.String(), "cloud_run.rollbak") })
	want(t, "rules in force", p.status(t).RulesHash, second)
	p.deliver(t, time.Now())
}

// TestPauseAndResume: a paused fleet refuses and says why; after resume the next delivery of the same firing acts.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	_, err := h.call(t, "pause", "--target", "no-such-target", "--reason", "x")
	if err == nil || !strings.Contains(err.Error(), "no-such-target") {
		t.Errorf("a pause of an unknown target was not refused: %v", err)
	}
	_, err = h.call(t, "pause", "--reason", "we are moving the database")
	succeed(t, err)
	want(t, "pauses in the metrics", h.metric(t, "remediator_pauses"), "1")
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	fires := wire{"alertmanager", bearer(), firingBody(t, healthFailed, backend, time.Now())}
	first := h.deliver(t, fires)
	want(t, "reason while paused", first.Reason, guard.Paused)
	if !strings.Contains(first.Detail, "we are moving the database") {
		t.Errorf("the refusal does not say why it is paused: %s", first.Detail)
	}
	want(t, "changes while paused", len(h.updates(backend)), 0)

	_, err = h.call(t, "resume")
	succeed(t, err)
	want(t, "pauses in the metrics", h.metric(t, "remediator_pauses"), "0")
	h.await(t, "what the pause refused is judged again, and fixed", func() bool {
		return slices.ContainsFunc(h.allRuns(t), func(r remediation.Run) bool { return r.Outcome == remediation.Fixed })
	})
	want(t, "changes after resume", len(h.updates(backend)), 1)
}

// deliver sends a delivery and gives the run that it made, once that is done.
func (h *house) deliver(t *testing.T, w wire) remediation.Run {
	t.Helper()
	status, _, body := w.send(t, h.url)
	want(t, "status", status, nethttp.StatusAccepted)
	var kept struct{ Runs []string }
	succeed(t, json.Unmarshal([]byte(body), &kept))
	if len(kept.Runs) != 1 {
		t.Fatalf("the delivery made %d runs, not one: %s", len(kept.Runs), body)
	}
	var run remediation.Run
	h.await(t, "the delivery's run is done", func() bool {
		view, err := (&api{app: h.app}).Run(t.Context(), kept.Runs[0])
		run = view.Run
		return err == nil && run.State == remediation.Done
	})
	return run
}

// TestReleaseClosesTheBreaker that an act without effect has opened.
func TestReleaseClosesTheBreaker(t *testing.T) {
	t.Parallel()
	h, first := outcome{happens: func(t *testing.T, h *house) {
		before := h.serving(backend)
		deploysSick(t, h)
		succeed(t, h.world.SetHealth(backend, before, sandbox.Sick503))
	}}.begin(t)
	want(t, "outcome", h.run(t, backend, first).Run.Outcome, remediation.NotFixed)
	open := fmt.Sprintf(`remediator_breaker_open{rule=%q,target=%q}`, rollBack, backend)
	want(t, "the breaker after an act that did not help", h.metric(t, open), "1")
	succeed(t, h.world.HumanResolves(first))
	deploys(t, h, sandbox.Revision{Health: sandbox.Sick503, NoTraffic: true})
	succeed(t, h.world.Split(backend, sandbox.Share{Percent: 100}))
	want(t, "reason of the second try", h.run(t, backend, h.alert(healthFailed, backend)).Run.Reason, guard.BreakerOpen)

	out, err := h.call(t, "release", "--rule", rollBack, "--target", backend)
	succeed(t, err)
	want(t, "what release says", strings.Join(strings.Fields(out), ""), `{"released":2}`)
	want(t, "the breaker after release", h.metric(t, open), "0")
	third := h.run(t, backend, h.alert(healthFailed, backend)).Run
	want(t, "the breaker refuses after its release", third.Reason == guard.BreakerOpen, false)
	_, err = h.call(t, "release")
	var usage usageError
	if !errors.As(err, &usage) {
		t.Errorf("a release of everything by leaving something out was not refused as a mistake: %v", err)
	}
}

// TestMetricsAreClean by the judgement of Prometheus' own tool, after a run.
func TestMetricsAreClean(t *testing.T) {
	t.Parallel()
	promtool := need(t, "promtool", "prometheus")
	h, incident := outcome{happens: deploysSick}.begin(t)
	h.run(t, backend, incident)
	_, _, metrics := send(t, newRequest(t, nethttp.MethodGet, h.url+"/metrics", nil))
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(metrics)
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, said)
	}
	for _, series := range []string{
		fmt.Sprintf(`remediator_runs_total{outcome="fixed",rule=%q}`, rollBack),
		`remediator_steps_total{kind="cloud_run.rollback",result="ok"}`, `remediator_webhook_to_action_seconds_count`,
	} {
		want(t, series, h.metric(t, series), "1")
	}
	for _, series := range []string{
		fmt.Sprintf(`remediator_runs_total{outcome="needs_human",rule=%q}`, restartSick),
		`remediator_refusals_total{reason="storm"}`, fmt.Sprintf(`remediator_breaker_open{rule=%q,target=%q}`, rollBack, media),
	} {
		want(t, series, h.metric(t, series), "0")
	}
}

// TestShippedRulesAreWhatIsPlayed keeps the tests and the demo on the file that people get.
func TestShippedRulesAreWhatIsPlayed(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", defaultRules)
	text, err := os.ReadFile(file)
	succeed(t, err)
	want(t, "the embedded playbook", string(playbook.Playbook), string(text))
	var out bytes.Buffer
	succeed(t, check(&out, file, asText))
}
