package sandbox_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"

	"github.com/mixillo/remediator/internal/sandbox"
)

func TestTheLastChangeIsAsOldAsTheScriptSays(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	if age := time.Since(f.get().GetUpdateTime().AsTime()); age < 4*time.Minute || age > 6*time.Minute {
		t.Errorf("changed %s ago, deployed 5m ago", age)
	}
	must(t, f.AddService(sandbox.Service{Name: backend, Revisions: []sandbox.Revision{
		{CreatedAgo: 24 * time.Hour, ServedUntil: time.Hour}, {CreatedAgo: 20 * time.Hour, ServedFrom: time.Hour},
	}}))
	if age := time.Since(f.get().GetUpdateTime().AsTime()); age < 59*time.Minute || age > 61*time.Minute {
		t.Errorf("changed %s ago, routed 1h ago", age)
	}
}

func TestAHumanSetsLabels(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	before := f.get()
	if code, out := f.control("set-labels", `{"service":"mixillo-backend","labels":{"remediator-hold":""}}`); code != http.StatusOK {
		t.Fatalf("%d %v", code, out)
	}
	after := f.get()
	if _, ok := after.GetLabels()["remediator-hold"]; !ok || after.GetGeneration() != before.GetGeneration()+1 || after.GetReconciling() {
		t.Errorf("labels %v, generation %d after %d", after.GetLabels(), after.GetGeneration(), before.GetGeneration())
	}
	if after.GetLastModifier() != "ann@example.com" || time.Since(after.GetUpdateTime().AsTime()) > time.Minute || len(f.list(0)) != 3 {
		t.Errorf("by %s at %s, %d revisions", after.GetLastModifier(), after.GetUpdateTime().AsTime(), len(f.list(0)))
	}
}

func TestWhatIsShownIsNotWhatFlows(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	must(t, f.ShowTraffic(backend, sandbox.Share{Revision: "mixillo-backend-00002-bbb", Percent: 100}))
	must(t, f.ShowGeneration(backend, 1))
	s := f.get()
	if s.GetTrafficStatuses()[0].GetRevision() != "mixillo-backend-00002-bbb" || s.GetObservedGeneration() != 1 || s.GetReconciling() {
		t.Errorf("shows %v of generation %d", s.GetTrafficStatuses(), s.GetObservedGeneration())
	}
	if f.Serving(backend)["mixillo-backend-00003-ccc"] != 100 {
		t.Errorf("traffic moved: %v", f.Serving(backend))
	}
	must(t, f.SetLabels(backend, nil))
	if s := f.get(); s.GetObservedGeneration() != s.GetGeneration() || s.GetTrafficStatuses()[0].GetRevision() != "" {
		t.Errorf("the next change does not end it: %v", s)
	}
}

func TestTagRequestsAndOutagesAreInThePast(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	f.SetMetricLag(0)
	must(t, f.AddService(sandbox.Service{Name: backend, RequestsPerMinute: 600, DependencyDownFor: 2 * time.Minute, Revisions: []sandbox.Revision{
		{Name: "mixillo-backend-00001-aaa", CreatedAgo: 24 * time.Hour},
		{Name: "mixillo-backend-00002-bbb", CreatedAgo: 20 * time.Hour, NoTraffic: true, Tag: "beta", TagRequestsPerMinute: 60},
	}}))
	got, err := f.series(counts(4*time.Minute, 4*time.Minute, ""))
	must(t, err)
	n := totals(got)
	for series, want := range map[string]int64{
		"mixillo-backend-00001-aaa 2xx": 1200, "mixillo-backend-00001-aaa 5xx": 1200,
		"mixillo-backend-00002-bbb 2xx": 120, "mixillo-backend-00002-bbb 5xx": 120,
	} {
		if n[series] < want-30 || n[series] > want+30 {
			t.Errorf("%s: %d, want %d", series, n[series], want)
		}
	}
	resp, err := http.Get(f.BackendURL(backend) + "/health")
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the dependency is down, and /health answers %d", resp.StatusCode)
	}
}

func TestErrorRatioFromNowOn(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	if err := f.SetErrorRatio(backend, "mixillo-backend-00009-zzz", 1); err == nil {
		t.Error("a revision that is not there has a ratio")
	}
	f.SetMetricLag(0)
	must(t, f.SetHealth(backend, "mixillo-backend-00003-ccc", sandbox.Healthy))
	must(t, f.SetLoad(backend, 600_000))
	must(t, f.SetErrorRatio(backend, "mixillo-backend-00003-ccc", 0.5))
	f.eventually(func() bool {
		got, err := f.series(counts(40*time.Millisecond, 40*time.Millisecond, ""))
		must(t, err)
		n := totals(got)
		ok, failed := n["mixillo-backend-00003-ccc 2xx"], n["mixillo-backend-00003-ccc 5xx"]
		return failed > 20 && ok > 20 && failed < 2*ok && ok < 2*failed
	})
}

func TestSpoiltMetrics(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	f.SetMetricLag(0)
	f.SpoilMetrics(true)
	got, err := f.series(ask{
		filter: metricFilter("request_latencies", ""), window: time.Minute, period: time.Minute,
		aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_PERCENTILE_95,
	})
	must(t, err)
	if len(got) == 0 || !math.IsNaN(got[0].GetPoints()[0].GetValue().GetDoubleValue()) {
		t.Errorf("got %v", got)
	}
	f.SpoilMetrics(false)
	if v := f.p95(time.Minute); v <= 0 || math.IsNaN(v) {
		t.Errorf("afterwards %v", v)
	}
}
