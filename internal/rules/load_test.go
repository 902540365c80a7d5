package rules

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
)

func playbook(t testing.TB) *Set { return loadFile(t, "testdata/playbook.yaml", Options{}) }

func loadFile(t testing.TB, name string, o Options) *Set {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(name, text, o)
	if err != nil {
		t.Fatalf("loading %s:\n%v", name, err)
	}
	return set
}

func windows(hour, day int) []guard.Window {
	return []guard.Window{{Most: hour, Per: time.Hour}, {Most: day, Per: 24 * time.Hour}}
}

// limited are the guards of a rule that says nothing but these windows and this cooldown.
func limited(rule []guard.Window, cooldown time.Duration) guard.Limits {
	return guard.Limits{
		Rule: rule, Target: windows(2, 4), Fleet: windows(6, 20), Cooldown: cooldown, Settle: 5 * time.Minute, Inverse: 6 * time.Hour,
		Storm: guard.StormLimit{Targets: 3, Within: 10 * time.Minute},
	}
}

func TestLoadRules(t *testing.T) {
	t.Parallel()
	notes := &TellPagerDuty{Connection: "pagerduty", ResolveWhen: ResolveNever}
	slack := &TellSlack{Connection: "slack", Report: true, Every: 15 * time.Minute}
	want := []*Rule{
		{
			Name: "roll-back-a-bad-deploy", Mode: Auto, Index: 0,
			Limits:   limited(windows(3, 6), time.Hour),
			Breaker:  breaker.Policy{Failures: 3, ProbeAfter: time.Hour},
			MaxAge:   24 * time.Hour,
			Approval: Approval{Within: 15 * time.Minute, People: 1},
			Verify:   &Verify{Hold: 2 * time.Minute, Within: 10 * time.Minute, Every: 10 * time.Second},
			Tell:     Tell{PagerDuty: &TellPagerDuty{Connection: "pagerduty", ResolveWhen: ResolveFixed}, Slack: slack},
			Escalate: Escalate{After: 45 * time.Minute},
			Afterwards: []Afterward{
				{Kind: Remind, Of: "pinned_traffic", Every: 48 * time.Hour},
			},
			Rungs: []Rung{{"cloud_run.rollback"}, {"fake.action"}},
		},
		{
			Name: "scale-when-slow", Mode: Approve, Index: 1,
			Limits:   limited(windows(2, 6), 30*time.Minute),
			Breaker:  breaker.Policy{Failures: 3, ProbeAfter: time.Hour},
			MaxAge:   10 * time.Minute,
			Approval: Approval{Within: 15 * time.Minute, People: 1},
			Verify:   &Verify{Hold: 2 * time.Minute, Within: 10 * time.Minute, Every: 30 * time.Second, Settle: time.Minute},
			Tell:     Tell{PagerDuty: notes, Slack: slack},
			Escalate: Escalate{After: 30 * time.Minute},
			Afterwards: []Afterward{
				{Kind: ScaleBack, Hold: 10 * time.Minute, Within: 24 * time.Hour, Every: time.Minute},
			},
			Rungs: []Rung{{"cloud_run.scale"}},
		},
		{
			Name: "diagnose", Description: "Nothing can be done about the database by itself.", Mode: Observe, Index: 2,
			Limits:   limited(windows(2, 6), 30*time.Minute),
			Breaker:  breaker.Policy{Failures: 3, ProbeAfter: time.Hour},
			MaxAge:   10 * time.Minute,
			Approval: Approval{Within: 15 * time.Minute, People: 1},
			Tell:     Tell{PagerDuty: notes, Slack: slack},
			Escalate: Escalate{After: 30 * time.Minute},
		},
	}
	if diff := cmp.Diff(want, playbook(t).Rules, cmpopts.IgnoreUnexported(Rule{})); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestLoadSections(t *testing.T) {
	t.Parallel()
	set := playbook(t)
	if diff := cmp.Diff(map[string]string{"pagerduty": "fake", "prometheus": "fake"}, set.SourceKinds); diff != "" {
		t.Errorf("source kinds (-want +got):\n%s", diff)
	}
	source, _ := set.Sources["pagerduty"].(*fakeSource)
	if diff := cmp.Diff([]connect.Secret{{File: "secrets/pagerduty"}, {File: "secrets/pagerduty-next"}}, source.Signing); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	want := &fakeConnection{Token: connect.Secret{File: "x"}, Timeout: 90 * time.Second, Insecure: true}
	if diff := cmp.Diff(want, set.Connections["other"]); diff != "" {
		t.Errorf("connection (-want +got):\n%s", diff)
	}
	backend := set.Targets["backend"]
	if diff := cmp.Diff(&fakeService{Service: "mixillo-backend"}, backend.Systems["cloud_run"]); diff != "" {
		t.Errorf("section (-want +got):\n%s", diff)
	}
	if backend.Health != "https://backend.example.com/health" || backend.Migrations != "marked" || backend.Name != "backend" {
		t.Errorf("target is %+v", backend)
	}
}

// A breaker whose probe comes after 0s has none: only a release closes it, whatever the defaults say.
func TestProbeAfterNever(t *testing.T) {
	t.Parallel()
	text := "version: 1\ntargets: {a: {}}\ndefaults: {guard: {probe_after: 2h}}\nrules:\n" +
		"- {name: never, match: [a=b], target: a, guard: {probe_after: 0s}}\n- {name: default, match: [a=b], target: a}\n"
	set, err := Load("r", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := []time.Duration{set.Rules[0].Breaker.ProbeAfter, set.Rules[1].Breaker.ProbeAfter}
	if diff := cmp.Diff([]time.Duration{0, 2 * time.Hour}, got); diff != "" {
		t.Errorf("probe_after (-want +got):\n%s", diff)
	}
}

// A connection under the name that kinds look for is of another kind: said once, however many kinds need it.
func TestConnectionOfAnotherKind(t *testing.T) {
	t.Parallel()
	text := "version: 1\nconnections: {google_cloud: {kind: slack, token_file: t}}\ntargets: {a: {cloud_run: {service: s}}}\nrules:\n" +
		"- {name: r, match: [a=b], target: a, gather: {d: {cloud_run.revisions: {}}}, do: [{cloud_run.scale: {}}]}\n"
	_, err := Load("r", []byte(text), Options{})
	var ds Diagnostics
	if !errors.As(err, &ds) || len(ds) != 1 || ds[0].Message != "connection google_cloud is a slack connection, not google_cloud; cloud_run.revisions needs it" {
		t.Errorf("error is %v, want one about the connection's kind", err)
	}
}
