package sentry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	defaultWindow = 15 * time.Minute
	shortest      = time.Minute
	longest       = 14 * 24 * time.Hour
	// lag is how long an event may take until it is counted. Sentry publishes no figure.
	lag = time.Minute

	mostTitle  = 200 // runes
	mostDetail = 120
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "sentry.issues",
		Doc:  "Asks Sentry for the unresolved issues of a window: how many events, and what the commonest issue is and since when it is seen.",
		New:  func() executors.Probe { return &issues{} },
		Fact: Fact{},
		Lag:  lag,
	})
}

// issues asks about the target's project.
type issues struct {
	// Window is how far back events count; default 15m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
}

// Fact is what sentry.issues finds. What it says of the top issue, the one with the most events, is unknown when there is none.
type Fact struct {
	// Project is the slug or number of the project.
	Project string `cel:"project"`
	// Issues is how many unresolved issues had events in the window; 500 stands for 500 and more.
	Issues int64 `cel:"issues"`
	// NewIssues is how many of them were first seen in the window.
	NewIssues int64 `cel:"new_issues"`
	// Events is how many events these issues had; unknown when there are more issues than were read.
	Events int64 `cel:"events"`
	// Count is how many events the top issue had in the window.
	Count int64 `cel:"count"`
	// Share is the top issue's part of Events, from 0 to 1.
	Share float64 `cel:"share"`
	// Users is how many users the top issue met in the window; 0 where the target names no users to Sentry.
	Users int64 `cel:"users"`
	// Title of the top issue, shortened and masked.
	Title string `cel:"title"`
	// Culprit is where in the code it is raised, as Sentry guesses.
	Culprit string `cel:"culprit"`
	// Level is error, fatal, warning, info or debug.
	Level string `cel:"level"`
	// FirstSeen is when the top issue was seen for the first time ever.
	FirstSeen time.Time `cel:"first_seen"`
	// Age is the time since then; shorter than a deploy's age it is an error that came with or after the deploy.
	Age time.Duration `cel:"age"`
	// New says that it was first seen within the window.
	New bool `cel:"new"`
	// FirstRelease is the release it was first seen in, "" when the target names none to Sentry.
	FirstRelease string `cel:"first_release"`
}

// ofTop are the fields that speak of the top issue.
var ofTop = []string{"share", "users", "title", "culprit", "level", "first_seen", "age", "new", "first_release"}

// Validate tells in plain words what is wrong with the parameters.
func (p *issues) Validate(t executors.Target) error {
	if p.Window < 0 || p.Window > 0 && p.Window < shortest || p.Window > longest {
		return errors.New("window must be between 1m and 14d")
	}
	_, err := projectOf(t)
	return err
}

// LookBack is how far the counts reach into the past, in real time: rules wait so long after an act.
func (p *issues) LookBack() time.Duration {
	if p.Window == 0 {
		return defaultWindow
	}
	return p.Window
}

// Ask implements executors.Probe.
func (p *issues) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	a, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := &Fact{Project: a.project.Project}
	from := p.from(env)
	if env.Now.Sub(from) < env.Scale(shortest) {
		return executors.Answer{
			Fact: fact, Unknown: append([]string{"issues", "new_issues", "events", "count"}, ofTop...), Summary: "the window has only begun: no errors are counted yet",
		}, nil
	}
	all, whole, err := a.unresolved(ctx, from, env.Now)
	if err != nil {
		return executors.Answer{}, err
	}
	unknown := fact.count(all, whole, from)
	if len(all) == 0 {
		return executors.Answer{Fact: fact, Unknown: ofTop, Summary: fact.summary(env.Now.Sub(from))}, nil
	}
	top := top(all)
	unknown = append(unknown, fact.describe(top, from, env.Now)...)
	release, err := a.firstRelease(ctx, top.ID)
	switch {
	case ctx.Err() != nil:
		return executors.Answer{}, err
	case err != nil:
		unknown = append(unknown, "first_release")
	default:
		fact.FirstRelease = releaseName(release)
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(env.Now.Sub(from))}, nil
}

// versions are what deploys name releases by: a version or a commit, often behind the name of a package. They look like an address or a key,
// and are none.
var versions = regexp.MustCompile(`^(?:([\w.-]{1,60})@)?(\d{1,8}(?:\.\d{1,8}){0,3}(?:[+-][a-z]\w{0,15})?|[0-9a-f]{40})$`)

// releaseName is a release as facts may name it.
func releaseName(release string) string {
	m := versions.FindStringSubmatch(release)
	switch {
	case m == nil:
		return connect.Scrub(release, mostDetail)
	case m[1] == "":
		return m[2]
	default:
		return connect.Scrub(m[1], mostDetail) + "@" + m[2]
	}
}

func (p *issues) from(env executors.Env) time.Time {
	window := p.Window
	if window == 0 {
		window = env.Scale(defaultWindow)
	}
	from := env.Now.Add(-window)
	if env.Since.After(from) {
		return env.Since
	}
	return from
}

// count fills in what all issues have together, and gives what of it is unknown.
func (f *Fact) count(all []issue, whole bool, from time.Time) (unknown []string) {
	dated := true
	for _, one := range all {
		f.Issues++
		f.Events += one.events
		if !one.Lifetime.FirstSeen.Before(from) {
			f.NewIssues++
		}
		dated = dated && !one.Lifetime.FirstSeen.IsZero()
	}
	if !whole {
		f.Events = 0
		unknown = append(unknown, "events", "new_issues")
	} else if !dated {
		unknown = append(unknown, "new_issues")
	}
	return unknown
}

func top(all []issue) issue {
	most := all[0]
	for _, one := range all[1:] {
		if one.events > most.events {
			most = one
		}
	}
	return most
}

// describe fills in what is known of the top issue, and gives what is not.
func (f *Fact) describe(top issue, from, now time.Time) (unknown []string) {
	f.Count = top.events
	f.Title, f.Culprit = connect.Scrub(top.Title, mostTitle), connect.Scrub(top.Culprit, mostDetail)
	f.Level = connect.Scrub(top.Level, mostDetail)
	if f.Events > 0 {
		f.Share = float64(f.Count) / float64(f.Events)
	} else {
		unknown = append(unknown, "share")
	}
	if top.UserCount != nil {
		f.Users = *top.UserCount
	} else {
		unknown = append(unknown, "users")
	}
	if f.FirstSeen = top.Lifetime.FirstSeen; f.FirstSeen.IsZero() {
		return append(unknown, "first_seen", "age", "new")
	}
	f.Age, f.New = max(0, now.Sub(f.FirstSeen)), !f.FirstSeen.Before(from)
	return unknown
}

func (f *Fact) summary(asked time.Duration) string {
	window := asked.Round(time.Second)
	if f.Issues == 0 {
		return fmt.Sprintf("Sentry: no unresolved issue of %s had an event in the last %s", f.Project, window)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Sentry: %q had %d events in the last %s", f.Title, f.Count, window)
	if f.Events > 0 {
		fmt.Fprintf(&b, ", %.0f%% of %d in %d unresolved issues", 100*f.Share, f.Events, f.Issues)
	}
	if f.Users > 0 {
		fmt.Fprintf(&b, ", and met %d users", f.Users)
	}
	switch {
	case f.New:
		fmt.Fprintf(&b, "; it is new, first seen %s ago", f.Age.Round(time.Second))
	case !f.FirstSeen.IsZero():
		fmt.Fprintf(&b, "; it was first seen %s ago", f.Age.Round(time.Second))
	}
	if f.FirstRelease != "" {
		fmt.Fprintf(&b, " in release %s", f.FirstRelease)
	}
	return b.String()
}
