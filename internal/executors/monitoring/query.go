// Package monitoring asks Cloud Monitoring for single values: a latency, a count, a ratio. A value that rests on too little, is too
// old or is not there at all is unknown, never zero.
package monitoring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// lag is how long Cloud Run's metrics take to become visible (Google's metric list gives 120 s for most, 180 s have been seen).
const lag = 180 * time.Second

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "monitoring.query",
		Doc:  "Asks Cloud Monitoring for one value of a Cloud Run service over a window: latency, requests, error ratio, instances, CPU, memory.",
		New:  func() executors.Probe { return &query{} },
		Fact: Fact{},
		Lag:  lag,
	})
}

// Metric names what can be asked.
type Metric string

// The metrics. Latencies are in seconds, ratios and utilizations from 0 to 1.
const (
	P50Latency    Metric = "p50_latency"
	P95Latency    Metric = "p95_latency"
	P99Latency    Metric = "p99_latency"
	RequestCount  Metric = "request_count"
	ErrorRatio    Metric = "error_ratio"
	InstanceCount Metric = "instance_count"
	CPU           Metric = "cpu_utilization"
	Memory        Metric = "memory_utilization"
)

// Values lists what may be written in a rules file.
func (Metric) Values() []string {
	return []string{
		string(P50Latency), string(P95Latency), string(P99Latency), string(RequestCount), string(ErrorRatio), string(InstanceCount),
		string(CPU), string(Memory),
	}
}

// servingRevision stands for the revision that carries all traffic when the question is asked.
const servingRevision = "serving"

const (
	defaultWindow   = 5 * time.Minute
	defaultRequests = 20
	step            = time.Minute // the shortest period that Cloud Monitoring aligns to
)

// query asks about the target's Cloud Run service.
type query struct {
	// Metric is what is asked: p50_latency, p95_latency, p99_latency (in seconds), request_count, error_ratio (0 to 1), instance_count,
	// cpu_utilization or memory_utilization (0 to 1: what the busiest twentieth of the instances' minutes had at least).
	Metric Metric `yaml:"metric" rules:"required"`
	// Window is how far back the value reaches; default 5m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Revision limits the question to one revision by its short name; serving is the one that serves now. Default: all together.
	Revision string `yaml:"revision"`
	// ByRevision asks for each revision's value too.
	ByRevision bool `yaml:"by_revision"`
	// MinRequests is how many requests a latency or ratio must rest on to be known; default 20.
	MinRequests int `yaml:"min_requests"`
}

// Fact is what monitoring.query finds.
type Fact struct {
	// Value is the metric over the window: seconds for latencies, 0 to 1 for ratios and utilizations. Unknown without enough data.
	Value float64 `cel:"value"`
	// ByRevision holds each revision's value by its short name, where it was asked for and there is data enough.
	ByRevision map[string]any `cel:"by_revision"`
	// Requests is how many requests the window holds so far.
	Requests int64 `cel:"requests"`
	// Newest is the end of the newest minute that has data: of the instances' own metrics for these, of the requests for all others.
	Newest time.Time `cel:"newest"`
	// Age is how old that is.
	Age time.Duration `cel:"age"`
	// Points is how many minutes have data.
	Points int64 `cel:"points"`
}

// service is the target's section as far as it matters here.
type service interface {
	Resource(set connect.Set) (project, region, service string, err error)
	Serving(ctx context.Context, set connect.Set) (string, error)
}

// Validate tells in plain words what is wrong with the parameters.
func (q *query) Validate(t executors.Target) error {
	switch {
	case q.Window < 0 || q.Window > 0 && q.Window < step || q.Window > 24*time.Hour:
		return errors.New("window must be between 1m and 24h")
	case q.MinRequests < 0:
		return errors.New("min_requests must not be negative")
	case q.Revision != "" && q.ByRevision:
		return errors.New("revision and by_revision exclude each other")
	case (q.Revision != "" || q.ByRevision) && q.Metric == InstanceCount:
		return errors.New("instance_count is asked for the whole service")
	}
	if _, err := q.kind(); err != nil {
		return err
	}
	_, err := serviceOf(t)
	return err
}

func serviceOf(t executors.Target) (service, error) {
	s, ok := t.Systems["cloud_run"].(service)
	if !ok {
		return nil, errors.New("the target needs a section cloud_run that names the service")
	}
	return s, nil
}

// LookBack is how far the value reaches into the past, in real time, beside the metrics' own lag: rules wait so long after an act.
func (q *query) LookBack() time.Duration { return cmp.Or(q.Window, defaultWindow) }

// Ask implements executors.Probe.
func (q *query) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	m, err := q.kind()
	if err != nil {
		return executors.Answer{}, err
	}
	r, err := q.reader(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	w := q.window(env)
	if w.length() < env.Scale(step) {
		return tooEarly(), nil
	}
	counts, err := r.counts(ctx, w, env.Scale(step))
	if err != nil {
		return executors.Answer{}, err
	}
	if m.own != nil {
		if counts.minutes, counts.newest, err = r.minutes(ctx, w, *m.own, env.Scale(step)); err != nil {
			return executors.Answer{}, err
		}
	}
	values, err := m.read(ctx, r, w)
	if err != nil {
		return executors.Answer{}, err
	}
	return q.answer(m, counts, values, m.judged(w, env)), nil
}

// reader opens the client and settles which revision is meant.
func (q *query) reader(ctx context.Context, env executors.Env) (*reader, error) {
	s, err := serviceOf(env.Target)
	if err != nil {
		return nil, err
	}
	google, err := connect.Get[*connect.Google](env.Connections, "google_cloud")
	if err != nil {
		return nil, err
	}
	r := &reader{google: google, revision: q.Revision, grouped: q.ByRevision}
	if r.project, r.region, r.service, err = s.Resource(env.Connections); err != nil {
		return nil, err
	}
	if q.Revision == servingRevision {
		r.revision, err = s.Serving(ctx, env.Connections)
	}
	return r, err
}

// span is the time asked about, and how old the newest data of it may be.
type span struct {
	From, To time.Time
	Oldest   time.Duration
}

// judged bounds the age of the data: what is older than the window and the metrics' own delay tells of another time. Instances tell of
// themselves every minute, so that of them it need not be that old to be of another time.
func (m kind) judged(s span, env executors.Env) span {
	s.Oldest = s.length() + env.Scale(lag)
	if m.own != nil {
		s.Oldest = min(s.Oldest, env.Scale(lag+2*step))
	}
	return s
}

func (s span) length() time.Duration { return s.To.Sub(s.From) }

func (q *query) window(env executors.Env) span {
	length := q.Window
	if length == 0 {
		length = env.Scale(defaultWindow)
	}
	w := span{From: env.Now.Add(-length), To: env.Now}
	if env.Since.After(w.From) {
		w.From = env.Since
	}
	return w
}

func tooEarly() executors.Answer {
	return executors.Answer{
		Fact: &Fact{ByRevision: map[string]any{}}, Unknown: []string{"value", "by_revision", "newest", "age"},
		Summary: "the window has only begun: no value yet",
	}
}

// answer judges whether the values rest on enough.
func (q *query) answer(m kind, c counted, values map[string]float64, w span) executors.Answer {
	least := int64(0)
	if m.ofRequests {
		least = int64(q.MinRequests)
		if least == 0 {
			least = defaultRequests
		}
	}
	fact := Fact{ByRevision: map[string]any{}, Requests: c.total(), Points: int64(len(c.minutes)), Newest: c.newest}
	for revision, v := range values {
		if revision != "" && c.requests[revision] >= least {
			fact.ByRevision[revision] = v
		}
	}
	answer := executors.Answer{Fact: &fact}
	if c.newest.IsZero() {
		answer.Unknown = append(answer.Unknown, "newest", "age")
	} else {
		fact.Age = max(0, w.To.Sub(c.newest))
	}
	v, has := values[""]
	stale := fact.Age > w.Oldest
	switch asked := w.length().Round(time.Second); {
	case stale:
		answer.Summary = fmt.Sprintf("%s: the newest data is %s old", q.Metric, fact.Age.Round(time.Second))
	case !has:
		answer.Summary = fmt.Sprintf("%s: no data in the last %s", q.Metric, asked)
	case fact.Requests < least:
		answer.Summary = fmt.Sprintf("%s: only %d requests in the last %s, %d are needed", q.Metric, fact.Requests, asked, least)
	default:
		fact.Value = v
		answer.Summary = fmt.Sprintf("%s was %s over the last %s (%d requests)", q.Metric, m.show(v), asked, fact.Requests)
		return answer
	}
	answer.Unknown = append(answer.Unknown, "value")
	if stale {
		answer.Unknown, fact.ByRevision = append(answer.Unknown, "by_revision"), map[string]any{}
	}
	return answer
}
