package mutants

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
)

var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// firstFailure names the test that failed first, or its part that did; a panic outside every test has no name.
func firstFailure(out string) string {
	name := ""
	for _, found := range failure.FindAllStringSubmatch(out, -1) {
		if name == "" || strings.HasPrefix(found[1], name+"/") {
			name = found[1]
		}
	}
	if name == "" {
		return "(panic)"
	}
	return name
}

// tail bounds what is shown of a test's output, in bytes.
func tail(out string) string {
	const most = 3000
	if len(out) > most {
		return "…" + out[len(out)-most:]
	}
	return out
}

// String is the line of progress.
func (r result) String() string {
	became := "left out"
	switch {
	case r.err != nil:
		became, _, _ = strings.Cut(r.err.Error(), "\n")
	case len(r.by) > 0:
		became = "caught by " + strings.Join(r.by, " and ")
	}
	return fmt.Sprintf("%s: %s (%.1f s)", r.mutant.name, became, r.seconds)
}

// report prints the closing table and fails the test for each mutant that was not caught.
func report(t *testing.T, results []result) {
	t.Helper()
	caught, left, total := 0, 0, 0.0
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "mutant\tcaught by\tseconds")
	for _, r := range results {
		by := strings.Join(r.by, " and ")
		switch {
		case r.err != nil:
			by = "NOT CAUGHT"
			t.Errorf("%s (%s): %v", r.mutant.name, r.mutant.about, r.err)
		case by == "":
			by = "(left out: it needs what is not installed here)"
			left++
		default:
			caught++
		}
		total += r.seconds
		_, _ = fmt.Fprintf(w, "%s\t%s\t%.1f\n", r.mutant.name, by, r.seconds)
	}
	_ = w.Flush() // into memory
	fmt.Printf("\n%s\n%d of %d mutants caught, %d left out; the tests took %.0f s\n", table.String(), caught, len(results), left, total)
}

func TestFirstFailure(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]string{
		"--- FAIL: TestA (0.1s)\n    x_test.go:1: no\nFAIL\n":                                                   "TestA",
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/one (0s)\n        --- FAIL: TestA/one/deep (0s)\nFAIL\n":   "TestA/one/deep",
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/one (0s)\n    --- FAIL: TestA/two (0s)\n--- FAIL: TestB\n": "TestA/one",
		"panic: at the start\n\ngoroutine 1 [running]:\n":                                                       "(panic)",
	} {
		if got := firstFailure(out); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

func TestResultIsOneLine(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]result{
		"m: it does not compile (1.2 s)":           {err: errors.New("it does not compile\nx.go:1: no"), by: []string{"x.TestA"}},
		"m: caught by x.TestA and y.TestB (1.2 s)": {by: []string{"x.TestA", "y.TestB"}},
		"m: left out (1.2 s)":                      {},
	} {
		r.mutant.name, r.seconds = "m", 1.25
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
