package rules_test

import (
	"fmt"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/rules"
)

const example = `version: 1
targets:
  backend: {health: "https://backend.example.com/health"}
rules:
  - name: look-at-a-sick-backend
    match: [alertname="HealthCheckFailed", severity=~"critical|P0"]
    target: {from: service}
    gather:
      health: {fake.get: {url: "{{ .Target.Health }}"}}
    if: health.sick && alert.labels.severity == "critical"
`

// A file is loaded once; then alerts find their rules, and facts decide.
func ExampleLoad() {
	set, err := rules.Load("rules.yaml", []byte(example), rules.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fired := alert.Alert{Labels: map[string]string{"alertname": "HealthCheckFailed", "severity": "critical", "service": "backend"}}
	for _, candidate := range set.Match(fired) {
		bound, _ := candidate.Rule.Bind(candidate.Target)
		fmt.Println(candidate.Rule.Name, "on", bound.Target.Name, "in mode", candidate.Rule.Mode, "asks for", candidate.Rule.NeedsIf())
		judgement := bound.If(fired, rules.Facts{"health": {Answer: executors.Answer{Unknown: []string{"sick"}, Fact: &struct {
			Sick bool `cel:"sick"`
		}{}}}})
		fmt.Println("known:", judgement.Known, "unknown:", judgement.Unknown)
		for _, v := range judgement.Values {
			fmt.Println(" ", v.Expr, "=", v.Value)
		}
	}
	// Output:
	// look-at-a-sick-backend on backend in mode observe asks for [health]
	// known: false unknown: [health.sick]
	//   health.sick = unknown
	//   alert.labels.severity = "critical"
	//   alert.labels.severity == "critical" = true
}

// All mistakes of a file come at once, each with its place.
func ExampleDiagnostics() {
	_, err := rules.Load("rules.yaml", []byte("version: 1\ntargts: {}\nrules: {}\n"), rules.Options{})
	fmt.Println(err)
	// Output:
	// rules.yaml:2:1: unknown-key: there is no key targts here
	//   |
	// 2 | targts: {}
	//   | ^~~~~~
	//   = did you mean "targets"?
	// rules.yaml:3:8: wrong-type: must be a list
	//   |
	// 3 | rules: {}
	//   |        ^
}
