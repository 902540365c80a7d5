package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// deliverer is the sender as the test sees it: a process that takes orders and tells how far it is.
type deliverer struct {
	process *process
	journal string

	writing sync.Mutex
	mu      sync.Mutex
	last    tally
}

func newDeliverer(t *testing.T, c senderConfig) *deliverer {
	t.Helper()
	self, err := os.Executable()
	succeed(t, err)
	d := &deliverer{journal: c.Journal}
	d.process, err = start(launch{program: self, env: []string{roleName + "=sender"}, stdin: true, stdout: d.listen})
	succeed(t, err)
	t.Cleanup(d.process.kill)
	succeed(t, d.tell(c))
	return d
}

func (d *deliverer) listen(line []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = json.Unmarshal(line, &d.last)
}

func (d *deliverer) tally() tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

func (d *deliverer) tell(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	_, err = d.process.stdin.Write(append(line, '\n'))
	return err
}

func (d *deliverer) deliver(one delivery) error { return d.tell(order{Delivery: &one}) }

// finish lets the sender make up no more, and waits until everything it has was taken.
func (d *deliverer) finish(patience time.Duration) error {
	if err := d.tell(order{Stop: true}); err != nil {
		return fmt.Errorf("telling the sender to end: %w", err)
	}
	if !d.process.wait(context.Background(), patience) {
		return fmt.Errorf("the sender still waits for %d answers: %+v", d.tally().Waiting, d.tally())
	}
	if code := d.process.state.ExitCode(); code != 0 {
		return fmt.Errorf("the sender ended with %d: %s", code, d.process.said())
	}
	return nil
}

// receipts reads a sender's journal.
func receipts(path string) ([]receipt, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []receipt
	for line := range bytes.Lines(text) {
		var r receipt
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("reading the sender's journal: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}
