package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/matcher/parse"
	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
)

type match struct{ Rule, Target, Undeclared string }

func TestMatch(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	tests := []struct {
		name   string
		labels map[string]string
		want   []match
	}{
		{"nothing", map[string]string{"alertname": "Other"}, nil},
		{"no labels", nil, nil},
		{"alternative", map[string]string{"alertname": "HealthCheckFailed", "severity": "P0"}, []match{{"roll-back-a-bad-deploy", "backend", ""}}},
		{"anchored", map[string]string{"alertname": "HealthCheckFailed", "severity": "P01"}, nil},
		{"mapped", map[string]string{"alertname": "Slow", "service": "jobs"}, []match{{"scale-when-slow", "worker", ""}}},
		{"negative", map[string]string{"alertname": "Slow", "service": "jobs", "env": "staging"}, nil},
		{"not in the map", map[string]string{"alertname": "Slow", "service": "backend"}, []match{{"scale-when-slow", "", "backend"}}},
		{"no label", map[string]string{"alertname": "Slow"}, []match{{"scale-when-slow", "", "(none)"}}},
		{"by name", map[string]string{"alertname": "DatabaseDown", "service": "worker"}, []match{{"diagnose", "worker", ""}}},
		{"undeclared", map[string]string{"alertname": "DatabaseDown", "service": "checkout"}, []match{{"diagnose", "", "checkout"}}},
		{"without the section", map[string]string{"alertname": "DatabaseDown", "service": "cache"}, []match{{"diagnose", "", "cache"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []match
			for _, c := range set.Match(alert.Alert{Labels: tt.labels}) {
				got = append(got, match{c.Rule.Name, c.Target, c.Undeclared})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
		})
	}
}

// A missing label has the value "", as with Alertmanager.
func TestMissingLabelIsEmpty(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{`x=""`: true, `x!=""`: false, `x=~"a|"`: true, `x=~".+"`: false, `x!~".+"`: true, `x="a"`: false, `x!="a"`: true}
	for text, want := range tests {
		set := setOf(t, []string{text + `,a="b"`})
		if got := len(set.Match(alert.Alert{Labels: map[string]string{"a": "b"}})) == 1; got != want {
			t.Errorf("%s without the label: matched = %v, want %v", text, got, want)
		}
	}
}

// setOf makes a set of rules with these matchers and one target.
func setOf(t testing.TB, texts []string) *Set {
	t.Helper()
	set := &Set{byName: map[string]*Rule{}}
	var all [][]matcher
	for i, text := range texts {
		parsed, err := parse.Matchers(text)
		if err != nil {
			t.Fatal(err)
		}
		r := &Rule{Name: fmt.Sprint("rule-", i), Index: i, choice: choice{fixed: "one"}, bound: map[string]Bound{"one": {Target: executors.Target{Name: "one"}}}}
		for _, m := range parsed {
			r.matchers = append(r.matchers, newMatcher(m))
		}
		set.Rules, all = append(set.Rules, r), append(all, r.matchers)
	}
	set.index = newIndex(all)
	return set
}

// The index finds exactly what a scan of all rules finds, in file order.
func TestIndexAgreesWithScan(t *testing.T) {
	t.Parallel()
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	value := rapid.SampledFrom([]string{"", "x", "y", "z", "xy"})
	text := rapid.Custom(func(t *rapid.T) string {
		operator := rapid.SampledFrom([]string{"=", "!=", "=~", "!~"}).Draw(t, "operator")
		v := value.Draw(t, "value")
		if strings.Contains(operator, "~") {
			v = rapid.SampledFrom([]string{"x", "x|y", "x|", "x.*", ".+", "", "y|z|y", "(x|y)"}).Draw(t, "pattern")
		}
		return fmt.Sprintf("%s%s%q", name.Draw(t, "name"), operator, v)
	})
	rapid.Check(t, func(rt *rapid.T) {
		var texts []string
		for _, matchers := range rapid.SliceOfN(rapid.SliceOfN(text, 1, 3), 1, 12).Draw(rt, "rules") {
			texts = append(texts, strings.Join(matchers, ","))
		}
		labels := rapid.MapOf(name, value).Draw(rt, "labels")
		set := setOf(t, texts)
		var want, got []int
		for i, r := range set.Rules {
			if matchesAll(r.matchers, labels) {
				want = append(want, i)
			}
		}
		for _, c := range set.Match(alert.Alert{Labels: labels}) {
			got = append(got, c.Rule.Index)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("rules of %v (-scan +index):\n%s", labels, diff)
		}
	})
}

// benchSet has n rules; the benchmark's alert matches the last.
func benchSet(b *testing.B, n int) (*Set, alert.Alert) {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(`alertname="Alert%d",service="svc-%d",severity=~"critical|page",env!="staging"`, i%97, i)
	}
	labels := map[string]string{"alertname": fmt.Sprintf("Alert%d", (n-1)%97), "service": fmt.Sprintf("svc-%d", n-1), "severity": "page"}
	for i := range 9 {
		labels[fmt.Sprintf("label_%d", i)] = "value"
	}
	return setOf(b, texts), alert.Alert{Labels: labels}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		set, fired := benchSet(b, n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var candidates []Candidate
			for b.Loop() {
				if candidates = set.AppendMatch(candidates[:0], fired); len(candidates) != 1 {
					b.Fatalf("%d candidates, want 1", len(candidates))
				}
			}
		})
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	set := setOf(t, []string{`a="x",b=~"y|z",c!="q"`, `a="y"`})
	fired := alert.Alert{Labels: map[string]string{"a": "x", "b": "z"}}
	candidates := make([]Candidate, 0, 4)
	allocs := testing.AllocsPerRun(100, func() { candidates = set.AppendMatch(candidates[:0], fired) })
	if allocs != 0 || len(candidates) != 1 {
		t.Errorf("%v allocations and %d candidates, want 0 and 1", allocs, len(candidates))
	}
}
