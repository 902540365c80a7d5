package sandbox

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	requestCount     = "run.googleapis.com/request_count"
	requestLatencies = "run.googleapis.com/request_latencies"
	instanceCount    = "run.googleapis.com/container/instance_count"
	cpuUse           = "run.googleapis.com/container/cpu/utilizations"
	memoryUse        = "run.googleapis.com/container/memory/utilizations"

	noSuchMetric = "Cannot find metric(s) that match type = %q. If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon."
)

type metricsServer struct {
	monitoringpb.UnimplementedMetricServiceServer
	p *platform
}

// ListTimeSeries answers from the timeline. Points are newest first, end at
// the interval's end and whole periods before it, and are as old as the lag.
func (m metricsServer) ListTimeSeries(_ context.Context, req *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	q, err := newQuery(req)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	now := m.p.lock()
	defer m.p.mu.Unlock()
	q.visible = now.Add(-m.p.cfg.scaled(m.p.lag))
	groups := map[string]*group{}
	for _, name := range slices.Sorted(maps.Keys(m.p.services)) {
		for _, cell := range m.p.cells(m.p.services[name], q.metric) {
			q.collect(groups, cell)
		}
	}
	var out []*monitoringpb.TimeSeries
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		if series := q.series(groups[key]); len(series.GetPoints()) > 0 {
			if m.p.spoiled {
				spoil(series, math.NaN())
			}
			out = append(out, series)
		}
	}
	page, token, err := paginate(out, req.GetPageSize(), req.GetPageToken(), 100_000)
	return &monitoringpb.ListTimeSeriesResponse{TimeSeries: page, NextPageToken: token}, err
}

// query is a request that has been understood.
type query struct {
	metric     string
	clauses    []clause
	start, end time.Time
	period     time.Duration
	aligner    monitoringpb.Aggregation_Aligner
	reducer    monitoringpb.Aggregation_Reducer
	groupBy    []string
	visible    time.Time
}

func newQuery(req *monitoringpb.ListTimeSeriesRequest) (*query, error) {
	clauses, err := parseFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	agg := req.GetAggregation()
	q := &query{
		clauses: clauses, start: req.GetInterval().GetStartTime().AsTime(), end: req.GetInterval().GetEndTime().AsTime(),
		period: agg.GetAlignmentPeriod().AsDuration(), aligner: agg.GetPerSeriesAligner(), reducer: agg.GetCrossSeriesReducer(),
	}
	for _, f := range agg.GetGroupByFields() {
		q.groupBy = append(q.groupBy, singular(f))
	}
	err = q.judge(req)
	return q, err
}

func (q *query) judge(req *monitoringpb.ListTimeSeriesRequest) error {
	for _, c := range q.clauses {
		switch {
		case c.path == "metric.type" && c.op == "=":
			q.metric = c.values[0]
		case c.path == "resource.type", c.path == "project", strings.HasPrefix(c.path, "resource.labels."), strings.HasPrefix(c.path, "metric.labels."):
		default:
			return fmt.Errorf("the filter's %q is not a field that can be compared with %q", c.path, c.op)
		}
	}
	if q.metric == "" {
		return fmt.Errorf("the filter must name exactly one metric.type")
	}
	if req.GetInterval().GetEndTime() == nil || q.start.After(q.end) {
		return fmt.Errorf("the interval must have an end_time that is not before its start_time")
	}
	if q.aligner != monitoringpb.Aggregation_ALIGN_NONE && q.period <= 0 {
		return fmt.Errorf("an aligner needs an alignment_period")
	}
	return q.judgeKind()
}

// judgeKind refuses aligners and reducers that do not fit the metric.
func (q *query) judgeKind() error {
	var aligners []monitoringpb.Aggregation_Aligner
	percentiles := []monitoringpb.Aggregation_Aligner{monitoringpb.Aggregation_ALIGN_PERCENTILE_50, monitoringpb.Aggregation_ALIGN_PERCENTILE_95, monitoringpb.Aggregation_ALIGN_PERCENTILE_99}
	numbers := []monitoringpb.Aggregation_Reducer{monitoringpb.Aggregation_REDUCE_NONE, monitoringpb.Aggregation_REDUCE_SUM, monitoringpb.Aggregation_REDUCE_MAX, monitoringpb.Aggregation_REDUCE_MIN, monitoringpb.Aggregation_REDUCE_MEAN}
	reducers := numbers
	switch q.metric {
	case requestCount:
		aligners = []monitoringpb.Aggregation_Aligner{monitoringpb.Aggregation_ALIGN_DELTA, monitoringpb.Aggregation_ALIGN_SUM, monitoringpb.Aggregation_ALIGN_RATE}
	case instanceCount:
		aligners = []monitoringpb.Aggregation_Aligner{monitoringpb.Aggregation_ALIGN_MEAN, monitoringpb.Aggregation_ALIGN_MAX, monitoringpb.Aggregation_ALIGN_MIN}
	case requestLatencies, cpuUse, memoryUse:
		aligners = append(slices.Clone(percentiles), monitoringpb.Aggregation_ALIGN_DELTA)
		if q.aligner == monitoringpb.Aggregation_ALIGN_DELTA {
			reducers = []monitoringpb.Aggregation_Reducer{
				monitoringpb.Aggregation_REDUCE_NONE, monitoringpb.Aggregation_REDUCE_SUM, monitoringpb.Aggregation_REDUCE_PERCENTILE_50,
				monitoringpb.Aggregation_REDUCE_PERCENTILE_95, monitoringpb.Aggregation_REDUCE_PERCENTILE_99,
			}
		}
	default:
		return fmt.Errorf(noSuchMetric, q.metric)
	}
	if !slices.Contains(aligners, q.aligner) {
		return fmt.Errorf("the aligner %s cannot be applied to the metric %s", q.aligner, q.metric)
	}
	if !slices.Contains(reducers, q.reducer) {
		return fmt.Errorf("the reducer %s cannot be applied to the metric %s aligned by %s", q.reducer, q.metric, q.aligner)
	}
	return nil
}

// cell is one raw series: a revision's requests of one response class.
type cell struct {
	labels   map[string]string
	failed   bool
	segments []segment
}

// cells lists a service's raw series. A revision that never ran has none.
func (p *platform) cells(s *runService, metric string) []cell {
	byRevision := map[string][]segment{}
	for _, g := range s.timeline {
		byRevision[g.revision] = append(byRevision[g.revision], g)
	}
	var out []cell
	for _, name := range slices.Sorted(maps.Keys(byRevision)) {
		base := map[string]string{
			"metric.type": metric, "resource.type": "cloud_run_revision", "resource.labels.project_id": p.cfg.Project, "project": p.cfg.Project,
			"resource.labels.service_name": s.short(), "resource.labels.configuration_name": s.short(),
			"resource.labels.revision_name": name, "resource.labels.location": p.cfg.Region,
		}
		switch metric {
		case instanceCount:
			for _, state := range []string{"active", "idle"} {
				labels := maps.Clone(base)
				labels["metric.labels.state"] = state
				out = append(out, cell{labels: labels, segments: byRevision[name]})
			}
			continue
		case cpuUse, memoryUse:
			out = append(out, cell{labels: base, segments: byRevision[name]})
			continue
		}
		for _, failed := range []bool{false, true} {
			labels := maps.Clone(base)
			labels["metric.labels.response_code"] = pick(failed, "503", "200")
			labels["metric.labels.response_code_class"] = pick(failed, "5xx", "2xx")
			out = append(out, cell{labels: labels, failed: failed, segments: byRevision[name]})
		}
	}
	return out
}

// group is what one reduced series is made of.
type group struct {
	labels map[string]string
	cells  []cell
}

func (q *query) collect(groups map[string]*group, c cell) {
	for _, clause := range q.clauses {
		if !clause.matches(c.labels[clause.path]) {
			return
		}
	}
	labels := c.labels
	if q.reducer != monitoringpb.Aggregation_REDUCE_NONE {
		labels = map[string]string{}
		for _, field := range q.groupBy {
			labels[field] = c.labels[field]
		}
	}
	key := fmt.Sprint(labels)
	if groups[key] == nil {
		groups[key] = &group{labels: labels}
	}
	groups[key].cells = append(groups[key].cells, c)
}

func (q *query) series(g *group) *monitoringpb.TimeSeries {
	out := &monitoringpb.TimeSeries{
		Metric:   &metricpb.Metric{Type: q.metric, Labels: labelsOf(g.labels, "metric.labels.")},
		Resource: &monitoredrespb.MonitoredResource{Type: "cloud_run_revision", Labels: labelsOf(g.labels, "resource.labels.")},
	}
	out.MetricKind, out.ValueType = q.kind()
	for end := q.end; end.After(q.start); end = end.Add(-q.period) {
		from := later(end.Add(-q.period), q.start)
		if !from.Before(q.visible) {
			continue
		}
		if value := q.value(g, from, earlier(end, q.visible)); value != nil {
			out.Points = append(out.Points, &monitoringpb.Point{
				Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(from), EndTime: timestamppb.New(end)},
				Value:    value,
			})
		}
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func labelsOf(labels map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for name, value := range labels {
		if short, ok := strings.CutPrefix(name, prefix); ok {
			out[short] = value
		}
	}
	return out
}
