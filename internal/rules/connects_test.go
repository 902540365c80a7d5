package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	_ "github.com/mixillo/remediator/internal/executors/exec"
	_ "github.com/mixillo/remediator/internal/executors/redis"
	_ "github.com/mixillo/remediator/internal/executors/vercel"
	_ "github.com/mixillo/remediator/internal/executors/web"
	"github.com/mixillo/remediator/internal/rules"
)

const connectsFile = `
version: 1
connections:
  backend: {kind: http, endpoint: https://backend.example.com, secrets: {monitor: {file: secrets/monitor}}}
  flags:
    kind: http
    endpoint: https://flags.example.com
    secret_headers: {X-Api-Key: {env: FLAGS_KEY}}
  exec: {binaries: [/usr/local/bin/flush], secrets: {CDN_KEY: {file: secrets/cdn}}}
targets: {backend: {}}
rules:
  - name: switch-payments-off
    match: [alertname="PaymentsFail"]
    target: backend
    gather:
      system:
        http.check:
          connection: backend
          steps:
            - {name: health, path: /health, expect: {status: 200, json: {/mongodb/connected: true}}}
            - name: login
              method: POST
              path: /api/auth/login
              login: true
              body: {email: monitor@example.com}
              secrets: {password: monitor}
              take: {token: /data/token}
            - {name: database, path: "/api/orders?status=pending", bearer: token, expect: {json: {/count: {exists: true}}}}
      stuck: {http.get: {url: https://backend.example.com/stuck, connection: backend}}
    if: system.failed_step == "database" && system.reason == "assertion" && stuck.json.count > 10
    do:
      - http.call:
          connection: flags
          method: PATCH
          path: /flags/{{ .Target.Name }}-payments
          body: {enabled: false, comment: {$fact: system.reason}}
          reads: {path: "/flags/{{ .Target.Name }}-payments", json: /enabled, before: true, after: false}
          undo: {body: {enabled: true}}
      - exec.run: {command: [/usr/local/bin/flush, --all], secrets: [CDN_KEY], facts: {STEP: system.failed_step}}
`

func TestConnectionsOfKinds(t *testing.T) {
	t.Parallel()
	set, err := rules.Load("rules.yaml", []byte(connectsFile), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	flags, ok := set.Connections["flags"].(*connect.APIConfig)
	if !ok || flags.SecretHeaders["X-Api-Key"] != (connect.Secret{Env: "FLAGS_KEY"}) {
		t.Errorf("got %+v", set.Connections["flags"])
	}
	for name, tc := range map[string]struct{ old, replacement, want string }{
		"not declared":       {"connection: flags\n          method", "connection: flag\n          method", "the file declares no connection flag; http.call needs it"},
		"of another kind":    {"connection: flags\n          method", "connection: exec\n          method", "connection exec is a exec connection, not http"},
		"of a check":         {"          connection: backend\n", "          connection: other\n", "the file declares no connection other; http.check needs it"},
		"of a get":           {"/stuck, connection: backend", "/stuck, connection: other", "the file declares no connection other; http.get needs it"},
		"meant":              {"  exec: {binaries: [/usr/local/bin/flush], secrets: {CDN_KEY: {file: secrets/cdn}}}\n", "", "the file declares no connection exec; exec.run needs it"},
		"a secret in a file": {"{X-Api-Key: {env: FLAGS_KEY}}", "{X-Api-Key: hunter2}", "a secret is never written into the rules file"},
		"both places":        {"{env: FLAGS_KEY}", "{env: FLAGS_KEY, file: x}", "either file or env must be given"},
		"another key":        {"{env: FLAGS_KEY}", "{value: x}", "there is no key value here"},
		"a wrong step":       {"login: true", "login: false", "a POST needs login: true or reads: true"},
	} {
		text := strings.Replace(connectsFile, tc.old, tc.replacement, 1)
		if text == connectsFile {
			t.Errorf("%s: nothing was replaced", name)
		}
		_, err := rules.Load("rules.yaml", []byte(text), rules.Options{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

const systemsFile = `
version: 1
connections:
  redis: {endpoint: "redis.example.com:6379"}
  cache: {kind: redis, endpoint: "cache.example.com:6379"}
  vercel: {token_file: secrets/vercel}
targets:
  backend: {redis: {connection: cache}}
  admin: {vercel: {project: admin}}
rules:
  - {name: look, match: [alertname="Slow"], target: backend, gather: {info: {redis.info: {}}}}
  - {name: look-at-the-site, by_hand: true, target: admin, gather: {site: {vercel.deployments: {}}, page: {http.get: {url: "https://admin.example.com/health"}}}}
`

// A kind's connection is its system's, or the one that the target's section names.
func TestConnectionsOfSystems(t *testing.T) {
	t.Parallel()
	if _, err := rules.Load("rules.yaml", []byte(systemsFile), rules.Options{}); err != nil {
		t.Fatal(err)
	}
	for declared, want := range map[string]string{
		"  cache: {kind: redis, endpoint: \"cache.example.com:6379\"}\n": "the file declares no connection cache; redis.info on target backend needs it",
		"  vercel: {token_file: secrets/vercel}\n":                       "the file declares no connection vercel; vercel.deployments needs it",
	} {
		_, err := rules.Load("rules.yaml", []byte(strings.Replace(systemsFile, declared, "", 1)), rules.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %q: %v, want %q", declared, err, want)
		}
	}
}

// A rule that only people start is for no alert, whatever it is labelled.
func TestByHand(t *testing.T) {
	t.Parallel()
	set, err := rules.Load("rules.yaml", []byte(systemsFile), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, labels := range []map[string]string{nil, {}, {"alertname": ""}, {"alertname": "look-at-the-site", "service": "admin"}} {
		if got := set.Match(alert.Alert{Labels: labels}); len(got) != 0 {
			t.Errorf("labels %v: %s matches", labels, got[0].Rule.Name)
		}
	}
	if rule, ok := set.Rule("look-at-the-site"); !ok || !rule.Concerns("admin") {
		t.Error("nobody can start it")
	}
}

// Stand-ins take the place of addresses that are written exactly so, and make rules of another hash.
func TestAddresses(t *testing.T) {
	t.Parallel()
	const page = "https://admin.example.com/health"
	plain, err := rules.Load("rules.yaml", []byte(systemsFile), rules.Options{Addresses: map[string]string{page + "/": "http://127.0.0.1:2"}})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := rules.Load("rules.yaml", []byte(systemsFile), rules.Options{Addresses: map[string]string{page: "http://127.0.0.1:1/health"}})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Hash == moved.Hash {
		t.Error("the hash is the same")
	}
	for set, want := range map[*rules.Set]string{plain: page, moved: "http://127.0.0.1:1/health"} {
		rule, _ := set.Rule("look-at-the-site")
		bound, ok := rule.Bind("admin")
		if got := fmt.Sprintf("%+v", bound.Probes[1].Probe); !ok || !strings.Contains(got, want+" ") {
			t.Errorf("%s asks not %s", got, want)
		}
	}
}
