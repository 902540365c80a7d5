package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mixillo/remediator/internal/executors"
)

// count is what a revision was asked in a period.
type count struct{ Requests, Errors int64 }

// bucket is one aligned period, by revision.
type bucket struct {
	Start, End time.Time
	Revisions  map[string]count
}

func (c *count) add(n count) {
	c.Requests += n.Requests
	c.Errors += n.Errors
}

func (b bucket) total() (n int64) {
	for _, c := range b.Revisions {
		n += c.Requests
	}
	return n
}

// share is the part of the service's requests that reached the revision; 0 where nobody asked.
func (b bucket) share(revision string) float64 {
	if t := b.total(); t > 0 {
		return float64(b.Revisions[revision].Requests) / float64(t)
	}
	return 0
}

// history is who carried the service's requests over a time, oldest bucket first; periods without requests have none.
type history struct {
	From, To time.Time
	Buckets  []bucket
}

// leader is the revision that carries most of the requests, "" if none does.
func (b bucket) leader() string {
	for revision := range b.Revisions {
		if b.share(revision) > lead {
			return revision
		}
	}
	return ""
}

// usual is how many requests a period has at least that is no quiet one.
func (h history) usual() float64 {
	n := int64(0)
	for _, b := range h.Buckets {
		n += b.total()
	}
	return quietShare * float64(n) / float64(max(1, len(h.Buckets)))
}

// The history is read in ten-minute buckets, coarser where that would be more than a thousand, and refined to a minute where the
// moment counts.
const (
	coarse     = 10 * time.Minute
	fine       = time.Minute // the shortest alignment that Cloud Monitoring has
	maxBuckets = 1000
)

// period is the alignment for a span: whole minutes of the world's time, and no fewer than wished.
func period(env executors.Env, span, wished time.Duration) time.Duration {
	unit := env.Scale(fine)
	wanted := max(env.Scale(wished), span/maxBuckets)
	return max(unit, (wanted+unit-1)/unit*unit)
}

// series asks for a metric of the service and gives each series.
func (c *client) series(ctx context.Context, metric string, from, to time.Time, agg *monitoringpb.Aggregation, each func(*monitoringpb.TimeSeries)) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	metrics, err := c.google.Metrics(ctx)
	if err != nil {
		return err
	}
	it := metrics.ListTimeSeries(ctx, &monitoringpb.ListTimeSeriesRequest{
		Name: "projects/" + c.project,
		Filter: fmt.Sprintf(`metric.type = "run.googleapis.com/%s" AND resource.type = "cloud_run_revision" AND `+
			`resource.labels.service_name = %q AND resource.labels.location = %q`, metric, c.service, c.region),
		Interval:    &monitoringpb.TimeInterval{StartTime: timestamppb.New(from), EndTime: timestamppb.New(to)},
		Aggregation: agg,
		View:        monitoringpb.ListTimeSeriesRequest_FULL,
	})
	for {
		series, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		each(series)
	}
}

// counts reads request_count by revision and response class.
func (c *client) counts(ctx context.Context, from, to time.Time, align time.Duration) (history, error) {
	h := history{From: from, To: to}
	err := c.series(ctx, "request_count", from, to, &monitoringpb.Aggregation{
		AlignmentPeriod:    durationpb.New(align),
		PerSeriesAligner:   monitoringpb.Aggregation_ALIGN_DELTA,
		CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
		GroupByFields:      []string{"resource.labels.revision_name", "metric.labels.response_code_class"},
	}, func(series *monitoringpb.TimeSeries) { h.add(series, align) })
	if err != nil {
		return history{}, fmt.Errorf("reading request counts of %s: %w", c.service, err)
	}
	return h, nil
}

// add puts a series into its buckets. Aligned points of one query end at the same moments.
func (h *history) add(series *monitoringpb.TimeSeries, align time.Duration) {
	revision := series.GetResource().GetLabels()["revision_name"]
	failed := strings.HasPrefix(series.GetMetric().GetLabels()["response_code_class"], "5")
	for _, p := range series.GetPoints() {
		n := p.GetValue().GetInt64Value() + int64(p.GetValue().GetDoubleValue())
		if n <= 0 || revision == "" {
			continue
		}
		end := p.GetInterval().GetEndTime().AsTime()
		b := h.at(end, align)
		was := b.Revisions[revision]
		was.Requests += n
		if failed {
			was.Errors += n
		}
		b.Revisions[revision] = was
	}
}

func (h *history) at(end time.Time, align time.Duration) *bucket {
	i, found := slices.BinarySearchFunc(h.Buckets, end, func(b bucket, t time.Time) int { return b.End.Compare(t) })
	if !found {
		h.Buckets = slices.Insert(h.Buckets, i, bucket{Start: end.Add(-align), End: end, Revisions: map[string]count{}})
	}
	return &h.Buckets[i]
}

// took is where in the history a revision took over, as far as the buckets tell.
type took struct {
	At       time.Time
	From, To time.Time // the span to look at more closely; zero if At is as good as it gets
}

// takeover finds when the revision began to carry most of the service's requests. Before metrics tell (they lag by minutes, a quiet
// service has none, and a revision that never starts never has any) that is its creation, and so is a start that the history does not
// reach back to.
func (h history) takeover(revision string, created time.Time) took {
	i := h.firstLead(revision)
	if i < 0 {
		return took{At: created}
	}
	b, end := h.Buckets[i], h.Buckets[min(i+1, len(h.Buckets)-1)].End
	width := b.End.Sub(b.Start)
	if !b.Start.After(created) || b.Start.Sub(h.From) < width && created.Before(h.From) {
		return took{At: created}
	}
	return took{At: b.Start, From: b.Start, To: end}
}

// firstLead is the first bucket in which the revision may have begun to lead: it leads there, or it does in the next one and was seen
// before, or it is seen in the newest. Requests that a mere tag brings are no lead.
func (h history) firstLead(revision string) int {
	last := len(h.Buckets) - 1
	for i, b := range h.Buckets {
		if b.share(revision) < lead {
			continue
		}
		if i > 0 && h.Buckets[i-1].End.Equal(b.Start) && h.Buckets[i-1].Revisions[revision].Requests > 0 {
			return i - 1
		}
		return i
	}
	if last >= 0 && h.Buckets[last].Revisions[revision].Requests > 0 {
		return last
	}
	return -1
}

// lead is the share of the requests from which on a revision is what serves.
const lead = 0.5

// since is takeover to the minute.
func (c *client) since(ctx context.Context, env executors.Env, h history, revision string, created time.Time) (time.Time, error) {
	t := h.takeover(revision, created)
	unit := env.Scale(fine)
	if t.To.Sub(t.From) <= unit {
		return t.At, nil
	}
	detail, err := c.counts(ctx, t.From, t.To, unit)
	if err != nil {
		return time.Time{}, err
	}
	for _, b := range detail.Buckets {
		if b.share(revision) >= lead {
			return b.Start, nil
		}
	}
	return t.At, nil
}
