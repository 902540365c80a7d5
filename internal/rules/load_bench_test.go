package rules

import (
	"fmt"
	"strings"
	"testing"
)

// manyRules is a file of n rules, each like the first of the playbook, over ten targets.
func manyRules(n int) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nconnections: {google_cloud: {project: p, region: r}, pagerduty: {token_file: t, from: bot@example.com}}\ntargets:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  svc-%d: {cloud_run: {service: svc-%d}, health: \"https://svc-%d.example.com/health\"}\n", i, i, i)
	}
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, `  - name: rule-%d
    match: [alertname="Alert%d", severity=~"critical|P0"]
    target: svc-%d
    mode: auto
    gather:
      health: {fake.get: {url: "{{ .Target.Health }}", tries: 3}}
      deploy: {cloud_run.revisions: {}}
    if: health.sick && deploy.age < duration("30m")
    do: [{cloud_run.rollback: {to: previous_healthy}}]
    verify: {if: health.status == 200, hold: 2m, within: 10m}
    guard: {per_hour: 1, cooldown: 1h}
`, i, i, i%10)
	}
	return []byte(b.String())
}

// BenchmarkLoad reads 2,000 rules, as a reload does.
func BenchmarkLoad(b *testing.B) {
	text := manyRules(2000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("r", text, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
