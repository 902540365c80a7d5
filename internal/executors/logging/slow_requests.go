package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "logging.slow_requests",
		Doc:  "Asks a Cloud Run service's request log how many requests took longer than a bound, and on which paths.",
		New:  func() executors.Probe { return &slowRequests{} },
		Fact: SlowFact{},
		Lag:  lag,
	})
}

// slowRequests looks for requests that took too long.
type slowRequests struct {
	// Over is the bound: requests that took longer are slow.
	Over time.Duration `yaml:"over" rules:"required"`
	// Window is how far back to look; default 10m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Revision limits the question to one revision by its short name; serving is the one that serves now. Default: all.
	Revision string `yaml:"revision"`
	// Most is how many requests are read, the newest first; default 5000, at most 10000.
	Most int `yaml:"most"`
	// MinRequests is how many requests a share must rest on to be known; default 20.
	MinRequests int `yaml:"min_requests"`
}

// SlowFact is what logging.slow_requests finds. A request is logged when it is answered.
type SlowFact struct {
	// Count is how many requests were slow. Unknown if too few requests are logged.
	Count int64 `cel:"count"`
	// Requests is how many requests are logged.
	Requests int64 `cel:"requests"`
	// Share is the slow ones' part of them, from 0 to 1. Unknown if too few requests are logged.
	Share float64 `cel:"share"`
	// Covers is how far back what was read reaches: less than the window if there was more than could be read. Shares are of that time.
	Covers time.Duration `cel:"covers"`
	// AtLeast says that the counts are lower bounds.
	AtLeast bool `cel:"at_least"`
	// P95 is the 95th percentile of the slow ones' latencies; unknown if there is none.
	P95 time.Duration `cel:"p95"`
	// Slowest is the greatest latency; unknown if none was slow.
	Slowest time.Duration `cel:"slowest"`
	// SlowestPath is the path of the slowest one, with the names of things replaced by :id; unknown if none was slow.
	SlowestPath string `cel:"slowest_path"`
	// Path is the path that most of the slow ones have; unknown if none was slow.
	Path string `cel:"path"`
	// PathShare is how many of the slow ones that are, from 0 to 1; unknown if none was slow.
	PathShare float64 `cel:"path_share"`
	// Latest is the time of the service's newest entry of any kind; unknown if there is none in the window.
	Latest time.Time `cel:"latest"`
	// Age is how old that is: how fresh the log is.
	Age time.Duration `cel:"age"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *slowRequests) Validate(t executors.Target) error {
	if p.Over <= 0 || p.Over > time.Hour {
		return errors.New("over must be between 1ms and 1h, the longest that a request may take")
	}
	return checkRequests(t, p.Window, p.Revision, p.Most, p.MinRequests)
}

// LookBack is how far the answer reaches into the past: rules wait so long after an act.
func (p *slowRequests) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// slow is what was seen of the requests that took longer than over.
type slow struct {
	over        time.Duration
	requests    int64
	latencies   []time.Duration
	paths       map[string]int64
	slowestPath string
	slowest     time.Duration
}

func (w *slow) add(e *loggingpb.LogEntry) {
	w.requests++
	r := e.GetHttpRequest()
	took := r.GetLatency().AsDuration()
	if took <= w.over {
		return
	}
	at := path(r)
	w.latencies = append(w.latencies, took)
	w.paths[at]++
	if took > w.slowest {
		w.slowest, w.slowestPath = took, at
	}
}

// common is the path that most of the slow ones have; of two the first by name.
func (w *slow) common() (path string, n int64) {
	for at, count := range w.paths {
		if count > n || count == n && at < path {
			path, n = at, count
		}
	}
	return path, n
}

// p95 is the latency that 95 of a hundred do not exceed (the nearest rank).
func (w *slow) p95() time.Duration {
	if len(w.latencies) == 0 {
		return 0
	}
	all := slices.Sorted(slices.Values(w.latencies))
	return all[int(math.Ceil(0.95*float64(len(all))))-1]
}

// Ask implements executors.Probe.
func (p *slowRequests) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	s, err := newScope(ctx, env, p.Window, p.Revision)
	if err != nil {
		return executors.Answer{}, err
	}
	w := slow{over: p.Over, paths: map[string]int64{}}
	x, fresh, err := s.requests(ctx, cmp.Or(p.Most, defaultRequests), w.add)
	if err != nil {
		return executors.Answer{}, err
	}
	return w.answer(s, x, fresh, int64(cmp.Or(p.MinRequests, defaultLeast))), nil
}

func (w *slow) answer(s scope, x extent, fresh freshness, least int64) executors.Answer {
	n := int64(len(w.latencies))
	at, most := w.common()
	fact := SlowFact{
		Count: n, Requests: w.requests, Share: share(n, w.requests), Covers: x.covers(s), AtLeast: x.part != "" || fresh.stale,
		P95: w.p95(), Slowest: w.slowest, SlowestPath: w.slowestPath, Path: at, PathShare: share(most, n), Latest: fresh.latest, Age: fresh.age,
	}
	answer := executors.Answer{Fact: &fact, Unknown: fresh.unknown()}
	if n == 0 {
		answer.Unknown = append(answer.Unknown, "p95", "slowest", "slowest_path", "path", "path_share")
	}
	if why := few(w.requests, least, s); why != "" || n == 0 && fresh.stale {
		answer.Unknown = append(answer.Unknown, "count", "share")
		answer.Summary = cmp.Or(why, fmt.Sprintf("none of %d requests of %s was slow", w.requests, s.service)) + doubt(x, fresh)
		return answer
	}
	answer.Summary = fmt.Sprintf("%s of %s took longer than %s in the last %s (%s)%s", requests(n, fact.AtLeast), s.service, w.over,
		fact.Covers.Round(time.Second), percent(fact.Share)+fmt.Sprintf(" of %d", w.requests), w.where(fact)+doubt(x, fresh))
	return answer
}

// where says on which paths the slow ones were.
func (w *slow) where(f SlowFact) string {
	if f.Count == 0 {
		return ""
	}
	return fmt.Sprintf(", %s of them on %s; the slowest took %s on %s", percent(f.PathShare), f.Path, f.Slowest.Round(time.Millisecond), f.SlowestPath)
}

func requests(n int64, lower bool) string {
	return atLeast(n, lower) + times(n, " request", " requests")
}
