package cloudrun_test

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/sandbox"
)

func asks[F any](f *fixture, kind, params string) (F, executors.Answer) {
	f.Helper()
	k, _ := executors.LookupProbe(kind)
	p := k.New()
	must(f.T, yaml.Unmarshal([]byte(params), p))
	must(f.T, p.(interface {
		Validate(executors.Target) error
	}).Validate(f.env.Target))
	answer, err := p.Ask(f.Context(), f.now())
	must(f.T, err)
	return *answer.Fact.(*F), answer
}

func TestInstances(t *testing.T) {
	t.Parallel()
	healthy := func(s *sandbox.Service) {
		s.Revisions[2].Health, s.AutoInstances, s.RequestsPerMinute, s.Capacity = sandbox.Healthy, 6, 2400, 600
	}
	for name, tc := range map[string]struct {
		alter   func(*sandbox.Service)
		happens func(*fixture)
		params  string
		want    cloudrun.InstancesFact
		unknown []string
		says    string
	}{
		"no bound": {want: cloudrun.InstancesFact{Total: 6, Active: 4, Idle: 2, Peak: 6}, unknown: []string{"max", "at_max"}, says: "6 instances, 4 of them busy; no upper bound"},
		"room left": {alter: func(s *sandbox.Service) { s.MaxInstances, s.MinInstances = 10, 2 },
			want: cloudrun.InstancesFact{Total: 6, Active: 4, Idle: 2, Peak: 6, Max: 10, Min: 2}, says: "at most 10"},
		"at the service's bound": {alter: func(s *sandbox.Service) { s.MaxInstances = 6 },
			want: cloudrun.InstancesFact{Total: 6, Active: 4, Idle: 2, Peak: 6, Max: 6, AtMax: true}, says: "as many as may be"},
		"at the revision's bound": {alter: func(s *sandbox.Service) { s.MaxInstances, s.Revisions[2].MaxInstances = 10, 6 },
			want: cloudrun.InstancesFact{Total: 6, Active: 4, Idle: 2, Peak: 6, Max: 6, AtMax: true}, says: "as many as may be"},
		"a contradiction": {alter: func(s *sandbox.Service) { s.MaxInstances = 6 }, happens: func(f *fixture) { must(f.T, f.ShowGeneration(service, 1)) },
			want: cloudrun.InstancesFact{Total: 6, Active: 4, Idle: 2, Peak: 6}, unknown: []string{"min", "max", "at_max"}, says: "6 instances"},
		"old news": {alter: func(s *sandbox.Service) { s.MaxInstances = 6 }, happens: func(f *fixture) { f.SetMetricLag(10 * time.Hour) }, params: "{window: 5m}",
			want: cloudrun.InstancesFact{Max: 6}, unknown: []string{"total", "active", "idle", "peak", "at_max"}, says: "old"},
		"no news": {alter: func(s *sandbox.Service) { s.MaxInstances = 6 }, happens: func(f *fixture) { f.SetMetricLag(1e6 * time.Hour) },
			want: cloudrun.InstancesFact{Max: 6}, unknown: []string{"total", "active", "idle", "peak", "newest", "age", "at_max"}, says: "not in the metrics"},
		"no numbers": {alter: func(s *sandbox.Service) { s.MaxInstances = 6 }, happens: func(f *fixture) { f.SpoilMetrics(true) },
			want: cloudrun.InstancesFact{Max: 6}, unknown: []string{"total", "active", "idle", "peak", "newest", "age", "at_max"}, says: "not in the metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alter := []func(*sandbox.Service){healthy}
			if tc.alter != nil {
				alter = append(alter, tc.alter)
			}
			f := badDeploy(t, alter...)
			if tc.happens != nil {
				tc.happens(f)
			}
			got, answer := asks[cloudrun.InstancesFact](f, "cloud_run.instances", cmp.Or(tc.params, "{}"))
			tc.want.Service, tc.want.Generation, tc.want.Newest, tc.want.Age = service, got.Generation, got.Newest, got.Age
			if got != tc.want || !slices.Equal(answer.Unknown, tc.unknown) || !strings.Contains(answer.Summary, tc.says) {
				t.Errorf("got  %+v, unknown %v: %s\nwant %+v, unknown %v", got, answer.Unknown, answer.Summary, tc.want, tc.unknown)
			}
		})
	}
}

func TestErrorRatio(t *testing.T) {
	t.Parallel()
	ratios := func(before, after float64) func(*sandbox.Service) {
		return func(s *sandbox.Service) {
			s.Revisions[1].ErrorRatio = before
			s.Revisions[2].Health, s.Revisions[2].ErrorRatio = sandbox.Healthy, after
		}
	}
	quick := []string{"before_ratio"} // at this speed half an hour has too few requests
	for name, tc := range map[string]struct {
		alter        func(*sandbox.Service)
		happens      func(*fixture)
		params       string
		fresh, older float64
		worse        bool
		unknown      []string
		says         string
	}{
		"worse":          {alter: ratios(0.01, 0.2), fresh: 0.2, older: 0.01, worse: true, unknown: quick, says: bad + " fails 20 %"},
		"as bad as ever": {alter: ratios(0.2, 0.2), fresh: 0.2, older: 0.2, unknown: quick, says: "not clearly more"},
		"better":         {alter: ratios(0.5, 0.1), fresh: 0.1, older: 0.5, unknown: quick, says: "not clearly more"},
		"too few":        {alter: ratios(0, 0.2), params: "{min_requests: 5000}", older: 0, unknown: []string{"new_ratio", "before_ratio", "worse"}, says: "5000 are needed"},
		"nothing before": {alter: func(s *sandbox.Service) { s.Revisions = s.Revisions[2:] }, unknown: []string{"old", "new_ratio", "old_ratio", "before_ratio", "worse", "newest", "age"}, says: "nothing is known"},
		"a split": {happens: func(f *fixture) {
			must(f.T, f.Split(service, sandbox.Share{Revision: good, Percent: 50}, sandbox.Share{Percent: 50}))
		}, unknown: []string{"new", "old", "since", "new_ratio", "old_ratio", "before_ratio", "worse", "newest", "age"}, says: "split"},
		"a contradiction": {happens: func(f *fixture) { must(f.T, f.ShowGeneration(service, 1)) }, unknown: []string{"new", "old", "since", "new_ratio", "old_ratio", "before_ratio", "worse", "newest", "age"}, says: "generation"},
		"old news":        {alter: ratios(0.01, 0.2), happens: func(f *fixture) { f.SetMetricLag(10 * time.Hour) }, fresh: 0.2, older: 0.01, unknown: []string{"before_ratio", "worse"}, says: "newest request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alter := []func(*sandbox.Service){}
			if tc.alter != nil {
				alter = append(alter, tc.alter)
			}
			f := badDeploy(t, alter...)
			if tc.happens != nil {
				tc.happens(f)
			}
			got, answer := asks[cloudrun.ErrorRatioFact](f, "cloud_run.error_ratio", cmp.Or(tc.params, "{}"))
			if !slices.Equal(answer.Unknown, tc.unknown) || got.Worse != tc.worse || !strings.Contains(answer.Summary, tc.says) {
				t.Errorf("worse %t, unknown %v: %s", got.Worse, answer.Unknown, answer.Summary)
			}
			if math.Abs(got.NewRatio-tc.fresh) > 0.01 || math.Abs(got.OldRatio-tc.older) > 0.01 {
				t.Errorf("ratios %+v", got)
			}
			if len(tc.unknown) == 1 && (got.New != bad || got.Old != good || got.NewRequests < 2900 || !near(got.Since.Sub(f.env.Now), -5*time.Minute)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestErrorRatioAgreesWithTheRollback: what the probe calls worse is what the rollback goes by.
func TestErrorRatioAgreesWithTheRollback(t *testing.T) {
	t.Parallel()
	for _, ratio := range []float64{0, 0.005, 0.011, 0.02, 0.03, 0.2, 1} {
		f := badDeploy(t, func(s *sandbox.Service) {
			s.Revisions[1].ErrorRatio, s.Revisions[2].Health, s.Revisions[2].ErrorRatio = 0.01, sandbox.Healthy, ratio
		})
		got, answer := asks[cloudrun.ErrorRatioFact](f, "cloud_run.error_ratio", "{}")
		_, err := f.make("cloud_run.rollback", "{cause: errors}").Plan(t.Context(), f.now())
		if got.Worse != (err == nil) {
			t.Errorf("at %v the probe says worse: %t (%s), the rollback %v", ratio, got.Worse, answer.Summary, err)
		}
	}
}

func TestWhoDeployed(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	f.do("cloud_run.restart", "", "r1-0-1") // a copy is no deploy, and nobody else's
	fact, _ := f.revisions()
	if fact.DeployedBy != "ann@example.com" || fact.Newest != bad || fact.NewestBy != "ann@example.com" || !near(fact.NewestAge, 5*time.Minute) || fact.Serving == bad {
		t.Errorf("%+v", fact)
	}
}
