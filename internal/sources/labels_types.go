package sources

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
)

// The types of `alert` and `incident`, as messages show them. A name holds a space, so that no expression can name it.
const (
	alertRecord    = "the alert"
	incidentRecord = "the incident"
)

// records tells the type checker the fields of values that are maps at run time, by a sample of each.
type records struct {
	types.Provider
	fields map[string]map[string]any
}

// FindStructType is part of types.Provider.
func (r records) FindStructType(name string) (*types.Type, bool) {
	if _, ok := r.fields[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return r.Provider.FindStructType(name)
}

// FindStructFieldNames is part of types.Provider.
func (r records) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := r.fields[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return r.Provider.FindStructFieldNames(name)
}

// FindStructFieldType is part of types.Provider.
func (r records) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := r.fields[name]
	if !ok {
		return r.Provider.FindStructFieldType(name, field)
	}
	sample, ok := fields[field]
	if !ok {
		return nil, false
	}
	return recordField(field, sample), true
}

func recordField(name string, sample any) *types.FieldType {
	t := types.StringType
	if _, isTime := sample.(time.Time); isTime {
		t = types.TimestampType
	}
	return &types.FieldType{
		Type:  t,
		IsSet: func(record any) bool { m, _ := record.(map[string]any); _, ok := m[name]; return ok },
		GetFrom: func(record any) (any, error) {
			m, _ := record.(map[string]any)
			if v, ok := m[name]; ok {
				return v, nil
			}
			return nil, fmt.Errorf("no such field: %s", name)
		},
	}
}
