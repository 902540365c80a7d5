package monitoring

import (
	"math"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// point is a value that ends so long before noon.
func point(v float64, ago time.Duration) *monitoringpb.Point {
	return &monitoringpb.Point{
		Interval: &monitoringpb.TimeInterval{EndTime: timestamppb.New(noon.Add(-ago))},
		Value:    &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: v}},
	}
}

func lastFive() span {
	return span{From: noon.Add(-5 * time.Minute), To: noon, Oldest: 8 * time.Minute}
}

func TestOnlyTheNewestPointOfTheWindowCounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		points []*monitoringpb.Point
		want   []float64
	}{
		"one":                           {[]*monitoringpb.Point{point(2, 0)}, []float64{2}},
		"the newest, in any order":      {[]*monitoringpb.Point{point(1, 4*time.Minute), point(2, 0)}, []float64{2}},
		"zero is a number":              {[]*monitoringpb.Point{point(0, 0)}, []float64{0}},
		"no number, and none stands in": {[]*monitoringpb.Point{point(math.NaN(), 0), point(2, 4*time.Minute)}, nil},
		"without end":                   {[]*monitoringpb.Point{point(math.Inf(1), 0)}, nil},
		"of the time before the window": {[]*monitoringpb.Point{point(2, 5*time.Minute)}, nil},
		"none":                          {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]float64{}
			single(got, 1, lastFive())(&monitoringpb.TimeSeries{Points: tc.points})
			var values []float64
			for _, v := range got {
				values = append(values, v)
			}
			if !slices.Equal(values, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAbsentAndStaleAreUnknown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		value   map[string]float64
		newest  time.Duration // ago; 0: none
		unknown []string
	}{
		"fresh":            {map[string]float64{"": 0.5}, time.Minute, nil},
		"at the edge":      {map[string]float64{"": 0.5}, 8 * time.Minute, nil},
		"stale":            {map[string]float64{"": 0.5, "api-7": 0.5}, 8*time.Minute + time.Second, []string{"value", "by_revision"}},
		"absent":           {nil, 0, []string{"newest", "age", "value"}},
		"counts, no value": {nil, time.Minute, []string{"value"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := counted{requests: map[string]int64{"api-7": 1000}, minutes: map[time.Time]bool{}}
			if tc.newest > 0 {
				c.newest = noon.Add(-tc.newest)
			}
			q := &query{Metric: ErrorRatio}
			m, err := q.kind()
			if err != nil {
				t.Fatal(err)
			}
			answer := q.answer(m, c, tc.value, lastFive())
			fact, _ := answer.Fact.(*Fact)
			if !slices.Equal(answer.Unknown, tc.unknown) {
				t.Errorf("unknown %v, want %v: %s", answer.Unknown, tc.unknown, answer.Summary)
			}
			if known := len(tc.unknown) == 0; known != (fact.Value == 0.5) || !known && len(fact.ByRevision) > 0 {
				t.Errorf("fact %+v", fact)
			}
		})
	}
}
