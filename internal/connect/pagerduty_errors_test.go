package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPagerDutyErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                 string
		answer               answer
		permanent, ambiguous bool
		status, code         int
	}{
		{name: "400", answer: fault(400, 2001, "bad"), permanent: true, status: 400, code: 2001},
		{name: "401 as text", answer: answer{status: 401, body: "no"}, status: 401},
		{name: "404", answer: fault(404, 2100, "gone"), permanent: true, status: 404, code: 2100},
		{name: "408", answer: answer{status: 408}, ambiguous: true, status: 408},
		{name: "500", answer: answer{status: 500}, ambiguous: true, status: 500},
		{name: "502", answer: answer{status: 502}, ambiguous: true, status: 502},
		{name: "dropped", answer: answer{drop: true}, ambiguous: true},
		{name: "done but garbled", answer: answer{body: "{"}, ambiguous: true, status: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, map[string][]answer{"POST /incidents/P1/notes": {tt.answer}, "GET /incidents/P1/notes": {tt.answer}})
			err := a.Note(t.Context(), "P1", "x")
			var failed *CallError
			if !errors.As(err, &failed) {
				t.Fatalf("error %v is no *CallError", err)
			}
			if failed.Status != tt.status || failed.Code != tt.code || IsPermanent(err) != tt.permanent || IsAmbiguous(err) != tt.ambiguous {
				t.Errorf("%v: status %d, code %d, permanent %t, ambiguous %t", err, failed.Status, failed.Code, IsPermanent(err), IsAmbiguous(err))
			}
			if want := "pagerduty: writing a note on incident P1: "; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %q does not say what was being done", err)
			}
			if _, err := a.Notes(t.Context(), "P1"); err == nil || IsAmbiguous(err) || IsPermanent(err) != tt.permanent {
				t.Errorf("the same on a read: %v, permanent %t, ambiguous %t", err, IsPermanent(err), IsAmbiguous(err))
			}
		})
	}
}

func TestPagerDutyRateLimits(t *testing.T) {
	t.Parallel()
	limit := answer{status: 429, body: `{"error":{"message":"Rate Limit Exceeded","code":2020}}`}
	reset := limit
	reset.header = http.Header{"ratelimit-reset": {"21"}}
	a := newAccount(t, map[string][]answer{"POST /incidents/P1/notes": {reset, limit}, "POST /v2/enqueue": {reset}})
	for i, want := range []time.Duration{21 * time.Second, defaultRetryAfter} {
		err := a.Note(t.Context(), "P1", "x")
		var limited *RateLimited
		if !errors.As(err, &limited) || limited.RetryAfter != want || limited.System != "pagerduty" {
			t.Errorf("note %d: %v, want %s", i, err, want)
		}
		if IsPermanent(err) || IsAmbiguous(err) {
			t.Errorf("note %d: permanent %t, ambiguous %t", i, IsPermanent(err), IsAmbiguous(err))
		}
	}
	var limited *RateLimited
	if err := a.Trigger(t.Context(), Event{DedupKey: "k"}); !errors.As(err, &limited) || limited.RetryAfter != 21*time.Second {
		t.Errorf("event: %v", err)
	}
}

func TestPagerDutyContexts(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{"POST /incidents/P1/notes": {{hang: true}}})
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := a.Note(short, "P1", "x"); !errors.Is(err, context.DeadlineExceeded) || !IsAmbiguous(err) || IsPermanent(err) {
		t.Errorf("deadline: %v", err)
	}
	gone, cancelGone := context.WithCancel(t.Context())
	cancelGone()
	if err := a.Note(gone, "P1", "x"); !errors.Is(err, context.Canceled) || IsAmbiguous(err) {
		t.Errorf("canceled before sending: %v, ambiguous %t", err, IsAmbiguous(err))
	}
}

// TestPagerDutyKeepsTheRealError: the library flattens transport errors to text.
func TestPagerDutyKeepsTheRealError(t *testing.T) {
	t.Parallel()
	away := answer{status: http.StatusFound, header: http.Header{"Location": {"http://other.test/"}}}
	a := newAccount(t, map[string][]answer{"GET /incidents/P1": {away}, "POST /incidents/P1/notes": {away}})
	if _, err := a.Incident(t.Context(), "P1"); !errors.Is(err, ErrRedirectRefused) || !IsPermanent(err) || IsAmbiguous(err) {
		t.Errorf("read: %v", err)
	}
	if err := a.Note(t.Context(), "P1", "x"); !errors.Is(err, ErrRedirectRefused) || !IsAmbiguous(err) {
		t.Errorf("write: %v, ambiguous %t", err, IsAmbiguous(err))
	}
}

func TestPagerDutyDown(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) {})
	p, err := NewPagerDuty(PagerDutyConfig{Endpoint: srv.URL, Token: secretFile(t, testSecret), Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
	if err := p.Note(t.Context(), "P1", "x"); err == nil || IsAmbiguous(err) || IsPermanent(err) {
		t.Errorf("connection refused: %v, ambiguous %t", err, IsAmbiguous(err))
	}
}

func TestPagerDutySecrets(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"POST /incidents/P1/notes": {fault(400, 1, "bad header Token token="+testSecret)},
		"POST /v2/enqueue":         {{status: 400, body: `{"message":"bad key","errors":["routing-` + testSecret + `"]}`}},
	})
	for name, err := range map[string]error{"note": a.Note(t.Context(), "P1", "x"), "event": a.Trigger(t.Context(), Event{DedupKey: "k"})} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, "s3cr3t") || err == nil {
				t.Errorf("%s: the secret shows in %q", name, text)
			}
		}
	}
	if err := os.Remove(a.cfg.Token.File); err != nil {
		t.Fatal(err)
	}
	err := a.Note(t.Context(), "P1", "x")
	var unreadable *SecretError
	if !errors.As(err, &unreadable) || IsPermanent(err) || IsAmbiguous(err) {
		t.Errorf("unreadable token: %v", err)
	}
}

func TestPagerDutyAuthorization(t *testing.T) {
	t.Parallel()
	var got []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, hasFrom := r.Header["From"]
		got = append(got, fmt.Sprintf("%s %t", r.Header.Get("Authorization"), hasFrom))
		answer{body: `{"note":{}}`}.write(w, r)
	})
	token := secretFile(t, "one\n")
	for _, oauth := range []bool{false, true} {
		p, err := NewPagerDuty(PagerDutyConfig{Endpoint: srv.URL, Token: token, OAuth: oauth, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Note(t.Context(), "P1", "x"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(token.File, []byte("two\n"), 0o600); err != nil { // rotation needs no new client
			t.Fatal(err)
		}
		if err := p.Note(t.Context(), "P1", "x"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"Token token=one false", "Token token=two false", "Bearer two false", "Bearer two false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{"POST /v2/enqueue": {
		{status: 202, body: `{"status":"success","message":"Event processed","dedup_key":"k"}`},
		{status: 202, body: `{"status":"success"}`},
		{status: 400, body: `{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect"]}`},
	}})
	events := []Event{
		{DedupKey: "k", Summary: "down", Source: "api", Severity: "Critical", Details: map[string]any{"a": "b"}, Link: "https://x.example.com/"},
		{DedupKey: "k", Summary: strings.Repeat("é", 2000), Severity: "P0"},
	}
	for _, e := range events {
		if err := a.Trigger(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := []node{
		{
			"routing_key": "routing-" + testSecret, "event_action": "trigger", "dedup_key": "k", "client": "remediator",
			"links":   []any{node{"href": "https://x.example.com/", "text": "remediator"}},
			"payload": node{"summary": "down", "source": "api", "severity": "critical", "custom_details": node{"a": "b"}},
		},
		{
			"routing_key": "routing-" + testSecret, "event_action": "trigger", "dedup_key": "k", "client": "remediator",
			"payload": node{"summary": strings.Repeat("é", 1023) + "…", "source": "remediator", "severity": "error"},
		},
	}
	for i, request := range a.sent() {
		var got node
		if err := json.Unmarshal([]byte(strings.TrimPrefix(request, "POST /v2/enqueue ")), &got); err != nil {
			t.Fatal(err)
		}
		if payload, ok := got["payload"].(node); ok && payload["custom_details"] == nil {
			delete(payload, "custom_details")
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Error(diff)
		}
	}
	if err := a.Trigger(t.Context(), events[0]); !IsPermanent(err) || !strings.Contains(err.Error(), "'routing_key' is incorrect") {
		t.Errorf("refused event: %v", err)
	}
	for _, key := range []string{"", strings.Repeat("k", 256)} {
		if err := a.Trigger(t.Context(), Event{DedupKey: key}); !IsPermanent(err) {
			t.Errorf("dedup key of %d bytes: %v", len(key), err)
		}
	}
}

func TestNewPagerDuty(t *testing.T) {
	t.Parallel()
	token := Secret{Env: "X"}
	tests := []struct {
		name           string
		cfg            PagerDutyConfig
		api, events    string
		wantErrorWords string
	}{
		{name: "PagerDuty", cfg: PagerDutyConfig{Token: token}, api: "https://api.pagerduty.com", events: "https://events.pagerduty.com"},
		{name: "Europe", cfg: PagerDutyConfig{Token: token, Endpoint: "https://api.eu.pagerduty.com/"}, api: "https://api.eu.pagerduty.com", events: "https://events.eu.pagerduty.com"},
		{name: "a stand-in never pages for real", cfg: PagerDutyConfig{Token: token, Endpoint: "https://pd.test:8443/x/"}, api: "https://pd.test:8443/x", events: "https://pd.test:8443/x"},
		{name: "both", cfg: PagerDutyConfig{Token: token, Endpoint: "https://a.test", EventsEndpoint: "https://b.test/"}, api: "https://a.test", events: "https://b.test"},
		{name: "plaintext", cfg: PagerDutyConfig{Token: token, Endpoint: "http://a.test"}, wantErrorWords: "insecure"},
		{name: "no secrets", cfg: PagerDutyConfig{}, wantErrorWords: "token"},
		{name: "from", cfg: PagerDutyConfig{Token: token, From: "bot"}, wantErrorWords: "e-mail"},
		{name: "no URL", cfg: PagerDutyConfig{Token: token, Endpoint: "pd.test"}, wantErrorWords: "https://"},
		{name: "password in the URL", cfg: PagerDutyConfig{Token: token, Endpoint: "https://u:hunter2@pd.test"}, wantErrorWords: "no user"},
	}
	for _, tt := range tests {
		p, err := NewPagerDuty(tt.cfg)
		if tt.wantErrorWords != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErrorWords) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil || p.cfg.Endpoint != tt.api || p.cfg.EventsEndpoint != tt.events {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
	}
}
