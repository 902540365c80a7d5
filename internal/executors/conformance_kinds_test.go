package executors_test

import (
	"context"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// question is how the suite tries a kind of probe. A new kind needs one.
type question struct {
	params string
	stand  func(*testing.T) stand // nil: Cloud Run's
	// tells judges an answer in trouble, where a trouble is a fact.
	tells func(*testing.T, trouble, executors.Answer, error)
}

var questions = map[string]question{
	"http.get":            {params: "{tries: 1}", stand: newWebStand, tells: sickOrUnknown},
	"cloud_run.service":   {},
	"cloud_run.revisions": {},
	"monitoring.query":    {params: "{metric: error_ratio}"},
}

func TestEveryProbe(t *testing.T) {
	t.Parallel()
	for _, name := range executors.Probes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind, _ := executors.LookupProbe(name)
			describes(t, name, kind.Doc, kind.New())
			names := factNames(t, kind.FactType())
			s, probe := asked(t, name)
			answer, err := probe.Ask(t.Context(), s.Env())
			must(t, err)
			if got := reflect.TypeOf(answer.Fact); got != reflect.PointerTo(kind.FactType()) {
				t.Errorf("the fact is a %s, the kind promises a pointer to %s", got, kind.FactType())
			}
			for _, u := range answer.Unknown {
				if !slices.Contains(names, u) {
					t.Errorf("unknown field %q is no field of the fact", u)
				}
			}
			if answer.Summary == "" {
				t.Error("no summary for notes")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := probe.Ask(ctx, s.Env()); err == nil {
				t.Error("asked on after being called off")
			}
			if s.Writes() != 0 {
				t.Error("a probe wrote")
			}
		})
	}
}

var (
	kindName  = regexp.MustCompile(`^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$`)
	snakeName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// describes checks what the reference and the strict decoder need of any kind.
func describes(t *testing.T, name, doc string, k any) {
	t.Helper()
	if !kindName.MatchString(name) {
		t.Errorf("%q is not SYSTEM.VERB", name)
	}
	if !strings.HasSuffix(doc, ".") || len(doc) < 20 {
		t.Errorf("the doc is no sentence: %q", doc)
	}
	parameters(t, reflect.TypeOf(k).Elem())
}

func parameters(t *testing.T, typ reflect.Type) {
	t.Helper()
	for i := range typ.NumField() {
		field := typ.Field(i)
		if tag, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); !field.IsExported() || !snakeName.MatchString(tag) {
			t.Errorf("parameter %s.%s has the yaml tag %q", typ.Name(), field.Name, tag)
		}
		if field.Type.Kind() == reflect.Map && field.Type.Elem().Kind() == reflect.Struct {
			parameters(t, field.Type.Elem())
		}
	}
}

// factTypes are the types that rules can use.
var factTypes = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int64](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[[]string](), reflect.TypeFor[map[string]any](),
}

func factNames(t *testing.T, typ reflect.Type) []string {
	t.Helper()
	var names []string
	for i := range typ.NumField() {
		field := typ.Field(i)
		tag := field.Tag.Get("cel")
		if !field.IsExported() || !snakeName.MatchString(tag) || slices.Contains(names, tag) {
			t.Errorf("fact field %s has the cel tag %q", field.Name, tag)
		}
		if !slices.Contains(factTypes, field.Type) {
			t.Errorf("fact field %s is a %s, which rules cannot use", field.Name, field.Type)
		}
		names = append(names, tag)
	}
	return names
}

func TestEveryTargetSection(t *testing.T) {
	t.Parallel()
	for _, name := range executors.Targets() {
		kind, _ := executors.LookupTarget(name)
		if !snakeName.MatchString(name) || !strings.HasSuffix(kind.Doc, ".") {
			t.Errorf("section %q with doc %q", name, kind.Doc)
		}
		parameters(t, reflect.TypeOf(kind.New()).Elem())
	}
}
