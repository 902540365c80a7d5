package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

// worldSpeed is how much faster than real the sandbox's world and the servers' waits run.
const worldSpeed = 120

// world is the sandbox, in a process that outlives every server, and what there is to read of it.
type world struct {
	process *process
	ledger  *ledger
	places  places
	backend string
	client  http.Client
}

// places is where the sandbox says it listens.
type places struct{ Google, Pagerduty, Slack, Control string }

// newWorld starts a sandbox that appends its ledger to a file of its own.
func newWorld(t *testing.T, program, dir string) *world {
	t.Helper()
	w := &world{client: http.Client{Timeout: 10 * time.Second}}
	path := filepath.Join(dir, "ledger.jsonl")
	told := make(chan []byte, 1)
	var err error
	w.process, err = start(launch{
		program: program,
		args:    []string{"sandbox", "--speed", strconv.Itoa(worldSpeed), "--ledger", path, "--seed", strconv.FormatUint(*seed, 10)},
		stdout:  firstOf(told),
	})
	succeed(t, err)
	t.Cleanup(w.process.kill)
	select {
	case text := <-told:
		succeed(t, json.Unmarshal(text, &w.places))
	case <-time.After(30 * time.Second):
		t.Fatalf("the sandbox did not say where it is: %s", w.process.said())
	}
	var state struct{ Endpoints struct{ Backend string } }
	succeed(t, w.ask(t.Context(), http.MethodGet, "/state", nil, &state))
	w.backend = state.Endpoints.Backend
	w.ledger = follow(path)
	t.Cleanup(w.ledger.close)
	return w
}

// firstOf gathers an indented JSON object that spans several lines and tells it once.
func firstOf(told chan<- []byte) func([]byte) {
	var text bytes.Buffer
	return func(line []byte) {
		text.Write(line)
		if json.Valid(text.Bytes()) {
			select {
			case told <- bytes.Clone(text.Bytes()):
			default:
			}
		}
	}
}

// do plays a verb of the sandbox's control API.
func (w *world) do(ctx context.Context, verb string, args any) error {
	return w.get(ctx, verb, args, &struct{}{})
}

// get is do for verbs with an answer.
func (w *world) get(ctx context.Context, verb string, args, out any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return w.ask(ctx, http.MethodPost, "/control/"+verb, bytes.NewReader(body), out)
}

func (w *world) ask(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, w.places.Control+path, body)
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
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

// service names a service in a verb's arguments, with what else the verb takes.
func service(name string, more ...any) map[string]any {
	args := map[string]any{"service": name}
	for i := 0; i+1 < len(more); i += 2 {
		args[more[i].(string)] = more[i+1]
	}
	return args
}

// revise gives a service a history of its own, as if nothing had ever been done to it.
func (w *world) revise(ctx context.Context, name string, history ...sandbox.Revision) error {
	return w.do(ctx, "add-service", sandbox.Service{Name: name, Revisions: history, MaxInstances: mostInstances})
}

// mostInstances is the upper bound of every service.
const mostInstances = 40
