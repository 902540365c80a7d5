package logging_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/executors/logging"
	"github.com/mixillo/remediator/internal/sandbox"
)

func TestMostCommonError(t *testing.T) {
	t.Parallel()
	var lines []sandbox.LogLine
	for i := range 6 {
		lines = append(lines, sandbox.LogLine{JSON: map[string]any{
			"message": fmt.Sprintf("order %d of user 5f2b8c0a9d3e4f6a7b8c9d0%d failed: connect ECONNREFUSED 10.0.0.%d:27017 after %d.5ms\n    at f (app.js:%d)", 1000+i, i, i, i, i),
		}, Ago: time.Duration(i) * time.Second})
	}
	for i := range 3 {
		lines = append(lines, sandbox.LogLine{Text: fmt.Sprintf(`TypeError: Cannot read property "field%d" of undefined`, i), Ago: time.Duration(10+i) * time.Second})
	}
	lines = append(lines,
		sandbox.LogLine{Audit: "Ready condition status changed to False for Revision api-00002-bbb", Ago: 20 * time.Second},
		sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: "/orders", Status: 500}, Count: 40},
		sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: "/orders", Status: 500}, Text: "The request was aborted because there was no available instance.", Severity: "ERROR"},
		sandbox.LogLine{JSON: map[string]any{"code": 7}},
		sandbox.LogLine{Text: "only a warning", Severity: "WARNING", Count: 50},
	)
	_, env := quiet(t, lines...)
	fact, answer := ask[logging.ErrorsFact](t, env, "logging.errors", "{}")
	if fact.Message != "order <n> of user <id> failed: connect ECONNREFUSED <address> after <n>ms" {
		t.Errorf("message %q", fact.Message)
	}
	if fact.Count != 6 || fact.Total != 12 || fact.Groups != 5 || fact.Share != 0.5 || fact.Requests != 40 || fact.AtLeast {
		t.Errorf("%+v", fact)
	}
	if !strings.HasPrefix(fact.Example, "order 1000 of user ") || strings.Contains(fact.Example, "\n") || !fact.Newest.After(fact.Oldest) {
		t.Errorf("example %q, from %s to %s", fact.Example, fact.Oldest, fact.Newest)
	}
	if !strings.Contains(answer.Summary, "50.0 %") || !strings.Contains(answer.Summary, "12 errors") {
		t.Errorf("the sentence is %q", answer.Summary)
	}
	if fact, _ := ask[logging.ErrorsFact](t, env, "logging.errors", "{severity: warning}"); fact.Count != 50 || fact.Message != "only a warning" {
		t.Errorf("with warnings: %+v", fact)
	}
	if fact, _ := ask[logging.ErrorsFact](t, env, "logging.errors", "{most: 45}"); !fact.AtLeast {
		t.Errorf("a part is told as the whole: %+v", fact)
	}
}

func TestHostileTextIsTamed(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2J\u202eboom <!channel> Bearer abcdef123456 " + strings.Repeat("x ", 5000)
	_, env := quiet(t,
		sandbox.LogLine{Text: evil},
		sandbox.LogLine{Request: &sandbox.LoggedRequest{Method: "GET\n\nEVIL", URL: "/\x00/%0a../" + strings.Repeat("a/", 4000) + "?token=hunter2", RemoteIP: "<script>", Latency: time.Minute}, Count: 30},
	)
	search, a := ask[logging.SearchFact](t, env, "logging.search", "{severity: error}")
	group, b := ask[logging.ErrorsFact](t, env, "logging.errors", "{}")
	slow, c := ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 1s}")
	who, d := ask[logging.ClientsFact](t, env, "logging.clients", "{}")
	all := fmt.Sprint(search, group, slow, who, a.Summary, b.Summary, c.Summary, d.Summary)
	for _, bad := range []string{"\x1b", "\u202e", "\n", "\x00", "abcdef123456", "hunter2", "script"} {
		if strings.Contains(all, bad) {
			t.Errorf("%q got through", bad)
		}
	}
	if len(search.Example) > 400 || len(group.Message) > 400 || len(slow.Path) > 200 {
		t.Errorf("unbounded: %d, %d, %d bytes", len(search.Example), len(group.Message), len(slow.Path))
	}
	if who.Unattributed != 30 || len(who.Top) != 0 {
		t.Errorf("an address that is none: %+v", who)
	}
}

func TestSlowRequests(t *testing.T) {
	t.Parallel()
	lines := []sandbox.LogLine{
		{Request: &sandbox.LoggedRequest{URL: "https://api.example.com/orders", Latency: time.Second}, Count: 80, Over: time.Minute},
		{Request: &sandbox.LoggedRequest{URL: "https://api.example.com/reports/42/pdf?x=1", Latency: 30 * time.Second}},
	}
	for i := range 19 {
		url := fmt.Sprintf("https://api.example.com/users/5f2b8c0a9d3e4f6a7b8c9d%02d/orders?page=%d", i, i)
		lines = append(lines, sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: url, Latency: time.Second + time.Duration(i+1)*100*time.Millisecond}})
	}
	_, env := quiet(t, lines...)
	fact, answer := ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 1s}")
	want := logging.SlowFact{
		Count: 20, Requests: 100, Share: 0.2, Covers: 10 * time.Minute, P95: 2900 * time.Millisecond, Slowest: 30 * time.Second,
		SlowestPath: "/reports/:id/pdf", Path: "/users/:id/orders", PathShare: 0.95, Latest: fact.Latest, Age: fact.Age,
	}
	if diff := cmp.Diff(want, fact); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(answer.Summary, "20 requests of api took longer than 1s") || !strings.Contains(answer.Summary, "20.0 % of 100") {
		t.Errorf("the sentence is %q", answer.Summary)
	}
	fact, answer = ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 45s}")
	if fact.Count != 0 || fact.Share != 0 {
		t.Errorf("none was slow: %+v", fact)
	}
	knows(t, answer, true, "count", "share")
	knows(t, answer, false, "p95", "path", "slowest")
	_, answer = ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 1s, min_requests: 101}")
	knows(t, answer, false, "count", "share")
	// The newest twenty were sent within the last minute: what is told is of that time.
	fact, _ = ask[logging.SlowFact](t, env, "logging.slow_requests", "{over: 1s, most: 60}")
	if !fact.AtLeast || fact.Requests != 60 || fact.Covers > time.Minute {
		t.Errorf("a part: %+v", fact)
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	from := func(ip string, n int, status int32) sandbox.LogLine {
		return sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: "/login", RemoteIP: ip, Status: status}, Count: n, Over: time.Minute}
	}
	_, env := quiet(t,
		from("203.0.113.7", 30, 422), from("203.0.113.7:4711", 10, 200), from("::ffff:203.0.113.9", 10, 400),
		from("198.51.100.4", 20, 200), from("198.51.100.200", 20, 404),
		from("2001:db8:1:2::5", 3, 200), from("2001:db8:1:2:ffff::6", 3, 200), from("[2001:db8:1:3::1]:443", 1, 200),
		from("", 1, 200), from("10.0.0.1", 1, 200), from("169.254.1.1", 1, 400),
	)
	fact, answer := ask[logging.ClientsFact](t, env, "logging.clients", "{}")
	want := logging.ClientsFact{
		N: 100, Distinct: 7, Unattributed: 3, Covers: 10 * time.Minute, Latest: fact.Latest, Age: fact.Age,
		Top:      []string{"203.0.113.7", "198.51.100.200", "198.51.100.4", "203.0.113.9", "2001:db8:1:2::5"},
		Counts:   map[string]any{"203.0.113.7": int64(40), "198.51.100.200": int64(20), "198.51.100.4": int64(20), "203.0.113.9": int64(10), "2001:db8:1:2::5": int64(3)},
		Networks: []string{"203.0.113.0/24", "198.51.100.0/24", "2001:db8:1:2::/64", "2001:db8:1:3::/64"},
		NetworkCounts: map[string]any{
			"203.0.113.0/24": int64(50), "198.51.100.0/24": int64(40), "2001:db8:1:2::/64": int64(6), "2001:db8:1:3::/64": int64(1),
		},
		TopShare: 0.4, TopValidationShare: 0.75, NetworkShare: 0.5, ValidationShare: 0.41, ClientErrorShare: 0.61,
		Hostile: []string{"203.0.113.7"},
	}
	if diff := cmp.Diff(want, fact); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(answer.Unknown) != 0 || !strings.Contains(answer.Summary, "203.0.113.7 sent 40.0 % of 100 requests") {
		t.Errorf("unknown %v; %s", answer.Unknown, answer.Summary)
	}
	_, answer = ask[logging.ClientsFact](t, env, "logging.clients", "{min_requests: 101}")
	if !slices.Contains(answer.Unknown, "top_share") || !strings.Contains(answer.Summary, "101 are needed") {
		t.Errorf("unknown %v; %s", answer.Unknown, answer.Summary)
	}
	fact, _ = ask[logging.ClientsFact](t, env, "logging.clients", "{min_requests: 10}")
	if got := fmt.Sprint(fact.Offenders()); got != "[203.0.113.7/32 203.0.113.9/32]" {
		t.Errorf("the offenders are %s: the one who had most requests refused comes first, and nobody whose requests are in order", got)
	}
	if fact, _ := ask[logging.ClientsFact](t, env, "logging.clients", "{most: 50}"); !fact.AtLeast || fact.N != 50 {
		t.Errorf("a part: %+v", fact)
	}
}
