package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
)

// maxShown bounds a value in Judgement.Values, in characters.
const maxShown = 120

// evidence is what an expression is judged over.
type evidence struct {
	alert  alert.Alert
	target *executors.Target // nil: not known
	facts  Facts
}

// judge evaluates the expression. A result that hangs on anything unknown is not known; one that does not is.
func (e *expression) judge(on evidence) Judgement {
	vars, unknown := e.variables(on)
	activation, err := cel.PartialVars(vars, unknown...)
	if err != nil {
		return Judgement{Err: plainWords(err.Error())}
	}
	result, _, err := e.program.Eval(activation)
	j := verdict(result, err)
	j.Values = e.values(activation)
	return j
}

func verdict(result ref.Val, err error) Judgement {
	switch {
	case err != nil:
		return Judgement{Err: plainWords(err.Error())}
	case types.IsUnknown(result):
		unknown, _ := result.(*types.Unknown)
		return Judgement{Unknown: trails(unknown)}
	}
	holds, ok := result.Value().(bool)
	if !ok {
		return Judgement{Err: "the expression is neither true nor false"}
	}
	return Judgement{Holds: holds, Known: true}
}

// variables gives the values of all names, and the patterns of what is unknown among them.
func (e *expression) variables(on evidence) (map[string]any, []*cel.AttributePatternType) {
	vars := map[string]any{alertName: alertValue(on.alert)}
	var unknown []*cel.AttributePatternType
	if on.target == nil {
		unknown = append(unknown, cel.AttributePattern(targetName))
	} else {
		vars[targetName] = targetValue(*on.target)
	}
	for _, name := range e.needs {
		fact, asked := on.facts[name]
		fields, missing, ok := factValue(fact.Answer)
		if !asked || fact.Err != nil || !ok {
			unknown = append(unknown, cel.AttributePattern(name))
			continue
		}
		vars[name] = fields
		for _, field := range missing {
			unknown = append(unknown, cel.AttributePattern(name).QualString(field))
		}
	}
	return vars, unknown
}

// trails names what an unknown result hangs on: a fact, or a field of one.
func trails(u *types.Unknown) []string {
	var names []string
	for _, id := range u.IDs() {
		found, _ := u.GetAttributeTrails(id)
		for _, trail := range found {
			name := trail.Variable()
			if path := trail.QualifierPath(); len(path) > 0 {
				name += "." + fmt.Sprint(path[0])
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// values evaluates every part of the expression, short circuits or not.
func (e *expression) values(activation cel.PartialActivation) []Value {
	_, details, _ := e.trace.Eval(activation) // errors are values of the parts they arise in
	if details == nil || details.State() == nil {
		return nil
	}
	var values []Value
	for _, p := range e.parts {
		v, ok := details.State().Value(p.id)
		if !ok || slices.ContainsFunc(values, func(v Value) bool { return v.Expr == p.text }) {
			continue
		}
		values = append(values, Value{Expr: p.text, Value: shorten(showValue(v))})
	}
	return values
}

func showValue(v ref.Val) string {
	switch v := v.(type) {
	case *types.Unknown:
		return "unknown"
	case *types.Err:
		return "error: " + plainWords(v.Error())
	case *types.Optional:
		if !v.HasValue() {
			return "none"
		}
		return showValue(v.GetValue())
	case types.Duration:
		return v.String()
	case types.Timestamp:
		return v.Time.UTC().Format(time.RFC3339)
	case types.String:
		return strconv.Quote(string(v))
	case types.Null:
		return "null"
	}
	return showNative(v.Value())
}

func showNative(v any) string {
	switch v := v.(type) {
	case bool, int64, uint64:
		return fmt.Sprint(v)
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "…"
	}
	return string(text)
}

func shorten(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if runes := []rune(text); len(runes) > maxShown {
		return string(runes[:maxShown-1]) + "…"
	}
	return text
}

// noExpression is said where a judgement is asked for that the file gives no expression for.
const noExpression = "the rules file gives no expression for this"

func judgeOrUnknown(e *expression, on evidence) Judgement {
	if e == nil {
		return Judgement{Err: noExpression}
	}
	return e.judge(on)
}

// If judges the rule's `if` on this target; a rule without one holds.
func (b Bound) If(a alert.Alert, f Facts) Judgement {
	if b.Rule.expr == nil {
		return Judgement{Holds: true, Known: true}
	}
	return b.Rule.expr.judge(evidence{alert: a, target: &b.Target, facts: f})
}

// Verified judges the `if` of verify on this target. Without verify nothing is known.
func (b Bound) Verified(a alert.Alert, f Facts) Judgement {
	return judgeOrUnknown(b.Rule.verified, evidence{alert: a, target: &b.Target, facts: f})
}

// Calm judges the `if` of Afterwards[i] on this target. Without one nothing is known.
func (b Bound) Calm(i int, a alert.Alert, f Facts) Judgement {
	return judgeOrUnknown(b.Rule.calmExpression(i), evidence{alert: a, target: &b.Target, facts: f})
}

// NeedsIf lists the gathered facts that `if` names, sorted.
func (r *Rule) NeedsIf() []string { return r.expr.needed() }

// NeedsVerify lists the gathered facts that the `if` of verify names, sorted.
func (r *Rule) NeedsVerify() []string { return r.verified.needed() }

// NeedsCalm lists the gathered facts that the `if` of Afterwards[i] names, sorted.
func (r *Rule) NeedsCalm(i int) []string { return r.calmExpression(i).needed() }

func (e *expression) needed() []string {
	if e == nil {
		return nil
	}
	return slices.Clone(e.needs)
}

func (r *Rule) calmExpression(i int) *expression {
	if i < 0 || i >= len(r.calm) {
		return nil
	}
	return r.calm[i]
}

// fixedTarget is the target of a rule that always has the same one, nil of any other.
func (r *Rule) fixedTarget() *executors.Target {
	b, ok := r.bound[r.choice.fixed]
	if !ok {
		return nil
	}
	return &b.Target
}
