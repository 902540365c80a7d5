package rules_test

import (
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	_ "github.com/mixillo/remediator/internal/executors/exec"
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
