package http

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

func TestVerbs(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		path  string
		body  string
		actor string
		code  int
		asked []any
		says  string
	}{
		{"pause the fleet", "/v1/pause", `{"reason":"storm"}`, "ann", 200,
			[]any{guard.Pause{Scope: guard.Fleet, Actor: "ann", Reason: "storm", Since: noon}}, `"scope":"fleet"`},
		{"pause a target for a while", "/v1/pause", `{"target":"api","reason":"deploy","for":"30m"}`, "ann", 200,
			[]any{guard.Pause{Scope: guard.Target, Name: "api", Actor: "ann", Reason: "deploy", Since: noon, Until: noon.Add(30 * time.Minute)}}, ""},
		{"pause a rule, nameless", "/v1/pause", `{"rule":"r","reason":"x"}`, "", 200,
			[]any{guard.Pause{Scope: guard.Rule, Name: "r", Actor: "api", Reason: "x", Since: noon}}, ""},
		{"an actor that is no name", "/v1/pause", `{"reason":"x"}`, "a b\x01<script>", 200,
			[]any{guard.Pause{Scope: guard.Fleet, Actor: "api", Reason: "x", Since: noon}}, ""},
		{"a reason of several lines", "/v1/pause", `{"reason":"x\n- forged\u202e \u001b[31m\u0000y"}`, "ann", 200,
			[]any{guard.Pause{Scope: guard.Fleet, Actor: "ann", Reason: "x - forged [31my", Since: noon}}, ""},
		{"a reason that nobody can see", "/v1/pause", `{"reason":"\u200b\u202e\n"}`, "ann", 400, nil, "reason"},
		{"resume a target", "/v1/resume", `{"target":"api"}`, "ann", 200, []any{[3]string{"target", "api", "ann"}}, `"resumed":1`},
		{"resume the fleet", "/v1/resume", `{}`, "ann", 200, []any{[3]string{"fleet", "", "ann"}}, ""},
		{"release", "/v1/release", `{"rule":"r","target":"api"}`, "ann", 200, []any{Release{Rule: "r", Target: "api", Actor: "ann"}}, `"released":2`},
		{"unpin", "/v1/unpin", `{"target":"api","reason":"fixed forward"}`, "ann", 202,
			[]any{Unpin{Target: "api", Reason: "fixed forward", Actor: "ann"}}, `"run":"run-9"`},
		{"run", "/v1/run", `{"rule":"r","target":"api","reason":"it hangs again"}`, "ann", 202,
			[]any{remediation.ByPerson{Rule: "r", Target: "api", Reason: "it hangs again", Actor: "ann"}}, `"run":"run-8"`},

		{"run without a target", "/v1/run", `{"rule":"r","reason":"x"}`, "", 400, nil, "name a rule and a target"},
		{"run without a reason", "/v1/run", `{"rule":"r","target":"api"}`, "", 400, nil, "reason"},
		{"pause without a reason", "/v1/pause", `{"target":"api"}`, "", 400, nil, "reason"},
		{"pause with a blank reason", "/v1/pause", `{"reason":"  "}`, "", 400, nil, "reason"},
		{"pause of both", "/v1/pause", `{"target":"a","rule":"b","reason":"x"}`, "", 400, nil, "not both"},
		{"a misspelt field", "/v1/pause", `{"targt":"api","reason":"x"}`, "", 400, nil, "targt"},
		{"another case", "/v1/pause", `{"Target":"api","reason":"x"}`, "", 400, nil, "Target"},
		{"an empty target is not all", "/v1/resume", `{"target":""}`, "", 400, nil, "empty"},
		{"a field of another verb", "/v1/resume", `{"for":"1h"}`, "", 400, nil, "no field"},
		{"a bad duration", "/v1/pause", `{"reason":"x","for":"soon"}`, "", 400, nil, "duration"},
		{"a duration backwards", "/v1/pause", `{"reason":"x","for":"-1h"}`, "", 400, nil, "duration"},
		{"no body", "/v1/pause", ``, "", 400, nil, "JSON"},
		{"a target twice", "/v1/resume", `{"target":"api","target":"db"}`, "", 400, nil, "twice"},
		{"nothing is not all", "/v1/resume", `null`, "", 400, nil, "JSON"},
		{"no object", "/v1/resume", `null []`, "", 400, nil, "JSON"},
		{"a number", "/v1/unpin", `{"target":7,"reason":"x"}`, "", 400, nil, "JSON"},
		{"too long", "/v1/unpin", `{"target":"api","reason":"` + strings.Repeat("x", 20_000) + `"}`, "", 400, nil, "bytes"},
		{"release of nothing", "/v1/release", `{}`, "", 400, nil, "name a rule"},
		{"unpin of nothing", "/v1/unpin", `{"reason":"x"}`, "", 400, nil, "name a target"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			w := s.ask(bySocket, "POST", c.path, c.body, actorHeader, c.actor)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("answered %d %s, want %d with %q", w.Code, w.Body, c.code, c.says)
			}
			if diff := cmp.Diff(c.asked, s.book.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestActorIsNotBelievedOverTCP(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.cfg.Token = secretIn(t, "a-token-that-is-long-enough")
	s.ask(byTCP, "POST", "/v1/resume", `{}`, actorHeader, "ceo", "Authorization", "Bearer a-token-that-is-long-enough")
	if diff := cmp.Diff([]any{[3]string{"fleet", "", "api"}}, s.book.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestVerbErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		err  error
		code int
	}{
		{fmt.Errorf("target api: %w", remediation.ErrNotFound), 404},
		{fmt.Errorf("storing: %w", remediation.ErrUnavailable), 503},
		{fmt.Errorf("planning: %w", guard.Refuse(guard.NothingToDo, "not pinned")), 409},
		{fmt.Errorf("a run is at work: %w", remediation.ErrStaleHint), 409},
		{errTest, 500},
	}
	paths := []string{"/v1/pause", "/v1/unpin", "/v1/resume", "/v1/release"}
	for _, c := range cases {
		for i, path := range paths {
			s := newStand(accepting)
			s.book.err = c.err
			body := `{"target":"api","reason":"x"}`
			if i >= 2 {
				body = `{"target":"api"}`
			}
			if w := s.ask(bySocket, "POST", path, body); w.Code != c.code || !strings.Contains(w.Body.String(), `"error"`) {
				t.Errorf("%s with %v was answered %d %s, want %d", path, c.err, w.Code, w.Body, c.code)
			}
		}
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		path  string
		err   error
		code  int
		asked []any
	}{
		{"all runs", "/v1/runs", nil, 200, []any{RunFilter{Limit: 50}}},
		{"some runs", "/v1/runs?state=done&target=api&limit=7&before=r-3", nil, 200,
			[]any{RunFilter{State: remediation.Done, Target: "api", Before: "r-3", Limit: 7}}},
		{"a state that is none", "/v1/runs?state=finished", nil, 400, nil},
		{"a limit that is none", "/v1/runs?limit=many", nil, 400, nil},
		{"a limit that is too large", "/v1/runs?limit=501", nil, 400, nil},
		{"a run", "/v1/runs/r-1", nil, 200, []any{"run r-1"}},
		{"no run", "/v1/runs/r-1", fmt.Errorf("run r-1: %w", remediation.ErrNotFound), 404, []any{"run r-1"}},
		{"an event", "/v1/events/e-1", nil, 200, []any{"event e-1"}},
		{"no event", "/v1/events/e-1", remediation.ErrNotFound, 404, []any{"event e-1"}},
		{"status", "/v1/status", nil, 200, []any{"status"}},
		{"store down", "/v1/status", remediation.ErrUnavailable, 503, []any{"status"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			s.book.err = c.err
			w := s.ask(bySocket, "GET", c.path, "")
			if w.Code != c.code {
				t.Errorf("answered %d %s, want %d", w.Code, w.Body, c.code)
			}
			if diff := cmp.Diff(c.asked, s.book.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusShape(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.book.status = Status{
		RulesHash: "abc",
		Breakers:  []remediation.BreakerRow{{Rule: "r", Target: "api", Open: true, Failures: 3, OpenedAt: noon, Reason: "did not help"}},
		Counts:    Counts{Events: map[string]int{"matched": 2}, Runs: map[string]int{"done": 1}, Messages: 4},
	}
	want := map[string]any{
		"version": "v1.2.3", "rules_hash": "abc", "pauses": []any{}, "debts": []any{}, "latches": []any{}, "marks": []any{},
		"breakers": []any{map[string]any{
			"rule": "r", "target": "api", "failures": 3., "opened_at": "2026-11-23T12:00:00Z", "reason": "did not help", "open": true,
		}},
		"counts": map[string]any{"events": map[string]any{"matched": 2.}, "runs": map[string]any{"done": 1.}, "messages": 4.},
	}
	if diff := cmp.Diff(want, decoded(t, s.ask(bySocket, "GET", "/v1/status", "").Body)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestNoRunsIsAnEmptyList(t *testing.T) {
	t.Parallel()
	want := map[string]any{"runs": []any{}}
	if diff := cmp.Diff(want, decoded(t, newStand(accepting).ask(bySocket, "GET", "/v1/runs", "").Body)); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestRunShape(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.book.run = RunView{Run: remediation.Run{ID: "r-1", Outcome: remediation.Fixed}}
	got := decoded(t, s.ask(bySocket, "GET", "/v1/runs/r-1", "").Body)
	if run, _ := got["run"].(map[string]any); run["id"] != "r-1" || run["outcome"] != "fixed" {
		t.Errorf("the run is %v", got["run"])
	}
	for _, part := range []string{"steps", "rulings", "journal", "messages"} {
		if _, isList := got[part].([]any); !isList {
			t.Errorf("%s is %v, want a list", part, got[part])
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	if w := s.ask(byTCP, "GET", "/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "remediator v1.2.3") ||
		!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("/ was answered %d %s", w.Code, w.Body)
	}
	if w := newStand(accepting).ask(byTCP, "GET", "/nothing", ""); w.Code != 404 || !strings.Contains(w.Body.String(), `"error"`) {
		t.Errorf("an unknown path was answered %d %s", w.Code, w.Body)
	}
	if w := newStand(accepting).ask(byTCP, "GET", "/v1/webhooks/pagerduty", ""); w.Code != 405 {
		t.Errorf("a GET of a webhook was answered %d", w.Code)
	}
	down := newStand(accepting)
	down.cfg.Ready = func() error { return errors.New("the store is read-only") }
	if w := down.ask(byTCP, "GET", "/-/ready", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "read-only") {
		t.Errorf("ready was answered %d %s", w.Code, w.Body)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	calls := 0
	s.cfg.Reload = func(context.Context) error { calls++; return nil }
	if w := s.ask(bySocket, "POST", "/-/reload", ""); w.Code != 200 || calls != 1 {
		t.Errorf("answered %d after %d reloads", w.Code, calls)
	}
	bad := newStand(accepting)
	bad.cfg.Reload = func(context.Context) error { return errors.New("rules.yaml:3:5: unknown key") }
	if w := bad.ask(bySocket, "POST", "/-/reload", ""); w.Code != 400 || !strings.Contains(w.Body.String(), "rules.yaml:3:5") {
		t.Errorf("a bad reload was answered %d %s", w.Code, w.Body)
	}
}
