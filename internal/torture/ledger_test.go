package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

// ledger follows the sandbox's file from outside, as it grows.
type ledger struct {
	path string
	quit chan struct{}
	over chan struct{}

	mu    sync.Mutex
	all   []sandbox.Entry
	read  int64
	err   error
	grown chan struct{} // closed and replaced with every look that found something
}

// look is how often the file is looked at.
const look = 20 * time.Millisecond

func follow(path string) *ledger {
	l := &ledger{path: path, quit: make(chan struct{}), over: make(chan struct{}), grown: make(chan struct{})}
	go func() {
		defer close(l.over)
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			l.more()
			select {
			case <-l.quit:
				return
			case <-tick.C:
			}
		}
	}()
	return l
}

func (l *ledger) close() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	<-l.over
}

// more reads the lines that were added. The last one may be half written.
func (l *ledger) more() {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, n, err := readEntries(l.path, l.read)
	l.read += n
	l.err = err
	if len(found) == 0 {
		return
	}
	l.all = append(l.all, found...)
	close(l.grown)
	l.grown = make(chan struct{})
}

func readEntries(path string, from int64) ([]sandbox.Entry, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, nil //nolint:nilerr // nothing was written yet
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(f, from, 1<<62-from))
	if err != nil {
		return nil, 0, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	var all []sandbox.Entry
	for line := range bytes.Lines(text) {
		var e sandbox.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return all, int64(len(text)), fmt.Errorf("reading the ledger: %w", err)
		}
		all = append(all, e)
	}
	return all, int64(len(text)), nil
}

// entries are all so far.
func (l *ledger) entries() ([]sandbox.Entry, error) {
	l.more()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[:len(l.all):len(l.all)], l.err
}

// size is how many entries there are: a place to look from later.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// await waits for an entry after a place; false when ctx ended first.
func (l *ledger) await(ctx context.Context, after int, wanted func(sandbox.Entry) bool) (sandbox.Entry, bool) {
	for {
		l.mu.Lock()
		all, grown := l.all, l.grown
		l.mu.Unlock()
		if i := slices.IndexFunc(all[after:], wanted); i >= 0 {
			return all[after+i], true
		}
		after = len(all)
		select {
		case <-grown:
		case <-ctx.Done():
			return sandbox.Entry{}, false
		}
	}
}

// operationMark is the annotation that a change leaves, with the id of the run, step and attempt that made it.
const operationMark = "remediator.dev/operation"

// mutation is a change of a service that Cloud Run took from the program.
type mutation struct {
	sandbox.Entry
	Operation string // RUN-STEP-ATTEMPT
	Run       string
	Effect    string // what it changed into what, without the marks
}

// asMutation reads an entry as a change that the program made.
func asMutation(e sandbox.Entry) (mutation, bool) {
	if e.System != "cloud_run" || e.Verb != "update_service" || e.By == sandbox.Human {
		return mutation{}, false
	}
	m := mutation{Entry: e}
	after, _ := e.Detail["annotations_after"].(map[string]any)
	m.Operation, _ = after[operationMark].(string)
	m.Run = runOf(m.Operation)
	m.Effect = effectOf(e)
	return m, true
}

// runOf cuts step and attempt off an operation's id.
func runOf(operation string) string {
	for range 2 {
		i := strings.LastIndexByte(operation, '-')
		if i < 0 {
			return ""
		}
		operation = operation[:i]
	}
	return operation
}

// effectOf says what a change did. Two copies of one revision are one effect: the name of a copy is the platform's.
func effectOf(e sandbox.Entry) string {
	var parts []string
	for _, what := range texts(e.Detail["changed"]) {
		switch what {
		case "annotations":
		case "traffic", "scaling", "labels":
			parts = append(parts, fmt.Sprintf("%s: %v", what, e.Detail[what+"_after"]))
		default:
			parts = append(parts, what)
		}
	}
	return strings.Join(parts, "; ")
}

func texts(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

func detail(e sandbox.Entry, key string) string {
	text, _ := e.Detail[key].(string)
	return text
}
