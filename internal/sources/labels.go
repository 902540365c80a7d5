package sources

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// The most labels of one alert, whatever Bounds say: more is refused rather than cut, because a cut label could match what the whole
// one does not.
const (
	maxLabels    = 256
	maxLabelText = 8 << 10 // bytes of a name or value
)

func checkLabels(labels map[string]string) error {
	if len(labels) == 0 {
		return errors.New("it has no labels")
	}
	return Bounds{Labels: maxLabels, LabelBytes: maxLabelText}.check(labels)
}

// Bounds of one evaluation of the labels expression.
const (
	mappingCost      = 1_000_000 // in CEL's cost units
	mappingInterrupt = 100       // comprehension steps between looks at the context
)

// mappedAlert and mappedIncident are the variables `alert` and `incident` of the labels expression.
type mappedAlert struct {
	ID, AlertKey, Severity, Summary, Status string
	CreatedAt                               time.Time
}

func (a mappedAlert) fields() map[string]any {
	return map[string]any{
		"id": a.ID, "alert_key": a.AlertKey, "severity": a.Severity, "summary": a.Summary, "status": a.Status, "created_at": a.CreatedAt,
	}
}

type mappedIncident struct {
	ID, Number, Title, ServiceID, Service, Urgency, Priority string
}

func (i mappedIncident) fields() map[string]any {
	return map[string]any{
		"id": i.ID, "number": i.Number, "title": i.Title, "service_id": i.ServiceID, "service": i.Service, "urgency": i.Urgency,
		"priority": i.Priority,
	}
}

// mappingInput is what the labels of one PagerDuty alert are made of.
type mappingInput struct {
	alert    mappedAlert
	details  map[string]any
	incident mappedIncident
}

// labelMapping is a compiled labels expression. Safe for concurrent use.
type labelMapping struct{ program cel.Program }

// compileMapping compiles a labels expression. What is wrong with the expression itself is an *ExpressionError.
func compileMapping(expression string) (*labelMapping, error) {
	env, err := mappingEnv()
	if err != nil {
		return nil, fmt.Errorf("preparing the expression language: %w", err)
	}
	wrong := &ExpressionError{Field: "labels", Text: expression, Names: []string{"alert", "incident", "details"}, Env: env}
	parsed, issues := env.Parse(expression)
	if wrong.Issues = issues; issues.Err() != nil {
		return nil, wrong
	}
	wrong.Parsed = parsed
	checked, issues := env.Check(parsed)
	if wrong.Issues = issues; issues.Err() != nil {
		return nil, wrong
	}
	if !givesLabels(checked.OutputType()) {
		result := common.NewErrors(common.NewTextSource(expression))
		result.ReportError(common.NewLocation(1, 0), "the expression gives %s, not map(string, string) or a list of such maps", checked.OutputType())
		wrong.Issues = cel.NewIssues(result)
		return nil, wrong
	}
	program, err := env.Program(checked, cel.CostLimit(mappingCost), cel.InterruptCheckFrequency(mappingInterrupt))
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	return &labelMapping{program}, nil
}

func mappingEnv() (*cel.Env, error) {
	base, err := cel.NewEnv(
		cel.OptionalTypes(),
		ext.Strings(),
		cel.Variable("details", cel.MapType(cel.StringType, cel.DynType)),
		alertmanagerLabelsFunction(),
	)
	if err != nil {
		return nil, err
	}
	known := records{Provider: base.CELTypeProvider(), fields: map[string]map[string]any{
		alertRecord: mappedAlert{}.fields(), incidentRecord: mappedIncident{}.fields(),
	}}
	return base.Extend(
		cel.CustomTypeProvider(known),
		cel.Variable("alert", cel.ObjectType(alertRecord)),
		cel.Variable("incident", cel.ObjectType(incidentRecord)),
	)
}

// alertmanagerLabelsFunction declares alertmanager_labels(details.firing) and alertmanager_labels(details.firing, details.num_firing).
func alertmanagerLabelsFunction() cel.EnvOption {
	result := cel.ListType(cel.MapType(cel.StringType, cel.StringType))
	return cel.Function("alertmanager_labels",
		cel.Overload("alertmanager_labels_dyn", []*cel.Type{cel.DynType}, result,
			cel.UnaryBinding(func(list ref.Val) ref.Val { return alertmanagerLabelsValue(list, nil) })),
		cel.Overload("alertmanager_labels_dyn_dyn", []*cel.Type{cel.DynType, cel.DynType}, result,
			cel.BinaryBinding(func(list, count ref.Val) ref.Val { return alertmanagerLabelsValue(list, count.Value()) })),
	)
}

func alertmanagerLabelsValue(list ref.Val, count any) ref.Val {
	sets, err := alertmanagerLabels(list.Value(), count)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(sets)
}

// givesLabels accepts dyn where details, which have no declared types, make the checker unsure; labelSets looks again.
func givesLabels(t *cel.Type) bool {
	switch t.Kind() {
	case types.DynKind:
		return true
	case types.ListKind:
		return t.Parameters()[0].Kind() != types.ListKind && givesLabels(t.Parameters()[0])
	case types.MapKind:
		return textOrDyn(t.Parameters()[0]) && textOrDyn(t.Parameters()[1])
	default:
		return false
	}
}

func textOrDyn(t *cel.Type) bool { return t.Kind() == types.StringKind || t.Kind() == types.DynKind }

// labels evaluates the expression: one label set for each alert that the PagerDuty alert stands for.
func (m *labelMapping) labels(ctx context.Context, in mappingInput) ([]map[string]string, error) {
	out, _, err := m.program.ContextEval(ctx, map[string]any{
		"alert": in.alert.fields(), "details": in.details, "incident": in.incident.fields(),
	})
	if err != nil {
		return nil, fmt.Errorf("evaluating the labels expression: %w", err)
	}
	sets, err := labelSets(out)
	if err != nil {
		return nil, fmt.Errorf("reading the result of the labels expression: %w", err)
	}
	return sets, nil
}

func labelSets(v ref.Val) ([]map[string]string, error) {
	if one, ok := v.(traits.Mapper); ok {
		set, err := labelSet(one)
		return []map[string]string{set}, err
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, fmt.Errorf("it is a %s, not a map or a list of maps", v.Type().TypeName())
	}
	var sets []map[string]string
	for it := list.Iterator(); it.HasNext() == types.True; {
		one, ok := it.Next().(traits.Mapper)
		if !ok {
			return nil, errors.New("the list holds something that is not a map")
		}
		set, err := labelSet(one)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// labelSet leaves out empty values: for Prometheus a label with an empty value is one that is not there.
func labelSet(m traits.Mapper) (map[string]string, error) {
	set := map[string]string{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("a label's name is a %s, not a string", key.Type().TypeName())
		}
		value, ok := m.Get(key).(types.String)
		if !ok {
			return nil, fmt.Errorf("the value of label %q is a %s: use string()", clip(string(name)), m.Get(key).Type().TypeName())
		}
		if value != "" {
			set[string(name)] = string(value)
		}
	}
	return set, nil
}
