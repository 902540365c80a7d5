package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// Human is the By of everything a person (or their pipeline) did.
const Human = "human"

// Entry is one line of the ledger: a change that took effect, or, with a verb
// ending in _refused, a call that was turned away.
type Entry struct {
	Seq      int            `json:"seq"`
	Time     time.Time      `json:"time"`
	System   string         `json:"system"` // cloud_run, pagerduty, slack, backend, human
	Verb     string         `json:"verb"`
	Resource string         `json:"resource"`
	By       string         `json:"by"`
	Detail   map[string]any `json:"detail,omitempty"`
}

type ledger struct {
	mu   sync.Mutex
	file io.WriteCloser
	all  []Entry
	fail error
}

func openLedger(path string) (*ledger, error) {
	if path == "" {
		return &ledger{}, nil
	}
	before, err := readLedger(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return &ledger{file: f, all: before}, nil
}

// readLedger loads what an earlier sandbox wrote, so that Seq goes on.
func readLedger(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	defer func() { _ = f.Close() }()
	var all []Entry
	for dec := json.NewDecoder(f); ; {
		var e Entry
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading line %d of the ledger: %w", len(all)+1, err)
		}
		all = append(all, e)
	}
}

// add numbers the entry and appends it with a single write.
func (l *ledger) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.Time = len(l.all)+1, time.Now().UTC()
	l.all = append(l.all, e)
	if l.file == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	l.fail = errors.Join(l.fail, err)
}

func (l *ledger) entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// close reports any line that could not be written: a ledger with holes
// proves nothing.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.fail, l.file.Close())
	l.file = nil
	return err
}
