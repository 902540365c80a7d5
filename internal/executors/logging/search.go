package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "logging.search",
		Doc:  "Counts the entries of a Cloud Run service's log that are severe enough and match an expression, and shows one of them.",
		New:  func() executors.Probe { return &search{} },
		Fact: SearchFact{},
		Lag:  lag,
	})
}

const (
	defaultSearch = 1000
	mostSearch    = 5000
	// patternLimit keeps a query well under the 20 000 characters that the API takes.
	patternLimit = 500
)

// Severity is how bad an entry is said to be.
type Severity string

// Values lists what may be written in a rules file, from the least to the worst.
func (Severity) Values() []string {
	return []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
}

// clause keeps to entries of this severity and worse.
func (s Severity) clause() string { return "severity>=" + strings.ToUpper(string(s)) }

// search looks for entries.
type search struct {
	// Matches is an RE2 expression that the entry's message must match somewhere; case matters unless it begins with (?i). Default: any.
	Matches string `yaml:"matches"`
	// Severity is the least: debug, info, notice, warning, error, critical, alert or emergency. Default: any.
	Severity Severity `yaml:"severity"`
	// Window is how far back to look; default 10m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Revision limits the search to one revision by its short name; serving is the one that serves now. Default: all.
	Revision string `yaml:"revision"`
	// Most is how many entries are counted, the newest first; default 1000, at most 5000.
	Most int `yaml:"most"`
}

// SearchFact is what logging.search finds.
type SearchFact struct {
	// Count is how many entries were found. Unknown if none was and the log may have stopped.
	Count int64 `cel:"count"`
	// AtLeast says that there may be more: the bound was reached, reading was cut short, or the log may have stopped.
	AtLeast bool `cel:"at_least"`
	// Newest is the time of the newest of them; unknown if there is none.
	Newest time.Time `cel:"newest"`
	// Oldest is the time of the oldest of them that was read; unknown if there is none.
	Oldest time.Time `cel:"oldest"`
	// Example is the newest one's message on one line, without what looks like a secret; unknown if there is none.
	Example string `cel:"example"`
	// Latest is the time of the service's newest entry of any kind; unknown if there is none in the window.
	Latest time.Time `cel:"latest"`
	// Age is how old that is: how fresh the log is.
	Age time.Duration `cel:"age"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *search) Validate(t executors.Target) error {
	if p.Matches == "" && p.Severity == "" {
		return errors.New("matches or severity must be given")
	}
	if len(p.Matches) > patternLimit || strings.ContainsFunc(p.Matches, unicode.IsControl) {
		return fmt.Errorf("matches must be one line of at most %d characters", patternLimit)
	}
	if _, err := regexp.Compile(p.Matches); err != nil {
		return fmt.Errorf("matches is no RE2 expression: %w", err)
	}
	return check(t, p.Window, p.Revision, p.Most, mostSearch)
}

// LookBack is how far the answer reaches into the past: rules wait so long after an act.
func (p *search) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// clauses are what the entries must meet. The whole expression is one quoted string: nothing in it ends the comparison.
func (p *search) clauses() (all []string) {
	if p.Severity != "" {
		all = append(all, p.Severity.clause())
	}
	if p.Matches == "" {
		return all
	}
	var any []string
	for _, field := range matchedFields() {
		any = append(any, field+"=~"+quote(p.Matches))
	}
	return append(all, "("+strings.Join(any, " OR ")+")")
}

// Ask implements executors.Probe.
func (p *search) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	s, err := newScope(ctx, env, p.Window, p.Revision)
	if err != nil {
		return executors.Answer{}, err
	}
	fresh, err := s.fresh(ctx)
	if err != nil {
		return executors.Answer{}, err
	}
	example := ""
	x, err := s.read(ctx, cmp.Or(p.Most, defaultSearch), func(e *loggingpb.LogEntry) {
		if example == "" {
			example = shown(e)
		}
	}, p.clauses()...)
	if err != nil {
		return executors.Answer{}, err
	}
	return p.answer(s, x, fresh, example), nil
}

func (p *search) answer(s scope, x extent, fresh freshness, example string) executors.Answer {
	fact := SearchFact{
		Count: x.n, AtLeast: x.part != "" || fresh.stale, Newest: x.newest, Oldest: x.oldest, Example: example,
		Latest: fresh.latest, Age: fresh.age,
	}
	answer := executors.Answer{Fact: &fact, Unknown: fresh.unknown()}
	what := fmt.Sprintf("%s %s of %s in the last %s", atLeast(x.n, fact.AtLeast && x.n > 0), times(x.n, "entry", "entries"), s.service, s.length().Round(time.Second))
	if x.n == 0 {
		answer.Unknown = append(answer.Unknown, "newest", "oldest", "example")
		if fresh.stale {
			answer.Unknown = append(answer.Unknown, "count", "at_least")
		}
		answer.Summary = what + p.words() + doubt(x, fresh)
		return answer
	}
	answer.Summary = fmt.Sprintf("%s%s%s; the newest: %s", what, p.words(), doubt(x, fresh), example)
	return answer
}

// words say what was looked for.
func (p *search) words() string {
	out := ""
	if p.Severity != "" {
		out += " with severity " + string(p.Severity) + " or worse"
	}
	if p.Matches != "" {
		out += fmt.Sprintf(" matching %q", p.Matches)
	}
	return out
}
