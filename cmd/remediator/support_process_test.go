package main

import (
	"bytes"
	"encoding/json"
	"io"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemon is the program itself, started as people start it.
type daemon struct {
	cmd    *exec.Cmd
	dir    string
	url    string
	log    *logBook
	exited chan struct{}
	code   int // once exited is closed
}

// smallRules is a rules file that a new directory may begin with. The health check of its only target is never answered.
const smallRules = `version: 1
sources:
  alertmanager: {bearer_token_file: token}
targets:
  api: {health: "http://127.0.0.1:9/health"}
rules:
  - name: look-at-the-health
    match: [alertname="HealthCheckFailed"]
    target: api
    gather:
      health: {http.get: {url: "{{ .Target.Health }}", tries: 1}}
    if: health.sick
`

const smallToken = "a-token-of-at-least-24-bytes"

// smallPlace is a directory with the small rules and their secret.
func smallPlace(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	succeed(t, os.WriteFile(filepath.Join(dir, defaultRules), []byte(smallRules), 0o600))
	succeed(t, os.WriteFile(filepath.Join(dir, "token"), []byte(smallToken), 0o600))
	return dir
}

// startServe starts `remediator serve` in a directory and waits until it is up.
func startServe(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	p := start(t, dir, append([]string{"serve", "--web.listen-address", "127.0.0.1:0"}, args...)...)
	awaitWithin(t, 30*time.Second, "remediator is up", func() bool {
		p.url = p.address()
		return p.url != "" || p.gone()
	})
	if p.gone() {
		t.Fatalf("serve ended with %d:\n%s", p.code, p.log)
	}
	return p
}

// start starts the program. It is ended with the test.
func start(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	p := &daemon{dir: dir, log: &logBook{}, exited: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), programName, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
	succeed(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("what %v said:\n%s", args, p.log)
		}
	})
	return p
}

// address is where the log says that it listens, "" while it does not say.
func (p *daemon) address() string {
	for line := range strings.Lines(p.log.String()) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "remediator is up" {
			return "http://" + entry.Address
		}
	}
	return ""
}

func (p *daemon) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// end sends SIGTERM and gives the exit code.
func (p *daemon) end(t *testing.T) int {
	t.Helper()
	succeed(t, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.wait(t)
}

func (p *daemon) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.code
	case <-time.After(30 * time.Second):
		t.Fatalf("the program did not end:\n%s", p.log)
		return -1
	}
}

// alert delivers an Alertmanager body with the small rules' token.
func (p *daemon) alert(t *testing.T, body io.Reader) *nethttp.Request {
	t.Helper()
	req := newRequest(t, nethttp.MethodPost, p.url+"/v1/webhooks/alertmanager", body)
	req.Header.Set("Authorization", "Bearer "+smallToken)
	return req
}

// verb runs the program to its end in the process's directory: its exit code and what it said.
func (p *daemon) verb(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return runProgram(t, p.dir, args...)
}

func runProgram(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programName, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), said.String()
}

// firingBody is an Alertmanager delivery of one firing alert.
func firingBody(t *testing.T, alertname, service string, since time.Time) []byte {
	t.Helper()
	labels := map[string]string{"alertname": alertname, "service": service, "severity": "critical"}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": "{}:{alertname=\"" + alertname + "\"}", "status": "firing", "receiver": "all",
		"alerts": []any{map[string]any{
			"status": "firing", "labels": labels, "annotations": map[string]string{}, "startsAt": since, "endsAt": time.Time{},
		}},
	})
	succeed(t, err)
	return body
}
