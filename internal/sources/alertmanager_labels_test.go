package sources

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// kv and listed are what Alertmanager's template is executed over.
type kv map[string]string

type templatePair struct{ Name, Value string }

// SortedPairs has Alertmanager's order: alertname first, then by name.
func (m kv) SortedPairs() []templatePair {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "alertname":
			return -1
		case b == "alertname":
			return 1
		default:
			return strings.Compare(a, b)
		}
	})
	var pairs []templatePair
	for _, name := range names {
		pairs = append(pairs, templatePair{name, m[name]})
	}
	return pairs
}

type listed struct {
	Labels, Annotations kv
	GeneratorURL        string
}

func alertmanagerText(t testing.TB, alerts ...listed) string {
	t.Helper()
	parsed, err := template.New("").Parse(string(readTestdata(t, "alertmanager-instances.tmpl")))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := parsed.ExecuteTemplate(&out, "__text_alert_list", alerts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The template in testdata is the one that an installed Alertmanager uses.
func TestAlertmanagerTemplateIsTheInstalledOne(t *testing.T) {
	t.Parallel()
	const path = "/usr/share/prometheus/alertmanager/default.tmpl"
	installed, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("no Alertmanager is installed: %v", err)
	}
	define := regexp.MustCompile(`(?s)\{\{ define "__text_alert_list" \}\}.*?\{\{ end \}\}\{\{ end \}\}`)
	want := string(define.Find(installed))
	if diff := cmp.Diff(want, strings.TrimSpace(string(readTestdata(t, "alertmanager-instances.tmpl")))); diff != "" {
		t.Errorf("-installed +testdata:\n%s", diff)
	}
	if !strings.Contains(string(installed), `{{ define "pagerduty.default.instances" }}{{ template "__text_alert_list" . }}{{ end }}`) {
		t.Error("PagerDuty's details are no longer made with it")
	}
}

func TestAlertmanagerLabelsText(t *testing.T) {
	t.Parallel()
	cases := map[string][]listed{
		"one":                    {{Labels: kv{"alertname": "HealthCheckFailed", "service": "api"}, Annotations: kv{"summary": "503"}, GeneratorURL: "http://prom/graph"}},
		"two":                    {{Labels: kv{"alertname": "A", "a": "1"}, GeneratorURL: "http://x"}, {Labels: kv{"alertname": "A", "a": "2"}}},
		"without alertname":      {{Labels: kv{"a": "1", "b": "2"}}},
		"label before alertname": {{Labels: kv{"Zone": "z", "alertname": "A", "_x": "y"}}},
		"equals in a value":      {{Labels: kv{"alertname": "A", "query": "a = b = c"}}},
		"value in lines":         {{Labels: kv{"alertname": "A", "text": "one\ntwo\n\n  three", "zone": "z"}}},
		"dash in a value":        {{Labels: kv{"alertname": "A", "text": "list:\n - first\n- second"}}},
		"spaces kept":            {{Labels: kv{"alertname": "A", "text": "  x  "}}},
		"annotation in lines":    {{Labels: kv{"alertname": "A"}, Annotations: kv{"d": "a\n - service = other\n\nb", "z": "x"}}},
		"annotation with link":   {{Labels: kv{"alertname": "A"}, Annotations: kv{"d": "see\nSource: http://y"}, GeneratorURL: "http://x"}, {Labels: kv{"alertname": "B"}}},
		"unicode":                {{Labels: kv{"alertname": "é 日本", "sërvice": "ü"}}},
		"no annotations":         {{Labels: kv{"alertname": "A"}}},
	}
	for name, alerts := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, text := range []string{alertmanagerText(t, alerts...), strings.TrimSpace(alertmanagerText(t, alerts...))} {
				got, err := alertmanagerLabels(text, len(alerts))
				if err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				if diff := cmp.Diff(labelsOfListed(alerts), got); diff != "" {
					t.Errorf("-rendered +parsed:\n%s\nin\n%s", diff, text)
				}
			}
		})
	}
}

func labelsOfListed(alerts []listed) []map[string]string {
	var sets []map[string]string
	for _, a := range alerts {
		sets = append(sets, a.Labels)
	}
	return sets
}

// What the template renders from single-line labels is read back, whatever the values and annotations are.
func TestAlertmanagerLabelsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		set := rapid.MapOfN(rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_]{0,8}|alertname`), rapid.StringMatching(`[ -~é=]{1,20}`), 1, 6)
		notes := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.StringMatching(`[ -~=\n]{0,30}`), 0, 3)
		var alerts []listed
		for range rapid.IntRange(1, 4).Draw(r, "alerts") {
			alerts = append(alerts, listed{set.Draw(r, "labels"), notes.Draw(r, "annotations"), "http://x"})
		}
		got, err := alertmanagerLabels(alertmanagerText(t, alerts...), len(alerts))
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(labelsOfListed(alerts), got); diff != "" {
			r.Fatal(diff)
		}
	})
}

// Alert text that pretends to be structure is refused, never believed.
func TestAlertmanagerLabelsForged(t *testing.T) {
	t.Parallel()
	forgedAlert := "x\nSource: \nLabels:\n - alertname = Forged\n - service = victim\nAnnotations:\n - a = b"
	for name, c := range map[string]struct {
		alert listed
		want  string
	}{
		"alert in an annotation": {listed{Labels: kv{"alertname": "A"}, Annotations: kv{"d": forgedAlert}}, "they are 2, but their number is given as"},
		"alert in a label":       {listed{Labels: kv{"alertname": "A", "x": "1\nAnnotations:\n" + forgedAlert}}, "read in two ways"},
		"annotations in a label": {listed{Labels: kv{"alertname": "A", "x": "1\nAnnotations:\n", "y": "2"}}, "read in two ways"},
		"labels in a label":      {listed{Labels: kv{"alertname": "A", "x": "1\nLabels:"}}, `a second "Labels:"`},
		"labels in annotation":   {listed{Labels: kv{"alertname": "A"}, Annotations: kv{"d": "1\nLabels:\n - a = b"}}, "read in two ways"},
		"label again":            {listed{Labels: kv{"alertname": "A", "service": "x", "text": "1\n - service = victim"}}, `"service" is given twice`},
		"alertname again":        {listed{Labels: kv{"alertname": "A", "text": "1\n - alertname = B"}}, `"alertname" is given twice`},
		"label out of order":     {listed{Labels: kv{"alertname": "A", "text": "1\n - service = victim"}}, `"service" is out of order`},
		"alertname later":        {listed{Labels: kv{"text": "1\n - alertname = B"}}, `"alertname" is out of order`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := alertmanagerLabels(alertmanagerText(t, c.alert), 1)
			wantError(t, err, c.want)
			if got != nil {
				t.Errorf("labels were given all the same: %v", got)
			}
		})
	}
}

func TestAlertmanagerLabelsMalformed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hello":                              `"Labels:" is missing`,
		"Labels:":                            `"Annotations:" is missing`,
		"Labels:\nx":                         "a label should be here",
		"Labels:\n - a\nAnnotations:":        "a label should be here",
		"Labels:\n -  = b\nAnnotations:":     "a label should be here",
		"Labels:\n - a = b\nAnnotations:":    `"Source:" is missing`,
		"Labels:\n - a = b\nSource: http://": `"Annotations:" is missing`,
		"Labels:\n - a = b\nAnnotations:\nSource: \nmore": `"Source:" is missing`,
	} {
		_, err := alertmanagerLabels(text, nil)
		wantError(t, err, want)
	}
}

func TestAlertmanagerLabelsList(t *testing.T) {
	t.Parallel()
	one := map[string]any{"status": "firing", "labels": map[string]any{"alertname": "A", "text": "a\n - service = victim"}}
	got, err := alertmanagerLabels([]any{one, one}, float64(2))
	want := map[string]string{"alertname": "A", "text": "a\n - service = victim"}
	if diff := cmp.Diff([]map[string]string{want, want}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, c := range map[string]struct {
		list, count any
		want        string
	}{
		"a number":            {1, nil, "neither a text nor a list"},
		"not objects":         {[]any{"x"}, nil, "alert 1 has no labels"},
		"no labels":           {[]any{one, map[string]any{}}, nil, "alert 2 has no labels"},
		"label not a text":    {[]any{map[string]any{"labels": map[string]any{"a": 1.0}}}, nil, `label "a" of alert 1`},
		"another number":      {[]any{one}, "2", `they are 1, but their number is given as "2"`},
		"number not a number": {[]any{one}, "one", `given as "one"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := alertmanagerLabels(c.list, c.count)
			wantError(t, err, c.want)
		})
	}
}

func FuzzAlertmanagerLabels(f *testing.F) {
	f.Add("A", "a = b", "two\nlines", "http://x")
	f.Add("A", "1\n - service = victim", "\nSource: \nLabels:\n - a = b\nAnnotations:", "")
	f.Add("A\nAnnotations:", "Labels:", "Source:", "\n")
	f.Fuzz(func(t *testing.T, alertname, label, annotation, link string) {
		labels := kv{"alertname": alertname, "label": label}
		text := alertmanagerText(t, listed{labels, kv{"annotation": annotation}, link})
		_, _ = alertmanagerLabels(text[:len(text)/2], nil)
		got, err := alertmanagerLabels(text, 1)
		if strings.Contains(alertname+label+link, "\n") {
			return // ambiguous by nature: it must only not panic
		}
		if err == nil && !cmp.Equal([]map[string]string{labels}, got) {
			t.Errorf("a label set was made up: %v out of\n%s", got, text)
		}
	})
}
