package executors

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Connecting is implemented by parameters that name the connection they use, and its kind. The rules file must declare it; an empty name
// means that none is used.
type Connecting interface {
	Connects() (name, kind string)
}

// Fact finds the value of a fact by its name and field, such as "health.status"; of a field that is a map, also by a key in it
// ("health.json.version"). An error says what is not known. The value is data from outside.
func (e Env) Fact(path string) (any, error) {
	name, rest, _ := strings.Cut(path, ".")
	field, rest, _ := strings.Cut(rest, ".")
	fact, asked := e.Facts[name]
	switch {
	case !asked:
		return nil, fmt.Errorf("the fact %s is not known", name)
	case slices.Contains(e.Unknown[name], field):
		return nil, fmt.Errorf("%s.%s is not known", name, field)
	}
	value, ok := factField(fact, field)
	if !ok {
		return nil, fmt.Errorf("the fact %s has no field %.40q", name, field)
	}
	for rest != "" {
		var key string
		key, rest, _ = strings.Cut(rest, ".")
		inside, _ := value.(map[string]any)
		if value, ok = inside[key]; !ok {
			return nil, fmt.Errorf("%s is not known: there is no %.40q in it", path, key)
		}
	}
	return value, nil
}

func factField(fact any, name string) (any, bool) {
	v := reflect.Indirect(reflect.ValueOf(fact))
	if v.Kind() != reflect.Struct || name == "" {
		return nil, false
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("cel") == name {
			return v.Field(i).Interface(), true
		}
	}
	return nil, false
}
