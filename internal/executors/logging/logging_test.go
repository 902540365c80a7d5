package logging_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/executors/logging"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	service = "api"
	former  = "api-00001-aaa"
	serving = "api-00002-bbb"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// quiet is a service that leaves no entry by itself.
func quiet(t *testing.T, lines ...sandbox.LogLine) (*sandbox.World, executors.Env) {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 1})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	must(t, w.AddService(sandbox.Service{Name: service, Revisions: []sandbox.Revision{
		{Name: former, CreatedAgo: 24 * time.Hour}, {Name: serving, CreatedAgo: time.Hour},
	}}))
	must(t, w.AddService(sandbox.Service{Name: "other"}))
	must(t, w.Log("other", sandbox.LogLine{Text: "of another service", Count: 7}))
	must(t, w.Log(service, lines...))
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), Insecure: true})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	return w, executors.Env{
		Target:      executors.Target{Name: "backend", Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service}}},
		Connections: connect.Set{"google_cloud": google}, Now: time.Now(),
	}
}

func configured(t *testing.T, kind, params string, target executors.Target) (executors.Probe, error) {
	t.Helper()
	k, ok := executors.LookupProbe(kind)
	if !ok {
		t.Fatalf("no kind %s", kind)
	}
	p := k.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	return p, p.(interface {
		Validate(executors.Target) error
	}).Validate(target)
}

func ask[F any](t *testing.T, env executors.Env, kind, params string) (F, executors.Answer) {
	t.Helper()
	p, err := configured(t, kind, params, env.Target)
	must(t, err)
	answer, err := p.Ask(t.Context(), env)
	must(t, err)
	return *answer.Fact.(*F), answer
}

func knows(t *testing.T, a executors.Answer, known bool, fields ...string) {
	t.Helper()
	for _, f := range fields {
		if slices.Contains(a.Unknown, f) == known {
			t.Errorf("%s known: %t, unknown are %v; %s", f, !known, a.Unknown, a.Summary)
		}
	}
}

func TestSearchCounts(t *testing.T) {
	t.Parallel()
	_, env := quiet(t,
		sandbox.LogLine{Text: "connect ECONNREFUSED 10.0.0.7:27017", Count: 3, Over: 2 * time.Minute},
		sandbox.LogLine{JSON: map[string]any{"message": "MongoServerError: ECONNREFUSED, uri mongodb://app:hunter2@c0/db"}, Ago: time.Second},
		sandbox.LogLine{JSON: map[string]any{"err": map[string]any{"message": "econnrefused"}}, Ago: 2 * time.Second},
		sandbox.LogLine{Audit: "Ready condition status changed to False: ECONNREFUSED", Ago: 3 * time.Second},
		sandbox.LogLine{Text: "listening", Severity: "INFO"},
		sandbox.LogLine{Text: "ECONNREFUSED of long ago", Ago: time.Hour},
		sandbox.LogLine{Text: "ECONNREFUSED of the former one", Revision: former, Ago: 4 * time.Second},
		sandbox.LogLine{Text: `say "a\b" (c)`, Severity: "WARNING"},
	)
	for params, want := range map[string]int64{
		`{matches: ECONNREFUSED}`:                                   6,
		`{matches: (?i)econnrefused}`:                               7,
		`{matches: ECONNREFUSED, revision: api-00001-aaa}`:          1,
		`{matches: ECONNREFUSED, revision: serving}`:                5,
		`{matches: ECONNREFUSED, window: 2h}`:                       7,
		`{severity: error}`:                                         7,
		`{severity: warning}`:                                       8,
		`{severity: critical}`:                                      0,
		`{matches: '^listening$'}`:                                  1,
		`{matches: 'say "a\\b" \(c\)'}`:                             1, // quotes and backslashes stay part of the expression
		`{matches: '" OR severity>=DEFAULT OR textPayload="'}`:      0, // and do not end it
		`{matches: 'x\"(a) OR (timestamp>"2020-01-01T00:00:00Z")'}`: 0,
		`{matches: '\'}`:                                            -1,
	} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			if want < 0 {
				if _, err := configured(t, "logging.search", params, env.Target); err == nil {
					t.Error("taken")
				}
				return
			}
			fact, answer := ask[logging.SearchFact](t, env, "logging.search", params)
			if fact.Count != want || fact.AtLeast {
				t.Errorf("count %d (at least: %t), want %d; %s", fact.Count, fact.AtLeast, want, answer.Summary)
			}
			knows(t, answer, true, "count", "at_least", "latest", "age")
			knows(t, answer, want > 0, "newest", "oldest", "example")
			if strings.Contains(fact.Example+answer.Summary, "hunter2") {
				t.Errorf("a secret is shown: %s", answer.Summary)
			}
		})
	}
}

func TestSearchSaysHowMuchItRead(t *testing.T) {
	t.Parallel()
	w, env := quiet(t, sandbox.LogLine{Text: "boom", Count: 1200, Over: 5 * time.Minute})
	fact, answer := ask[logging.SearchFact](t, env, "logging.search", "{matches: boom, most: 100}")
	if fact.Count != 100 || !fact.AtLeast || !strings.Contains(answer.Summary, "at least 100") || !strings.Contains(answer.Summary, "only the newest 100") {
		t.Errorf("%+v; %s", fact, answer.Summary)
	}
	if fact, _ := ask[logging.SearchFact](t, env, "logging.search", "{matches: boom, most: 1200}"); fact.Count != 1200 || fact.AtLeast {
		t.Errorf("exactly as many as may be read: %+v", fact)
	}
	if fact, _ := ask[logging.SearchFact](t, env, "logging.search", "{matches: boom, most: 5000}"); fact.Count != 1200 || fact.AtLeast {
		t.Errorf("in two pages: %+v", fact)
	}
	w.SparseLogs(3) // empty pages are not the end
	if fact, _ := ask[logging.SearchFact](t, env, "logging.search", "{matches: boom, most: 5000}"); fact.Count != 1200 || fact.AtLeast {
		t.Errorf("behind empty pages: %+v", fact)
	}
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries"})                                // the question how fresh the log is passes
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries"})                                // and so does the first page
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries", Code: codes.ResourceExhausted}) // the second does not
	fact, answer = ask[logging.SearchFact](t, env, "logging.search", "{matches: boom, most: 5000}")
	if fact.Count != 1000 || !fact.AtLeast || !strings.Contains(answer.Summary, "cut short") {
		t.Errorf("cut short: %+v; %s", fact, answer.Summary)
	}
}

func TestWrongQuestionsAreErrors(t *testing.T) {
	t.Parallel()
	w, env := quiet(t, sandbox.LogLine{Text: "boom", Count: 1200})
	p, err := configured(t, "logging.search", "{matches: boom, most: 5000}", env.Target)
	must(t, err)
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries"})
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries"})
	w.FailCalls(sandbox.CallFault{Method: "ListLogEntries", Code: codes.PermissionDenied})
	if answer, err := p.Ask(t.Context(), env); err == nil {
		t.Errorf("a part was told of a log that may not be read: %s", answer.Summary)
	}
}

func TestSilenceProvesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lines []sandbox.LogLine
		known bool
		says  string
	}{
		"nothing at all":   {nil, false, "nothing at all"},
		"only long ago":    {[]sandbox.LogLine{{Text: "listening", Ago: time.Hour}}, false, "nothing at all"},
		"stopped":          {[]sandbox.LogLine{{Text: "listening", Severity: "INFO", Ago: 8 * time.Minute}}, false, "may have stopped"},
		"kept up":          {[]sandbox.LogLine{{Text: "listening", Severity: "INFO", Ago: time.Minute}}, true, "0 entries"},
		"kept up requests": {[]sandbox.LogLine{{Request: &sandbox.LoggedRequest{URL: "/x"}, Ago: time.Minute}}, true, "0 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, env := quiet(t, tc.lines...)
			_, answer := ask[logging.SearchFact](t, env, "logging.search", "{severity: error}")
			knows(t, answer, tc.known, "count", "at_least")
			if !strings.Contains(answer.Summary, tc.says) {
				t.Errorf("the sentence is %q", answer.Summary)
			}
			_, answer = ask[logging.ErrorsFact](t, env, "logging.errors", "{}")
			knows(t, answer, tc.known, "total", "count", "groups", "at_least")
			knows(t, answer, false, "message", "share", "example")
			_, answer = ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 1s}")
			knows(t, answer, false, "share", "count")
			_, answer = ask[logging.ClientsFact](t, env, "logging.clients", "{}")
			knows(t, answer, false, "top_share", "validation_share", "network_share")
		})
	}
	// After an act only what came after it counts.
	_, env := quiet(t, sandbox.LogLine{Text: "boom", Ago: 2 * time.Minute}, sandbox.LogLine{Text: "listening", Severity: "INFO"})
	env.Since = env.Now.Add(-time.Minute)
	if fact, answer := ask[logging.SearchFact](t, env, "logging.search", "{severity: error}"); fact.Count != 0 || slices.Contains(answer.Unknown, "count") {
		t.Errorf("what was before the act is counted: %s", answer.Summary)
	}
}

func TestRefusedParameters(t *testing.T) {
	t.Parallel()
	target := executors.Target{Systems: map[string]any{"cloud_run": &cloudrun.Service{Service: service}}}
	for _, tc := range []struct{ kind, params, says string }{
		{"logging.search", "{}", "matches or severity"},
		{"logging.search", "{matches: '('}", "no RE2"},
		{"logging.search", `{matches: "a\nb"}`, "one line"},
		{"logging.search", "{matches: " + strings.Repeat("a", 501) + "}", "500 characters"},
		{"logging.search", "{severity: error, window: 10s}", "window"},
		{"logging.search", "{severity: error, window: 25h}", "window"},
		{"logging.search", "{severity: error, most: 5001}", "most"},
		{"logging.search", `{severity: error, revision: 'a" OR "'}`, "short name"},
		{"logging.errors", "{most: -1}", "most"},
		{"logging.slow_requests", "{over: 0s}", "over"},
		{"logging.slow_requests", "{over: 2h}", "over"},
		{"logging.slow_requests", "{over: 1s, min_requests: -1}", "min_requests"},
		{"logging.clients", "{most: 10001}", "most"},
	} {
		if _, err := configured(t, tc.kind, tc.params, target); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s %s: %v, want %q", tc.kind, tc.params, err, tc.says)
		}
	}
	if _, err := configured(t, "logging.errors", "{}", executors.Target{}); err == nil || !strings.Contains(err.Error(), "cloud_run") {
		t.Errorf("without a section: %v", err)
	}
}
