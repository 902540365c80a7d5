package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// patience is how long one command may take. A mutant must fail a test, not hang it.
const patience = 6 * time.Minute

// workshop builds and runs tests below a directory of its own, so that the tree is never touched.
type workshop struct {
	dir     string
	dormant map[string]bool // the mutants that sleep in one build, by name

	mu      sync.Mutex
	built   map[string]func() (string, error)
	leftOut map[string]bool // commands
}

// newWorkshop plants the mutants: each by itself, and together those that can sleep.
func newWorkshop(dir string, mutants []mutant) (*workshop, error) {
	w := &workshop{dir: dir, dormant: map[string]bool{}, built: map[string]func() (string, error){}, leftOut: map[string]bool{}}
	sleepers := map[string][]sleeper{}
	for _, m := range mutants {
		original, planted, err := m.planted()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		if err := w.replace(m.name, map[string]string{m.file: planted}); err != nil {
			return nil, err
		}
		if some, ok := lull(m, original, planted); ok {
			w.dormant[m.name] = true
			sleepers[m.file] = append(sleepers[m.file], some...)
		}
	}
	return w, w.bedAll(sleepers)
}

func (w *workshop) bedAll(sleepers map[string][]sleeper) error {
	files := map[string]string{}
	for path, all := range sleepers {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return fmt.Errorf("reading the file to be changed: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly)
		if err != nil {
			return fmt.Errorf("reading the package's name: %w", err)
		}
		files[path] = bed(string(text), all)
		files[filepath.Join(filepath.Dir(path), "planted_bug.go")] = awake(file.Name.Name)
	}
	return w.replace("", files)
}

// overlayOf names the overlay of one mutant, or of all that sleep.
func (w *workshop) overlayOf(name string) string {
	return filepath.Join(w.dir, "overlay-"+name+".json")
}

// replace writes an overlay: files that go takes for those of the tree.
func (w *workshop) replace(name string, files map[string]string) error {
	replace := map[string]string{}
	for path, text := range files {
		original, err := filepath.Abs(filepath.Join(root, path))
		if err != nil {
			return fmt.Errorf("naming %s: %w", path, err)
		}
		replace[original] = filepath.Join(w.dir, name+"-"+strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(replace[original], []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing a changed file: %w", err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return fmt.Errorf("writing the overlay: %w", err)
	}
	return os.WriteFile(w.overlayOf(name), text, 0o600)
}

// tests gives the binary of a package's tests with one mutant, "" for none, that is awake or may be woken. Each is built once.
func (w *workshop) tests(ctx context.Context, pkg, name string) (string, error) {
	if w.dormant[name] {
		name = ""
	}
	binary := filepath.Join(w.dir, name+"-"+strings.ReplaceAll(pkg, "/", "-")+".test")
	w.mu.Lock()
	build, ok := w.built[binary]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return binary, w.build(ctx, binary, pkg, name) })
		w.built[binary] = build
	}
	w.mu.Unlock()
	return build()
}

// build compiles without symbols: linking is most of the time.
func (w *workshop) build(ctx context.Context, binary, pkg, name string) error {
	return w.compile(ctx, name, "test", "-c", "-o", binary, "-ldflags=-s -w", "-overlay", w.overlayOf(name), "./"+pkg)
}

func (w *workshop) compile(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not compile: %w\n%s", first(name, "the code with the dormant bugs"), err, out)
	}
	return nil
}

// compiles sees that a mutant's file compiles with that bug alone.
func (w *workshop) compiles(ctx context.Context, m mutant) error {
	if filepath.Ext(m.file) != ".go" {
		return nil
	}
	return w.compile(ctx, m.name, "build", "-overlay", w.overlayOf(m.name), "./"+filepath.Dir(m.file))
}

// run runs a command's tests where go test would, with the mutant of that name, and reports whether one failed. Tests that hang are an
// error. Tests that read the source find the mutant's overlay in REMEDIATOR_OVERLAY.
func (w *workshop) run(ctx context.Context, c command, name string, flags ...string) (out string, failed bool, err error) {
	binary, err := w.tests(ctx, c.pkg, name)
	if err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	flags = append(flags, "-test.run", c.run, "-test.timeout", patience.String())
	cmd := exec.CommandContext(ctx, binary, append(flags, c.args...)...)
	cmd.Dir = filepath.Join(root, c.pkg)
	if cmd.Env = os.Environ(); name != "" {
		cmd.Env = append(cmd.Env, wakes+"="+name, "REMEDIATOR_OVERLAY="+w.overlayOf(name))
	}
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

func (w *workshop) leaveOut(c command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leftOut[c.String()] = true
}

func (w *workshop) isLeftOut(c command) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leftOut[c.String()]
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
