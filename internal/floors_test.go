package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/mixillo/remediator"

// listed is what go list says of one package. Imports leaves out what only tests import: external tests may reach anywhere.
type listed struct {
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// floors gives each package, below the module's path, its floor. Imports go down only, so this is the whole plan of the house.
func floors() map[string]float64 {
	return map[string]float64{
		"cmd/remediator":        5,
		"internal/http":         4,
		"internal/store":        4,
		"internal/store/memory": 4,
		"internal/notify":       4,
		"internal/remediation":  3,
		"internal/rules":        2,
		"internal/executors":    1,
		"internal/sources":      1,
		"internal/connect":      0.5,
		"internal/alert":        0,
		"internal/guard":        0,
		"internal/breaker":      0,
		"internal/failpoint":    0,
	}
}

// floorOf returns a package's floor. A system's folder below internal/executors is on its registry's floor.
func floorOf(pkg string) (float64, bool) {
	if isSystem(pkg) {
		pkg = "internal/executors"
	}
	floor, known := floors()[pkg]
	return floor, known
}

func isSystem(pkg string) bool {
	system, below := strings.CutPrefix(pkg, "internal/executors/")
	return below && !strings.Contains(system, "/")
}

// aside says of the packages that stand on no floor and import nothing of ours: the root, which embeds the shipped rules, the sandbox,
// and the servers of tests.
func aside(pkg string) bool {
	return slices.Contains([]string{"", "internal/sandbox", "internal/store/postgrestest"}, pkg)
}

// confined gives the libraries that only one package may import.
func confined() map[string]string {
	return map[string]string{
		"github.com/riverqueue/": "internal/store",
		"modernc.org/sqlite":     "internal/store",
		"github.com/jackc/pgx/":  "internal/store",
		"github.com/redis/":      "internal/connect",
	}
}

// nameless are package names that say nothing of what is inside, or that a domain word would say better.
func nameless() []string {
	return []string{"clock", "common", "config", "helpers", "metrics", "models", "types", "util"}
}

// judge returns what breaks the plan of the house, sorted; nothing when all is well.
func judge(pkgs []listed) []string {
	var broken []string
	for _, p := range pkgs {
		if len(p.GoFiles) == 0 {
			continue
		}
		from := below(p.ImportPath)
		broken = append(broken, judgeName(from, p.Name)...)
		for _, to := range p.Imports {
			broken = append(broken, judgeImport(from, to)...)
		}
	}
	slices.Sort(broken)
	return broken
}

// below cuts the module's path off; "" is the module's root package.
func below(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func judgeName(pkg, name string) []string {
	var broken []string
	if _, known := floorOf(pkg); !known && !aside(pkg) {
		broken = append(broken, pkg+" is on no floor: give it a floor")
	}
	for _, word := range []string{name, path.Base(pkg)} {
		if slices.Contains(nameless(), word) {
			return append(broken, fmt.Sprintf("%s: no package is named %s", pkg, word))
		}
	}
	return broken
}

func judgeImport(from, to string) []string {
	if to == module || strings.HasPrefix(to, module+"/") {
		return judgeOurs(from, below(to))
	}
	for library, home := range confined() {
		if strings.HasPrefix(to+"/", strings.TrimSuffix(library, "/")+"/") && from != home {
			return []string{fmt.Sprintf("%s imports %s, which only %s may", from, to, home)}
		}
	}
	return nil
}

func judgeOurs(from, to string) []string {
	if aside(from) {
		return []string{fmt.Sprintf("%s imports %s, but stands aside and imports nothing of ours", or(from, "the root"), to)}
	}
	if aside(to) {
		if from == "cmd/remediator" {
			return nil
		}
		return []string{fmt.Sprintf("%s imports %s, which only cmd/remediator and tests may", from, or(to, "the root"))}
	}
	if isSystem(from) && to == "internal/executors" {
		return nil
	}
	return judgeFloors(from, to)
}

func judgeFloors(from, to string) []string {
	above, known := floorOf(from)
	floor, knownToo := floorOf(to)
	switch {
	case !known || !knownToo || floor < above:
		return nil
	case floor == above:
		return []string{fmt.Sprintf("%s imports %s, which is on the same floor (%v)", from, to, floor)}
	default:
		return []string{fmt.Sprintf("%s (floor %v) imports %s (floor %v): imports only go down", from, above, to, floor)}
	}
}

func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// list asks go list for every package of the module.
func list(t *testing.T) []listed {
	t.Helper()
	watchTree(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatalf("reading go list's answer: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

// watchTree reads every directory of the module's code. The go command keeps a test's verdict until a file that the test process
// itself opened changes; go list is another process, so without this a new upward import would be answered from the cache.
func watchTree(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"../cmd", "."} {
		err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatalf("walking %s: %v", dir, err)
		}
	}
	if _, err := filepath.Glob("../*.go"); err != nil {
		t.Fatalf("looking at the root package: %v", err)
	}
}

func TestFloorsHold(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	if !slices.ContainsFunc(pkgs, func(p listed) bool { return below(p.ImportPath) == "internal/alert" }) {
		t.Fatalf("go list did not name internal/alert among %d packages, so it was not asked about this module", len(pkgs))
	}
	for _, b := range judge(pkgs) {
		t.Error(b)
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// pkg is a package below the module's path whose imports are ours when they begin with "./" or are ".".
func pkg(at string, imports ...string) listed {
	p := listed{ImportPath: path.Join(module, at), Name: path.Base(at), GoFiles: []string{"code.go"}}
	for _, to := range imports {
		if strings.HasPrefix(to, ".") {
			to = path.Join(module, to)
		}
		p.Imports = append(p.Imports, to)
	}
	return p
}

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		pkgs []listed
		want []string
	}{
		{name: "imports that go down", pkgs: []listed{
			pkg("cmd/remediator", ".", "./internal/sandbox", "./internal/store", "./internal/executors/cloudrun"),
			pkg("internal/store", "./internal/remediation", "./internal/guard", "github.com/riverqueue/river", "modernc.org/sqlite"),
			pkg("internal/executors", "./internal/connect"),
			pkg("internal/executors/cloudrun", "./internal/executors", "./internal/connect", "cloud.google.com/go/run/apiv2"),
			pkg("internal/connect", "./internal/alert", "./internal/failpoint"),
			pkg("internal/sandbox", "google.golang.org/grpc"),
			pkg("."),
		}},
		{name: "a folder of tests alone", pkgs: []listed{{ImportPath: module + "/internal"}}},
		{name: "upward", pkgs: []listed{pkg("internal/rules", "./internal/remediation")},
			want: []string{"internal/rules (floor 2) imports internal/remediation (floor 3): imports only go down"}},
		{name: "upward by half a floor", pkgs: []listed{pkg("internal/guard", "./internal/connect")},
			want: []string{"internal/guard (floor 0) imports internal/connect (floor 0.5): imports only go down"}},
		{name: "the heart imports an edge", pkgs: []listed{pkg("internal/remediation", "./internal/store")},
			want: []string{"internal/remediation (floor 3) imports internal/store (floor 4): imports only go down"}},
		{name: "sideways", pkgs: []listed{pkg("internal/http", "./internal/store")},
			want: []string{"internal/http imports internal/store, which is on the same floor (4)"}},
		{name: "a registry imports its system", pkgs: []listed{pkg("internal/executors", "./internal/executors/cloudrun")},
			want: []string{"internal/executors imports internal/executors/cloudrun, which is on the same floor (1)"}},
		{name: "one system imports another", pkgs: []listed{pkg("internal/executors/redis", "./internal/executors/cloudrun")},
			want: []string{"internal/executors/redis imports internal/executors/cloudrun, which is on the same floor (1)"}},
		{name: "anything imports the command", pkgs: []listed{pkg("internal/http", "./cmd/remediator")},
			want: []string{"internal/http (floor 4) imports cmd/remediator (floor 5): imports only go down"}},
		{name: "River above the store", pkgs: []listed{pkg("internal/remediation", "github.com/riverqueue/river")},
			want: []string{"internal/remediation imports github.com/riverqueue/river, which only internal/store may"}},
		{name: "River beside the store", pkgs: []listed{pkg("internal/notify", "github.com/riverqueue/river/rivertype")},
			want: []string{"internal/notify imports github.com/riverqueue/river/rivertype, which only internal/store may"}},
		{name: "a driver in the command", pkgs: []listed{pkg("cmd/remediator", "modernc.org/sqlite", "github.com/jackc/pgx/v5")},
			want: []string{
				"cmd/remediator imports github.com/jackc/pgx/v5, which only internal/store may",
				"cmd/remediator imports modernc.org/sqlite, which only internal/store may",
			}},
		{name: "unknown", pkgs: []listed{pkg("internal/journal")},
			want: []string{"internal/journal is on no floor: give it a floor"}},
		{name: "unknown below a known one", pkgs: []listed{pkg("internal/store/rows"), pkg("internal/executors/cloudrun/plan")},
			want: []string{
				"internal/executors/cloudrun/plan is on no floor: give it a floor",
				"internal/store/rows is on no floor: give it a floor",
			}},
		{name: "a second command", pkgs: []listed{pkg("cmd/tool")}, want: []string{"cmd/tool is on no floor: give it a floor"}},
		{name: "a name that says nothing", pkgs: []listed{pkg("internal/executors/util")},
			want: []string{"internal/executors/util: no package is named util"}},
		{name: "such a name inside another folder", pkgs: []listed{{ImportPath: module + "/internal/alert", Name: "types", GoFiles: []string{"a.go"}}},
			want: []string{"internal/alert: no package is named types"}},
		{name: "the sandbox imports ours", pkgs: []listed{pkg("internal/sandbox", "./internal/alert")},
			want: []string{"internal/sandbox imports internal/alert, but stands aside and imports nothing of ours"}},
		{name: "code imports the sandbox", pkgs: []listed{pkg("internal/connect", "./internal/sandbox")},
			want: []string{"internal/connect imports internal/sandbox, which only cmd/remediator and tests may"}},
		{name: "code imports a server of tests", pkgs: []listed{pkg("internal/store", "./internal/store/postgrestest")},
			want: []string{"internal/store imports internal/store/postgrestest, which only cmd/remediator and tests may"}},
		{name: "the root imports ours", pkgs: []listed{pkg(".", "./internal/rules")},
			want: []string{"the root imports internal/rules, but stands aside and imports nothing of ours"}},
		{name: "code imports the root", pkgs: []listed{pkg("internal/rules", ".")},
			want: []string{"internal/rules imports the root, which only cmd/remediator and tests may"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, judge(tt.pkgs)); diff != "" {
				t.Errorf("judge: -want +got:\n%s", diff)
			}
		})
	}
}
