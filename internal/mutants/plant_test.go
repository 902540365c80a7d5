package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	plants = flag.Bool("plant", false, "plant the mutants and see the suites catch them")
	only   = flag.String("only", "", "plant the mutants whose names match this pattern alone")
)

// patience is how long one command may take. A mutant must fail a test, not hang it.
const patience = 3 * time.Minute

// result is what became of one mutant.
type result struct {
	mutant  mutant
	by      []string // the first test that failed, for each command
	err     error
	seconds float64
}

// TestMutants plants one bug after the other, with go's overlay, so that the tree is never touched. Each command must be green without
// the bug and red with it; a bug that does not compile is an error of the list.
func TestMutants(t *testing.T) {
	if !*plants {
		t.Skip("only with -plant: make mutants")
	}
	mutants := chosen(t)
	w := workshop{dir: t.TempDir()}
	w.baseline(t, mutants)
	if !t.Failed() {
		report(t, w.tryAll(t.Context(), mutants))
	}
}

func chosen(t *testing.T) []mutant {
	t.Helper()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-only: %v", err)
	}
	some := slices.DeleteFunc(load(t), func(m mutant) bool { return !pattern.MatchString(m.name) })
	if len(some) == 0 {
		t.Fatalf("no mutant is called %q", *only)
	}
	return some
}

// workshop builds and runs test binaries below a directory of its own.
type workshop struct{ dir string }

// binary is a package's tests as they were built.
type binary struct{ pkg, path, overlay string }

func (b binary) drop() { _ = os.Remove(b.path) }

// baseline sees every command green on the code as it is, each once.
func (w workshop) baseline(t *testing.T, mutants []mutant) {
	t.Helper()
	var packages []string
	commands := map[string][]command{}
	for _, m := range mutants {
		for _, c := range m.caught {
			if !slices.ContainsFunc(commands[c.pkg], func(known command) bool { return known.String() == c.String() }) {
				commands[c.pkg] = append(commands[c.pkg], c)
			}
			if !slices.Contains(packages, c.pkg) {
				packages = append(packages, c.pkg)
			}
		}
	}
	together(packages, func(pkg string) {
		began := time.Now()
		if err := w.green(t.Context(), pkg, commands[pkg]); err != nil {
			t.Errorf("without a bug: %v", err)
			return
		}
		fmt.Printf("without a bug %s is green (%d commands, %.1f s)\n", pkg, len(commands[pkg]), time.Since(began).Seconds())
	})
}

// green refuses commands that fail, and those that run no test or leave one out: they would prove nothing.
func (w workshop) green(ctx context.Context, pkg string, commands []command) error {
	b, err := w.build(ctx, pkg, "", "whole-"+strings.ReplaceAll(pkg, "/", "-"))
	if err != nil {
		return err
	}
	defer b.drop()
	for _, c := range commands {
		out, failed, err := b.run(ctx, c, "-test.v")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", c, err)
		case failed:
			return fmt.Errorf("%s is red:\n%s", c, tail(out))
		case strings.Contains(out, "--- SKIP") || !strings.Contains(out, "--- PASS"):
			return fmt.Errorf("%s leaves tests out:\n%s", c, tail(out))
		}
	}
	return nil
}

func (w workshop) tryAll(ctx context.Context, mutants []mutant) []result {
	var mu sync.Mutex
	var results []result
	together(mutants, func(m mutant) {
		r := w.try(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
		fmt.Printf("%3d/%d %s\n", len(results), len(mutants), r)
	})
	slices.SortFunc(results, func(a, b result) int { return strings.Compare(a.mutant.name, b.mutant.name) })
	return results
}

// try plants one mutant and runs its commands, all of which must catch it.
func (w workshop) try(ctx context.Context, m mutant) result {
	began := time.Now()
	r := result{mutant: m}
	overlay, err := w.overlay(m)
	if err != nil {
		r.err = err
		return r
	}
	for i, c := range m.caught {
		by, err := w.catch(ctx, c, overlay, fmt.Sprintf("%s-%d", m.name, i))
		if err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("%s: %w", c, err))
			continue
		}
		r.by = append(r.by, by)
	}
	r.seconds = time.Since(began).Seconds()
	return r
}

// errSurvived is what all this is about.
var errSurvived = errors.New("it SURVIVED: the tests are green")

// catch names the test that fails with the bug in the code.
func (w workshop) catch(ctx context.Context, c command, overlay, name string) (string, error) {
	b, err := w.build(ctx, c.pkg, overlay, name)
	if err != nil {
		return "", err
	}
	defer b.drop()
	out, failed, err := b.run(ctx, c, "-test.failfast")
	if err == nil && !failed {
		err = errSurvived
	}
	return filepath.Base(c.pkg) + "." + firstFailure(out), err
}

// overlay writes the changed file beside the tree, and what go needs to take it for the real one.
func (w workshop) overlay(m mutant) (string, error) {
	text, err := m.planted()
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return "", fmt.Errorf("naming the file: %w", err)
	}
	changed := filepath.Join(w.dir, m.name+filepath.Ext(m.file))
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	overlay := filepath.Join(w.dir, m.name+".json")
	return overlay, errors.Join(os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(overlay, replace, 0o600))
}

// build compiles a package's tests. Without symbols: linking is most of the time.
func (w workshop) build(ctx context.Context, pkg, overlay, name string) (binary, error) {
	b := binary{pkg: pkg, path: filepath.Join(w.dir, name+".test"), overlay: overlay}
	args := []string{"test", "-c", "-o", b.path, "-ldflags=-s -w"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return b, nil
}

// run runs the tests where go test would, and reports whether one failed. Tests that hang are an error. Tests that read the source find
// the overlay's name in REMEDIATOR_OVERLAY.
func (b binary) run(ctx context.Context, c command, flags ...string) (out string, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	flags = append(flags, "-test.run", c.run, "-test.timeout", patience.String())
	cmd := exec.CommandContext(ctx, b.path, append(flags, c.args...)...)
	cmd.Dir = filepath.Join(root, b.pkg)
	cmd.Env = append(os.Environ(), "REMEDIATOR_OVERLAY="+b.overlay)
	cmd.WaitDelay = time.Second // children of a killed test may hold its output open
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Run()
	var exit *exec.ExitError
	switch out = output.String(); {
	case ctx.Err() != nil || strings.Contains(out, "panic: test timed out"):
		return out, false, fmt.Errorf("the tests hang:\n%s", tail(out))
	case errors.As(err, &exit):
		return out, true, nil
	default:
		return out, false, err
	}
}

// together does the work for all items, on as many hands as there are processors.
func together[T any](items []T, work func(T)) {
	queue := make(chan T)
	var hands sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		hands.Go(func() {
			for item := range queue {
				work(item)
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	hands.Wait()
}
