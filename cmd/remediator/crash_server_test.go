package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
)

// crashRules is the shipped rollback rule with short waits. The deadlines are long: a crash costs real seconds, which the
// sandbox's speed makes many.
const crashRules = `version: 1
sources:
  pagerduty:
    signing_secret_file: {{dir}}/signing
    labels: '{"alertname": string(details.alertname), "service": string(details.service), "severity": string(details.severity)}'
connections:
  google_cloud: {project: mixillo, region: europe-west1, endpoint: "{{google}}", insecure: true}
  pagerduty:
    endpoint: {{pagerduty}}
    insecure: true
    token_file: {{dir}}/pagerduty
    from: remediator-bot@example.com
  slack: {endpoint: "{{slack}}", insecure: true, token_file: "{{dir}}/slack", channel: "#incidents"}
targets:
  {{service}}:
    cloud_run: {service: {{service}}}
    health: {{backend}}/{{service}}/health
    control: {{backend}}/{{service}}/control
    migrations: marked
rules:
  - name: roll-back-a-bad-deploy
    match: [alertname="HealthCheckFailed", severity=~"critical|P0"]
    target: {from: service}
    mode: auto
    gather:
      health: {http.get: {url: "{{ .Target.Health }}", tries: 3}}
      deploy: {cloud_run.revisions: {}}
    if: health.sick && deploy.age < duration("12h")
    do:
      - cloud_run.rollback: {to: previous_healthy, within: 24h}
    verify: {if: health.status == 200, hold: 1m, within: 3h}
    guard: {max_age: 6h}
    tell:
      pagerduty: {resolve_when: fixed}
      slack: {every: 24h}
    escalate: {after: 24h}
    afterwards:
      - remind: {of: pinned_traffic, every: 24h}
`

// process is a server under test.
type process struct {
	cmd    *exec.Cmd
	log    strings.Builder // its standard error; complete once ended is closed
	mu     sync.Mutex
	up     chan string   // its address, once it listens
	ended  chan struct{} // closed when it is gone
	status syscall.WaitStatus
}

// serve starts the server of a night on its database. env says where it shall die.
func (n *night) serve(ctx context.Context, env ...string) (*process, error) {
	p := &process{up: make(chan string, 1), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, n.program, "serve", "--speed", crashSpeed, "--rules", filepath.Join(n.home, "rules.yaml"),
		"--db", "sqlite:"+n.database(), "--socket", n.socket(), "--web.listen-address", "127.0.0.1:0")
	p.cmd.Env = append(os.Environ(), env...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	go func() {
		p.listen(bufio.NewScanner(stderr))
		_ = p.cmd.Wait()
		p.status, _ = p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		close(p.ended)
	}()
	return p, nil
}

// listen keeps the log and finds the address in it.
func (p *process) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var said struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &said) == nil && said.Msg == "remediator is up" {
			p.up <- said.Address
		}
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// subscribe directs PagerDuty's webhooks to the server as soon as it listens; false when it died before.
func (n *night) subscribe(ctx context.Context, p *process) (bool, error) {
	select {
	case address := <-p.up:
		hook := map[string]string{"url": "http://" + address + "/v1/webhooks/pagerduty", "secret": signingSecret}
		return true, n.does(ctx, "set-webhook", hook, &struct{}{})
	case <-p.ended:
		return false, nil
	case <-time.After(crashPatience):
		return false, fmt.Errorf("the server did not come up: %s", p.said())
	}
}

func (p *process) isGone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop asks the server to end and waits until it has.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !p.isGone() {
		return fmt.Errorf("stopping the server: %w", err)
	}
	select {
	case <-p.ended:
	case <-time.After(crashPatience):
		return fmt.Errorf("the server did not stop")
	}
	if p.status.Exited() && p.status.ExitStatus() == exitFine {
		return nil
	}
	return fmt.Errorf("the server ended with %v", p.cmd.ProcessState)
}

func (p *process) killed() bool { return p.status.Signaled() && p.status.Signal() == syscall.SIGKILL }

// runs reads every run of the server, by its socket.
func (n *night) runs(ctx context.Context) ([]edge.RunView, error) {
	c := client{socket: n.socket()}
	var listed struct{ Runs []remediation.Run }
	if err := c.call(ctx, http.MethodGet, "/v1/runs?limit="+strconv.Itoa(500), nil, &listed); err != nil {
		return nil, err
	}
	views := make([]edge.RunView, len(listed.Runs))
	for i, run := range listed.Runs {
		if err := c.call(ctx, http.MethodGet, "/v1/runs/"+run.ID, nil, &views[i]); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// over reports whether every run for an alert is done and everything is told.
func over(views []edge.RunView) bool {
	alerts := 0
	for _, v := range views {
		if !allTold(v.Messages) || v.Run.Origin == remediation.ByAlert && v.Run.State != remediation.Done {
			return false
		}
		if v.Run.Origin == remediation.ByAlert {
			alerts++
		}
	}
	return alerts > 0
}
