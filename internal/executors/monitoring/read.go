package monitoring

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mixillo/remediator/internal/connect"
)

// readTimeout bounds one question with all its pages.
const readTimeout = 20 * time.Second

// The types of Cloud Run's metrics.
const (
	countType    = "run.googleapis.com/request_count"
	latencyType  = "run.googleapis.com/request_latencies"
	instanceType = "run.googleapis.com/container/instance_count"
	cpuType      = "run.googleapis.com/container/cpu/utilizations"
	memoryType   = "run.googleapis.com/container/memory/utilizations"
)

const (
	revisionField = "resource.labels.revision_name"
	classField    = "metric.labels.response_code_class"
)

// reader asks about one service.
type reader struct {
	google                   *connect.Google
	project, region, service string
	revision                 string // "" is all
	grouped                  bool   // values by revision too
}

// question is what differs between the questions.
type question struct {
	metric  string
	aligner monitoringpb.Aggregation_Aligner
	reducer monitoringpb.Aggregation_Reducer
	groupBy []string
	period  time.Duration
}

func (r *reader) filter(metric string) string {
	f := fmt.Sprintf(`metric.type = %q AND resource.type = "cloud_run_revision" AND resource.labels.service_name = %q AND resource.labels.location = %q`,
		metric, r.service, r.region)
	if r.revision != "" {
		f += fmt.Sprintf(` AND %s = %q`, revisionField, r.revision)
	}
	return f
}

func (r *reader) ask(ctx context.Context, w span, q question, each func(*monitoringpb.TimeSeries)) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	metrics, err := r.google.Metrics(ctx)
	if err != nil {
		return err
	}
	it := metrics.ListTimeSeries(ctx, &monitoringpb.ListTimeSeriesRequest{
		Name:     "projects/" + r.project,
		Filter:   r.filter(q.metric),
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(w.From), EndTime: timestamppb.New(w.To)},
		Aggregation: &monitoringpb.Aggregation{
			AlignmentPeriod: durationpb.New(q.period), PerSeriesAligner: q.aligner, CrossSeriesReducer: q.reducer, GroupByFields: q.groupBy,
		},
		View: monitoringpb.ListTimeSeriesRequest_FULL,
	})
	for {
		series, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", strings.TrimPrefix(q.metric, "run.googleapis.com/"), r.service, err)
		}
		each(series)
	}
}

// counted is what the window holds, minute by minute.
type counted struct {
	requests map[string]int64 // by revision
	minutes  map[time.Time]bool
	newest   time.Time
}

func (c counted) total() (n int64) {
	for _, v := range c.requests {
		n += v
	}
	return n
}

// counts tells on how many requests, and on how fresh ones, any value rests.
func (r *reader) counts(ctx context.Context, w span, period time.Duration) (counted, error) {
	c := counted{requests: map[string]int64{}, minutes: map[time.Time]bool{}}
	err := r.ask(ctx, w, question{
		metric: countType, aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_SUM,
		groupBy: []string{revisionField}, period: period,
	}, func(s *monitoringpb.TimeSeries) {
		for _, p := range s.GetPoints() {
			end, n := endOf(p), number(p)
			if !finite(n) {
				continue
			}
			if end.After(w.From) {
				c.requests[s.GetResource().GetLabels()["revision_name"]] += int64(n)
				c.minutes[end] = true
			}
			if end.After(c.newest) {
				c.newest = end
			}
		}
	})
	return c, err
}

// minutes tells in which minutes a metric has data at all: instances that nobody asks anything have no requests to tell it.
func (r *reader) minutes(ctx context.Context, w span, q question, period time.Duration) (with map[time.Time]bool, newest time.Time, err error) {
	with, q.period = map[time.Time]bool{}, period
	err = r.ask(ctx, w, q, func(s *monitoringpb.TimeSeries) {
		for _, p := range s.GetPoints() {
			end := endOf(p)
			if !finite(number(p)) || !end.After(w.From) {
				continue
			}
			with[end] = true
			if end.After(newest) {
				newest = end
			}
		}
	})
	return with, newest, err
}

func number(p *monitoringpb.Point) float64 {
	return float64(p.GetValue().GetInt64Value()) + p.GetValue().GetDoubleValue()
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// kind is how a metric is read.
type kind struct {
	ofRequests bool      // rests on requests, so too few make it unknown
	own        *question // by which its freshness is told, where that is not the requests'
	show       func(float64) string
	values     func(ctx context.Context, r *reader, w span, groupBy []string) (map[string]float64, error)
}

func (q *query) kind() (kind, error) {
	seconds := func(v float64) string { return fmt.Sprintf("%.0f ms", v*1000) }
	ratio := func(v float64) string { return fmt.Sprintf("%.2f %%", v*100) }
	whole := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	switch q.Metric {
	case P50Latency:
		return kind{true, nil, seconds, latency(monitoringpb.Aggregation_REDUCE_PERCENTILE_50)}, nil
	case P95Latency:
		return kind{true, nil, seconds, latency(monitoringpb.Aggregation_REDUCE_PERCENTILE_95)}, nil
	case P99Latency:
		return kind{true, nil, seconds, latency(monitoringpb.Aggregation_REDUCE_PERCENTILE_99)}, nil
	case RequestCount:
		return kind{false, nil, whole, requestCount}, nil
	case ErrorRatio:
		return kind{true, nil, ratio, errorRatio}, nil
	case InstanceCount:
		return kind{false, &instanceQuestion, whole, gauge(instanceQuestion)}, nil
	case CPU:
		return kind{false, utilization(cpuType), ratio, gauge(*utilization(cpuType))}, nil
	case Memory:
		return kind{false, utilization(memoryType), ratio, gauge(*utilization(memoryType))}, nil
	default:
		return kind{}, fmt.Errorf("metric must be one of %s", strings.Join(Metric("").Values(), ", "))
	}
}

// read gives the value over all under "", and by revision if that is asked for. Percentiles of parts do not add up, so the whole is
// a question of its own.
func (m kind) read(ctx context.Context, r *reader, w span) (map[string]float64, error) {
	values, err := m.values(ctx, r, w, nil)
	if err != nil || !r.grouped {
		return values, err
	}
	parts, err := m.values(ctx, r, w, []string{revisionField})
	if err != nil {
		return nil, err
	}
	for revision, v := range parts {
		if revision != "" {
			values[revision] = v
		}
	}
	return values, nil
}

// single keeps the newest point of each series: one aligned period as long as the window gives one. A point of another time, or one that
// is no number, is none: an older one must not stand in for it.
func single(into map[string]float64, scale float64, w span) func(*monitoringpb.TimeSeries) {
	return func(s *monitoringpb.TimeSeries) {
		var newest *monitoringpb.Point
		for _, p := range s.GetPoints() {
			if newest == nil || endOf(p).After(endOf(newest)) {
				newest = p
			}
		}
		if v := number(newest) * scale; newest != nil && endOf(newest).After(w.From) && finite(v) {
			into[s.GetResource().GetLabels()["revision_name"]] = v
		}
	}
}

func endOf(p *monitoringpb.Point) time.Time { return p.GetInterval().GetEndTime().AsTime() }

// latency reads a percentile of the window's whole distribution. The metric is in milliseconds.
func latency(reducer monitoringpb.Aggregation_Reducer) func(context.Context, *reader, span, []string) (map[string]float64, error) {
	return func(ctx context.Context, r *reader, w span, groupBy []string) (map[string]float64, error) {
		values := map[string]float64{}
		err := r.ask(ctx, w, question{
			metric: latencyType, aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: reducer, groupBy: groupBy, period: w.length(),
		}, single(values, 0.001, w))
		return values, err
	}
}

func requestCount(ctx context.Context, r *reader, w span, groupBy []string) (map[string]float64, error) {
	values := map[string]float64{}
	err := r.ask(ctx, w, question{
		metric: countType, aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_SUM,
		groupBy: groupBy, period: w.length(),
	}, single(values, 1, w))
	return values, err
}

// errorRatio is the share of answers with a status of 500 and above.
func errorRatio(ctx context.Context, r *reader, w span, groupBy []string) (map[string]float64, error) {
	all, failed := map[string]float64{}, map[string]float64{}
	err := r.ask(ctx, w, question{
		metric: countType, aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_SUM,
		groupBy: append([]string{classField}, groupBy...), period: w.length(),
	}, func(s *monitoringpb.TimeSeries) {
		revision := s.GetResource().GetLabels()["revision_name"]
		for _, p := range s.GetPoints() {
			if !endOf(p).After(w.From) {
				continue
			}
			all[revision] += number(p)
			if strings.HasPrefix(s.GetMetric().GetLabels()["response_code_class"], "5") {
				failed[revision] += number(p)
			}
		}
	})
	ratios := map[string]float64{}
	for revision, n := range all {
		if ratio := failed[revision] / n; n > 0 && finite(ratio) {
			ratios[revision] = ratio
		}
	}
	return ratios, err
}

// instanceQuestion adds up the instances of all revisions and states.
var instanceQuestion = question{
	metric: instanceType, aligner: monitoringpb.Aggregation_ALIGN_MEAN, reducer: monitoringpb.Aggregation_REDUCE_SUM,
}

// utilization asks for the 95th percentile of a distribution over instances and time (DELTA, DISTRIBUTION, from 0 to 1: Google's list of Cloud
// Run's metrics). A mean would hide the instances that are at their limit.
func utilization(metric string) *question {
	return &question{metric: metric, aligner: monitoringpb.Aggregation_ALIGN_DELTA, reducer: monitoringpb.Aggregation_REDUCE_PERCENTILE_95}
}

// gauge reads what instances are or have, aligned to one period.
func gauge(asked question) func(context.Context, *reader, span, []string) (map[string]float64, error) {
	return func(ctx context.Context, r *reader, w span, groupBy []string) (map[string]float64, error) {
		values, q := map[string]float64{}, asked
		q.groupBy, q.period = groupBy, w.length()
		err := r.ask(ctx, w, q, single(values, 1, w))
		return values, err
	}
}
