package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_run.instances",
		Doc:  "Asks how many instances a Cloud Run service has, how many of them are busy, and whether it is at its upper bound.",
		New:  func() executors.Probe { return &instancesProbe{} },
		Fact: InstancesFact{},
		Lag:  metricLag,
	})
}

const (
	defaultInstances = 10 * time.Minute
	mostInstances    = 24 * time.Hour
)

// instancesProbe asks Cloud Monitoring: Cloud Run itself does not tell how many instances there are.
type instancesProbe struct {
	// Window is how far back the peak is looked for; default 10m.
	Window time.Duration `yaml:"window"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *instancesProbe) Validate(t executors.Target) error {
	if p.Window != 0 && (p.Window < 5*time.Minute || p.Window > mostInstances) {
		return errors.New("window must be between 5m and 24h")
	}
	return needsSection(t)
}

// InstancesFact is what cloud_run.instances finds. Counts are the most of the newest minute that has data, rounded up.
type InstancesFact struct {
	// Service is the short name of the service.
	Service string `cel:"service"`
	// Generation counts the changes of the service.
	Generation int64 `cel:"generation"`
	// Total is how many instances there are, of all revisions. Unknown without fresh data.
	Total int64 `cel:"total"`
	// Active is how many of them have a request. Unknown without fresh data.
	Active int64 `cel:"active"`
	// Idle is how many of them have none. Unknown without fresh data.
	Idle int64 `cel:"idle"`
	// Peak is the most instances that there were in a minute of the window. Unknown without fresh data.
	Peak int64 `cel:"peak"`
	// Min is the lower bound in force; 0 is unset. Unknown while the service contradicts itself.
	Min int64 `cel:"min"`
	// Max is the upper bound in force, or the number set by hand. Unknown if none is set, or each of several revisions that serve has its own.
	Max int64 `cel:"max"`
	// Manual says that the number of instances is set by hand: the bounds have no effect.
	Manual bool `cel:"manual"`
	// AtMax says that there are as many instances as may be. Unknown if Total or Max is.
	AtMax bool `cel:"at_max"`
	// Newest is the end of the newest minute that has data; unknown if there is none.
	Newest time.Time `cel:"newest"`
	// Age is how old that is; unknown if there is none.
	Age time.Duration `cel:"age"`
}

// Claims implements executors.Claiming.
func (f *InstancesFact) Claims() map[string]string { return claims(f.Service, "", f.Generation) }

// Ask implements executors.Probe.
func (p *instancesProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := InstancesFact{Service: api.service, Generation: s.GetGeneration()}
	answer := executors.Answer{Fact: &fact}
	limits, err := api.limits(ctx, s)
	if err != nil {
		return executors.Answer{}, err
	}
	answer.Unknown = append(answer.Unknown, fact.bound(s, limits)...)
	seen, err := api.instances(ctx, env, cmp.Or(p.Window, env.Scale(defaultInstances)))
	if err != nil {
		return executors.Answer{}, err
	}
	answer.Unknown = append(answer.Unknown, fact.count(env, seen)...)
	if len(answer.Unknown) == 0 {
		fact.AtMax = fact.Total >= fact.Max
	} else {
		answer.Unknown = append(answer.Unknown, "at_max")
	}
	answer.Summary = fact.summary(answer.Unknown)
	return answer, nil
}

// limits reads the bounds in force; nil where they cannot be told.
func (c *client) limits(ctx context.Context, s *runpb.Service) (*levels, error) {
	if contradiction(s) != "" {
		return nil, nil
	}
	serving, sole := soleServing(s)
	if !sole || split(s) {
		return &levels{Service: boundsOf(s)}, nil
	}
	r, err := c.revision(ctx, serving)
	if err != nil {
		return nil, err
	}
	l := levelsOf(s, r)
	return &l, nil
}

// bound notes the bounds and names what is not known of them.
func (f *InstancesFact) bound(s *runpb.Service, l *levels) (unknown []string) {
	f.Manual = s.GetScaling().GetScalingMode() == runpb.ServiceScaling_MANUAL
	switch {
	case f.Manual:
		f.Min, f.Max = int64(s.GetScaling().GetManualInstanceCount()), int64(s.GetScaling().GetManualInstanceCount())
		return nil
	case l == nil:
		return []string{"min", "max"}
	}
	f.Min, f.Max = int64(l.least()), int64(l.most())
	if f.Max == 0 {
		return []string{"max"}
	}
	return nil
}

// census is how many instances there were, by the end of the minute.
type census map[time.Time]struct{ active, idle float64 }

// instances reads the most instances of each minute. Cloud Monitoring tells them by revision and state.
func (c *client) instances(ctx context.Context, env executors.Env, window time.Duration) (census, error) {
	seen := census{}
	err := c.series(ctx, "container/instance_count", env.Now.Add(-window), env.Now, &monitoringpb.Aggregation{
		AlignmentPeriod:    durationpb.New(period(env, window, fine)),
		PerSeriesAligner:   monitoringpb.Aggregation_ALIGN_MAX,
		CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
		GroupByFields:      []string{"metric.labels.state"},
	}, func(series *monitoringpb.TimeSeries) {
		active := series.GetMetric().GetLabels()["state"] == "active"
		for _, p := range series.GetPoints() {
			n := float64(p.GetValue().GetInt64Value()) + p.GetValue().GetDoubleValue()
			if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
				continue
			}
			at := p.GetInterval().GetEndTime().AsTime()
			was := seen[at]
			if active {
				was.active += n
			} else {
				was.idle += n
			}
			seen[at] = was
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading the instances of %s: %w", c.service, err)
	}
	return seen, nil
}

// count notes the newest minute and the peak, and names what is not known. Instances tell of themselves every minute, so that old news is none.
func (f *InstancesFact) count(env executors.Env, seen census) (unknown []string) {
	for at, n := range seen {
		f.Peak = max(f.Peak, int64(math.Ceil(n.active+n.idle)))
		if at.After(f.Newest) {
			f.Newest, f.Active, f.Idle, f.Total = at, int64(math.Ceil(n.active)), int64(math.Ceil(n.idle)), int64(math.Ceil(n.active+n.idle))
		}
	}
	if f.Newest.IsZero() {
		return []string{"total", "active", "idle", "peak", "newest", "age"}
	}
	f.Age = max(0, env.Now.Sub(f.Newest))
	if f.Age > env.Scale(metricLag+2*fine) {
		f.Total, f.Active, f.Idle, f.Peak = 0, 0, 0, 0
		return []string{"total", "active", "idle", "peak"}
	}
	return nil
}

func (f *InstancesFact) summary(unknown []string) string {
	upTo := "no upper bound is known"
	if f.Max > 0 {
		upTo = fmt.Sprintf("at most %d may be", f.Max)
	}
	switch {
	case f.Newest.IsZero():
		return fmt.Sprintf("how many instances %s has is not in the metrics; %s", f.Service, upTo)
	case slices.Contains(unknown, "total"):
		return fmt.Sprintf("how many instances %s has cannot be told: the newest data is %s old; %s", f.Service, f.Age.Round(time.Second), upTo)
	case f.AtMax:
		return fmt.Sprintf("%s has %d instances, as many as may be; %d are busy", f.Service, f.Total, f.Active)
	default:
		return fmt.Sprintf("%s has %d instances, %d of them busy; %s", f.Service, f.Total, f.Active, upTo)
	}
}
