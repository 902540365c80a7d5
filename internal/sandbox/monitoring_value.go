package sandbox

import (
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
)

// weighted is a segment's distribution with the number of requests in it.
type weighted struct {
	segment
	count float64
}

func (q *query) kind() (metricpb.MetricDescriptor_MetricKind, metricpb.MetricDescriptor_ValueType) {
	gauge, delta := metricpb.MetricDescriptor_GAUGE, metricpb.MetricDescriptor_DELTA
	switch {
	case q.metric == requestCount && q.aligner != monitoringpb.Aggregation_ALIGN_RATE && q.reducer != monitoringpb.Aggregation_REDUCE_MEAN:
		return delta, metricpb.MetricDescriptor_INT64
	case q.distribution():
		return delta, metricpb.MetricDescriptor_DISTRIBUTION
	default:
		return gauge, metricpb.MetricDescriptor_DOUBLE
	}
}

func (q *query) distribution() bool {
	return q.spread() && q.aligner == monitoringpb.Aggregation_ALIGN_DELTA &&
		(q.reducer == monitoringpb.Aggregation_REDUCE_NONE || q.reducer == monitoringpb.Aggregation_REDUCE_SUM)
}

// spread tells metrics whose points are distributions.
func (q *query) spread() bool {
	return q.metric == requestLatencies || q.metric == cpuUse || q.metric == memoryUse
}

// value is a group's value in one period, or nil where there was nothing to
// measure: no data is no point, never a zero.
func (q *query) value(g *group, from, to time.Time) *monitoringpb.TypedValue {
	if q.metric == requestLatencies && q.aligner == monitoringpb.Aggregation_ALIGN_DELTA {
		return q.latency(g, from, to)
	}
	if q.distribution() {
		return nil // nobody asks for the whole distribution of these
	}
	var numbers []float64
	for _, c := range g.cells {
		if n, ok := q.number(c, from, to); ok {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	n := reduce(q.reducer, numbers)
	if _, kind := q.kind(); kind == metricpb.MetricDescriptor_INT64 {
		return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: int64(n)}}
	}
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: n}}
}

// number aligns one raw series to one number.
func (q *query) number(c cell, from, to time.Time) (float64, bool) {
	if q.metric != requestCount && q.metric != requestLatencies {
		return gauge(c, from, to, q.metric)
	}
	parts := c.in(from, to)
	total := 0.0
	for _, w := range parts {
		total += w.count
	}
	switch {
	case total == 0:
		return 0, false
	case q.metric == requestLatencies:
		return quantile(parts, alignQuantile[q.aligner]), true
	case q.aligner == monitoringpb.Aggregation_ALIGN_RATE:
		return total / q.period.Seconds(), true
	default:
		return total, true
	}
}

// gauge is the most that was in use: all instances are alike, so that any percentile of their utilisation is the same.
func gauge(c cell, from, to time.Time, metric string) (n float64, some bool) {
	for _, g := range c.segments {
		if _, _, ok := g.clip(from, to); !ok {
			continue
		}
		v := map[string]float64{cpuUse: g.cpu, memoryUse: g.memory}[metric]
		if metric == instanceCount {
			v = pick(c.labels["metric.labels.state"] == "active", g.active, g.instances-g.active)
		}
		n, some = max(n, v), true
	}
	return n, some
}

// in lists the cell's requests in [from, to), by segment.
func (c cell) in(from, to time.Time) []weighted {
	var out []weighted
	for _, g := range c.segments {
		total, failed := g.requests(from, to)
		if n := pick(c.failed, failed, total-failed); n > 0 {
			out = append(out, weighted{g, float64(n)})
		}
	}
	return out
}

func (q *query) latency(g *group, from, to time.Time) *monitoringpb.TypedValue {
	var parts []weighted
	for _, c := range g.cells {
		parts = append(parts, c.in(from, to)...)
	}
	if len(parts) == 0 {
		return nil
	}
	if q.distribution() {
		return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{DistributionValue: distribution(parts)}}
	}
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: quantile(parts, reduceQuantile[q.reducer])}}
}

var alignQuantile = map[monitoringpb.Aggregation_Aligner]float64{
	monitoringpb.Aggregation_ALIGN_PERCENTILE_50: 0.50,
	monitoringpb.Aggregation_ALIGN_PERCENTILE_95: 0.95,
	monitoringpb.Aggregation_ALIGN_PERCENTILE_99: 0.99,
}

var reduceQuantile = map[monitoringpb.Aggregation_Reducer]float64{
	monitoringpb.Aggregation_REDUCE_PERCENTILE_50: 0.50,
	monitoringpb.Aggregation_REDUCE_PERCENTILE_95: 0.95,
	monitoringpb.Aggregation_REDUCE_PERCENTILE_99: 0.99,
}

// quantile of a mixture, in milliseconds, by bisection.
func quantile(parts []weighted, p float64) float64 {
	low, high := 0.0, 1e7
	for range 60 {
		mid := (low + high) / 2
		if below(parts, mid) < p {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

func below(parts []weighted, ms float64) float64 {
	var sum, n float64
	for _, w := range parts {
		sum += w.count * w.below(ms)
		n += w.count
	}
	return sum / n
}

// distribution renders a mixture with the exponential buckets of Cloud Run's
// latency metric (growth 1.4 from 1 ms).
func distribution(parts []weighted) *distributionpb.Distribution {
	const buckets, growth = 66, 1.4
	d := &distributionpb.Distribution{
		Mean: quantile(parts, 0.5),
		BucketOptions: &distributionpb.Distribution_BucketOptions{Options: &distributionpb.Distribution_BucketOptions_ExponentialBuckets{
			ExponentialBuckets: &distributionpb.Distribution_BucketOptions_Exponential{NumFiniteBuckets: buckets, GrowthFactor: growth, Scale: 1},
		}},
	}
	var n, before int64
	for _, w := range parts {
		n += int64(w.count)
	}
	d.Count = n
	for bound, i := 1.0, 0; i <= buckets; bound, i = bound*growth, i+1 {
		upTo := int64(below(parts, bound) * float64(n))
		d.BucketCounts = append(d.BucketCounts, upTo-before)
		before = upTo
	}
	d.BucketCounts = append(d.BucketCounts, n-before)
	return d
}

func reduce(r monitoringpb.Aggregation_Reducer, numbers []float64) float64 {
	sum := 0.0
	for _, n := range numbers {
		sum += n
	}
	switch r {
	case monitoringpb.Aggregation_REDUCE_MAX, monitoringpb.Aggregation_REDUCE_PERCENTILE_50, monitoringpb.Aggregation_REDUCE_PERCENTILE_95,
		monitoringpb.Aggregation_REDUCE_PERCENTILE_99:
		return slices.Max(numbers)
	case monitoringpb.Aggregation_REDUCE_MIN:
		return slices.Min(numbers)
	case monitoringpb.Aggregation_REDUCE_MEAN:
		return sum / float64(len(numbers))
	default:
		return sum
	}
}
