package monitoring_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/executors/monitoring"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	service = "api"
	good    = "api-00001-aaa"
	bad     = "api-00002-bbb"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// halfBad is a service whose newest revision has served one error in four for five minutes, 600 requests a minute.
func halfBad(t *testing.T) (*sandbox.World, executors.Env) {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 1})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetMetricLag(0)
	must(t, w.AddService(sandbox.Service{Name: service, RequestsPerMinute: 600, Revisions: []sandbox.Revision{
		{Name: good, CreatedAgo: 24 * time.Hour, P50: 80 * time.Millisecond, P95: 250 * time.Millisecond},
		{Name: bad, CreatedAgo: 5 * time.Minute, ErrorRatio: 0.25, P50: 900 * time.Millisecond, P95: 2 * time.Second},
	}}))
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{
		Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	return w, executors.Env{
		Target:      executors.Target{Name: "backend", Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service}}},
		Connections: connect.Set{"google_cloud": google}, Now: time.Now(),
	}
}

func ask(t *testing.T, env executors.Env, params string) (monitoring.Fact, executors.Answer) {
	t.Helper()
	answer, err := probe(t, env, params).Ask(t.Context(), env)
	must(t, err)
	fact, ok := answer.Fact.(*monitoring.Fact)
	if !ok {
		t.Fatalf("fact is a %T", answer.Fact)
	}
	return *fact, answer
}

func probe(t *testing.T, env executors.Env, params string) executors.Probe {
	t.Helper()
	kind, _ := executors.LookupProbe("monitoring.query")
	p := kind.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	must(t, p.(interface {
		Validate(executors.Target) error
	}).Validate(env.Target))
	return p
}

func TestValues(t *testing.T) {
	t.Parallel()
	_, env := halfBad(t)
	for name, tc := range map[string]struct {
		params string
		since  time.Duration // ago
		want   float64
		within float64
		unsure string // part of the summary when the value is unknown
	}{
		"error ratio of what serves":       {params: "{metric: error_ratio, window: 4m}", want: 0.25, within: 0.01},
		"error ratio, deploy in the midst": {params: "{metric: error_ratio, window: 10m}", want: 0.125, within: 0.01},
		"of one revision":                  {params: "{metric: error_ratio, window: 10m, revision: api-00001-aaa}", want: 0},
		"of the serving one":               {params: "{metric: error_ratio, window: 10m, revision: serving}", want: 0.25, within: 0.01},
		"latency in seconds":               {params: "{metric: p95_latency, window: 4m}", want: 2, within: 0.3},
		"median":                           {params: "{metric: p50_latency, window: 4m}", want: 0.9, within: 0.2},
		"requests":                         {params: "{metric: request_count, window: 4m}", want: 2400, within: 20},
		"instances":                        {params: "{metric: instance_count}", want: 2, within: 0.01},
		"CPU of 600 requests a minute on two instances of 600": {params: "{metric: cpu_utilization}", want: 0.5, within: 0.01},
		"memory":                  {params: "{metric: memory_utilization, revision: serving}", want: 0.4, within: 0.01},
		"CPU of what is gone":     {params: "{metric: cpu_utilization, window: 3m, revision: api-00001-aaa}", unsure: "no data"},
		"begins after the act":    {params: "{metric: request_count, window: 10m}", since: 2 * time.Minute, want: 1200, within: 20},
		"the act was long ago":    {params: "{metric: request_count, window: 4m}", since: time.Hour, want: 2400, within: 20},
		"too early after the act": {params: "{metric: error_ratio, window: 4m}", since: 30 * time.Second, unsure: "only begun"},
		"too few requests":        {params: "{metric: error_ratio, window: 4m, min_requests: 3000}", unsure: "3000 are needed"},
		"no such revision":        {params: "{metric: p95_latency, revision: api-00009-zzz}", unsure: "no data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := env
			if tc.since > 0 {
				env.Since = env.Now.Add(-tc.since)
			}
			fact, answer := ask(t, env, tc.params)
			unknown := slices.Contains(answer.Unknown, "value")
			if unknown != (tc.unsure != "") || !strings.Contains(answer.Summary, tc.unsure) {
				t.Errorf("unknown %v: %s", answer.Unknown, answer.Summary)
			}
			if math.Abs(fact.Value-tc.want) > tc.within {
				t.Errorf("value %v, want %v", fact.Value, tc.want)
			}
		})
	}
}

// A window that is not written is as long as the one that is asked for.
func TestLookBack(t *testing.T) {
	t.Parallel()
	for params, want := range map[string]time.Duration{"{}": 5 * time.Minute, "{window: 0s}": 5 * time.Minute, "{window: 20m}": 20 * time.Minute} {
		kind, _ := executors.LookupProbe("monitoring.query")
		p := kind.New()
		must(t, yaml.Unmarshal([]byte(params), p))
		if got := p.(interface{ LookBack() time.Duration }).LookBack(); got != want {
			t.Errorf("%s looks back %s, want %s", params, got, want)
		}
	}
}

func TestByRevision(t *testing.T) {
	t.Parallel()
	_, env := halfBad(t)
	fact, _ := ask(t, env, "{metric: p95_latency, window: 10m, by_revision: true}")
	slow, _ := fact.ByRevision[bad].(float64)
	fast, _ := fact.ByRevision[good].(float64)
	if len(fact.ByRevision) != 2 || slow < 1.7 || fast > 0.4 || fact.Value < fast {
		t.Errorf("got %v, all together %v", fact.ByRevision, fact.Value)
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	w, env := halfBad(t)
	w.SetMetricLag(3 * time.Minute)
	fact, answer := ask(t, env, "{metric: error_ratio, window: 10m}")
	if len(answer.Unknown) > 0 || fact.Age < 2*time.Minute || fact.Age > 4*time.Minute || fact.Points != 7 && fact.Points != 8 || fact.Requests > 4300 {
		t.Errorf("with three minutes of lag: %+v, unknown %v", fact, answer.Unknown)
	}
	w.SetMetricLag(time.Hour)
	fact, answer = ask(t, env, "{metric: error_ratio}")
	if !slices.Equal(answer.Unknown, []string{"newest", "age", "value"}) || fact.Value != 0 {
		t.Errorf("with no data: %+v, unknown %v", fact, answer.Unknown)
	}
}

// TestFreshnessOfInstances: instances that nobody asks anything tell of themselves all the same, and old news of them is none.
func TestFreshnessOfInstances(t *testing.T) {
	t.Parallel()
	w, env := halfBad(t)
	for _, metric := range []string{"instance_count", "cpu_utilization", "memory_utilization"} {
		w.SetMetricLag(3 * time.Minute)
		fact, answer := ask(t, env, "{metric: "+metric+", window: 20m}")
		if len(answer.Unknown) > 0 || fact.Age < 2*time.Minute || fact.Age > 4*time.Minute || fact.Value == 0 {
			t.Errorf("%s with three minutes of lag: %+v, unknown %v", metric, fact, answer.Unknown)
		}
		w.SetMetricLag(8 * time.Minute)
		fact, answer = ask(t, env, "{metric: "+metric+", window: 20m}")
		if !slices.Contains(answer.Unknown, "value") || fact.Value != 0 || !strings.Contains(answer.Summary, "old") {
			t.Errorf("%s of eight minutes ago: %+v; %s", metric, fact, answer.Summary)
		}
	}
	w.SetMetricLag(0)
	must(t, w.SetLoad(service, 0))
	env.Now = env.Now.Add(time.Second)
	if fact, answer := ask(t, env, "{metric: instance_count}"); slices.Contains(answer.Unknown, "newest") || fact.Age > time.Minute {
		t.Errorf("without requests: %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestUtilizationByRevision(t *testing.T) {
	t.Parallel()
	_, env := halfBad(t)
	fact, _ := ask(t, env, "{metric: cpu_utilization, window: 10m, by_revision: true}")
	if len(fact.ByRevision) != 2 || fact.ByRevision[bad] != 0.5 {
		t.Errorf("got %v", fact.ByRevision)
	}
}

// TestNoNumberIsUnknown: what Cloud Monitoring cannot compute is not zero, and an older value does not stand in for it.
func TestNoNumberIsUnknown(t *testing.T) {
	t.Parallel()
	w, env := halfBad(t)
	w.SpoilMetrics(true)
	for _, params := range []string{"{metric: p95_latency, window: 4m}", "{metric: p50_latency, window: 4m, by_revision: true}", "{metric: instance_count}"} {
		fact, answer := ask(t, env, params)
		if !slices.Contains(answer.Unknown, "value") || fact.Value != 0 || len(fact.ByRevision) > 0 {
			t.Errorf("%s: %+v, unknown %v", params, fact, answer.Unknown)
		}
	}
	w.SpoilMetrics(false)
	if fact, answer := ask(t, env, "{metric: p95_latency, window: 4m}"); len(answer.Unknown) > 0 || fact.Value == 0 {
		t.Errorf("afterwards: %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestSystemDown(t *testing.T) {
	t.Parallel()
	w, env := halfBad(t)
	w.FailCalls(sandbox.CallFault{Method: "ListTimeSeries", Code: codes.PermissionDenied})
	if _, err := probe(t, env, "{metric: error_ratio}").Ask(t.Context(), env); err == nil || !strings.Contains(err.Error(), "reading request_count of api") {
		t.Errorf("got %v", err)
	}
	env.Connections = nil
	if _, err := probe(t, env, "{metric: error_ratio}").Ask(t.Context(), env); err == nil || !strings.Contains(err.Error(), `no connection "google_cloud"`) {
		t.Errorf("got %v", err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	target := executors.Target{Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service}}}
	kind, _ := executors.LookupProbe("monitoring.query")
	for params, want := range map[string]string{
		"{}":                                 "metric must be one of p50_latency, ",
		"{metric: cpu}":                      "metric must be one of p50_latency, ",
		"{metric: error_ratio, window: 10s}": "window must be between 1m and 24h",
		"{metric: error_ratio, min_requests: -1}":               "min_requests must not be negative",
		"{metric: error_ratio, revision: a, by_revision: true}": "exclude each other",
		"{metric: instance_count, by_revision: true}":           "for the whole service",
	} {
		p := kind.New()
		must(t, yaml.Unmarshal([]byte(params), p))
		err := p.(interface {
			Validate(executors.Target) error
		}).Validate(target)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", params, err, want)
		}
	}
}
