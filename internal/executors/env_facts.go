package executors

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// maxText bounds a fact's text that goes to a system, in characters.
const maxText = 1000

// Connecting is implemented by parameters and target sections that name the connection they use, and its kind. The rules file must declare it; an empty name
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

// Scalar finds a fact's value as one text, number, truth or time that may be given to a system; durations are texts such as 1m30s, times
// those of RFC 3339. A text is from outside: it is bounded, on one line and holds only what is seen.
func (e Env) Scalar(path string) (any, error) {
	value, err := e.Fact(path)
	if err != nil {
		return nil, err
	}
	if plain, ok := scalar(value); ok {
		return plain, nil
	}
	return nil, fmt.Errorf("%s is no text, number, truth or time that can be told", path)
}

func scalar(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return connect.Line(v, maxText), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case time.Duration:
		return v.String(), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), !v.IsZero()
	case bool, int64, json.Number:
		return v, true
	default:
		return nil, false
	}
}
