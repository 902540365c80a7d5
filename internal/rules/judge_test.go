package rules

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
)

// ruleWith loads a rule of one target with the expression as its `if`.
func ruleWith(t testing.TB, expression string) *Rule {
	t.Helper()
	text := fmt.Sprintf(`version: 1
connections: {google_cloud: {project: p, region: r}}
targets: {backend: {health: "https://a.example/health", cloud_run: {service: s}}}
rules:
  - name: one
    match: [a=b]
    target: backend
    gather:
      health: {fake.get: {url: x}}
      deploy: {cloud_run.revisions: }
    if: |-
      %s
`, expression)
	set, err := Load("rules.yaml", []byte(text), Options{})
	if err != nil {
		t.Fatalf("loading:\n%v", err)
	}
	return set.Rules[0]
}

var (
	sick    = Fact{Answer: executors.Answer{Fact: &healthFact{Status: 503, Sick: true, Ratio: 0.25, JSON: map[string]any{"mongodb": map[string]any{"connected": true}, "n": 3.0}}}}
	well    = Fact{Answer: executors.Answer{Fact: &healthFact{Status: 200, Latency: 1500 * time.Millisecond, TLS: &tlsFact{ExpiresIn: time.Hour}, Text: "fine"}}}
	young   = Fact{Answer: executors.Answer{Fact: &deployFact{Age: 10 * time.Minute, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Serving: "api-7", Others: []string{"api-6"}}}}
	ageless = Fact{Answer: executors.Answer{Fact: &deployFact{Serving: "api-7"}, Unknown: []string{"age"}}}
	broken  = Fact{Err: errors.New("permission denied")}
)

func TestIf(t *testing.T) {
	t.Parallel()
	fired := alert.Alert{
		Status: alert.Firing, Labels: map[string]string{"alertname": "X", "severity": "critical"},
		StartsAt: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
	}
	holds, fails := Judgement{Holds: true, Known: true}, Judgement{Known: true}
	unknown := func(names ...string) Judgement { return Judgement{Unknown: names} }
	tests := []struct {
		expression string
		facts      Facts
		want       Judgement
	}{
		{`health.sick`, Facts{"health": sick}, holds},
		{`health.sick`, Facts{"health": well}, fails},
		{`health.sick`, Facts{}, unknown("health")},
		{`health.sick`, Facts{"health": broken}, unknown("health")},
		{`health.sick`, Facts{"health": {}}, unknown("health")},
		{`health.status == 503 && health.ratio < 1`, Facts{"health": sick}, holds},
		{`health.sick && deploy.age < duration("30m")`, Facts{"health": sick, "deploy": young}, holds},
		{`health.sick && deploy.age < duration("5m")`, Facts{"health": sick, "deploy": young}, fails},
		{`health.sick && deploy.age < duration("30m")`, Facts{"health": sick, "deploy": ageless}, unknown("deploy.age")},
		{`health.sick && deploy.age < duration("30m")`, Facts{"health": well, "deploy": ageless}, fails},
		{`deploy.age < duration("30m") && health.sick`, Facts{"health": well, "deploy": ageless}, fails},
		{`health.sick || deploy.age < duration("30m")`, Facts{"health": sick, "deploy": broken}, holds},
		{`deploy.age < duration("30m") || health.sick`, Facts{"health": sick, "deploy": broken}, holds},
		{`health.sick || deploy.age < duration("30m")`, Facts{"health": well, "deploy": broken}, unknown("deploy")},
		{`deploy.serving == "api-7"`, Facts{"deploy": ageless}, holds},
		{`has(deploy.age)`, Facts{"deploy": ageless}, unknown("deploy.age")},
		{`[deploy].exists(d, d.age < duration("30m"))`, Facts{"deploy": ageless}, unknown("deploy")},
		{`!(deploy.age < duration("30m"))`, Facts{"deploy": ageless}, unknown("deploy.age")},
		{`deploy.age < duration("30m") ? true : true`, Facts{"deploy": ageless}, unknown("deploy.age")},
		{`"api-6" in deploy.others && deploy.since < timestamp("2026-01-03T00:00:00Z")`, Facts{"deploy": young}, holds},
		{`deploy.since - alert.starts_at < duration("5m")`, Facts{"deploy": young}, holds},
		{`health.json[?"mongodb"].connected.orValue(true)`, Facts{"health": sick}, holds},
		{`health.json[?"redis"].connected.orValue(false)`, Facts{"health": sick}, fails},
		{`health.json.n == 3 && health.json["n"] > 2`, Facts{"health": sick}, holds},
		{`health.json.redis.connected == true`, Facts{"health": sick}, Judgement{Err: "no such key: redis"}},
		{`health.json.redis.connected == true && health.sick`, Facts{"health": well}, fails},
		{`health.tls.expires_in < duration("2h")`, Facts{"health": well}, holds},
		{`has(health.tls) && health.tls.expires_in < duration("2h")`, Facts{"health": sick}, fails},
		{`alert.labels.severity == "critical" && alert.status == "firing"`, Facts{}, holds},
		{`alert.labels.team == "a"`, Facts{}, Judgement{Err: "no such key: team"}},
		{`alert.labels[?"team"].orValue("a") == "a" && alert.annotations.size() == 0`, Facts{}, holds},
		{`target.name == "backend" && target.health.startsWith("https://a.")`, Facts{}, holds},
		{`health.text.lowerAscii() == "fine" && math.greatest(health.status, 1) == 200`, Facts{"health": well}, holds},
		{`1 / (health.status - 200) == 0`, Facts{"health": well}, Judgement{Err: "division by zero"}},
		{`health.ratio > 0.5`, Facts{"health": {Answer: executors.Answer{Fact: &healthFact{Ratio: math.NaN()}}}}, unknown("health.ratio")},
		{`health.ratio > 0.5 || health.sick`, Facts{"health": {Answer: executors.Answer{Fact: healthFact{Ratio: math.NaN(), Sick: true}}}}, holds},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			got := ruleWith(t, tt.expression).If(fired, tt.facts)
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Judgement{}, "Values"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("judgement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIfValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expression string
		facts      Facts
		want       []Value
	}{
		{
			`health.sick && health.json[?"mongodb"].connected.orValue(true) && deploy.age < duration("30m")`,
			Facts{"health": well, "deploy": ageless},
			[]Value{
				{"health.sick", "false"}, {`health.json[?"mongodb"].connected`, "none"}, {`health.json[?"mongodb"].connected.orValue(true)`, "true"},
				{"deploy.age", "unknown"}, {`deploy.age < duration("30m")`, "unknown"},
			},
		},
		{
			`deploy.age < duration("30m") && deploy.since > alert.starts_at || deploy.others.exists(o, o == "api-6")`,
			Facts{"deploy": young},
			[]Value{
				{"deploy.age", "10m0s"}, {`deploy.age < duration("30m")`, "true"}, {"deploy.since", "2026-01-02T03:04:05Z"},
				{"alert.starts_at", "0001-01-01T00:00:00Z"}, {"deploy.since > alert.starts_at", "true"},
				{`deploy.others.exists(o, o == "api-6")`, "true"},
			},
		},
		{
			`health.json.redis == 3 && health.text != "x"`,
			Facts{"health": well},
			[]Value{
				{"health.json.redis", "error: no such key: redis"}, {"health.json.redis == 3", "error: no such key: redis"},
				{"health.text", `"fine"`}, {`health.text != "x"`, "true"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			got := ruleWith(t, tt.expression).If(alert.Alert{}, tt.facts)
			if diff := cmp.Diff(tt.want, got.Values); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

// One set serves many alerts at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	fired := alert.Alert{Labels: map[string]string{"alertname": "HealthCheckFailed", "severity": "critical"}}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, c := range set.Match(fired) {
				bound, _ := c.Rule.Bind(c.Target)
				if got := bound.If(fired, Facts{"health": sick, "deploy": young}); !got.Holds || len(got.Values) == 0 {
					t.Errorf("judgement is %+v, want it to hold", got)
				}
			}
		})
	}
	group.Wait()
}

func TestCostIsBounded(t *testing.T) {
	t.Parallel()
	many := make([]string, 2000)
	facts := Facts{"deploy": {Answer: executors.Answer{Fact: &deployFact{Others: many}}}}
	got := ruleWith(t, `deploy.others.all(a, deploy.others.all(b, a == b))`).If(alert.Alert{}, facts)
	if got.Known || got.Holds || !strings.Contains(got.Err, "cost") {
		t.Errorf("judgement is %+v, want one stopped by its cost", got)
	}
}

func TestWithoutExpression(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	slow, _ := set.Rule("scale-when-slow")
	if got := slow.If(alert.Alert{}, nil); !got.Holds || !got.Known {
		t.Errorf("a rule without if: %+v, want it to hold", got)
	}
	diagnose, _ := set.Rule("diagnose")
	if got := diagnose.Verified(alert.Alert{}, nil); got.Known || got.Holds || got.Err == "" {
		t.Errorf("a rule without verify: %+v, want nothing known", got)
	}
	rollBack, _ := set.Rule("roll-back-a-bad-deploy")
	for _, i := range []int{-1, 0, 1} {
		if got := rollBack.Calm(i, alert.Alert{}, nil); got.Known || got.Holds {
			t.Errorf("Calm(%d) without an expression: %+v, want nothing known", i, got)
		}
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	rollBack, _ := set.Rule("roll-back-a-bad-deploy")
	slow, _ := set.Rule("scale-when-slow")
	got := map[string][]string{
		"if": rollBack.NeedsIf(), "verify": rollBack.NeedsVerify(), "no if": slow.NeedsIf(), "calm": slow.NeedsCalm(0), "no calm": rollBack.NeedsCalm(0),
	}
	want := map[string][]string{"if": {"deploy", "health"}, "verify": {"health"}, "no if": nil, "calm": {"health"}, "no calm": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
}

// The target an expression sees is the bound one; a rule of several targets does not know it by itself.
func TestTargetOfExpression(t *testing.T) {
	t.Parallel()
	rule, _ := playbook(t).Rule("diagnose")
	fired := alert.Alert{Labels: map[string]string{"severity": "critical"}}
	for target, want := range map[string]bool{"backend": true, "worker": false} {
		bound, ok := rule.Bind(target)
		if !ok {
			t.Fatalf("rule does not bind to %s", target)
		}
		if got := bound.If(fired, nil); !got.Known || got.Holds != want {
			t.Errorf("if on %s: %+v, want holds = %v", target, got, want)
		}
	}
	if got := rule.If(fired, nil); got.Known || !cmp.Equal(got.Unknown, []string{"target"}) {
		t.Errorf("if without a target: %+v, want the target unknown", got)
	}
}
