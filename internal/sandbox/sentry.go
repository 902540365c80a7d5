package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The organization of the sandbox's Sentry, and the token that may read it.
const (
	SentryOrganization = "mixillo"
	SentryToken        = "sntryu_sandbox" //nolint:gosec // guards nothing
)

// SentryErrors are events of one issue. Those with the project and title of an earlier report belong to the same issue.
type SentryErrors struct {
	Project     string        `json:"project"` // slug
	Title       string        `json:"title"`
	Culprit     string        `json:"culprit"`
	Level       string        `json:"level"`       // default error
	Environment string        `json:"environment"` // default production
	Release     string        `json:"release"`     // "" for a project that names none
	Count       int64         `json:"count"`       // default 1
	Users       int64         `json:"users"`
	Ago         time.Duration `json:"ago"` // when they happened, divided by Speed
	// FirstSeenAgo is when an issue that is new here was first seen, divided by Speed; 0 is with these events.
	FirstSeenAgo time.Duration `json:"first_seen_ago"`
}

// sentryIssue is an issue with its events.
type sentryIssue struct {
	id        int
	first     SentryErrors
	firstSeen time.Time
	resolved  bool
	events    []sentryEvents
}

type sentryEvents struct {
	at           time.Time
	environment  string
	count, users int64
}

// sentryServer is one organization.
type sentryServer struct {
	ledger *ledger

	mu     sync.Mutex
	issues []*sentryIssue
	// projects are the slugs, in the order in which they were first heard of.
	projects []string
}

// projectID numbers a known project.
func (s *sentryServer) projectID(slug string) int {
	return 4500 + slices.Index(s.projects, slug) + 1
}

// AddSentryProject makes a project that has no errors yet.
func (w *World) AddSentryProject(slug string) {
	w.sentry.mu.Lock()
	defer w.sentry.mu.Unlock()
	w.sentry.know(slug)
}

func (s *sentryServer) know(slug string) {
	if !slices.Contains(s.projects, slug) {
		s.projects = append(s.projects, slug)
	}
}

// ReportErrors lets a project raise errors.
func (w *World) ReportErrors(e SentryErrors) {
	e.Level, e.Environment = pick(e.Level == "", "error", e.Level), pick(e.Environment == "", "production", e.Environment)
	e.Count = max(e.Count, 1)
	at := time.Now().UTC().Add(-w.cfg.scaled(e.Ago))
	w.sentry.mu.Lock()
	defer w.sentry.mu.Unlock()
	w.sentry.know(e.Project)
	i := slices.IndexFunc(w.sentry.issues, func(i *sentryIssue) bool { return i.first.Project == e.Project && i.first.Title == e.Title })
	if i < 0 {
		seen := at
		if e.FirstSeenAgo > 0 {
			seen = time.Now().UTC().Add(-w.cfg.scaled(e.FirstSeenAgo))
		}
		i = len(w.sentry.issues)
		w.sentry.issues = append(w.sentry.issues, &sentryIssue{id: 9000 + i + 1, first: e, firstSeen: seen})
	}
	issue := w.sentry.issues[i]
	issue.events = append(issue.events, sentryEvents{at: at, environment: e.Environment, count: e.Count, users: e.Users})
	w.ledger.add(Entry{System: "sentry", Verb: "errors_reported", Resource: e.Project, By: e.Project, Detail: map[string]any{
		"issue": strconv.Itoa(issue.id), "count": e.Count,
	}})
}

// ResolveIssue lets a person resolve the issue with the title.
func (w *World) ResolveIssue(project, title string) error {
	w.sentry.mu.Lock()
	defer w.sentry.mu.Unlock()
	for _, i := range w.sentry.issues {
		if i.first.Project == project && i.first.Title == title {
			i.resolved = true
			w.ledger.add(Entry{System: "sentry", Verb: "issue_resolved", Resource: project, By: Human, Detail: map[string]any{"issue": strconv.Itoa(i.id)}})
			return nil
		}
	}
	return fmt.Errorf("project %q has no issue %q", project, title)
}

func sentryVerbs() map[string]verb {
	return map[string]verb{
		"report-errors":      quiet((*World).ReportErrors),
		"add-sentry-project": quiet(func(w *World, e SentryErrors) { w.AddSentryProject(e.Project) }),
		"resolve-issue":      only(func(w *World, e SentryErrors) error { return w.ResolveIssue(e.Project, e.Title) }),
	}
}
