package logging

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "logging.errors",
		Doc:  "Asks for the most common error in a Cloud Run service's log, with its count, its share and an example.",
		New:  func() executors.Probe { return &commonError{} },
		Fact: ErrorsFact{},
		Lag:  lag,
	})
}

const (
	defaultErrors = 2000
	mostErrors    = 5000
)

// commonError groups the errors by what they have in common.
type commonError struct {
	// Severity is the least: debug, info, notice, warning, error, critical, alert or emergency. Default error.
	Severity Severity `yaml:"severity"`
	// Window is how far back to look; default 10m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Revision limits the question to one revision by its short name; serving is the one that serves now. Default: all.
	Revision string `yaml:"revision"`
	// Most is how many entries are read, the newest first; default 2000, at most 5000.
	Most int `yaml:"most"`
}

// ErrorsFact is what logging.errors finds. Lines of the request log say no more than a status and are no errors here, unless they have
// words of their own, like those of requests that found no instance.
type ErrorsFact struct {
	// Message is the most common error on one line, with numbers, ids, addresses, times and quoted texts replaced, and without what looks
	// like a secret; unknown if there is none.
	Message string `cel:"message"`
	// Count is how many entries say so.
	Count int64 `cel:"count"`
	// Share is how many of the errors these are, from 0 to 1; unknown if there is none.
	Share float64 `cel:"share"`
	// Example is the newest of them as it was written, on one line, without what looks like a secret; unknown if there is none.
	Example string `cel:"example"`
	// Newest is the time of the newest of them; unknown if there is none.
	Newest time.Time `cel:"newest"`
	// Oldest is the time of the oldest of them that was read; unknown if there is none.
	Oldest time.Time `cel:"oldest"`
	// Groups is how many different errors there are.
	Groups int64 `cel:"groups"`
	// Total is how many errors there are of all kinds. Unknown if there is none and the log may have stopped.
	Total int64 `cel:"total"`
	// Requests is how many entries were failed requests without words.
	Requests int64 `cel:"requests"`
	// AtLeast says that the counts are lower bounds: there were more than could be read, or the log may have stopped.
	AtLeast bool `cel:"at_least"`
	// Latest is the time of the service's newest entry of any kind; unknown if there is none in the window.
	Latest time.Time `cel:"latest"`
	// Age is how old that is: how fresh the log is.
	Age time.Duration `cel:"age"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *commonError) Validate(t executors.Target) error {
	return check(t, p.Window, p.Revision, p.Most, mostErrors)
}

// LookBack is how far the answer reaches into the past: rules wait so long after an act.
func (p *commonError) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// kindOfError is one group.
type kindOfError struct {
	message, example string
	n                int64
	newest, oldest   time.Time
}

// grouped are the errors by what they have in common. Its size is bounded by the entries that are read.
type grouped struct {
	by       map[string]*kindOfError
	order    []*kindOfError // by their newest entry
	total    int64
	requests int64
}

func (g *grouped) add(e *loggingpb.LogEntry) {
	text := message(e)
	if text == "" && e.GetHttpRequest() != nil {
		g.requests++
		return
	}
	if text == "" {
		text = shown(e)
	}
	key := normal(text)
	k := g.by[key]
	if k == nil {
		k = &kindOfError{message: key, example: shown(e), newest: e.GetTimestamp().AsTime()}
		g.by[key], g.order = k, append(g.order, k)
	}
	k.n++
	k.oldest = e.GetTimestamp().AsTime()
	g.total++
}

// first is the most common one; of two the one that was seen last.
func (g *grouped) first() (best kindOfError) {
	for _, k := range g.order {
		if k.n > best.n {
			best = *k
		}
	}
	return best
}

// Ask implements executors.Probe.
func (p *commonError) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	s, err := newScope(ctx, env, p.Window, p.Revision)
	if err != nil {
		return executors.Answer{}, err
	}
	fresh, err := s.fresh(ctx)
	if err != nil {
		return executors.Answer{}, err
	}
	g := grouped{by: map[string]*kindOfError{}}
	x, err := s.read(ctx, cmp.Or(p.Most, defaultErrors), g.add, cmp.Or(p.Severity, "error").clause())
	if err != nil {
		return executors.Answer{}, err
	}
	return g.answer(s, x, fresh), nil
}

func (g *grouped) answer(s scope, x extent, fresh freshness) executors.Answer {
	top := g.first()
	fact := ErrorsFact{
		Message: top.message, Count: top.n, Share: share(top.n, g.total), Example: top.example, Newest: top.newest, Oldest: top.oldest,
		Groups: int64(len(g.order)), Total: g.total, Requests: g.requests, AtLeast: x.part != "" || fresh.stale,
		Latest: fresh.latest, Age: fresh.age,
	}
	answer := executors.Answer{Fact: &fact, Unknown: fresh.unknown()}
	last := s.length().Round(time.Second)
	if g.total > 0 {
		answer.Summary = fmt.Sprintf("%s of the %s errors of %s in the last %s say %q, the others are of %d more kinds%s", percent(fact.Share),
			atLeast(g.total, fact.AtLeast), s.service, last, top.message, fact.Groups-1, doubt(x, fresh))
		return answer
	}
	answer.Unknown = append(answer.Unknown, "message", "share", "example", "newest", "oldest")
	if fact.AtLeast {
		answer.Unknown = append(answer.Unknown, "count", "groups", "total", "requests", "at_least")
	}
	answer.Summary = fmt.Sprintf("no error of %s in the last %s%s", s.service, last, doubt(x, fresh))
	return answer
}
