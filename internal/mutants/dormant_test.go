package mutants

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// wakes is the environment variable by which a process is told which dormant bug it has.
const wakes = "REMEDIATOR_PLANTED_BUG"

// awake is the file that lets the functions of a package know.
func awake(pkg string) string {
	return fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar plantedBug = os.Getenv(%q)\n", pkg, wakes)
}

// sleeper is the body of a function with a bug in it. Put before the function's own it sleeps there until it is woken, so that one
// build serves any number of mutants: building is nearly all the time that a mutant takes.
type sleeper struct {
	name string // of the mutant
	at   int    // where in the file the function's own body begins
	body string
}

// lull turns a mutant into sleepers; false when it changes more than the bodies of functions, and has to be built by itself.
func lull(m mutant, original, planted string) ([]sleeper, bool) {
	was, err := functions(original)
	if err != nil {
		return nil, false
	}
	now, err := functions(planted)
	if err != nil || len(now) != len(was) {
		return nil, false
	}
	var all []sleeper
	var restWas, restNow strings.Builder
	endWas, endNow := 0, 0
	for i, f := range was {
		restWas.WriteString(original[endWas:f.from])
		restNow.WriteString(planted[endNow:now[i].from])
		endWas, endNow = f.to, now[i].to
		if body := planted[now[i].from:now[i].to]; body != original[f.from:f.to] {
			if !f.returns {
				body += "\nreturn\n"
			}
			all = append(all, sleeper{name: m.name, at: f.from, body: body})
		}
	}
	restWas.WriteString(original[endWas:])
	restNow.WriteString(planted[endNow:])
	return all, len(all) > 0 && restWas.String() == restNow.String()
}

// function is the inside of a function's braces, as places in the text.
type function struct {
	from, to int
	returns  bool // a value
}

func functions(text string) ([]function, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var all []function
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			all = append(all, function{
				from: set.Position(f.Body.Lbrace).Offset + 1, to: set.Position(f.Body.Rbrace).Offset, returns: f.Type.Results.NumFields() > 0,
			})
		}
	}
	return all, nil
}

// bed puts all the sleepers of a file into it.
func bed(text string, all []sleeper) string {
	slices.SortStableFunc(all, func(a, b sleeper) int { return b.at - a.at }) // from behind: places before stay as they are
	for _, s := range all {
		text = text[:s.at] + fmt.Sprintf("\nif plantedBug == %q {%s}\n", s.name, s.body) + text[s.at:]
	}
	return text
}

const twoFunctions = `package x

const limit = 1

func a(n int) int { return n + limit }

func b() {
	println(a(2))
}
`

func TestLull(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, new string
		dormant  bool
		want     string
	}{
		"a function with a result": {"n + limit", "n", true, strings.Replace(twoFunctions, "{ return n + limit", "{\nif plantedBug == \"m\" { return n }\n return n + limit", 1)},
		"one without": {"a(2)", "a(3)", true,
			strings.Replace(twoFunctions, "b() {", "b() {\nif plantedBug == \"m\" {\n\tprintln(a(3))\n\nreturn\n}\n", 1)},
		"a constant":      {"limit = 1", "limit = 2", false, ""},
		"a signature":     {"n int) int", "n int64) int", false, ""},
		"both":            {"1\n\nfunc a(n int) int { return n", "2\n\nfunc a(n int) int { return 2", false, ""},
		"a function more": {"func b", "func c() {}\n\nfunc b", false, ""},
		"nothing":         {"", "", false, ""},
	} {
		all, ok := lull(mutant{name: "m"}, twoFunctions, strings.Replace(twoFunctions, c.old, c.new, 1))
		if ok != c.dormant {
			t.Errorf("%s: dormant %t, want %t", name, ok, c.dormant)
			continue
		}
		if got := bed(twoFunctions, all); ok && got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, c.want)
		}
	}
}

func TestBedKeepsEverySleeperApart(t *testing.T) {
	t.Parallel()
	var all []sleeper
	for i, edits := range [][2]string{{"a(2)", "a(3)"}, {"n + limit", "n"}, {"a(2)", "a(4)"}} {
		some, _ := lull(mutant{name: fmt.Sprint("m", i)}, twoFunctions, strings.Replace(twoFunctions, edits[0], edits[1], 1))
		all = append(all, some...)
	}
	got := bed(twoFunctions, all)
	if _, err := functions(got); err != nil || strings.Count(got, "plantedBug ==") != 3 || !strings.Contains(got, "println(a(2))") {
		t.Errorf("%v:\n%s", err, got)
	}
}
