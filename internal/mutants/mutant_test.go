// Package mutants proves that the suites bite: testdata lists bugs that a careless engineer would have written, and each, planted into
// the code, must turn the tests that it names red.
package mutants

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// root is the module's directory as this package's tests see it.
const root = "../.."

// fewest is how many mutants the list must hold at least, so that it cannot melt away.
const fewest = 40

// mutant is one planted bug: a file of testdata. Its head is one sentence on what a careless engineer would have done and, after a blank
// line, "key: value" lines; its sections are texts to be replaced and what they are replaced by.
type mutant struct {
	name   string // of its file
	about  string
	file   string // the file it changes, below the module's directory
	edits  []edit
	caught []command
}

// edit replaces a text that occurs exactly once in the file.
type edit struct{ old, new string }

// command is a run of one package's tests that must turn red. The tests and the simulation are two independent proofs.
type command struct {
	suite string // "tests" or "simulation"
	pkg   string // below the module's directory
	run   string // pattern of the tests that catch it
	args  []string
}

// String is the command as it is named in the closing table and told apart by.
func (c command) String() string {
	return strings.Join(append([]string{c.pkg, "-run", c.run}, c.args...), " ")
}

// suites gives the keys of commands and the suite each belongs to.
func suites() map[string]string {
	return map[string]string{"caught by": "tests", "simulated by": "simulation"}
}

// load reads every mutant of testdata, in the order of their names.
func load(t *testing.T) []mutant {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants in testdata: %v", err)
	}
	all := make([]mutant, 0, len(files))
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
		m, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		m.name = strings.TrimSuffix(filepath.Base(path), ".txtar")
		all = append(all, m)
	}
	return all
}

// parse reads one file of testdata.
func parse(text []byte) (mutant, error) {
	archive := txtar.Parse(text)
	about, head, _ := strings.Cut(strings.TrimSpace(string(archive.Comment)), "\n\n")
	m := mutant{about: strings.Join(strings.Fields(about), " ")}
	if !strings.HasSuffix(m.about, ".") {
		return m, errors.New("it must begin with a sentence on the bug, and a blank line")
	}
	for _, line := range strings.Split(head, "\n") {
		if err := m.set(line); err != nil {
			return m, err
		}
	}
	if m.file == "" || !slices.ContainsFunc(m.caught, func(c command) bool { return c.suite == "tests" }) {
		return m, errors.New("it needs the lines `file:` and `caught by:`")
	}
	return m, m.setEdits(archive.Files)
}

func (m *mutant) set(line string) error {
	key, value, _ := strings.Cut(line, ": ")
	if suite, ok := suites()[key]; ok {
		c, err := parseCommand(suite, value)
		m.caught = append(m.caught, c)
		return err
	}
	if key != "file" || m.file != "" {
		return fmt.Errorf("the line %q is not understood", line)
	}
	m.file = value
	return nil
}

func parseCommand(suite, text string) (command, error) {
	words := strings.Fields(text)
	if len(words) < 3 || words[1] != "-run" {
		return command{}, fmt.Errorf("%q must be a package, -run, a pattern and what else the tests are given", text)
	}
	return command{suite: suite, pkg: words[0], run: words[2], args: words[3:]}, nil
}

// setEdits reads the sections in pairs. A section's last newline belongs to the format, not to the text.
func (m *mutant) setEdits(files []txtar.File) error {
	for i, f := range files {
		if want := []string{"old", "new"}[i%2]; f.Name != want {
			return fmt.Errorf("section %d is called %q, not %q", i+1, f.Name, want)
		}
	}
	if len(files) == 0 || len(files)%2 != 0 {
		return errors.New("it needs the sections old and new, in turn")
	}
	for i := 0; i < len(files); i += 2 {
		m.edits = append(m.edits, edit{old: section(files[i]), new: section(files[i+1])})
	}
	return nil
}

func section(f txtar.File) string { return strings.TrimSuffix(string(f.Data), "\n") }

// plant gives the file's text with the bug in it. An old text that is gone or not unique is an error: the list must not rot.
func (m mutant) plant(text string) (string, error) {
	for _, e := range m.edits {
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("the text to be replaced occurs %d times in %s, not once:\n%s", n, m.file, e.old)
		}
		text = strings.Replace(text, e.old, e.new, 1)
	}
	if filepath.Ext(m.file) != ".go" {
		return text, nil
	}
	if _, err := parser.ParseFile(token.NewFileSet(), m.file, text, parser.SkipObjectResolution); err != nil {
		return "", fmt.Errorf("with the bug in it the file is no Go: %w", err)
	}
	return text, nil
}

// planted reads the file and gives it as it is and with the bug in it.
func (m mutant) planted() (original, planted string, err error) {
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", "", fmt.Errorf("reading the file to be changed: %w", err)
	}
	planted, err = m.plant(string(text))
	if err == nil && planted == string(text) {
		err = errors.New("it changes nothing")
	}
	return string(text), planted, err
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)

// finds reports whether the package has a test that the pattern names: a pattern that matches nothing would be green for ever.
func (c command) finds() error {
	name, _, _ := strings.Cut(c.run, "/")
	pattern, err := regexp.Compile(name)
	if err != nil {
		return fmt.Errorf("the pattern of %s: %w", c, err)
	}
	files, err := filepath.Glob(filepath.Join(root, c.pkg, "*_test.go"))
	if err != nil {
		return fmt.Errorf("looking for the tests of %s: %w", c.pkg, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading tests: %w", err)
		}
		for _, found := range testFunc.FindAllSubmatch(text, -1) {
			if pattern.Match(found[1]) {
				return nil
			}
		}
	}
	return fmt.Errorf("no test of %s matches %s", c.pkg, c.run)
}
