package cloudarmor_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudarmor"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

const operation = "0192f3a4-5b6c-7d8e-9f01-23456789abcd-0-1"

type named []netip.Prefix

func (n named) Offenders() []netip.Prefix { return n }

type world struct {
	*testing.T
	*sandbox.World
	env executors.Env
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func match(networks ...string) *sandbox.ArmorMatch {
	return &sandbox.ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &sandbox.ArmorAddresses{SrcIPRanges: networks}}
}

func limit(description string, preview bool) sandbox.ArmorRule {
	return sandbox.ArmorRule{Priority: 1000, Action: "throttle", Description: description, Preview: preview, Match: match("*"),
		RateLimitOptions: &sandbox.ArmorRateLimit{ConformAction: "allow", ExceedAction: "deny(429)", EnforceOnKey: "IP",
			RateLimitThreshold: &sandbox.ArmorThreshold{Count: 300, IntervalSec: 60}}}
}

func start(t *testing.T, p sandbox.ArmorPolicy) *world {
	w, err := sandbox.Start(sandbox.Config{Speed: 1000, Seed: 3})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	must(t, w.AddService(sandbox.Service{Name: "api"}))
	must(t, w.SetIngress("api", true))
	p.Name = "edge"
	w.AddSecurityPolicy(p)
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{
		Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), ComputeEndpoint: w.URL("compute"), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	section := &cloudarmor.Policy{Policy: "edge", RateLimit: 1000, Priorities: cloudarmor.Priorities{From: 500, To: 501},
		NeverBlock: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	target := executors.Target{Name: "backend", Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: "api"}, "cloud_armor": section}}
	must(t, section.Validate(target))
	return &world{T: t, World: w, env: executors.Env{
		Target: target, Connections: connect.Set{"google_cloud": google}, Now: time.Now(), Speed: 1000,
		Facts: map[string]any{"top": named{netip.MustParsePrefix("203.0.113.7/32")}, "lame": 1},
	}}
}

func (w *world) action(name, params string) executors.Action {
	w.Helper()
	kind, _ := executors.LookupAction(name)
	a := kind.New()
	must(w.T, yaml.Unmarshal([]byte(params), a))
	return a
}

func (w *world) block() executors.Action {
	return w.action("cloud_armor.block", "{from: top, lasts: 1h}")
}

func (w *world) limit() executors.Action {
	return w.action("cloud_armor.rate_limit", "{per_minute: 60, per_client_ip: true, lasts: 30m}")
}

func (w *world) plan(a executors.Action) executors.Change {
	w.Helper()
	c, err := a.Plan(w.Context(), w.env)
	must(w.T, err)
	return c
}

func (w *world) carryOut(a executors.Action, c executors.Change) executors.Observation {
	w.Helper()
	r, err := a.Apply(w.Context(), w.env, c, operation)
	must(w.T, err)
	for {
		o, err := a.Observe(w.Context(), w.env, c, operation, r)
		must(w.T, err)
		if o.Progress != executors.Pending {
			return o
		}
	}
}

func reasonOf(err error) guard.Reason {
	var no *guard.Refusal
	if errors.As(err, &no) {
		return no.Reason
	}
	return ""
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	all := sandbox.ArmorRule{Priority: 400, Action: "allow", Match: match("*")}
	tests := []struct {
		name    string
		policy  sandbox.ArmorPolicy
		params  string
		prepare func(*world)
		want    guard.Reason
	}{
		{"traffic past the load balancer", sandbox.ArmorPolicy{}, "{from: top, lasts: 1h}", func(w *world) { must(w.T, w.SetIngress("api", false)) }, guard.OutOfBounds},
		{"held by people", sandbox.ArmorPolicy{Labels: map[string]string{"remediator-hold": ""}}, "{from: top, lasts: 1h}", nil, guard.Held},
		{"of another type", sandbox.ArmorPolicy{Type: "CLOUD_ARMOR_EDGE"}, "{from: top, lasts: 1h}", nil, guard.OutOfBounds},
		{"no room", sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{{Priority: 500, Action: "deny(403)", Match: match("9.9.9.9/32")}, {Priority: 501, Action: "deny(403)", Match: match("8.8.8.8/32")}}},
			"{from: top, lasts: 1h}", nil, guard.OutOfBounds},
		{"everybody is let in before", sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{all}}, "{from: top, lasts: 1h}", nil, guard.OutOfBounds},
		{"blocked already", sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{{Priority: 500, Action: "deny(403)", Match: match("203.0.113.0/24")}}}, "{from: top, lasts: 1h}", nil, guard.NothingToDo},
		{"a fact that is not there", sandbox.ArmorPolicy{}, "{from: other, lasts: 1h}", nil, guard.UnknownFacts},
		{"a fact that names nobody", sandbox.ArmorPolicy{}, "{from: lame, lasts: 1h}", nil, guard.UnknownFacts},
		{"only ours", sandbox.ArmorPolicy{}, "{from: top, lasts: 1h}", func(w *world) { w.env.Facts["top"] = named{netip.MustParsePrefix("192.0.2.7/32")} }, guard.NothingToDo},
		{"everybody", sandbox.ArmorPolicy{}, "{from: top, lasts: 1h}", func(w *world) { w.env.Facts["top"] = named{netip.MustParsePrefix("0.0.0.0/0")} }, guard.TooWide},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, tt.policy)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			if _, err := w.action("cloud_armor.block", tt.params).Plan(w.Context(), w.env); reasonOf(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestBlockShowsItself: the rule says whose it is and when it ends, and the change what guards judge.
func TestBlockShowsItself(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{limit("people's", false)}})
	c := w.plan(w.block())
	if len(c.Networks) != 1 || c.Lasts != time.Hour || !c.Reversible || c.Before["rule 500"] != "none" || c.After["rule 500"] != "deny(403) 203.0.113.7/32" {
		t.Errorf("the change is %+v", c)
	}
	if o := w.carryOut(w.block(), c); o.Progress != executors.Applied {
		t.Fatalf("%+v", o)
	}
	p, err := w.SecurityPolicy("edge")
	must(t, err)
	if rule := p.Rules[0]; rule.Priority != 500 || rule.Action != "deny(403)" || !strings.HasPrefix(rule.Description, "remediator 0192f3a45b6c") {
		t.Errorf("the rule is %+v", rule)
	}
	kind, _ := executors.LookupProbe("cloud_armor.policy")
	answer, err := kind.New().Ask(t.Context(), w.env)
	must(t, err)
	fact := answer.Fact.(*cloudarmor.PolicyFact)
	if fact.Blocks != 1 || !slices.Equal(fact.Blocked, []string{"203.0.113.7/32"}) || fact.Overdue != 0 || fact.EndsIn < 59*time.Minute || fact.FreePriorities != 1 ||
		!fact.LoadBalancerOnly || !fact.RateLimitOn || fact.RateLimitOurs || fact.RateLimitPerMinute != 300 || fact.DefaultAction != "allow" {
		t.Errorf("%+v", fact)
	}
	w.env.Now = w.env.Now.Add(2 * time.Hour)
	answer, err = kind.New().Ask(t.Context(), w.env)
	must(t, err)
	if fact = answer.Fact.(*cloudarmor.PolicyFact); fact.Overdue != 1 || !strings.Contains(answer.Summary, "1 should have ended") || !slices.Contains(answer.Unknown, "ends_in") {
		t.Errorf("%+v %v %s", fact, answer.Unknown, answer.Summary)
	}
}

// TestPriorityRace: somebody takes the priority between our last read and the call; the API itself refuses the second rule.
func TestPriorityRace(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{})
	c := w.plan(w.block())
	must(t, w.ArmorRuleBeforeNextWrite("edge", sandbox.ArmorRule{Priority: 500, Action: "deny(404)", Description: "ann", Match: match("9.9.9.9/32")}))
	if _, err := w.block().Apply(t.Context(), w.env, c, operation); !connect.IsConflict(err) || connect.IsAmbiguous(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	o, err := w.block().Observe(t.Context(), w.env, c, operation, executors.Receipt{})
	must(t, err)
	if o.Progress != executors.Foreign {
		t.Errorf("%+v", o)
	}
}

func TestFailsInside(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{})
	c := w.plan(w.block())
	w.FailNextArmorOperation("The resource is not ready.")
	if o := w.carryOut(w.block(), c); o.Progress != executors.Failed || !strings.Contains(o.Detail, "not ready") {
		t.Errorf("%+v", o)
	}
}

// TestSlowOperation: a call without an answer, whose operation is under way, is neither repeated nor called undone.
func TestSlowOperation(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{})
	w.SetArmorOperationTime(time.Hour*10, time.Hour*10)
	c := w.plan(w.block())
	_, err := w.block().Apply(t.Context(), w.env, c, operation)
	must(t, err)
	o, err := w.block().Observe(t.Context(), w.env, c, operation, executors.Receipt{})
	must(t, err)
	if o.Progress != executors.Pending {
		t.Errorf("%+v", o)
	}
	if _, err := w.block().Plan(t.Context(), w.env); reasonOf(err) != guard.Reconciling {
		t.Errorf("got %v, want a refusal while a change is under way", err)
	}
}

// TestUndoLeavesPeoplesHands: what somebody has touched, or removed, is not taken back.
func TestUndoLeavesPeoplesHands(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		alter func(*world, sandbox.ArmorRule)
		want  guard.Reason
	}{
		"more networks": {func(w *world, r sandbox.ArmorRule) {
			r.Match = match("203.0.113.7/32", "9.9.9.9/32")
			must(w.T, w.SetArmorRule("edge", r))
		}, guard.HumanHand},
		"kept by its description": {func(w *world, r sandbox.ArmorRule) {
			r.Description = "keep this, ann"
			must(w.T, w.SetArmorRule("edge", r))
		}, guard.HumanHand},
		"in preview": {func(w *world, r sandbox.ArmorRule) {
			r.Preview = true
			must(w.T, w.SetArmorRule("edge", r))
		}, guard.HumanHand},
		"removed": {func(w *world, r sandbox.ArmorRule) { must(w.T, w.RemoveArmorRule("edge", r.Priority)) }, guard.NothingToDo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, sandbox.ArmorPolicy{})
			c := w.plan(w.block())
			w.carryOut(w.block(), c)
			p, err := w.SecurityPolicy("edge")
			must(t, err)
			tt.alter(w, p.Rules[0])
			if _, err := w.block().Undo(t.Context(), w.env, c); reasonOf(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestRateLimitThereAndBack: the rule is people's again to the letter, even where they had written no description.
func TestRateLimitThereAndBack(t *testing.T) {
	t.Parallel()
	for _, description := range []string{"limit by ann", ""} {
		w := start(t, sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{limit(description, true)}})
		before, err := w.SecurityPolicy("edge")
		must(t, err)
		c := w.plan(w.limit())
		if o := w.carryOut(w.limit(), c); o.Progress != executors.Applied {
			t.Fatalf("%+v", o)
		}
		p, err := w.SecurityPolicy("edge")
		must(t, err)
		if r := p.Rules[0]; r.Preview || r.RateLimitOptions.RateLimitThreshold.Count != 60 || r.RateLimitOptions.ExceedAction != "deny(429)" {
			t.Errorf("the rule is %+v", r)
		}
		back, err := w.limit().Undo(t.Context(), w.env, c)
		must(t, err)
		if o := w.carryOut(w.limit(), back); o.Progress != executors.Applied {
			t.Fatalf("%+v", o)
		}
		p, err = w.SecurityPolicy("edge")
		must(t, err)
		if r, was := p.Rules[0], before.Rules[0]; r.Description != description || !r.Preview || *r.RateLimitOptions.RateLimitThreshold != *was.RateLimitOptions.RateLimitThreshold {
			t.Errorf("the rule is %+v, it was %+v", r, was)
		}
	}
}

func TestSectionsAndParameters(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{})
	never := w.env.Target.Systems["cloud_armor"].(*cloudarmor.Policy).NeverBlock
	for name, s := range map[string]cloudarmor.Policy{
		"a path":                        {Policy: "../x", NeverBlock: never, Priorities: cloudarmor.Priorities{From: 1, To: 2}},
		"nobody is spared":              {Policy: "x", Priorities: cloudarmor.Priorities{From: 1, To: 2}},
		"backwards":                     {Policy: "x", NeverBlock: never, Priorities: cloudarmor.Priorities{From: 3, To: 2}},
		"the default rule":              {Policy: "x", NeverBlock: never, Priorities: cloudarmor.Priorities{From: 3, To: 2147483647}},
		"the rate limit as one of ours": {Policy: "x", NeverBlock: never, Priorities: cloudarmor.Priorities{From: 1, To: 2}, RateLimit: 2},
		"host bits":                     {Policy: "x", NeverBlock: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}, Priorities: cloudarmor.Priorities{From: 1, To: 2}},
	} {
		if s.Validate(w.env.Target) == nil {
			t.Errorf("%s was taken: %+v", name, s)
		}
	}
	for _, bad := range []string{"{lasts: 1h}", "{from: x}", "{from: x, lasts: 25h}", "{from: x, lasts: 1h, most: 11}", "{from: x, lasts: 1h, prefix_ipv4: 16}", "{from: x, lasts: 1h, prefix_ipv6: 32}"} {
		a := w.action("cloud_armor.block", bad).(interface {
			Validate(executors.Target) error
		})
		if a.Validate(w.env.Target) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// A limit on top of one that ends would be left over when that ends, and the other way round.
func TestNoLimitOnTopOfOneOfOurs(t *testing.T) {
	t.Parallel()
	w := start(t, sandbox.ArmorPolicy{Rules: []sandbox.ArmorRule{limit("rate limit, off", true)}})
	w.carryOut(w.limit(), w.plan(w.limit()))
	stricter := w.action("cloud_armor.rate_limit", "{per_minute: 30, per_client_ip: true, lasts: 30m}")
	if _, err := stricter.Plan(w.Context(), w.env); reasonOf(err) != guard.OutOfBounds {
		t.Errorf("a second limit: %v", err)
	}
}
