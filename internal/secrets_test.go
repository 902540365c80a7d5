package internal_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// judges are the packages that judge by a secret who sends.
func judges() []string { return []string{"sources", "http"} }

// Where a comparison ends at the first difference, its time tells how much of a forged signature or token is right.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	for _, dir := range judges() {
		files := map[string]string{}
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") {
				files[path] = source(t, path)
			}
		}
		s := study(t, files)
		for _, wrong := range s.wrong {
			t.Error(wrong)
		}
		if s.proper == 0 {
			t.Errorf("no comparison of a secret was found in %s: the study is blind", dir)
		}
	}
}

// source reads a file as the compiler saw it: make mutants builds with an overlay, and names it here.
func source(t *testing.T, path string) string {
	t.Helper()
	var overlay struct{ Replace map[string]string }
	if name := os.Getenv("REMEDIATOR_OVERLAY"); name != "" {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &overlay)
		}
		if err != nil {
			t.Fatalf("reading the overlay: %v", err)
		}
	}
	here, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if changed, ok := overlay.Replace[here]; ok {
		here = changed
	}
	text, err := os.ReadFile(here)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// secrecy follows what stems from a secret through one package: through variables, parameters and results, by their names. It rather
// takes too much for secret than too little.
type secrecy struct {
	fset   *token.FileSet
	funcs  map[string][]*ast.FuncDecl // methods of several types may share a name: what is secret in one is taken for it in all
	secret map[string]bool            // "func.variable", and "func()" for a function whose result is
	grown  bool
	final  bool // all that is secret is known: comparisons are judged
	in     string
	wrong  []string
	proper int // comparisons in constant time
}

func study(t *testing.T, files map[string]string) *secrecy {
	t.Helper()
	s := &secrecy{fset: token.NewFileSet(), funcs: map[string][]*ast.FuncDecl{}, secret: map[string]bool{}}
	for path, text := range files {
		file, err := parser.ParseFile(s.fset, path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				s.funcs[f.Name.Name] = append(s.funcs[f.Name.Name], f)
			}
		}
	}
	for s.grown = true; s.grown; {
		s.grown = false
		s.walk()
	}
	s.final = true
	s.walk()
	slices.Sort(s.wrong)
	return s
}

func (s *secrecy) walk() {
	for name, all := range s.funcs {
		s.in = name
		for _, f := range all {
			ast.Inspect(f.Body, s.visit)
			for _, r := range returns(f.Body) {
				if slices.ContainsFunc(r.Results, s.isSecret) {
					s.mark(name + "()")
				}
			}
		}
	}
}

// returns are a function's own, without those of the functions inside it.
func returns(body *ast.BlockStmt) (all []*ast.ReturnStmt) {
	ast.Inspect(body, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok {
			all = append(all, r)
		}
		_, inner := n.(*ast.FuncLit)
		return !inner
	})
	return all
}

func (s *secrecy) mark(what string) {
	s.grown = s.grown || !s.secret[what]
	s.secret[what] = true
}

func (s *secrecy) markVariable(e ast.Expr) {
	if id, ok := e.(*ast.Ident); ok && id.Name != "_" {
		s.mark(s.in + "." + id.Name)
	}
}

func (s *secrecy) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if len(n.Rhs) == len(n.Lhs) && s.isSecret(n.Rhs[i]) || len(n.Rhs) < len(n.Lhs) && s.isSecret(n.Rhs[0]) {
				s.markVariable(left)
			}
		}
	case *ast.RangeStmt:
		if s.isSecret(n.X) {
			s.markVariable(n.Value)
		}
	case *ast.CallExpr:
		s.call(n)
	case *ast.BinaryExpr:
		if isComparison(n.Op) && (s.isSecret(n.X) && !isConstant(n.Y) || s.isSecret(n.Y) && !isConstant(n.X)) {
			s.report(n, n.Op.String())
		}
	case *ast.SwitchStmt:
		if n.Tag != nil && s.isSecret(n.Tag) {
			s.report(n, "switch")
		}
	}
	return true
}

// call passes what is secret on to the parameters of a function of the package, and judges those that compare.
func (s *secrecy) call(c *ast.CallExpr) {
	name := called(c)
	for _, f := range s.funcs[name] {
		s.pass(name, f, c.Args)
	}
	if !slices.ContainsFunc(c.Args, s.isSecret) {
		return
	}
	switch {
	case isConstantTime(name) && s.final:
		s.proper++
	case strings.HasSuffix(name, "Equal"), slices.Contains([]string{"EqualFold", "Compare", "HasPrefix", "HasSuffix", "Contains", "Index"}, name):
		if !isConstantTime(name) {
			s.report(c, name)
		}
	}
}

func (s *secrecy) pass(name string, f *ast.FuncDecl, args []ast.Expr) {
	i := 0
	for _, field := range f.Type.Params.List {
		for _, param := range field.Names {
			if i < len(args) && s.isSecret(args[i]) {
				s.mark(name + "." + param.Name)
			}
			i++
		}
	}
}

// isSecret reports whether an expression's value stems from a secret.
func (s *secrecy) isSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return s.secret[s.in+"."+e.Name]
	case *ast.ParenExpr:
		return s.isSecret(e.X)
	case *ast.SliceExpr:
		return s.isSecret(e.X)
	case *ast.IndexExpr:
		return s.isSecret(e.X)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && (s.isSecret(e.X) || s.isSecret(e.Y))
	case *ast.CallExpr:
		return s.gives(e)
	default:
		return false
	}
}

// gives reports whether a call's result stems from a secret.
func (s *secrecy) gives(c *ast.CallExpr) bool {
	name := called(c)
	if s.funcs[name] != nil {
		return s.secret[name+"()"]
	}
	method, _ := c.Fun.(*ast.SelectorExpr)
	switch {
	case name == "Reveal":
		return true
	case name == "len" || isConstantTime(name):
		return false
	default:
		return slices.ContainsFunc(c.Args, s.isSecret) || method != nil && s.isSecret(method.X)
	}
}

// called names the function or method; the package or receiver before it stays only where it decides.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if of, ok := f.X.(*ast.Ident); ok && (of.Name == "hmac" || of.Name == "subtle") {
			return of.Name + "." + f.Sel.Name
		}
		return f.Sel.Name
	default:
		return ""
	}
}

func isConstantTime(name string) bool {
	return name == "hmac.Equal" || name == "subtle.ConstantTimeCompare"
}

func isComparison(op token.Token) bool {
	return slices.Contains([]token.Token{token.EQL, token.NEQ, token.LSS, token.GTR, token.LEQ, token.GEQ}, op)
}

// isConstant: a comparison with a constant, such as the empty text, tells nothing.
func isConstant(e ast.Expr) bool {
	id, named := e.(*ast.Ident)
	_, literal := e.(*ast.BasicLit)
	return literal || named && id.Name == "nil"
}

func (s *secrecy) report(n ast.Node, how string) {
	if s.final {
		s.wrong = append(s.wrong, fmt.Sprintf("%s compares a secret by %s", s.fset.Position(n.Pos()), how))
	}
}

func TestSecrecy(t *testing.T) {
	t.Parallel()
	const head = `package x
func sum(v Value, body []byte) string {
	mac := hmac.New(sha256.New, []byte(v.Reveal()))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
func judge(v Value, body []byte, given string) bool { want := sum(v, body); return `
	for compared, want := range map[string][]string{
		`hmac.Equal([]byte(given), []byte(want)) }`:                          nil,
		`same(given, want) }; func same(a, b string) bool { return a == b }`: {"=="},
		`given == want }`:                                                           {"=="},
		`want[:8] != given[:8] }`:                                                   {"!="},
		`bytes.Equal([]byte(want), []byte(given)) }`:                                {"Equal"},
		`strings.EqualFold(given, "v1="+want) }`:                                    {"EqualFold"},
		`slices.Contains(all, want) }`:                                              {"Contains"},
		`want != "" && given == "" && len(want) == len(given) && given == "x" }`:    nil,
		`any(func(v Value) bool { return v.Reveal() == given }) }`:                  {"=="},
		`func() bool { switch want { case given: return true }; return false }() }`: {"switch"},
	} {
		s := study(t, map[string]string{"x.go": head + compared})
		var got []string
		for _, wrong := range s.wrong {
			got = append(got, wrong[strings.LastIndex(wrong, " ")+1:])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", compared, diff)
		}
	}
}
