package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
)

func TestBind(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	rule, _ := set.Rule("roll-back-a-bad-deploy")
	bound, ok := rule.Bind("backend")
	if !ok || bound.Rule != rule || bound.Target.Name != "backend" {
		t.Fatalf("bound to %+v, %v", bound.Target, ok)
	}
	wantProbes := []BoundProbe{
		{Name: "health", Kind: "fake.get", Timeout: 20 * time.Second, Probe: &fakeGet{URL: "https://backend.example.com/health?from=backend", Tries: 3}},
		{Name: "deploy", Kind: "cloud_run.revisions", Timeout: 30 * time.Second, Probe: &fakeRevisions{}},
	}
	if diff := cmp.Diff(wantProbes, bound.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	wantActions := []BoundAction{
		{Kind: "cloud_run.rollback", Timeout: 30 * time.Second, Action: &fakeAction{To: "previous_healthy"}},
		{Kind: "fake.action", Timeout: 30 * time.Second, Action: &fakeAction{}},
	}
	if diff := cmp.Diff(wantActions, bound.Actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

func TestBindOnlyWhatTheRuleCanName(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	tests := map[string]map[string]bool{
		"roll-back-a-bad-deploy": {"backend": true, "worker": false, "cache": false, "": false, "other": false},
		"scale-when-slow":        {"backend": true, "worker": true, "cache": false, "api": false},
		"diagnose":               {"backend": true, "worker": true, "cache": false},
	}
	for name, targets := range tests {
		rule, _ := set.Rule(name)
		for target, want := range targets {
			if _, got := rule.Bind(target); got != want {
				t.Errorf("%s on %q: bound = %v, want %v", name, target, got, want)
			}
		}
	}
}

// Speed shortens what the file says and what it leaves out, and validates parameters as they are written.
func TestSpeed(t *testing.T) {
	t.Parallel()
	set := loadFile(t, "testdata/playbook.yaml", Options{Speed: 60})
	rule, _ := set.Rule("roll-back-a-bad-deploy")
	if diff := cmp.Diff(&Verify{Hold: 2 * time.Second, Within: 10 * time.Second, Every: time.Second / 6}, rule.Verify); diff != "" {
		t.Errorf("verify (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]guard.Window{{Most: 3, Per: time.Minute}, {Most: 6, Per: 24 * time.Minute}}, rule.Limits.Rule); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
	got := []time.Duration{rule.MaxAge, rule.Limits.Cooldown, rule.Breaker.ProbeAfter, rule.Escalate.After, rule.Tell.Slack.Every, rule.Afterwards[0].Every}
	want := []time.Duration{24 * time.Minute, time.Minute, time.Minute, 45 * time.Second, 15 * time.Second, 48 * time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("durations (-want +got):\n%s", diff)
	}
}

// What a kind says of its parameters holds for them as they are written.
func TestSpeedDoesNotInvalidate(t *testing.T) {
	t.Parallel()
	text := func(wait string) []byte {
		return []byte("version: 1\ntargets: {a: {}}\nrules: [{name: r, match: [a=b], target: a, gather: {h: {fake.get: {url: x, wait: " + wait + "}}}}]\n")
	}
	set, err := Load("r", text("3s"), Options{Speed: 60})
	if err != nil {
		t.Fatal(err)
	}
	bound, _ := set.Rules[0].Bind("a")
	if diff := cmp.Diff(&fakeGet{URL: "x", Wait: 50 * time.Millisecond}, bound.Probes[0].Probe); diff != "" {
		t.Errorf("probe (-want +got):\n%s", diff)
	}
	if _, err := Load("r", text("900ms"), Options{Speed: 0.1}); err == nil || !strings.Contains(err.Error(), "wait must be at least 1s") {
		t.Errorf("error is %v, want the kind's own", err)
	}
}

func TestOverlay(t *testing.T) {
	t.Parallel()
	overlay := `
connections:
  google_cloud: {project: demo, region: here, endpoint: "127.0.0.1:1", insecure: true}
  other: {kind: fake, token_env: TOKEN}
targets:
  worker: {cloud_run: {service: other}, health: "http://127.0.0.1:2/"}
`
	set := loadFile(t, "testdata/playbook.yaml", Options{Overlay: []byte(overlay)})
	google, _ := set.Connections["google_cloud"].(*connect.GoogleConfig)
	if google.Endpoint != "127.0.0.1:1" || google.Project != "demo" {
		t.Errorf("connection is %+v, want the overlay's", google)
	}
	if got := set.Targets["worker"].Health; got != "http://127.0.0.1:2/" {
		t.Errorf("target's health is %s, want the overlay's", got)
	}
	if got := set.Targets["backend"].Health; got != "https://backend.example.com/health" {
		t.Errorf("the other target's health is %s, want the file's", got)
	}
	if plain := playbook(t); plain.Hash == set.Hash {
		t.Error("the overlay does not change the hash")
	}
}

func TestOverlayMistakes(t *testing.T) {
	t.Parallel()
	_, err := Load("rules.yaml", []byte("version: 1\nfoo: 1\n"), Options{Overlay: []byte("rules: []\ntargets: {a: {helth: x}}\nsources: {b: {kind: fake, signing_secret: abc}}\n")})
	want := `rules.yaml:2:1: unknown-key: there is no key foo here
  |
2 | foo: 1
  | ^~~
  = allowed: version, sources, connections, targets, protected, freezes, severities, retention, intake, defaults, rules
overlay:1:1: unknown-key: an overlay cannot change rules
  |
1 | rules: []
  | ^~~~~
  = allowed: connections, sources, targets
overlay:2:15: unknown-key: there is no key helth in a target
  |
2 | targets: {a: {helth: x}}
  |               ^~~~~
  = did you mean "health"?
overlay:3:27: secret-in-file: a secret is never written into the rules file
  |
3 | sources: {b: {kind: fake, signing_secret: ***}}
  |                           ^~~~~~~~~~~~~~
  = write signing_secret_file: PATH or signing_secret_env: VARIABLE`
	if err == nil {
		t.Fatal("no mistake is reported")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// ruleError loads a file with one rule of these lines and gives the report.
func ruleError(t *testing.T, lines string) Diagnostics {
	t.Helper()
	text := "version: 1\nconnections: {google_cloud: {project: p, region: r}, slack: {token_file: t}}\ntargets: {backend: {cloud_run: {service: s}, health: \"https://a.example/\"}, cache: {}}\nrules:\n- name: a\n  match: [a=b]\n" + lines
	_, err := Load("r", []byte(text), Options{})
	var ds Diagnostics
	if err != nil && !errors.As(err, &ds) {
		t.Fatalf("error is %v, want diagnostics", err)
	}
	return ds
}

func TestRuleMistakes(t *testing.T) {
	t.Parallel()
	const gather = "  gather: {deploy: {cloud_run.revisions: {}}, health: {fake.get: {url: x}}}\n  target: backend\n"
	const act = gather + "  mode: auto\n  do: [{cloud_run.scale: {}}]\n"
	tests := []struct{ name, lines, want string }{
		{"fine", act + `  verify: {if: health.sick, within: 1m}`, ""},
		{"lag counts only for facts that verify names", act + `  verify: {if: "deploy.age > duration('1s')", within: 1m}`, "verify-too-short"},
		{"hold and settle", act + `  verify: {if: health.sick, within: 1m, hold: 40s, settle: 21s}`, "verify-too-short"},
		{"hold and settle fit", act + `  verify: {if: health.sick, within: 1m, hold: 40s, settle: 20s}`, ""},
		{"verify without if", act + `  verify: {within: 1m}`, "missing-key"},
		{"verify every 0s", act + `  verify: {if: health.sick, within: 1m, every: 0s}`, "bad-value"},
		{"verify every longer than within", act + `  verify: {if: health.sick, within: 1m, every: 61s}`, "bad-value"},
		{"verify every as long as within", act + `  verify: {if: health.sick, within: 1m, every: 1m}`, ""},
		{"verify within 0s", act + `  verify: {if: health.sick, within: 0s}`, "bad-value"},
		{"verify of the alert alone", act + `  verify: {if: alert.status == "resolved", within: 1m}`, "proves-nothing"},
		{"verify of the alert and a fact", act + `  verify: {if: alert.status == "resolved" && !health.sick, within: 1m}`, ""},
		{"scale back whatever is", act + "  verify: {if: health.sick, within: 1m}\n  afterwards: [{scale_back: {if: \"true\"}}]", "proves-nothing"},
		{"scale back too seldom", act + "  verify: {if: health.sick, within: 1m}\n  afterwards: [{scale_back: {if: health.sick, every: 25h}}]", "bad-value"},
		{"scale back within 0s", act + "  verify: {if: health.sick, within: 1m}\n  afterwards: [{scale_back: {if: health.sick, hold: 0s, within: 0s}}]", "bad-value"},
		{"remind as seldom as wished", act + "  verify: {if: health.sick, within: 1m}\n  afterwards: [{remind: {of: pinned_traffic, every: 7d}}]", ""},
		{"a breaker that never probes", gather + "  guard: {probe_after: 0s}", ""},
		{"a breaker that probes before", gather + "  guard: {probe_after: -1s}", "bad-value"},
		{"no verify in observe", gather + "  do: [{cloud_run.scale: {}}]", ""},
		{"no verify without do", gather + "  mode: auto", ""},
		{"no verify in approve", gather + "  mode: approve\n  tell: {slack: {}}\n  do: [{cloud_run.scale: {}}]", "missing-verify"},
		{"negative duration", gather + "  escalate: {after: -1s}", "bad-value"},
		{"days", gather + "  escalate: {after: 1d12h}", ""},
		{"no days", gather + "  escalate: {after: 1h2d}", "wrong-type"},
		{"timeout", "  target: backend\n  gather: {health: {fake.get: {url: x}, timeout: 0s}}", "bad-value"},
		{"required parameter", "  target: backend\n  gather: {health: {fake.get: }}", "missing-key"},
		{"validated for its target", "  target: cache\n  do: [{fake.action: {at_least: 11}}]", "bad-parameters"},
		{"validated for another", "  target: backend\n  do: [{fake.action: {at_least: 11}}]", ""},
		{"from without map", "  target: {from: x}\n  do: [{cloud_run.scale: {}}]", ""},
		{"nothing to scale back", gather + "  afterwards: [{scale_back: {if: health.sick}}]", "nothing-to-scale-back"},
		{"scale back", act + "  verify: {if: health.sick, within: 1m}\n  afterwards: [{scale_back: {if: health.sick, hold: 1h, within: 30m}}]", "verify-too-short"},
		{"alien in do", gather + "  do: [{cloud_run.revisions: {}}]", "unknown-kind"},
		{"dynamic result", gather + "  if: health.json.connected", ""},
		{"too long", gather + "  if: '" + strings.Repeat("health.sick && ", 300) + "true'", "bad-expression"},
		{"too deep", gather + "  if: '" + strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200) + "'", "bad-expression"},
		{"nested loops", gather + "  if: 'deploy.others.all(a, deploy.others.all(b, deploy.others.all(c, a == b && b == c)))'", "bad-expression"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ds := ruleError(t, tt.lines)
			if tt.want == "" && ds == nil || len(ds) == 1 && ds[0].ID == tt.want {
				return
			}
			t.Errorf("want %q, got\n%v", tt.want, ds)
		})
	}
}

func TestDynamicResult(t *testing.T) {
	t.Parallel()
	rule := ruleWith(t, `health.json.n`)
	if got := rule.If(alert.Alert{}, Facts{"health": sick}); got.Known || got.Holds || got.Err == "" {
		t.Errorf("a number as condition: %+v, want nothing known", got)
	}
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n")
	for i := range 2 * maxDiagnostics {
		fmt.Fprintf(&text, "- {k%d: %s}\n", i, strings.Repeat("x", 500))
	}
	_, err := Load("r", []byte(text.String()), Options{})
	var ds Diagnostics
	if !errors.As(err, &ds) || len(ds) != maxDiagnostics {
		t.Fatalf("%d diagnostics, want %d", len(ds), maxDiagnostics)
	}
	for _, d := range ds {
		if len([]rune(d.Excerpt)) > maxExcerpt {
			t.Fatalf("excerpt of %d characters", len(d.Excerpt))
		}
	}
	if _, err := Load("r", make([]byte, maxText+1), Options{}); err == nil || !strings.Contains(err.Error(), "too-large") {
		t.Errorf("a file too large: %v", err)
	}
}
