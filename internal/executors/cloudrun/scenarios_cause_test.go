package cloudrun_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/executors"
	_ "github.com/mixillo/remediator/internal/executors/web"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

// asks puts the answer of a real health check among the facts of the plan.
func (f *fixture) asks(params string) {
	f.Helper()
	kind, _ := executors.LookupProbe("http.get")
	p := kind.New()
	must(f.T, yaml.Unmarshal([]byte(params), p))
	answer, err := p.Ask(f.Context(), f.now())
	must(f.T, err)
	f.env.Facts = map[string]any{"health": answer.Fact}
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	s.Close()
	return s.URL
}

func TestADeadServiceIsProvedByItsHealthCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		params  string
		control func(*fixture) string
		world   func(*fixture)
		reason  guard.Reason
		part    string
	}{
		"three failed tries":          {params: "{tries: 3, every: 1ms}"},
		"more than three":             {params: "{tries: 5, every: 1ms}"},
		"no answer at all":            {params: "{tries: 3, every: 1ms}", world: func(f *fixture) { f.env.Target.Health = closed(f.T) }},
		"the control address answers": {params: "{tries: 3, every: 1ms}", control: func(f *fixture) string { return f.BackendURL(service) + "/control" }},
		"two are too few":             {params: "{tries: 2, every: 1ms}", reason: guard.NoCause, part: "health failed 2 time(s)"},
		"it answers":                  {params: "{tries: 3, every: 1ms}", world: func(f *fixture) { must(f.T, f.SetHealth(service, bad, sandbox.Healthy)) }, reason: guard.NoCause, part: "health failed 0 time(s)"},
		"the control address is silent too": {
			params: "{tries: 3, every: 1ms}", control: func(f *fixture) string { return closed(f.T) }, reason: guard.UnknownFacts, part: "control address did not answer",
		},
		"the failure is ours": {
			params: "{tries: 3, every: 1ms, url: 'http://no-such-host.invalid/'}", world: func(f *fixture) { f.env.Target.Health = "http://no-such-host.invalid/health" },
			reason: guard.UnknownFacts, part: "on our side",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t)
			f.env.Target.Health = f.BackendURL(service) + "/health"
			if tc.control != nil {
				f.env.Target.Control = tc.control(f)
			}
			if tc.world != nil {
				tc.world(f)
			}
			f.asks(tc.params)
			if tc.reason != "" {
				f.refused(f.plan("cloud_run.rollback", ""), tc.reason, tc.part)
				return
			}
			_, c := f.do("cloud_run.rollback", "{cause: health}", "r1-0-1")
			if proof := c.Evidence[len(c.Evidence)-1]; !strings.Contains(proof, "times in a row just now") {
				t.Errorf("evidence %v", c.Evidence)
			}
		})
	}
}

func TestAnotherSystemsHealthIsNoCause(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	f.env.Target.Health = f.BackendURL(service) + "/health"
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	t.Cleanup(down.Close)
	f.asks("{tries: 3, every: 1ms, url: '" + down.URL + "/health'}")
	f.refused(f.plan("cloud_run.rollback", ""), guard.NoCause, "health asked another host")
	f.env.Facts = map[string]any{}
	f.refused(f.plan("cloud_run.rollback", ""), guard.NoCause, "the rule asks none")
	f.env.Facts = nil // a person's
	must(t, f.plan("cloud_run.rollback", ""))
}

// flaky is a world in which bad answers with errors at a ratio, and good did at another.
func flaky(t *testing.T, badRatio, goodRatio float64, alter ...func(*sandbox.Service)) *fixture {
	t.Helper()
	return badDeploy(t, append([]func(*sandbox.Service){func(s *sandbox.Service) {
		s.Revisions[1].ErrorRatio = goodRatio
		s.Revisions[2].Health, s.Revisions[2].ErrorRatio = sandbox.Healthy, badRatio
	}}, alter...)...)
}

func TestErrorsAreACauseWhenTheDeployIsClearlyWorse(t *testing.T) {
	t.Parallel()
	few := func(s *sandbox.Service) { s.RequestsPerMinute, s.Revisions[1].RequestsPerMinute = 2, 600 }
	for name, tc := range map[string]struct {
		bad, good float64
		alter     func(*sandbox.Service)
		world     func(*fixture)
		reason    guard.Reason
		part      string
	}{
		"a quarter fails":          {bad: 0.25},
		"two in a hundred, from 0": {bad: 0.025},
		"from one to four":         {bad: 0.04, good: 0.01},
		"all fail":                 {bad: 1, good: 0.01},
		"no errors":                {reason: guard.NoCause, part: "fails 0 % of"},
		"under a point more":       {bad: 0.008, reason: guard.NoCause, part: "not clearly more than the 0 %"},
		"not twice as many":        {bad: 0.06, good: 0.04, reason: guard.NoCause, part: "not clearly more than the 4 %"},
		"too few requests":         {bad: 1, alter: few, reason: guard.NoCause, part: "20 are needed"},
		"metrics do not show it yet": {world: func(f *fixture) {
			f.env.Speed = 1
			_, err := f.Deploy(service, sandbox.Revision{ErrorRatio: 1})
			must(f.T, err)
		}, reason: guard.UnknownFacts, part: "is seen with only 0 requests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alter := []func(*sandbox.Service){}
			if tc.alter != nil {
				alter = append(alter, tc.alter)
			}
			f := flaky(t, tc.bad, tc.good, alter...)
			if tc.world != nil {
				tc.world(f)
			}
			if tc.reason != "" {
				f.refused(f.plan("cloud_run.rollback", "{cause: errors}"), tc.reason, tc.part)
				return
			}
			_, c := f.do("cloud_run.rollback", "{cause: errors}", "r1-0-1")
			if f.serving() != good || !strings.HasPrefix(c.Evidence[2], bad+" fails ") {
				t.Errorf("%s serves, evidence %v", f.serving(), c.Evidence)
			}
		})
	}
}

// TestAFailingDependencyIsNoCause: what both revisions need is down. The former one failed as much just before the deploy, or does so now by
// its tag.
func TestAFailingDependencyIsNoCause(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		down time.Duration
		tag  bool
		part string
	}{
		"since before the deploy":            {down: 10 * time.Minute, part: "just before it"},
		"since after it, seen by a tag":      {down: 4 * time.Minute, tag: true, part: "since then too"},
		"up, and the tag is well":            {tag: true},
		"since after it, and nobody can see": {down: 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := flaky(t, 0.5, 0, func(s *sandbox.Service) {
				s.DependencyDownFor = tc.down
				if tc.tag {
					s.Revisions[1].Tag, s.Revisions[1].TagRequestsPerMinute = "old", 60
				}
			})
			f.env.Speed = 2 // the quarter of an hour before the deploy is looked at
			err := f.plan("cloud_run.rollback", "{cause: errors}")
			if tc.part == "" {
				must(t, err)
				return
			}
			f.refused(err, guard.NoCause, tc.part)
		})
	}
}
