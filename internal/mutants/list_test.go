package mutants

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestListIsSound keeps the list from rotting without planting anything: every bug can still be planted, every test it names is there.
func TestListIsSound(t *testing.T) {
	t.Parallel()
	all := load(t)
	if len(all) < fewest {
		t.Errorf("%d mutants, want at least %d", len(all), fewest)
	}
	for _, m := range all {
		if _, _, err := m.planted(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for _, c := range m.caught {
			if err := c.finds(); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}

const whole = `Nobody looks
at the lock.

file: internal/x.go
caught by: internal/x -run ^TestX$/lock -test.short
simulated by: internal/simulation -run ^TestSeeds$

-- old --
	a()
-- new --
-- old --
b
-- new --
c
`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := mutant{
		about: "Nobody looks at the lock.", file: "internal/x.go", edits: []edit{{"\ta()", ""}, {"b", "c"}},
		caught: []command{
			{suite: "tests", pkg: "internal/x", run: "^TestX$/lock", args: []string{"-test.short"}},
			{suite: "simulation", pkg: "internal/simulation", run: "^TestSeeds$", args: []string{}},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mutant{}, edit{}, command{})); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"no sentence":      {"Nobody looks\nat the lock.\n\n", "", "a sentence"},
		"no file":          {"file: internal/x.go\n", "", "file:"},
		"two files":        {"caught by: internal/x -run ^TestX$/lock -test.short", "file: internal/y.go", "not understood"},
		"no test":          {"caught by: internal/x -run ^TestX$/lock -test.short\n", "", "caught by:"},
		"no pattern":       {"-run ^TestX$/lock", "", "a pattern"},
		"an unknown line":  {"caught by", "found by", "not understood"},
		"a lonely old":     {"-- new --\nc\n", "", "in turn"},
		"out of order":     {"-- old --\nb", "-- new --\nb", "section 3"},
		"no section":       {whole[strings.Index(whole, "-- old"):], "", "sections"},
		"an unknown title": {"-- old --\nb", "-- odl --\nb", "odl"},
	} {
		text := strings.Replace(whole, c.old, c.new, 1)
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func TestPlant(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, want, err string
	}{
		"once":      {"package x\n\nvar a = 1\n", "package x\n\nvar a = 2\n", ""},
		"gone":      {"package x\n", "", "occurs 0 times"},
		"twice":     {"package x\n\nvar (\n\ta = 1\n\tba = 1\n)\n", "", "occurs 2 times"},
		"then torn": {"package x\n\nvar a = 1 {\n", "", "is no Go"},
	} {
		m := mutant{file: "x.go", edits: []edit{{"a = 1", "a = 2"}}}
		got, err := m.plant(c.text)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.want, c.err)
		}
	}
}

func TestFinds(t *testing.T) {
	t.Parallel()
	for run, found := range map[string]bool{"^TestFinds$": true, "^TestFinds$/x": true, "^TestFind$": false, "(": false} {
		if err := (command{pkg: "internal/mutants", run: run}).finds(); (err == nil) != found {
			t.Errorf("%s: %v, want it found %t", run, err, found)
		}
	}
}
