package executors_test

import (
	"maps"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/rules"
)

// script is a rules file of one rule on one target. Its texts are YAML.
type script struct {
	target  executors.Target
	clients connect.Set
	gather  map[string]string
	mode    rules.Mode
	when    string // its `if`
	kind    string // of the action
	params  string
}

const playToken = "a-token-of-alertmanagers-for-plays"

// declared is how the rules file declares the connections of the stands. What they reach is the stand's: nothing of this is opened.
var declared = map[string]string{
	"google_cloud": "{project: mixillo, region: europe-west1}",
	"atlas":        "{project: 5e2211c17a3e5a48f5497de3, client_id: mdb_sa_id_mixillo, client_secret_env: UNSET}",
	"mongodb":      "{uri_env: UNSET}",
	"redis":        "{endpoint: 'redis.example.com:6379', password_env: UNSET}",
	"vercel":       "{token_env: UNSET}",
	"sentry":       "{organization: mixillo, token_env: UNSET}",
	"stripe":       "{key_env: UNSET}",
	"pagerduty":    "{token_env: UNSET, from: bot@example.com}",
	"pager":        "{kind: pagerduty, token_env: UNSET, from: bot@example.com}",
	"api":          "{kind: http, endpoint: 'https://api.example.com', secrets: {monitor: {env: UNSET}}}",
	"flags":        "{kind: http, endpoint: 'https://flags.example.com', token_env: UNSET, secrets: {signing: {env: UNSET}}}",
	"exec":         "{binaries: [/bin/sh]}",
}

// load writes the rules file and loads it as the server does.
func (s script) load(t *testing.T) *rules.Set {
	t.Helper()
	connections := map[string]any{"pager": decoded(t, declared["pager"])}
	for name := range s.clients {
		if declared[name] == "" {
			t.Fatalf("nothing says how the rules file declares the connection %s", name)
		}
		connections[name] = decoded(t, declared[name])
	}
	gather := map[string]any{}
	for name, question := range s.gather {
		gather[name] = decoded(t, question)
	}
	text, err := yaml.Marshal(map[string]any{
		"version":     1,
		"sources":     map[string]any{"alertmanager": map[string]any{"bearer_token_file": kept(t, playToken).File}},
		"connections": connections,
		"targets":     map[string]any{s.target.Name: written(t, s.target)},
		"rules": []any{map[string]any{
			"name": "play", "match": []string{`alertname="Trouble"`}, "target": s.target.Name, "mode": string(s.mode), "gather": gather, "if": s.when,
			"do":     []any{map[string]any{s.kind: decoded(t, s.params)}},
			"verify": decoded(t, "{if: pulse.status == 200, hold: 5ms, every: 5ms, within: 30s}"),
			"tell":   decoded(t, "{pagerduty: {connection: pager, resolve_when: fixed}}"),
		}},
	})
	must(t, err)
	set, err := rules.Load("rules.yaml", text, rules.Options{})
	if err != nil {
		t.Fatalf("loading the rules: %v\n%s", err, text)
	}
	return set
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	must(t, yaml.Unmarshal([]byte(text), &v))
	if v == nil {
		return map[string]any{}
	}
	return v
}

// written is a target as the rules file declares it.
func written(t *testing.T, target executors.Target) map[string]any {
	t.Helper()
	out := map[string]any{"health": target.Health, "control": target.Control, "migrations": target.Migrations}
	for system, section := range target.Systems {
		text, err := yaml.Marshal(section)
		must(t, err)
		out[system] = decoded(t, string(text))
	}
	said, _ := said(out).(map[string]any)
	return said
}

// said leaves out what a section says nothing of.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(key string, value any) bool {
			v[key] = said(value)
			return v[key] == nil
		})
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = said(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	default:
		if v == nil || v == "0s" || reflect.ValueOf(v).IsZero() {
			return nil
		}
	}
	return v
}
