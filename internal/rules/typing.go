package rules

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
)

// factTypes tells the type checker the fields of facts. Values of these types are maps at run time: see factValue. A type's name holds
// a space, so that no expression can name it.
type factTypes struct {
	types.Provider
	structs map[string]*factType
}

type factType struct {
	fields map[string]*types.FieldType
	names  []string // in the struct's order
}

// FindStructType is part of types.Provider.
func (p *factTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.structs[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames is part of types.Provider.
func (p *factTypes) FindStructFieldNames(name string) ([]string, bool) {
	if t, ok := p.structs[name]; ok {
		return t.names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType is part of types.Provider.
func (p *factTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	f, ok := t.fields[field]
	return f, ok
}

// object makes a struct type known under a name.
func (p *factTypes) object(name string, t reflect.Type) *types.Type {
	if _, ok := p.structs[name]; !ok {
		ft := &factType{fields: map[string]*types.FieldType{}}
		p.structs[name] = ft
		for _, f := range reflect.VisibleFields(t) {
			tag := factField(f)
			if tag == "" {
				continue
			}
			ft.names = append(ft.names, tag)
			ft.fields[tag] = mapField(tag, p.celType(name+"."+tag, f.Type))
		}
	}
	return types.NewObjectType(name)
}

// factField is the name of a field in expressions, "" if it has none.
func factField(f reflect.StructField) string {
	tag, _, _ := strings.Cut(f.Tag.Get("cel"), ",")
	if !f.IsExported() || tag == "-" {
		return ""
	}
	return tag
}

// mapField reads a field of a value that is kept as a map.
func mapField(name string, t *types.Type) *types.FieldType {
	return &types.FieldType{
		Type:  t,
		IsSet: func(object any) bool { m, _ := object.(map[string]any); _, ok := m[name]; return ok },
		GetFrom: func(object any) (any, error) {
			m, _ := object.(map[string]any)
			if v, ok := m[name]; ok {
				return v, nil
			}
			return nil, fmt.Errorf("no such field: %s", name)
		},
	}
}

func (p *factTypes) celType(name string, t reflect.Type) *types.Type {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return types.DurationType
	case reflect.TypeFor[time.Time]():
		return types.TimestampType
	}
	switch t.Kind() {
	case reflect.Bool:
		return types.BoolType
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return types.IntType
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return types.UintType
	case reflect.Float32, reflect.Float64:
		return types.DoubleType
	case reflect.String:
		return types.StringType
	case reflect.Pointer:
		return p.celType(name, t.Elem())
	case reflect.Slice:
		return types.NewListType(p.celType(name, t.Elem()))
	case reflect.Map:
		return types.NewMapType(types.StringType, p.celType(name, t.Elem()))
	case reflect.Struct:
		return p.object(name, t)
	default:
		return types.DynType
	}
}

// factValue turns a fact into what expressions read. Fields that could not be had, as said by the probe or because they are no
// number at all, are left out and named.
func factValue(a executors.Answer) (fields map[string]any, unknown []string, ok bool) {
	v := reflect.ValueOf(a.Fact)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, nil, false
	}
	fields, unknown = structValue(v), slices.Clone(a.Unknown)
	for name, value := range fields {
		if f, isFloat := value.(float64); isFloat && math.IsNaN(f) {
			unknown = append(unknown, name)
		}
	}
	for _, name := range unknown {
		delete(fields, name)
	}
	return fields, unknown, true
}

// Known gives the fact's known fields by their names in expressions, for the timeline. Durations are texts; whole bodies (maps) are left
// out: they may hold what nobody asked for.
func (f Fact) Known() map[string]any {
	fields, _, ok := factValue(f.Answer)
	if f.Err != nil || !ok {
		return nil
	}
	for name, value := range fields {
		switch value := value.(type) {
		case time.Duration:
			fields[name] = value.String()
		case map[string]any:
			delete(fields, name)
		}
	}
	return fields
}

func structValue(v reflect.Value) map[string]any {
	fields := map[string]any{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		name := factField(f)
		if name == "" {
			continue
		}
		if field, err := v.FieldByIndexErr(f.Index); err == nil && (field.Kind() != reflect.Pointer || !field.IsNil()) {
			fields[name] = plainValue(field)
		}
	}
	return fields
}

func plainValue(v reflect.Value) any {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration](), v.Type() == reflect.TypeFor[time.Time]():
		return v.Interface()
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return plainValue(v.Elem())
	case v.Kind() == reflect.Struct:
		return structValue(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plainValue(v.Index(i))
		}
		return list
	case v.Kind() == reflect.String:
		return v.String()
	default:
		return v.Interface()
	}
}

// The variables every expression has, beside the gathered facts.
const (
	alertName  = "alert"
	targetName = "target"
)

// alertRecord and targetRecord declare the fields of these variables.
type alertRecord struct {
	Labels      map[string]string `cel:"labels"`
	Annotations map[string]string `cel:"annotations"`
	Status      string            `cel:"status"`
	StartsAt    time.Time         `cel:"starts_at"`
}

type targetRecord struct {
	Name   string `cel:"name"`
	Health string `cel:"health"`
}

func alertValue(a alert.Alert) map[string]any {
	return structValue(reflect.ValueOf(alertRecord{
		Labels: a.Labels, Annotations: a.Annotations, Status: string(a.Status), StartsAt: a.StartsAt,
	}))
}

func targetValue(t executors.Target) map[string]any {
	return structValue(reflect.ValueOf(targetRecord{Name: t.Name, Health: t.Health}))
}

// variables declares what an expression of a rule may name.
func (p *factTypes) variables(gathered []gathered) []cel.EnvOption {
	options := []cel.EnvOption{
		cel.Variable(alertName, p.object("the alert", reflect.TypeFor[alertRecord]())),
		cel.Variable(targetName, p.object("the target", reflect.TypeFor[targetRecord]())),
	}
	for _, g := range gathered {
		t := g.kind.FactType()
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t == nil || t.Kind() != reflect.Struct {
			options = append(options, cel.Variable(g.name, cel.DynType))
			continue
		}
		options = append(options, cel.Variable(g.name, p.object("the fact of "+g.kind.Name, t)))
	}
	return options
}
