package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/guard"
)

// guarded loads a file whose defaults and only rule have these guards, in a world that is so much faster than real.
func guarded(t *testing.T, defaults, rule string, speed float64) (*Rule, Diagnostics) {
	t.Helper()
	text := fmt.Sprintf("version: 1\nconnections: {google_cloud: {project: p, region: r}}\ntargets: {a: {cloud_run: {service: s}}}\n"+
		"defaults: {guard: {%s}}\nrules:\n- name: r\n  match: [a=b]\n  target: a\n"+
		"  gather: {d: {cloud_run.revisions: {lookback: 5m}}, e: {cloud_run.revisions: {lookback: 1m}}}\n  guard: {%s}\n", defaults, rule)
	set, err := Load("r", []byte(text), Options{Speed: speed})
	if err == nil {
		return set.Rules[0], nil
	}
	var ds Diagnostics
	if !errors.As(err, &ds) {
		t.Fatal(err)
	}
	return nil, ds
}

func per(most int, length time.Duration) guard.Window { return guard.Window{Most: most, Per: length} }

// What a rule says of its guards comes before the defaults, and these before what is built in, window by window.
func TestBudgets(t *testing.T) {
	t.Parallel()
	hour, week := time.Hour, 7*day
	pair := []guard.Window{per(2, hour), per(4, day)}
	for name, c := range map[string]struct {
		defaults, rule string
		want           []guard.Window // of the rule
	}{
		"nothing":                              {"", "", pair},
		"an hour of its own":                   {"", "per_hour: 9", []guard.Window{per(9, hour), per(4, day)}},
		"a day by default, an hour of its own": {"per_day: 8", "per_hour: 9", []guard.Window{per(9, hour), per(8, day)}},
		"its own list":                         {"per_day: 8", "budgets: {rule: [1/10m, 3/7d]}", []guard.Window{per(1, 10*time.Minute), per(3, week)}},
		"the default list":                     {"budgets: {rule: [1/10m]}", "", []guard.Window{per(1, 10*time.Minute)}},
		"its own list, not the default one":    {"budgets: {rule: [1/10m]}", "budgets: {rule: [2/30d]}", []guard.Window{per(2, 30*day)}},
		"an hour within the default list":      {"budgets: {rule: [1/10m, 5/1h]}", "per_hour: 9", []guard.Window{per(1, 10*time.Minute), per(9, hour)}},
		"an hour beside the default list":      {"budgets: {rule: [1/10m]}", "per_day: 9", []guard.Window{per(1, 10*time.Minute), per(9, day)}},
		"a list of another budget":             {"budgets: {target: [1/10m]}", "budgets: {fleet: [1/1h]}", pair},
		"no list":                              {"budgets: {rule: [1/10m]}", "budgets: {rule: }", []guard.Window{per(1, 10*time.Minute)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule, ds := guarded(t, c.defaults, c.rule, 1)
			if ds != nil {
				t.Fatal(ds)
			}
			if diff := cmp.Diff(c.want, rule.Limits.Rule); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBudgetsOfEachScope(t *testing.T) {
	t.Parallel()
	rule, ds := guarded(t, "budgets: {rule: [1/1h], target: [2/1h], fleet: [3/1h]}", "target_per_day: 5, fleet_per_hour: 6", 1)
	if ds != nil {
		t.Fatal(ds)
	}
	want := [3][]guard.Window{{per(1, time.Hour)}, {per(2, time.Hour), per(5, day)}, {per(6, time.Hour)}}
	if diff := cmp.Diff(want, [3][]guard.Window{rule.Limits.Rule, rule.Limits.Target, rule.Limits.Fleet}); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
}

// What one rule says of its budgets is its own: the rules around it go by the defaults.
func TestBudgetsOfARuleAreItsOwn(t *testing.T) {
	t.Parallel()
	const list = "  guard: {budgets: {rule: [9/10m, 9/20m], target: [9/10m], fleet: [9/10m]}}\n"
	text := "version: 1\nconnections: {google_cloud: {project: p, region: r}}\ntargets: {a: {cloud_run: {service: s}}}\n" +
		"defaults: {guard: {budgets: {rule: [1/1h, 2/1d], target: [3/1h], fleet: [4/1h]}}}\nrules:\n"
	for i, guard := range []string{"", list, "", list, "  guard: {per_hour: 7, per_day: 8}\n", ""} {
		text += fmt.Sprintf("- name: r%d\n  match: [a=b]\n  target: a\n%s", i, guard)
	}
	set, err := Load("r", []byte(text), Options{Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	plain := budgets{{per(1, time.Hour), per(2, day)}, {per(3, time.Hour)}, {per(4, time.Hour)}}
	own := budgets{{per(9, 10*time.Minute), per(9, 20*time.Minute)}, {per(9, 10*time.Minute)}, {per(9, 10*time.Minute)}}
	numbers := budgets{{per(7, time.Hour), per(8, day)}, plain[1], plain[2]}
	for i, want := range []budgets{plain, own, plain, own, numbers, plain} {
		l := set.Rules[i].Limits
		if diff := cmp.Diff(want, budgets{l.Rule, l.Target, l.Fleet}); diff != "" {
			t.Errorf("rule %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestGuardsOfRuleAndDefaults(t *testing.T) {
	t.Parallel()
	const all = "settle: 20m, inverse_within: 1d, storm_targets: 5, storm_within: 30m, approval: 5m, cooldown: 1h"
	want := guard.Limits{
		Rule: []guard.Window{per(2, time.Hour), per(4, day)}, Target: []guard.Window{per(2, time.Hour), per(4, day)},
		Fleet:    []guard.Window{per(6, time.Hour), per(20, day)},
		Cooldown: time.Hour, Settle: 20 * time.Minute, Inverse: day, Storm: guard.StormLimit{Targets: 5, Within: 30 * time.Minute},
	}
	for name, written := range map[string][2]string{"by default": {all, ""}, "of its own": {"storm_targets: 9, cooldown: 2h, approval: 1h", all}} {
		rule, ds := guarded(t, written[0], written[1], 1)
		if ds != nil {
			t.Fatal(ds)
		}
		if diff := cmp.Diff(want, rule.Limits); diff != "" {
			t.Errorf("%s: limits (-want +got):\n%s", name, diff)
		}
		if rule.Approval.Within != 5*time.Minute {
			t.Errorf("%s: approval is %s", name, rule.Approval.Within)
		}
	}
}

// The farthest that a gathered fact looks back is 5m and its kind's lag 3m: so long is waited after an act, whatever the defaults say.
func TestSettleCoversTheLookBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		defaults, rule string
		want           time.Duration
	}{
		"nothing said":             {"", "", 8 * time.Minute},
		"shorter by default":       {"settle: 1m", "", 8 * time.Minute},
		"longer by default":        {"settle: 9m", "", 9 * time.Minute},
		"exactly as long":          {"", "settle: 8m", 8 * time.Minute},
		"longer, and less than it": {"settle: 20m", "settle: 10m", 10 * time.Minute},
	} {
		for _, speed := range []float64{0, 60} {
			rule, ds := guarded(t, c.defaults, c.rule, speed)
			if ds != nil {
				t.Fatalf("%s: %v", name, ds)
			}
			if want := scale(c.want, speed); rule.Limits.Settle != want {
				t.Errorf("%s, at speed %v: %s, want %s", name, speed, rule.Limits.Settle, want)
			}
		}
	}
	_, ds := guarded(t, "", "settle: 7m59s", 1)
	if len(ds) != 1 || ds[0].ID != "settle-too-short" || ds[0].Hint != "write at least 8m0s" {
		t.Errorf("a shorter one of its own: %v", ds)
	}
}

// Every duration of a guard, the windows' included, is shorter in a faster world, and its bounds are judged at real speed.
func TestGuardsAtSpeed(t *testing.T) {
	t.Parallel()
	rule, ds := guarded(t, "settle: 30d, cooldown: 30d, inverse_within: 30d, storm_within: 1d, approval: 1m", "budgets: {rule: [1/1m, 2/30d]}", 60)
	if ds != nil {
		t.Fatal(ds)
	}
	want := guard.Limits{
		Rule: []guard.Window{per(1, time.Second), per(2, 12*time.Hour)}, Target: []guard.Window{per(2, time.Minute), per(4, 24*time.Minute)},
		Fleet:    []guard.Window{per(6, time.Minute), per(20, 24*time.Minute)},
		Cooldown: 12 * time.Hour, Settle: 12 * time.Hour, Inverse: 12 * time.Hour, Storm: guard.StormLimit{Targets: 3, Within: 24 * time.Minute},
	}
	if diff := cmp.Diff(want, rule.Limits); diff != "" || rule.Approval.Within != time.Second {
		t.Errorf("approval %s, limits (-want +got):\n%s", rule.Approval.Within, diff)
	}
}

// One rule's guards are its own: what it adds to a budget is not in another's.
func TestBudgetsAreNotShared(t *testing.T) {
	t.Parallel()
	text := "version: 1\ntargets: {a: {}}\ndefaults: {guard: {budgets: {rule: [1/1m]}}}\nrules:\n" +
		"- {name: one, match: [a=b], target: a, guard: {per_hour: 7}}\n- {name: two, match: [a=b], target: a, guard: {per_day: 9}}\n"
	set, err := Load("r", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]guard.Window{{per(1, time.Minute), per(7, time.Hour)}, {per(1, time.Minute), per(9, day)}}
	if diff := cmp.Diff(want, [][]guard.Window{set.Rules[0].Limits.Rule, set.Rules[1].Limits.Rule}); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]Retention{
		"":                                  {Bodies: 30 * day, Runs: 400 * day},
		"retention: {}\n":                   {Bodies: 30 * day, Runs: 400 * day},
		"retention: {bodies: 3d}\n":         {Bodies: 3 * day, Runs: 400 * day},
		"retention: {runs: 32d}\n":          {Bodies: 30 * day, Runs: 32 * day},
		"retention: {bodies: 1d}\n":         {},
		"retention: {runs: 31d}\n":          {},
		"retention: {bodies: 71h59m59s}\n":  {},
		"retention: {bodies: 72h, runs: x}": {},
	} {
		set, err := Load("r", []byte("version: 1\n"+written), Options{})
		if (err != nil) != (want == Retention{}) || err == nil && set.Retention != want {
			t.Errorf("%s: %v, want %v", written, err, want)
		}
	}
}

func TestProtected(t *testing.T) {
	t.Parallel()
	const head = "version: 1\nprotected: [cloud_run/p/europe-west1/remediator]\n" +
		"connections: {google_cloud: {project: p, region: r}}\ntargets: {own: {protected: true, cloud_run: {service: o}}, api: {protected: false, cloud_run: {service: a}}}\nrules:\n"
	set, err := Load("r", []byte(head+"- {name: r, match: [a=b], target: own, do: [{cloud_run.scale: {}}]}\n"), Options{})
	if err != nil {
		t.Fatalf("a rule that only looks: %v", err)
	}
	if diff := cmp.Diff([]string{"own", "cloud_run/p/europe-west1/remediator"}, set.Protected); diff != "" {
		t.Errorf("protected (-want +got):\n%s", diff)
	}
	const acts = ", gather: {d: {cloud_run.revisions: {}}}, do: [{cloud_run.scale: {}}], verify: {if: d.serving == 'a', within: 10m}}\n"
	for rule, want := range map[string]bool{
		"{name: r, match: [a=b], mode: auto, target: own" + acts:           false,
		"{name: r, match: [a=b], mode: auto, target: api" + acts:           true,
		"{name: r, match: [a=b], mode: auto, target: {from: b}" + acts:     true, // the engine refuses it when the label names the target
		"{name: r, match: [a=b], mode: auto, target: own}\n":               true,
		"{name: r, match: [a=b], mode: approve, target: own" + acts + "\n": false,
	} {
		_, err := Load("r", []byte(head+"- "+rule), Options{})
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "protected-target") {
			t.Errorf("%s: %v, want it allowed: %t", rule, err, want)
		}
	}
}

// A rule that acts names its alerts by a value; one that looks may look at any but all.
func TestMatchesEverything(t *testing.T) {
	t.Parallel()
	for matchers, want := range map[string]string{
		`a="b"`: "", `a=~"b|c"`: "", `a=~".+Failed"`: "", `a=~".*", b="c"`: "", `a!="", b=~"x.*y"`: "", `a!="b", c="d"`: "",
		`a=~".+"`: "matches-everything", `a!=""`: "matches-everything", `a!="b"`: "matches-everything", `a!~"b.*"`: "matches-everything",
		`a=""`: "matches-everything", `a=~"b|"`: "matches-everything", `a=~"[a-z].*", b!=""`: "matches-everything", `a=~"[^b]+"`: "matches-everything",
		`a=~"[A-Z].*"`: "matches-everything", `a=~".*"`: "empty-match", `a=~".*", b=~"(.*)"`: "empty-match",
	} {
		text := "version: 1\nconnections: {google_cloud: {project: p, region: r}}\ntargets: {a: {cloud_run: {service: s}}}\nrules:\n" +
			"- {name: looks, match: ['" + matchers + "'], target: a}\n- {name: acts, match: ['" + matchers + "'], target: a, mode: auto, " +
			"gather: {d: {cloud_run.revisions: {}}}, do: [{cloud_run.scale: {}}], verify: {if: d.serving == 'a', within: 10m}}\n"
		_, err := Load("r", []byte(text), Options{})
		var ds Diagnostics
		if err != nil && !errors.As(err, &ds) {
			t.Fatal(err)
		}
		lines := map[int]string{}
		for _, d := range ds {
			lines[d.Line] = d.ID
		}
		looks := want
		if want == "matches-everything" {
			looks = ""
		}
		if lines[5] != looks || lines[6] != want {
			t.Errorf("%s: %v, want %q for the rule that acts", matchers, ds, want)
		}
	}
}
