package mutants

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
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

// result is what became of one mutant.
type result struct {
	mutant  mutant
	by      []string // the first test that failed, for each command
	err     error
	seconds float64
}

// TestMutants plants the bugs. Each command must be green without the bug and red with it; a bug that does not compile is an error of
// the list.
func TestMutants(t *testing.T) {
	if !*plants {
		t.Skip("only with -plant: make mutants")
	}
	mutants := chosen(t)
	w, err := newWorkshop(t.TempDir(), mutants)
	if err != nil {
		t.Fatal(err)
	}
	if !w.sound(t, mutants) {
		return
	}
	report(t, w.tryAll(t.Context(), mutants))
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

// sound sees that the code with all its bugs asleep compiles, and that every command is green on it. When it does not compile, the
// mutant that is to blame is looked for.
func (w *workshop) sound(t *testing.T, mutants []mutant) bool {
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
		if err := w.green(t.Context(), commands[pkg]); err != nil {
			t.Errorf("without a bug: %v", err)
			return
		}
		fmt.Printf("without a bug %s is green (%d commands, %.1f s)\n", pkg, len(commands[pkg]), time.Since(began).Seconds())
	})
	if t.Failed() {
		together(mutants, func(m mutant) {
			if err := w.compiles(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	return !t.Failed()
}

// green refuses commands that fail, and those that run no test. One that leaves tests out, for want of a database, is left out itself,
// unless REQUIRE_ALL is set.
func (w *workshop) green(ctx context.Context, commands []command) error {
	for _, c := range commands {
		out, failed, err := w.run(ctx, c, "", "-test.v")
		skips := strings.Contains(out, "--- SKIP")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", c, err)
		case failed:
			return fmt.Errorf("%s is red:\n%s", c, tail(out))
		case skips && os.Getenv("REQUIRE_ALL") == "":
			w.leaveOut(c)
		case skips || !strings.Contains(out, "--- PASS"):
			return fmt.Errorf("%s leaves tests out:\n%s", c, tail(out))
		}
	}
	return nil
}

func (w *workshop) tryAll(ctx context.Context, mutants []mutant) []result {
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

// errSurvived is what all this is about.
var errSurvived = errors.New("it SURVIVED: the tests are green")

// try runs a mutant's commands, all of which must catch it.
func (w *workshop) try(ctx context.Context, m mutant) result {
	began := time.Now()
	r := result{mutant: m}
	for _, c := range m.caught {
		if w.isLeftOut(c) {
			continue
		}
		out, failed, err := w.run(ctx, c, m.name, "-test.failfast")
		if err == nil && !failed {
			err = errSurvived
		}
		if err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("%s: %w", c, err))
			continue
		}
		r.by = append(r.by, filepath.Base(c.pkg)+"."+firstFailure(out))
	}
	r.seconds = time.Since(began).Seconds()
	return r
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
