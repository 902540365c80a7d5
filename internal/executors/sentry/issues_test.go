package sentry_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/sentry"
	"github.com/mixillo/remediator/internal/sandbox"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func world(t *testing.T) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 1})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

// at gives the environment of a target that reports to a project there.
func at(t *testing.T, endpoint string, project sentry.Project) executors.Env {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(sandbox.SentryToken), 0o600))
	client, err := connect.NewSentry(connect.SentryConfig{
		Endpoint: endpoint, Organization: sandbox.SentryOrganization, Token: connect.Secret{File: path}, Insecure: true, Timeout: 5 * time.Second,
	})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return executors.Env{
		Target:      executors.Target{Name: "backend", Systems: map[string]any{"sentry": &project}},
		Connections: connect.Set{"sentry": client}, Now: time.Now(),
	}
}

func probe(t *testing.T, params string) executors.Probe {
	t.Helper()
	kind, ok := executors.LookupProbe("sentry.issues")
	if !ok {
		t.Fatal("the kind is not registered")
	}
	p := kind.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	return p
}

func ask(t *testing.T, env executors.Env, params string) (*sentry.Fact, executors.Answer) {
	t.Helper()
	env.Now = time.Now()
	answer, err := probe(t, params).Ask(t.Context(), env)
	must(t, err)
	fact, ok := answer.Fact.(*sentry.Fact)
	if !ok {
		t.Fatalf("the fact is a %T", answer.Fact)
	}
	return fact, answer
}

func TestTopIssueOfTheWindow(t *testing.T) {
	t.Parallel()
	w := world(t)
	old := sandbox.SentryErrors{Project: "backend", Title: "Timeout", Level: "warning", Count: 25, Ago: 3 * time.Minute, FirstSeenAgo: 72 * time.Hour}
	w.ReportErrors(old)
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "Timeout", Count: 900, Ago: time.Hour})
	w.ReportErrors(sandbox.SentryErrors{
		Project: "backend", Title: "TypeError: x of ann@example.com", Culprit: "pay(orders)", Count: 75, Users: 12, Release: "backend@7", Ago: 2 * time.Minute,
	})
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "TypeError: staging", Count: 5000, Environment: "staging", Ago: time.Minute})
	w.ReportErrors(sandbox.SentryErrors{Project: "admin", Title: "Other", Count: 9000, Ago: time.Minute})
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "Fixed", Count: 7000, Ago: time.Minute})
	must(t, w.ResolveIssue("backend", "Fixed"))
	env := at(t, w.URL("sentry"), sentry.Project{Project: "backend", Environment: "production"})

	fact, answer := ask(t, env, "{}")
	if len(answer.Unknown) != 0 {
		t.Errorf("unknown: %v", answer.Unknown)
	}
	if fact.Issues != 2 || fact.NewIssues != 1 || fact.Events != 100 || fact.Count != 75 || math.Abs(fact.Share-0.75) > 1e-9 || fact.Users != 12 {
		t.Errorf("counts: %+v", fact)
	}
	if fact.Title != "TypeError: x of [email]" || fact.Culprit != "pay(orders)" || fact.Level != "error" || fact.FirstRelease != "backend@7" {
		t.Errorf("texts: %+v", fact)
	}
	if !fact.New || fact.Age < 2*time.Minute || fact.Age > 3*time.Minute {
		t.Errorf("new %t, %s old", fact.New, fact.Age)
	}
	want := `Sentry: "TypeError: x of [email]" had 75 events in the last 15m0s, 75% of 100 in 2 unresolved issues, and met 12 users; it is new, first seen `
	if !strings.HasPrefix(answer.Summary, want) || !strings.HasSuffix(answer.Summary, " ago in release backend@7") {
		t.Errorf("summary: %s", answer.Summary)
	}

	fact, answer = ask(t, env, "{window: 2h}")
	if fact.Title != "Timeout" || fact.Count != 925 || fact.New || fact.Age < 71*time.Hour || fact.FirstRelease != "" || len(answer.Unknown) != 0 {
		t.Errorf("an issue of old that goes on: %+v, unknown %v", fact, answer.Unknown)
	}
	if !strings.Contains(answer.Summary, "; it was first seen 72h0m") {
		t.Errorf("summary: %s", answer.Summary)
	}
}

// TestNoErrors: none is known to be none; what it would say of an issue is not known.
func TestNoErrors(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.AddSentryProject("backend")
	fact, answer := ask(t, at(t, w.URL("sentry"), sentry.Project{Project: "backend"}), "{}")
	if fact.Issues != 0 || fact.Events != 0 || fact.Count != 0 {
		t.Errorf("%+v", fact)
	}
	for _, known := range []string{"issues", "events", "count", "new_issues"} {
		if slices.Contains(answer.Unknown, known) {
			t.Errorf("%s is unknown", known)
		}
	}
	for _, lacking := range []string{"share", "title", "new", "age", "first_release"} {
		if !slices.Contains(answer.Unknown, lacking) {
			t.Errorf("%s is known: %+v", lacking, fact)
		}
	}
}

// TestVerificationLooksOnlyAtWhatCameAfter the act.
func TestVerificationLooksOnlyAtWhatCameAfter(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "before", Count: 50, Ago: 5 * time.Minute})
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "after", Count: 2, Ago: time.Minute})
	env := at(t, w.URL("sentry"), sentry.Project{Project: "backend"})
	env.Since = time.Now().Add(-3 * time.Minute)
	if fact, _ := ask(t, env, "{}"); fact.Title != "after" || fact.Events != 2 {
		t.Errorf("%+v", fact)
	}
	env.Since = time.Now().Add(-10 * time.Second)
	if _, answer := ask(t, env, "{}"); !slices.Contains(answer.Unknown, "events") || !slices.Contains(answer.Unknown, "count") {
		t.Errorf("the window has only begun, and yet: %s", answer.Summary)
	}
}

func TestAllPagesAreReadToABound(t *testing.T) {
	t.Parallel()
	w := world(t)
	for i := range 250 {
		w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: fmt.Sprint("issue ", i), Count: 2, Ago: time.Minute})
	}
	env := at(t, w.URL("sentry"), sentry.Project{Project: "backend"})
	if fact, answer := ask(t, env, "{}"); fact.Issues != 250 || fact.Events != 500 || len(answer.Unknown) != 0 {
		t.Errorf("%d issues, %d events, unknown %v", fact.Issues, fact.Events, answer.Unknown)
	}
	for i := range 300 {
		w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: fmt.Sprint("more ", i), Ago: time.Minute})
	}
	fact, answer := ask(t, env, "{}")
	for _, lacking := range []string{"events", "share", "new_issues"} {
		if !slices.Contains(answer.Unknown, lacking) {
			t.Errorf("%s is known of a list that was not read to its end: %+v", lacking, fact)
		}
	}
	if fact.Issues != 500 || fact.Count != 2 || fact.Events != 0 || slices.Contains(answer.Unknown, "count") {
		t.Errorf("%+v", fact)
	}
}

// TestReleaseThatCannotBeRead leaves the rest known.
func TestReleaseThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "x", Ago: time.Minute})
	must(t, w.Spoil("sentry", sandbox.Fault{Path: "/api/0/organizations/mixillo/issues/9", Status: 403}))
	fact, answer := ask(t, at(t, w.URL("sentry"), sentry.Project{Project: "backend"}), "{}")
	if !slices.Equal(answer.Unknown, []string{"first_release"}) || fact.Count != 1 {
		t.Errorf("unknown %v, %+v", answer.Unknown, fact)
	}
}

// TestAnswersThatAreNone: what cannot be read as a list of the project's issues is an error, never "no errors".
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	const end = `<http://x/>; rel="previous"; results="false"; cursor="0:0:1", <http://x/>; rel="next"; results="false"; cursor="0:100:0"`
	issue := func(project, count string) string {
		return fmt.Sprintf(`[{"id":"1","title":"t","count":%s,"userCount":1,"project":{"id":"2","slug":%q},"lifetime":{"firstSeen":"2026-01-02T03:04:05Z"}}]`, count, project)
	}
	for name, tc := range map[string]struct{ body, link, wrong string }{
		"well":                     {issue("backend", `"7"`), end, ""},
		"null":                     {"null", end, "without a list"},
		"an object":                {`{"detail":"ok"}`, end, "not the JSON"},
		"no word of further pages": {issue("backend", `"7"`), "", "whether there are more"},
		"unreadable pages":         {issue("backend", `"7"`), "<http://x/>; rel=\"next\"", "cannot be read"},
		"a cursor that is a query": {issue("backend", `"7"`), strings.ReplaceAll(end, `results="false"; cursor="0:100:0"`, `results="true"; cursor="0&query=x"`), "cannot be read"},
		"another project":          {issue("admin", `"7"`), end, "another project, admin"},
		"no count":                 {issue("backend", `null`), end, "without number or count"},
		"a count below zero":       {issue("backend", `"-7"`), end, "without number or count"},
		"a count that is none":     {issue("backend", `"many"`), end, "not the JSON"},
		"no number":                {strings.Replace(issue("backend", `"7"`), `"id":"1"`, `"id":"../members"`, 1), end, "without number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tc.link != "" {
					w.Header().Set("Link", tc.link)
				}
				if strings.HasSuffix(r.URL.Path, "/issues/1/") {
					_, _ = io.WriteString(w, `{"id":"1","firstRelease":null}`)
					return
				}
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			_, err := probe(t, "{}").Ask(t.Context(), at(t, server.URL, sentry.Project{Project: "backend"}))
			if (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("got %v, want %q", err, tc.wrong)
			}
		})
	}
}

func TestUnknownProjectAndCredential(t *testing.T) {
	t.Parallel()
	w := world(t)
	if _, err := probe(t, "{}").Ask(t.Context(), at(t, w.URL("sentry"), sentry.Project{Project: "nope"})); err == nil {
		t.Error("an unknown project has no errors")
	}
	env := at(t, w.URL("sentry"), sentry.Project{Project: "nope"})
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte("sntryu_wrong"), 0o600))
	client, err := connect.NewSentry(connect.SentryConfig{Endpoint: w.URL("sentry"), Organization: "mixillo", Token: connect.Secret{File: path}, Insecure: true})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	env.Connections = connect.Set{"sentry": client}
	if _, err := probe(t, "{}").Ask(t.Context(), env); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "sntryu_wrong") {
		t.Errorf("got %v", err)
	}
}

func TestParametersAndSection(t *testing.T) {
	t.Parallel()
	target := executors.Target{Systems: map[string]any{"sentry": &sentry.Project{Project: "backend"}}}
	for params, right := range map[string]bool{"{}": true, "{window: 1m}": true, "{window: 30s}": false, "{window: -1m}": false, "{window: 400h}": false} {
		p, ok := probe(t, params).(interface {
			Validate(executors.Target) error
		})
		if !ok || (p.Validate(target) == nil) != right {
			t.Errorf("%s: %v", params, p.Validate(target))
		}
		if p.Validate(executors.Target{}) == nil {
			t.Errorf("%s: no project is needed", params)
		}
	}
	for section, right := range map[sentry.Project]bool{
		{Project: "backend"}: true, {Project: "4500123"}: true, {Project: "backend", Environment: "production"}: true,
		{}: false, {Project: "a/b"}: false, {Project: "-1"}: false, {Project: "x", Environment: "a b"}: false, {Project: "x", Environment: "a/b"}: false,
	} {
		if err := section.Validate(executors.Target{}); (err == nil) != right {
			t.Errorf("%+v: %v", section, err)
		}
	}
}
