package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

// The time after which a wait of the crash test has failed, and how often it looks.
const (
	crashPatience = 90 * time.Second
	crashLook     = 20 * time.Millisecond
	crashSpeed    = "120"
	signingSecret = "a-signing-secret-for-crash-tests"
)

// crashProgram builds the program with its crash marks. The flags are those of the shipped build, so that both share the build cache.
func crashProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "remediator")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", "failpoints", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building with crash marks: %v\n%s", err, out)
	}
	return path
}

// outside is the world of one worker: a sandbox in a process of its own, which outlives every crash, and its ledger.
type outside struct {
	program, dir, ledger string
	control, backend     string
	google               string
	pagerduty, slack     string
	cmd                  *exec.Cmd
}

// newOutside starts a sandbox and writes down the secrets it takes.
func newOutside(ctx context.Context, program string) (*outside, error) {
	dir, err := os.MkdirTemp("", "crash-") // a test's own directory may be too long for a socket's path
	if err != nil {
		return nil, err
	}
	o := &outside{program: program, dir: dir, ledger: filepath.Join(dir, "ledger.jsonl")}
	for name, value := range map[string]string{
		"signing": signingSecret, "pagerduty": sandbox.PagerDutyToken, "slack": sandbox.SlackToken,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			return nil, errors.Join(err, o.close())
		}
	}
	if err := o.start(ctx); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *outside) start(ctx context.Context) error {
	o.cmd = exec.CommandContext(ctx, o.program, "sandbox", "--speed", crashSpeed, "--ledger", o.ledger)
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := o.cmd.Start(); err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	var places struct{ Google, Pagerduty, Slack, Control string }
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&places); err != nil {
		return fmt.Errorf("reading the sandbox's addresses: %w", err)
	}
	o.google, o.pagerduty, o.slack, o.control = places.Google, places.Pagerduty, places.Slack, places.Control
	var state struct{ Endpoints struct{ Backend string } }
	if err := o.ask(ctx, http.MethodGet, "/state", nil, &state); err != nil {
		return err
	}
	o.backend = state.Endpoints.Backend
	return nil
}

func (o *outside) close() error {
	var err error
	if o.cmd != nil && o.cmd.Process != nil {
		err = o.cmd.Process.Signal(os.Interrupt)
		_ = o.cmd.Wait()
	}
	return errors.Join(err, os.RemoveAll(o.dir))
}

// does plays a verb of the sandbox's control API.
func (o *outside) does(ctx context.Context, verb string, args, out any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return o.ask(ctx, http.MethodPost, "/control/"+verb, bytes.NewReader(body), out)
}

func (o *outside) ask(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, o.control+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the sandbox: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("the sandbox answered %s to %s: %s", resp.Status, path, text)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// entries reads the ledger's file. Its last line may be half written.
func (o *outside) entries() ([]sandbox.Entry, error) {
	text, err := os.ReadFile(o.ledger)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []sandbox.Entry
	for line := range strings.SplitSeq(string(text[:bytes.LastIndexByte(text, '\n')+1]), "\n") {
		if line == "" {
			continue
		}
		var e sandbox.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// eventually polls a condition until it holds, fails, or the patience ends.
func eventually(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, crashPatience)
	defer cancel()
	tick := time.NewTicker(crashLook)
	defer tick.Stop()
	for {
		switch ok, err := holds(); {
		case err != nil:
			return fmt.Errorf("waiting until %s: %w", what, err)
		case ok:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}
