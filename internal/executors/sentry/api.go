package sentry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	pageSize = 100 // the most that Sentry gives
	maxPages = 5
)

// issue is what is read of an issue in a list that is bounded in time: count, userCount and firstSeen are then those of that time, and the
// issue's own beginning stands below lifetime (getsentry/sentry, src/sentry/api/serializers/models/group.py and group_stream.py).
type issue struct {
	ID        string      `json:"id"`
	Title     string      `json:"title"`
	Culprit   string      `json:"culprit"`
	Level     string      `json:"level"`
	Count     json.Number `json:"count"`
	UserCount *int64      `json:"userCount"`
	Project   struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"project"`
	Lifetime struct {
		FirstSeen time.Time `json:"firstSeen"`
	} `json:"lifetime"`

	events int64
}

// api reads one project.
type api struct {
	*connect.Sentry
	project *Project
}

func open(env executors.Env) (*api, error) {
	p, err := projectOf(env.Target)
	if err != nil {
		return nil, err
	}
	client, err := connect.Get[*connect.Sentry](env.Connections, System)
	if err != nil {
		return nil, err
	}
	return &api{Sentry: client, project: p}, nil
}

// filter is the part of a query that says whose events count.
func (a *api) filter() url.Values {
	q := url.Values{}
	if a.project.Environment != "" {
		q.Set("environment", a.project.Environment)
	}
	return q
}

// unresolved lists the unresolved issues that had events in the span, those with the most first. Whole says that these are all.
func (a *api) unresolved(ctx context.Context, from, to time.Time) (issues []issue, whole bool, err error) {
	const stamp = "2006-01-02T15:04:05.000" // Sentry takes UTC where no zone is written
	q := a.filter()
	q.Set("project", a.project.Project)
	q.Set("query", "is:unresolved")
	q.Set("sort", "freq")
	q.Set("limit", strconv.Itoa(pageSize))
	q.Set("start", from.UTC().Format(stamp))
	q.Set("end", to.UTC().Format(stamp))
	for range maxPages {
		page, next, err := a.page(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, one := range page { // events that arrive meanwhile move issues between pages
			if !slices.ContainsFunc(issues, func(i issue) bool { return i.ID == one.ID }) {
				issues = append(issues, one)
			}
		}
		if next == "" {
			return issues, true, nil
		}
		q.Set("cursor", next)
	}
	return issues, false, nil
}

func (a *api) page(ctx context.Context, q url.Values) ([]issue, string, error) {
	doing := "listing the issues of " + a.project.Project
	var (
		issues []issue
		header http.Header
	)
	err := a.Do(ctx, connect.Request{Doing: doing, Path: a.path(), Query: q, Answered: &header}, &issues)
	if err != nil {
		return nil, "", err
	}
	if issues == nil { // JSON's null: no list is not an empty one
		return nil, "", fmt.Errorf("sentry: %s: it answered without a list", doing)
	}
	for i := range issues {
		if err := a.accept(&issues[i]); err != nil {
			return nil, "", fmt.Errorf("sentry: %s: %w", doing, err)
		}
	}
	next, err := nextPage(header)
	if err != nil {
		return nil, "", fmt.Errorf("sentry: %s: %w", doing, err)
	}
	return issues, next, nil
}

// path of the organization's issues. Sentry redirects paths without the slash at the end.
func (a *api) path(more ...string) string {
	path := "/api/0/organizations/" + url.PathEscape(a.Organization) + "/issues/"
	for _, part := range more {
		path += url.PathEscape(part) + "/"
	}
	return path
}

var issueID = regexp.MustCompile(`^[0-9]{1,20}$`)

// accept refuses what is no issue of the project: an older Sentry that does not know a filter answers with everybody's.
func (a *api) accept(i *issue) error {
	var err error
	i.events, err = i.Count.Int64()
	switch p := a.project.Project; {
	case err != nil || i.events < 0 || !issueID.MatchString(i.ID):
		return errors.New("it answered with an issue without number or count")
	case i.Project.Slug != p && i.Project.ID != p:
		return fmt.Errorf("it answered with an issue of another project, %s", connect.Scrub(i.Project.Slug, 80))
	}
	return nil
}

// firstRelease reads the release in which the issue was first seen, "" where it has none.
func (a *api) firstRelease(ctx context.Context, id string) (string, error) {
	var detailed struct {
		ID           string `json:"id"`
		FirstRelease *struct {
			Version string `json:"version"`
		} `json:"firstRelease"`
	}
	q := a.filter()
	q["collapse"] = []string{"stats", "tags"}
	err := a.Do(ctx, connect.Request{Doing: "reading issue " + id, Path: a.path(id), Query: q}, &detailed)
	switch {
	case err != nil:
		return "", err
	case detailed.ID != id:
		return "", errors.New("sentry: reading issue " + id + ": it answered with another one")
	case detailed.FirstRelease == nil:
		return "", nil
	}
	return detailed.FirstRelease.Version, nil
}

var (
	nextLink = regexp.MustCompile(`rel="next"\s*;\s*results="(true|false)"\s*;\s*cursor="([^"]*)"`)
	cursor   = regexp.MustCompile(`^[0-9.:-]{1,64}$`)
)

// nextPage reads the cursor of the next page out of the header Link, "" when there is none. The address in it is not followed.
func nextPage(h http.Header) (string, error) {
	found := nextLink.FindStringSubmatch(h.Get("Link"))
	switch {
	case len(h.Values("Link")) == 0:
		return "", errors.New("it does not say whether there are more")
	case len(found) == 0:
		return "", errors.New("where the list goes on cannot be read")
	case found[1] == "false":
		return "", nil
	case !cursor.MatchString(found[2]):
		return "", errors.New("where the list goes on cannot be read")
	}
	return found[2], nil
}
