package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/sources"
)

// complaint is what the expression language says against a text, to be said again in the words of the file.
type complaint struct {
	text     string
	language *language
	issues   *cel.Issues
	ast      *cel.Ast // nil when the text could not even be parsed
}

// complainOf takes over what a source says against one of its parameters.
func complainOf(e *sources.ExpressionError) complaint {
	l := &language{env: e.Env, types: e.Env.CELTypeProvider(), names: e.Names}
	return complaint{text: e.Text, language: l, issues: e.Issues, ast: e.Parsed}
}

// issues reports all errors of an expression.
func (b *builder) issues(n *yaml.Node, c complaint) {
	for _, e := range c.issues.Errors() {
		offset, m := c.translate(e)
		b.within(n, offset, m)
		if c.ast == nil {
			return // what follows a syntax error only follows from it
		}
	}
}

func (c complaint) translate(e *common.Error) (int, mistake) {
	offset := c.offset(e.Location)
	undeclared, field, overload, syntax := regexp.MustCompile(`^undeclared reference to '([^']*)'`).FindStringSubmatch(e.Message),
		regexp.MustCompile(`^undefined field '([^']*)'`).FindStringSubmatch(e.Message),
		regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`).FindStringSubmatch(e.Message),
		strings.HasPrefix(e.Message, "Syntax error: ")
	switch {
	case undeclared != nil:
		return c.near(offset, undeclared[1]), c.unknownName(undeclared[1])
	case field != nil:
		return c.near(offset, field[1]), c.unknownField(field[1], e.ExprID)
	case overload != nil:
		return offset, noOverload(overload[1], overload[2])
	case syntax:
		return offset, syntaxError(c.text, strings.TrimPrefix(e.Message, "Syntax error: "))
	case strings.HasPrefix(e.Message, "expression recursion limit exceeded"):
		return offset, mistake{id: "bad-expression", message: fmt.Sprintf("the expression nests more than %d deep", maxNesting)}
	case strings.HasPrefix(e.Message, "invalid "):
		return offset, badLiteral(e.Message)
	default:
		return offset, mistake{id: "bad-expression", message: plainWords(e.Message)}
	}
}

// offset turns the language's place (line from 1, column from 0) into a place in the text, in characters.
func (c complaint) offset(l common.Location) int {
	offset, line := 0, 1
	text := []rune(c.text)
	for line < l.Line() && offset < len(text) {
		if text[offset] == '\n' {
			line++
		}
		offset++
	}
	return max(min(offset+max(l.Column(), 0), len(text)-1), 0)
}

// near finds the name that an error at offset means: the language points at the dot or parenthesis beside it.
func (c complaint) near(offset int, name string) int {
	text := []rune(c.text)
	if at := strings.Index(string(text[offset:]), name); at >= 0 && at <= 2 {
		return offset + at
	}
	if at := strings.LastIndex(string(text[:offset]), name); at >= 0 {
		return len([]rune(string(text[:offset])[:at]))
	}
	return offset
}

func (c complaint) unknownName(name string) mistake {
	allowed := append([]string{}, c.language.names...)
	for function := range c.language.env.Functions() {
		if !strings.ContainsAny(function, "_@.") {
			allowed = append(allowed, function)
		}
	}
	slices.Sort(allowed) // of two that are as near the same one is always suggested
	hint := ""
	if near := nearest(name, allowed); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		hint = "known here: " + strings.Join(c.language.names, ", ") + c.language.facts
	}
	return mistake{id: "unknown-name", message: fmt.Sprintf("there is nothing called %s", show(name)), hint: hint}
}

func (c complaint) unknownField(name string, id int64) mistake {
	m := mistake{id: "unknown-field", message: fmt.Sprintf("there is no field %s", show(name))}
	if c.ast == nil {
		return m
	}
	celast.PreOrderVisit(c.ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if operand := operandOf(e, id); operand != nil {
			if owner := c.language.typeOf(operand); owner != nil {
				names, _ := c.language.types.FindStructFieldNames(owner.TypeName())
				m.message += " in " + owner.TypeName()
				m.hint = suggest(name, names)
			}
		}
	}))
	return m
}

// operandOf is what the field access with this id reads from.
func operandOf(e celast.Expr, id int64) celast.Expr {
	switch {
	case e.Kind() == celast.SelectKind && e.ID() == id:
		return e.AsSelect().Operand()
	case e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.OptSelect && len(e.AsCall().Args()) == 2 &&
		(e.ID() == id || e.AsCall().Args()[1].ID() == id):
		return e.AsCall().Args()[0]
	default:
		return nil
	}
}

// typeOf is the type of a chain of fields, nil if it is none of a fact.
func (l *language) typeOf(e celast.Expr) *types.Type {
	switch e.Kind() {
	case celast.IdentKind:
		for _, v := range l.env.Variables() {
			if v.Name() == e.AsIdent() && v.Type().Kind() == types.StructKind {
				return v.Type()
			}
		}
	case celast.SelectKind:
		owner := l.typeOf(e.AsSelect().Operand())
		if owner == nil {
			return nil
		}
		if f, ok := l.types.FindStructFieldType(owner.TypeName(), e.AsSelect().FieldName()); ok && f.Type.Kind() == types.StructKind {
			return f.Type
		}
	}
	return nil
}

// noOverload says that an operator or function does not fit its operands.
func noOverload(function, signature string) mistake {
	signature = strings.ReplaceAll(signature, "double", "number with a fraction")
	symbol, isOperator := operators.FindReverse(function)
	m := mistake{id: "bad-types"}
	switch {
	case isOperator && symbol != "":
		m.message = fmt.Sprintf("%s cannot be applied to %s", symbol, strings.Trim(signature, "()"))
	case function == operators.Index:
		m.message = fmt.Sprintf("[ ] cannot be applied to %s", strings.Trim(signature, "()"))
	case function == operators.Conditional:
		m.message = fmt.Sprintf("? : cannot be applied to %s", strings.Trim(signature, "()"))
	default:
		m.message = fmt.Sprintf("%s() cannot be applied to %s", function, signature)
	}
	switch {
	case strings.Contains(signature, "fraction") && strings.Contains(signature, "int"):
		m.hint = "write whole numbers with a fraction here: 1.0"
	case strings.Contains(signature, "duration"):
		m.hint = `write durations as duration("30m")`
	case strings.Contains(signature, "timestamp"):
		m.hint = `write times as timestamp("2026-01-31T12:00:00Z")`
	}
	return m
}

// badLiteral says what a text that is written out should have been.
func badLiteral(message string) mistake {
	m := mistake{id: "bad-expression", message: plainWords(message)}
	switch message {
	case "invalid duration argument":
		m.message, m.hint = "this is no duration", `write durations as "30m" or "1h30m"`
	case "invalid timestamp argument":
		m.message, m.hint = "this is no time", `write times as "2026-01-31T12:00:00Z"`
	case "invalid matches argument":
		m.message = "this is no regular expression"
	}
	return m
}

func syntaxError(text, message string) mistake {
	message, _, _ = strings.Cut(message, " expecting ")
	message = strings.NewReplacer("'<EOF>'", "end", "token recognition error at: ", "unexpected ", "mismatched input ", "unexpected ",
		"extraneous input ", "unexpected ", "no viable alternative at input ", "unexpected ").Replace(message)
	m := mistake{id: "expression-syntax", message: "cannot read the expression: " + plainWords(message)}
	switch {
	case strings.Contains(text, " and "), strings.Contains(text, " or "), strings.Contains(text, " not "):
		m.hint = "and is written &&, or is written ||, not is written !"
	case regexp.MustCompile(`[^=!<>]=[^=]`).MatchString(text):
		m.hint = "equal is written =="
	}
	return m
}
