package main

import (
	"maps"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/rules"
)

// readmeFrame is a rules file that what the README shows in parts is put into.
const readmeFrame = `version: 1
sources:
  alertmanager: {bearer_token_file: secrets/alertmanager}
connections:
  google_cloud: {project: my-project, region: europe-west1}
  pagerduty: {token_file: secrets/pagerduty-token, from: bot@example.com}
  slack: {token_file: secrets/slack, channel: "#incidents"}
targets:
  api: {cloud_run: {service: api}, health: "https://api.example.com/health", control: "https://control.example.com", migrations: none}
  shop: {cloud_run: {service: shop}, health: "https://shop.example.com/health", migrations: none}
`

const readmeRule = `{name: look, match: [alertname="X"], target: api, gather: {health: {http.get: {}}}, if: health.sick}`

// notOurs begins what is written for another program.
const notOurs = "receivers:"

// TestReadmeIsLoaded: every piece of YAML in the README is taken as the rules file that it is, or as the part of one.
func TestReadmeIsLoaded(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	succeed(t, err)
	loaded := 0
	for _, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(text, notOurs) {
			continue
		}
		loaded++
		if _, err := rules.Load("README.md", framed(t, text), rules.Options{}); err != nil {
			t.Errorf("%v\nin\n%s", err, text)
		}
	}
	if loaded < 7 {
		t.Errorf("only %d pieces were found", loaded)
	}
}

// framed makes a whole rules file of a piece of one: of the file, of its list of rules, or of a rule.
func framed(t *testing.T, text string) []byte {
	t.Helper()
	if strings.HasPrefix(text, "version:") {
		return []byte(text)
	}
	file, rule, piece := map[string]any{}, map[string]any{}, any(nil)
	succeed(t, yaml.Unmarshal([]byte(readmeFrame), &file))
	succeed(t, yaml.Unmarshal([]byte(readmeRule), &rule))
	succeed(t, yaml.Unmarshal([]byte(text), &piece))
	file["rules"] = []any{rule}
	switch piece := piece.(type) {
	case []any:
		file["rules"] = piece
	case map[string]any:
		if _, ofRule := piece["tell"]; ofRule {
			maps.Copy(rule, piece)
		} else {
			maps.Copy(file, piece)
		}
	default:
		t.Fatalf("no part of a rules file:\n%s", text)
	}
	whole, err := yaml.Marshal(file)
	succeed(t, err)
	return whole
}
