package sandbox_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/logging/logadmin"
	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mixillo/remediator/internal/sandbox"
)

// ask is one metric question; zero fields are the p95 question of the demo.
type ask struct {
	filter  string
	window  time.Duration
	period  time.Duration
	aligner monitoringpb.Aggregation_Aligner
	reducer monitoringpb.Aggregation_Reducer
	by      []string
}

func metricFilter(metric, more string) string {
	return fmt.Sprintf(`metric.type = "run.googleapis.com/%s" AND resource.type = "cloud_run_revision" AND resource.labels.service_name = "%s" AND resource.labels.location = "europe-west1"%s`, metric, backend, more)
}

func (f *fixture) series(a ask) ([]*monitoringpb.TimeSeries, error) {
	f.Helper()
	c, err := monitoring.NewMetricClient(f.ctx, googleOptions(f.World)...)
	must(f.T, err)
	defer func() { _ = c.Close() }()
	now := time.Now()
	it := c.ListTimeSeries(f.ctx, &monitoringpb.ListTimeSeriesRequest{
		Name: "projects/mixillo", Filter: a.filter, View: monitoringpb.ListTimeSeriesRequest_FULL,
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(now.Add(-a.window)), EndTime: timestamppb.New(now)},
		Aggregation: &monitoringpb.Aggregation{
			AlignmentPeriod: durationpb.New(a.period), PerSeriesAligner: a.aligner, CrossSeriesReducer: a.reducer, GroupByFields: a.by,
		},
	})
	var out []*monitoringpb.TimeSeries
	for {
		s, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
}

// p95 of the last window, in ms; 0 without data.
func (f *fixture) p95(window time.Duration) float64 {
	f.Helper()
	got, err := f.series(ask{
		filter: metricFilter("request_latencies", ""), window: window, period: window,
		aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_PERCENTILE_95,
	})
	must(f.T, err)
	if len(got) == 0 {
		return 0
	}
	return got[0].GetPoints()[0].GetValue().GetDoubleValue()
}

func counts(window, period time.Duration, more string) ask {
	return ask{
		filter: metricFilter("request_count", more), window: window, period: period,
		aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_SUM,
		by: []string{"resource.labels.revision_name", "metric.labels.response_code_class"},
	}
}

// totals sums the points by revision and class.
func totals(series []*monitoringpb.TimeSeries) map[string]int64 {
	out := map[string]int64{}
	for _, s := range series {
		for _, p := range s.GetPoints() {
			out[s.GetResource().GetLabels()["revision_name"]+" "+s.GetMetric().GetLabels()["response_code_class"]] += p.GetValue().GetInt64Value()
		}
	}
	return out
}

func TestHistoryOfDays(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	f.SetMetricLag(0)
	got, err := f.series(counts(72*time.Hour, time.Hour, ""))
	must(t, err)
	sums := totals(got)
	for series, want := range map[string]int64{
		"mixillo-backend-00001-aaa 2xx": 48 * 60 * 600, "mixillo-backend-00002-bbb 2xx": (24*60 - 5) * 600, "mixillo-backend-00003-ccc 5xx": 5 * 600,
	} {
		if d := sums[series] - want; d < -100 || d > 100 {
			t.Errorf("%s: %d requests, want about %d", series, sums[series], want)
		}
	}
	if len(got) != 3 {
		t.Errorf("series without a request must be absent: %v", sums)
	}
	points := got[0].GetPoints()
	if !points[0].GetInterval().GetEndTime().AsTime().After(points[1].GetInterval().GetEndTime().AsTime()) {
		t.Error("points must be newest first")
	}
	only, err := f.series(counts(time.Hour, time.Minute, ` AND metric.labels.response_code_class = "5xx"`))
	must(t, err)
	if len(only) != 1 || totals(only)["mixillo-backend-00003-ccc 5xx"] == 0 {
		t.Errorf("filtered by class: %v", totals(only))
	}
}

func TestMetricsLag(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{Speed: 1})
	f.SetMetricLag(10 * time.Minute)
	got, err := f.series(counts(time.Hour, time.Minute, ""))
	must(t, err)
	if totals(got)["mixillo-backend-00003-ccc 5xx"] != 0 {
		t.Errorf("five minutes of errors show in spite of ten minutes of lag: %v", totals(got))
	}
	f.SetMetricLag(2 * time.Minute)
	got, err = f.series(counts(time.Hour, time.Minute, ""))
	must(t, err)
	if n := totals(got)["mixillo-backend-00003-ccc 5xx"]; n < 1700 || n > 1850 {
		t.Errorf("three of five minutes should show, got %d errors", n)
	}
}

func TestNeverStartedRevisionHasNoSeries(t *testing.T) {
	t.Parallel()
	for health, some := range map[sandbox.Health]bool{sandbox.NeverReady: false, sandbox.Healthy: true} {
		f := badDeploy(t, sandbox.Config{})
		f.SetMetricLag(0)
		must(t, f.SetLoad(backend, 1e9))
		name, err := f.Deploy(backend, sandbox.Revision{Health: health})
		must(t, err)
		must(t, f.Split(backend, sandbox.Share{Revision: name, Percent: 100}))
		got, err := f.series(counts(time.Hour, time.Minute, fmt.Sprintf(` AND resource.labels.revision_name = %q`, name)))
		must(t, err)
		if (len(got) > 0) != some {
			t.Errorf("%s: %v", health, totals(got))
		}
	}
}

func TestScalingUpLowersP95(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	f.SetMetricLag(0)
	must(t, f.AddService(sandbox.Service{Name: backend, RequestsPerMinute: 3600, AutoInstances: 2, Capacity: 600}))
	if got := f.p95(5 * time.Minute); got < 1000 {
		t.Errorf("overloaded, p95 is %.0f ms", got)
	}
	s := f.get()
	s.Scaling = &runpb.ServiceScaling{MinInstanceCount: 20}
	op, err := f.update(s, "scaling.min_instance_count")
	must(t, err)
	_, err = f.settle(op)
	must(t, err)
	scaled := time.Now()
	f.eventually(func() bool {
		got := f.p95(time.Since(scaled))
		return got > 200 && got < 300
	})
}

func TestAlignersAndRate(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	f.SetMetricLag(0)
	perSeries, err := f.series(ask{
		filter: metricFilter("request_latencies", ` AND resource.labels.revision_name = "mixillo-backend-00002-bbb"`), window: time.Hour, period: time.Hour,
		aligner: monitoringpb.Aggregation_ALIGN_PERCENTILE_95,
	})
	must(t, err)
	if got := perSeries[0].GetPoints()[0].GetValue().GetDoubleValue(); got < 249 || got > 251 {
		t.Errorf("p95 of a revision scripted with 250 ms is %v", got)
	}
	rate, err := f.series(ask{
		filter: metricFilter("request_count", ""), window: time.Minute, period: time.Minute,
		aligner: monitoringpb.Aggregation_ALIGN_RATE, reducer: monitoringpb.Aggregation_REDUCE_SUM,
	})
	must(t, err)
	if got := rate[0].GetPoints()[0].GetValue().GetDoubleValue(); got < 9.8 || got > 10.2 {
		t.Errorf("600 requests a minute are %v a second", got)
	}
	raw, err := f.series(ask{filter: metricFilter("request_latencies", ""), window: time.Minute, period: time.Minute, aligner: monitoringpb.Aggregation_ALIGN_DELTA})
	must(t, err)
	d := raw[0].GetPoints()[0].GetValue().GetDistributionValue()
	var n int64
	for _, b := range d.GetBucketCounts() {
		n += b
	}
	if n == 0 || n != d.GetCount() {
		t.Errorf("the buckets hold %d of %d requests", n, d.GetCount())
	}
}

func TestBadQueriesAreInvalid(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	good := counts(time.Hour, time.Minute, "")
	for name, change := range map[string]func(*ask){
		"no metric":      func(a *ask) { a.filter = `resource.type = "cloud_run_revision"` },
		"unknown metric": func(a *ask) { a.filter = metricFilter("nope", "") },
		"garbage":        func(a *ask) { a.filter = `metric.type = "x" AND ((` },
		"unknown field":  func(a *ask) { a.filter = metricFilter("request_count", ` AND service = "x"`) },
		"aligner":        func(a *ask) { a.aligner = monitoringpb.Aggregation_ALIGN_PERCENTILE_95 },
		"reducer":        func(a *ask) { a.reducer = monitoringpb.Aggregation_REDUCE_PERCENTILE_95 },
		"period":         func(a *ask) { a.period = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			a := good
			change(&a)
			if _, err := f.series(a); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorsAreLogged(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	c, err := logadmin.NewClient(f.ctx, "mixillo", googleOptions(f.World)...)
	must(t, err)
	defer func() { _ = c.Close() }()
	for filter, some := range map[string]bool{
		`resource.labels.service_name="` + backend + `" AND severity>=ERROR`:       true,
		`resource.type="cloud_run_revision" severity>=ERROR AND textPayload:"503"`: true,
		`resource.labels.service_name="other" AND severity>=ERROR`:                 false,
		`resource.labels.revision_name="mixillo-backend-00002-bbb"`:                false,
		`severity>=CRITICAL`:                 false,
		`timestamp < "2020-01-01T00:00:00Z"`: false,
	} {
		it := c.Entries(f.ctx, logadmin.Filter(filter), logadmin.NewestFirst())
		first, err := it.Next()
		if (err == nil) != some || (err != nil && !errors.Is(err, iterator.Done)) {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if !some {
			continue
		}
		if second, err := it.Next(); err != nil || second.Timestamp.After(first.Timestamp) {
			t.Errorf("%s: not newest first: %v", filter, err)
		}
	}
}
