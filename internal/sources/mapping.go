package sources

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// Bounds of the expressions that map a payload: the length of each in characters, its nesting, and what all of one delivery may cost
// together, in CEL's units.
const (
	maxMapping      = 4096
	maxMappingDepth = 50
	deliveryCost    = 1_000_000
)

// The variables of the expressions that map a payload.
const (
	payloadName = "payload"
	itemName    = "item" // one of the list that `each` gives
)

// result is what an expression has to give. A dyn may turn out to be it; what it is, is looked at again.
type result struct {
	words  string
	kinds  []types.Kind
	always bool // it may not be an optional
}

var (
	givesText = result{"a text or a number", []types.Kind{types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.BoolKind}, false}
	givesBool = result{"true or false", []types.Kind{types.BoolKind}, true}
	givesList = result{"a list", []types.Kind{types.ListKind}, false}
	givesTime = result{"a time", []types.Kind{types.TimestampKind, types.StringKind, types.IntKind, types.UintKind, types.DoubleKind}, false}
)

func (r result) fits(t *cel.Type) bool {
	if t.Kind() == types.OpaqueKind && t.TypeName() == types.OptionalType.TypeName() {
		return !r.always && len(t.Parameters()) == 1 && r.fits(t.Parameters()[0])
	}
	return t.Kind() == types.DynKind || slices.Contains(r.kinds, t.Kind())
}

// mapped is one compiled expression over a payload. Safe for concurrent use.
type mapped struct {
	name    string // as messages say it
	program cel.Program
	ast     *cel.Ast
}

// payloadEnv makes the language of expressions over the named variables, of which nothing is known beforehand.
func payloadEnv(names []string) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.OptionalTypes(), ext.Strings(), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxMapping), cel.ParserRecursionLimit(maxMappingDepth),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(2)),
	}
	for _, name := range names {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	return cel.NewEnv(options...)
}

// written is an expression as it stands in the rules file.
type written struct {
	field, key, text string
	names            []string // the variables it may name
	result           result
}

// compile compiles an expression. What is wrong with the expression itself is an *ExpressionError.
func (w written) compile() (*mapped, error) {
	env, err := payloadEnv(w.names)
	if err != nil {
		return nil, fmt.Errorf("preparing the expression language: %w", err)
	}
	wrong := &ExpressionError{Field: w.field, Key: w.key, Text: w.text, Names: w.names, Env: env}
	parsed, issues := env.Parse(w.text)
	if wrong.Issues = issues; issues.Err() != nil {
		return nil, wrong
	}
	wrong.Parsed = parsed
	checked, issues := env.Check(parsed)
	if wrong.Issues = issues; issues.Err() != nil {
		return nil, wrong
	}
	if t := checked.OutputType(); !w.result.fits(t) {
		mistakes := common.NewErrors(common.NewTextSource(w.text))
		mistakes.ReportError(common.NewLocation(1, 0), "the expression gives %s, not %s", t, w.result.words)
		wrong.Issues = cel.NewIssues(mistakes)
		return nil, wrong
	}
	program, err := env.Program(checked, cel.CostLimit(mappingCost), cel.InterruptCheckFrequency(mappingInterrupt))
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	name := w.field
	if w.key != "" {
		name += "." + clip(w.key)
	}
	return &mapped{name: name, program: program, ast: checked}, nil
}

// evaluation evaluates the expressions of one delivery. For one goroutine.
type evaluation struct {
	vars map[string]any
	left *uint64 // of deliveryCost
}

func evaluate(payload any) evaluation {
	left := uint64(deliveryCost)
	return evaluation{vars: map[string]any{payloadName: payload}, left: &left}
}

// of gives the evaluation for one item of the payload; what it costs counts together.
func (e evaluation) of(item any) evaluation {
	return evaluation{vars: map[string]any{payloadName: e.vars[payloadName], itemName: item}, left: e.left}
}

// value evaluates an expression; nil for one that is not written, and for an optional that is absent or holds null.
func (e evaluation) value(m *mapped) (ref.Val, error) {
	if m == nil {
		return nil, nil
	}
	if *e.left == 0 {
		return nil, errTooCostly
	}
	out, details, err := m.program.ContextEval(context.Background(), e.vars)
	e.charge(details)
	if err != nil {
		return nil, fmt.Errorf("evaluating %s: %w", m.name, err)
	}
	optional, ok := out.(*types.Optional)
	switch {
	case !ok:
		return out, nil
	case !optional.HasValue() || optional.GetValue() == types.NullValue:
		return nil, nil
	default:
		return optional.GetValue(), nil
	}
}

// errTooCostly ends the reading of a delivery: what is left of it is not even tried.
var errTooCostly = fmt.Errorf("the expressions of one delivery cost more than %d together", deliveryCost)

// charge takes what an evaluation has cost, also one that failed, from what is left.
func (e evaluation) charge(details *cel.EvalDetails) {
	if details == nil {
		return
	}
	if cost := details.ActualCost(); cost != nil {
		*e.left -= min(*cost, *e.left)
	}
}

// text gives a text, or a number or truth as string() writes it; false when it is absent or empty.
func (e evaluation) text(m *mapped) (string, bool, error) {
	v, err := e.value(m)
	if v == nil || err != nil {
		return "", false, err
	}
	switch v.(type) {
	case types.String, types.Int, types.Uint, types.Double, types.Bool:
		text, _ := v.ConvertToType(types.StringType).Value().(string)
		if len(text) > maxLabelText {
			return "", false, fmt.Errorf("%s gives more than %d bytes", m.name, maxLabelText)
		}
		return text, text != "", nil
	default:
		return "", false, fmt.Errorf("%s gives a %s, not a text: use string()", m.name, v.Type().TypeName())
	}
}

// is gives a truth, false for an expression that is not written. An absent one is an error: it could be either.
func (e evaluation) is(m *mapped) (bool, error) {
	v, err := e.value(m)
	if m == nil || err != nil {
		return false, err
	}
	if v == nil {
		return false, fmt.Errorf("%s gives nothing, not true or false", m.name)
	}
	truth, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%s gives a %s, not true or false", m.name, v.Type().TypeName())
	}
	return bool(truth), nil
}

// list gives at most maxItems values, as they were decoded.
func (e evaluation) list(m *mapped) ([]any, error) {
	v, err := e.value(m)
	if v == nil || err != nil {
		return nil, err
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, fmt.Errorf("%s gives a %s, not a list", m.name, v.Type().TypeName())
	}
	var items []any
	for it := list.Iterator(); it.HasNext() == types.True; {
		if len(items) == maxItems {
			return nil, fmt.Errorf("%s gives a list of more than %d alerts", m.name, maxItems)
		}
		items = append(items, it.Next())
	}
	return items, nil
}

// maxItems bounds the alerts of one delivery.
const maxItems = 1000

// moment gives a time, zero where it is absent.
func (e evaluation) moment(m *mapped) (time.Time, error) {
	v, err := e.value(m)
	if v == nil || err != nil {
		return time.Time{}, err
	}
	at, err := momentOf(v)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", m.name, err)
	}
	return at.UTC(), nil
}

func momentOf(v ref.Val) (time.Time, error) {
	switch v := v.(type) {
	case types.Timestamp:
		return sane(v.Time)
	case types.String:
		return readMoment(string(v))
	case types.Int:
		return unixMoment(float64(v))
	case types.Uint:
		return unixMoment(float64(v))
	case types.Double:
		return unixMoment(float64(v))
	default:
		return time.Time{}, fmt.Errorf("a %s is no time", v.Type().TypeName())
	}
}

var digits = regexp.MustCompile(`^[0-9]{1,20}$`)

// readMoment reads a time of RFC 3339, or unix seconds or milliseconds in digits.
func readMoment(text string) (time.Time, error) {
	if digits.MatchString(text) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("%q is no time", clip(text))
		}
		return unixMoment(n)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time of RFC 3339, such as 2026-01-31T12:00:00Z", clip(text))
	}
	return sane(at)
}

// millisecondsFrom tells unix milliseconds from seconds: as seconds it lies in the year 5138, as milliseconds in 1973.
const millisecondsFrom = 1e11

func unixMoment(n float64) (time.Time, error) {
	if n < millisecondsFrom {
		n *= 1000
	}
	if math.IsNaN(n) || n <= 0 || n >= 1000*millisecondsFrom {
		return time.Time{}, errors.New("the number is no time in unix seconds or milliseconds")
	}
	return time.UnixMilli(int64(math.Round(n))), nil
}

// sane refuses times that a later computation could not hold, and the zero time, which means none.
func sane(at time.Time) (time.Time, error) {
	if year := at.UTC().Year(); year < 1970 || year > 5138 {
		return time.Time{}, errors.New("the time lies before 1970 or far ahead")
	}
	return at, nil
}
