package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"go.yaml.in/yaml/v4"
)

// Bounds of an expression: its length in characters, its nesting, and the cost of one evaluation in CEL's units.
const (
	maxExpression = 4096
	maxNesting    = 50
	maxCost       = 100_000
)

// expression is a checked and compiled condition of a rule. It is safe for concurrent use.
type expression struct {
	program cel.Program
	trace   cel.Program // evaluates every part, for Values
	needs   []string    // the gathered facts it names, sorted
	parts   []part
}

// part is a sub-expression whose value is worth showing.
type part struct {
	id   int64
	text string
}

// language compiles the expressions of rules that gather facts of the same names and kinds.
type language struct {
	env   *cel.Env
	types types.Provider
	names []string // variables
	facts string   // where more names come from, "" where there are no more
}

// languages keeps one language per combination of gathered facts: making one takes as long as loading many rules.
type languages map[string]*language

func (l languages) of(gathered []gathered) (*language, error) {
	var key strings.Builder
	for _, g := range gathered {
		key.WriteString(g.name + "=" + g.kind.Name + ",")
	}
	if known, ok := l[key.String()]; ok {
		return known, nil
	}
	made, err := newLanguage(gathered)
	if err != nil {
		return nil, err
	}
	l[key.String()] = made
	return made, nil
}

func newLanguage(gathered []gathered) (*language, error) {
	base, err := cel.NewEnv(
		cel.OptionalTypes(), ext.Strings(), ext.Math(),
		cel.CrossTypeNumericComparisons(true), cel.EnableMacroCallTracking(), cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxNesting),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(2)),
	)
	if err != nil {
		return nil, fmt.Errorf("making the expression language: %w", err)
	}
	provider := &factTypes{Provider: base.CELTypeProvider(), structs: map[string]*factType{}}
	l := &language{types: provider, names: []string{alertName, targetName}, facts: "; facts are named under gather"}
	for _, g := range gathered {
		l.names = append(l.names, g.name)
	}
	l.env, err = base.Extend(append(provider.variables(gathered), cel.CustomTypeProvider(provider))...)
	if err != nil {
		return nil, fmt.Errorf("declaring the facts: %w", err)
	}
	return l, nil
}

// compile checks the expression in a scalar; mistakes are reported at their characters.
func (b *builder) compile(n *yaml.Node, text string, gathered []gathered) *expression {
	if strings.TrimSpace(text) == "" {
		b.at(n, mistake{id: "bad-expression", message: "the expression is empty"})
		return nil
	}
	if length := len([]rune(text)); length > maxExpression {
		b.at(n, mistake{id: "bad-expression", message: fmt.Sprintf("the expression has %d characters; at most %d are allowed", length, maxExpression)})
		return nil
	}
	l, err := b.languages.of(gathered)
	if err != nil {
		b.at(n, mistake{id: "bad-expression", message: plainWords(err.Error())})
		return nil
	}
	checked := b.check(n, text, l)
	if checked == nil {
		return nil
	}
	if kind := checked.OutputType().Kind(); kind != types.BoolKind && kind != types.DynKind { // dyn is judged when it is evaluated
		b.at(n, mistake{id: "bad-expression", message: "the expression must be true or false, it is " + typeWords(checked.OutputType())})
		return nil
	}
	e, err := l.finish(checked)
	if err != nil {
		b.at(n, mistake{id: "bad-expression", message: plainWords(err.Error())})
		return nil
	}
	return e
}

func (b *builder) check(n *yaml.Node, text string, l *language) *cel.Ast {
	parsed, issues := l.env.Parse(text)
	if issues.Err() != nil {
		b.issues(n, complaint{text: text, language: l, issues: issues})
		return nil
	}
	checked, issues := l.env.Check(parsed)
	if issues.Err() != nil {
		b.issues(n, complaint{text: text, language: l, issues: issues, ast: parsed})
		return nil
	}
	return checked
}

func (l *language) finish(checked *cel.Ast) (*expression, error) {
	program, err := l.env.Program(checked, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	trace, err := l.env.Program(checked, cel.EvalOptions(cel.OptPartialEval, cel.OptExhaustiveEval), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	e := &expression{program: program, trace: trace}
	native := checked.NativeRep()
	e.needs = l.gatheredNames(native.Expr())
	collectParts(native.Expr(), native.SourceInfo(), &e.parts)
	return e, nil
}

// gatheredNames are the facts an expression names.
func (l *language) gatheredNames(root celast.Expr) []string {
	var needs []string
	celast.PreOrderVisit(root, celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.IdentKind {
			return
		}
		if name := e.AsIdent(); slices.Contains(l.names[2:], name) && !slices.Contains(needs, name) {
			needs = append(needs, name)
		}
	}))
	slices.Sort(needs)
	return needs
}

// collectParts lists, in reading order, the comparisons and what they compare.
func collectParts(e celast.Expr, info *celast.SourceInfo, parts *[]part) {
	add := func() {
		if text, err := cel.ExprToString(e, info); err == nil {
			*parts = append(*parts, part{id: e.ID(), text: text})
		}
	}
	switch e.Kind() {
	case celast.SelectKind, celast.IdentKind, celast.ComprehensionKind:
		add()
	case celast.CallKind:
		call := e.AsCall()
		if isAccess(call.FunctionName()) {
			add()
			return
		}
		if call.IsMemberFunction() {
			collectParts(call.Target(), info, parts)
		}
		for _, arg := range call.Args() {
			collectParts(arg, info, parts)
		}
		if !isLogic(call.FunctionName()) && !constant(e) {
			add()
		}
	}
}

func isAccess(function string) bool {
	return slices.Contains([]string{operators.Index, operators.OptIndex, operators.OptSelect}, function)
}

func isLogic(function string) bool {
	return slices.Contains([]string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional}, function)
}

// constant reports whether an expression names no variable, such as duration("30m").
func constant(e celast.Expr) bool {
	found := true
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) { found = found && e.Kind() != celast.IdentKind }))
	return found
}

// typeWords names a type of the expression language as the file's reader knows it.
func typeWords(t *cel.Type) string {
	switch t.Kind() {
	case types.BoolKind:
		return "a boolean"
	case types.IntKind, types.UintKind:
		return "a whole number"
	case types.DoubleKind:
		return "a number with a fraction"
	case types.StringKind:
		return "text"
	case types.DurationKind:
		return "a duration"
	case types.TimestampKind:
		return "a time"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "a mapping"
	default:
		return cel.FormatCELType(t)
	}
}
