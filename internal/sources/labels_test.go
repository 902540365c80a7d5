package sources

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mappingSample(t *testing.T) mappingInput {
	t.Helper()
	return mappingInput{
		alert: mappedAlert{ID: "PA1", AlertKey: "k", Severity: "critical", Summary: "api is down", Status: "triggered", CreatedAt: received},
		details: map[string]any{
			"service": "api", "count": 3.0, "tags": map[string]any{"env": "prod"}, "list": []any{"a", "b"}, "num_firing": 2.0,
			"firing": alertmanagerText(t, listed{Labels: kv{"alertname": "A"}}, listed{Labels: kv{"alertname": "B"}}),
			"alerts": []any{map[string]any{"labels": map[string]any{"alertname": "C"}}},
		},
		incident: mappedIncident{ID: "Q1", Number: "42", Title: "down", ServiceID: "PS", Service: "backend", Urgency: "high", Priority: "P1"},
	}
}

func TestLabelsExpression(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string][]map[string]string{
		`{"alertname": alert.summary, "severity": alert.severity}`:                                                {{"alertname": "api is down", "severity": "critical"}},
		`{"service": details.service, "env": details.tags.env}`:                                                   {{"service": "api", "env": "prod"}},
		`{"n": string(int(details.count))}`:                                                                       {{"n": "3"}},
		`{"i": incident.id + incident.number + incident.service_id}`:                                              {{"i": "Q142PS"}},
		`{"i": incident.title + incident.service + incident.urgency + incident.priority}`:                         {{"i": "downbackendhighP1"}},
		`{"a": alert.id + alert.alert_key + alert.status}`:                                                        {{"a": "PA1ktriggered"}},
		`{"y": string(alert.created_at.getFullYear())}`:                                                           {{"y": "2026"}},
		`{"a": "x", "gone": details[?"nothing"].orValue("")}`:                                                     {{"a": "x"}},
		`has(alert.id) && alert.created_at > timestamp("2020-01-01T00:00:00Z") ? {"a": alert.id} : {"a": "none"}`: {{"a": "PA1"}},
		`alertmanager_labels(details.firing)`:                                                                     {{"alertname": "A"}, {"alertname": "B"}},
		`alertmanager_labels(details.firing, details.num_firing)`:                                                 {{"alertname": "A"}, {"alertname": "B"}},
		`alertmanager_labels(details.alerts, 1)`:                                                                  {{"alertname": "C"}},
		`details.list.map(x, {"item": x})`:                                                                        {{"item": "a"}, {"item": "b"}},
		`has(details.tags) ? dyn({"a": "1"}) : dyn([{"a": "2"}])`:                                                 {{"a": "1"}},
		`{"low": alert.summary.upperAscii()}`:                                                                     {{"low": "API IS DOWN"}},
		`details.tags`:                                                                                            {{"env": "prod"}},
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			m, err := compileMapping(expression)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.labels(t.Context(), mappingSample(t))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestLabelsExpressionRefusedAtLoad(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		``:                      "Syntax error",
		`{"a": `:                "Syntax error",
		`alert.sumary`:          "undefined field 'sumary'",
		`{"a": incident.name}`:  "undefined field 'name'",
		`{"a": env("HOME")}`:    "undeclared reference",
		`"text"`:                "gives string",
		`{"a": 1}`:              "gives map(string, int)",
		`{1: "a"}`:              "gives map(int, string)",
		`[["a"]]`:               "gives list(list(string))",
		`[[{"a": "b"}]]`:        "gives list(list(map(string, string)))",
		`alert`:                 "gives the alert",
		`alertmanager_labels()`: "no matching overload",
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			_, err := compileMapping(expression)
			wantError(t, err, want)
		})
	}
}

// Whoever shows the mistakes gets each by itself, and none of Go's names.
func TestLabelsExpressionError(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t, testKey)
	p.Labels = "{\"a\": alert.sumary,\n \"b\": string(incident == 1)}"
	var wrong *ExpressionError
	if err := p.Check(); !errors.As(err, &wrong) || wrong.Field != "labels" || len(wrong.Issues.Errors()) != 2 || wrong.Parsed == nil {
		t.Fatalf("Check gives %v, want both mistakes", err)
	}
	want := "labels: 1:12: undefined field 'sumary'; 2:23: found no matching overload for '_==_' applied to '(the incident, int)'"
	if diff := cmp.Diff(want, wrong.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestLabelsExpressionFails(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`{"a": details.nothing}`:                 "no such key",
		`{"a": details.count}`:                   `value of label "a" is a double: use string()`,
		`details.list`:                           "not a map",
		`details.service`:                        "not a map or a list of maps",
		`alertmanager_labels(details.service)`:   `"Labels:" is missing`,
		`alertmanager_labels(details.firing, 3)`: `they are 2, but their number is given as "3"`,
		`alertmanager_labels(details.count)`:     "neither a text nor a list",
		`alertmanager_labels(details.list)`:      "alert 1 has no labels",
		`[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, ` +
			`[1,2,3,4,5,6,7,8,9,10].map(e, [1,2,3,4,5,6,7,8,9,10].map(f, 1)))))).map(x, {"a": "b"})`: "cost limit exceeded",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			m, err := compileMapping(expression)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.labels(t.Context(), mappingSample(t))
			wantError(t, err, want)
		})
	}
}

func TestLabelsExpressionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m, err := compileMapping(`details.list.map(x, {"item": string(x)})`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	sample := mappingSample(t)
	items := make([]any, 10_000)
	for i := range items {
		items[i] = "x"
	}
	sample.details["list"] = items
	if _, err := m.labels(ctx, sample); err == nil {
		t.Error("it went on although its time was over")
	}
}
