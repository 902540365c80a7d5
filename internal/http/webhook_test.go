package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-of-the-store"
	cases := []struct {
		name   string
		intake intakeFunc
		path   string
		body   string
		code   int
		says   string
		retry  bool
	}{
		{"kept", accepting, "/v1/webhooks/pagerduty", "{}", 202, `"event":"ev-1"`, false},
		{"not understood is kept", accepting, "/v1/webhooks/pagerduty", "\x00garbage", 202, `"runs":[]`, false},
		{"empty is kept", accepting, "/v1/webhooks/pagerduty", "", 202, `"event":"ev-1"`, false},
		{"forged", failing(fmt.Errorf("%w: no signature matches", sources.ErrUnauthenticated)), "/v1/webhooks/pagerduty", "{}",
			401, "no signature matches", false},
		{"unknown source", failing(remediation.ErrUnknownSource), "/v1/webhooks/nobody", "{}", 404, "no such source", false},
		{"secret unreadable", failing(fmt.Errorf("%w: %s", sources.ErrUnavailable, secret)), "/v1/webhooks/pagerduty", "{}",
			503, "send it again", true},
		{"store down", failing(fmt.Errorf("%w: %s", remediation.ErrUnavailable, secret)), "/v1/webhooks/pagerduty", "{}",
			503, "send it again", true},
		{"faster than allowed", failing(fmt.Errorf("%w of source %q", remediation.ErrTooMany, "pagerduty")), "/v1/webhooks/pagerduty", "{}",
			503, "more large deliveries, than its rate allows", true},
		{"anything else", failing(errors.New(secret)), "/v1/webhooks/pagerduty", "{}", 503, "send it again", true},
		{"a rate limit inside never shows", failing(context.DeadlineExceeded), "/v1/webhooks/pagerduty", "{}", 503, "", true},
		{"oversized", accepting, "/v1/webhooks/pagerduty", strings.Repeat("x", 101), 413, "larger than 100B", false},
		{"largest", accepting, "/v1/webhooks/pagerduty", strings.Repeat("x", 100), 202, "", false},
		{"no source", accepting, "/v1/webhooks/", "{}", 404, "", false},
		{"deeper path", accepting, "/v1/webhooks/a/b", "{}", 404, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(c.intake)
			s.limits.MaxBody = 100
			w := s.ask(byTCP, "POST", c.path, c.body)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("answered %d %s, want %d with %q", w.Code, w.Body, c.code, c.says)
			}
			if got := w.Header().Get("Retry-After") != ""; got != c.retry {
				t.Errorf("Retry-After present: %v, want %v", got, c.retry)
			}
			if got := w.Header().Get("WWW-Authenticate") != ""; got != (c.code == 401) {
				t.Errorf("asked for a password: %v", got)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("the answer tells an internal reason: %s", w.Body)
			}
		})
	}
}

func TestWebhookGivesTheIntakeWhatCame(t *testing.T) {
	t.Parallel()
	var got remediation.Inbound
	s := newStand(func(_ context.Context, in remediation.Inbound) (remediation.Accepted, error) {
		got = in
		return remediation.Accepted{
			Event: "ev-7",
			Runs:  []remediation.Hint{{Run: "r-1"}, {Run: "r-2"}},
			Rulings: []remediation.Ruling{
				{Rule: "a", Verdict: remediation.StaleEvent, Detail: "11m old"}, {Rule: "b", Verdict: remediation.Duplicate},
			},
		}, nil
	})
	body := `{"k":"` + strings.Repeat("v", 10_000) + `"}`
	w := s.ask(byTCP, "POST", "/v1/webhooks/alertmanager", body, "X-Signature", "v1=abc")
	if got.Source != "alertmanager" || string(got.Request.Body) != body || got.Request.Header.Get("X-Signature") != "v1=abc" || !got.ReceivedAt.Equal(noon) {
		t.Errorf("the intake was given source %q, %d bytes, header %v, time %v", got.Source, len(got.Request.Body), got.Request.Header, got.ReceivedAt)
	}
	want := map[string]any{
		"event": "ev-7", "duplicate": false, "runs": []any{"r-1", "r-2"}, "note": "a: stale: 11m old; b: duplicate",
	}
	if diff := cmp.Diff(want, decoded(t, w.Body)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestWebhookDuplicate(t *testing.T) {
	t.Parallel()
	s := newStand(func(context.Context, remediation.Inbound) (remediation.Accepted, error) {
		return remediation.Accepted{Event: "ev-1", Duplicate: true}, nil
	})
	w := s.ask(byTCP, "POST", "/v1/webhooks/pagerduty", "{}")
	want := map[string]any{"event": "ev-1", "duplicate": true, "runs": []any{}, "note": "this delivery was known already"}
	if diff := cmp.Diff(want, decoded(t, w.Body)); w.Code != 202 || diff != "" {
		t.Errorf("answer %d (-want +got):\n%s", w.Code, diff)
	}
}

func TestPanicIsAnswered503(t *testing.T) {
	t.Parallel()
	s := newStand(func(context.Context, remediation.Inbound) (remediation.Accepted, error) { panic("boom") })
	s.limits.InFlight = 1
	var log strings.Builder
	s.cfg.Log = logTo(&log)
	h := newEdge(s.cfg).router(byTCP)
	for range 3 { // a panic must give its place back
		w := send(h, "POST", "/v1/webhooks/pagerduty", "{}")
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "boom") {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "webhook.go") {
		t.Errorf("the log does not tell the panic and its place: %s", log.String())
	}
	if n := testutil.ToFloat64(count(t, s, "/v1/webhooks/{source}", "503")); n != 3 {
		t.Errorf("%v answers of 503 were counted, want 3", n)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	enter, leave := make(chan struct{}), make(chan struct{})
	s := newStand(func(context.Context, remediation.Inbound) (remediation.Accepted, error) {
		enter <- struct{}{}
		<-leave
		return remediation.Accepted{Event: "ev-1"}, nil
	})
	s.limits.InFlight, s.limits.Patience = 2, 20*time.Millisecond
	h := newEdge(s.cfg).router(byTCP)
	codes := make(chan int, 2)
	for range 2 {
		go func() { codes <- send(h, "POST", "/v1/webhooks/pagerduty", "{}").Code }()
		<-enter
	}
	if w := send(h, "POST", "/v1/webhooks/pagerduty", "{}"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the third was answered %d, want 503 with Retry-After", w.Code)
	}
	close(leave)
	for range 2 {
		if code := <-codes; code != 202 {
			t.Errorf("one of the first two was answered %d", code)
		}
	}
	go func() { <-enter }()
	if w := send(h, "POST", "/v1/webhooks/pagerduty", "{}"); w.Code != 202 {
		t.Errorf("after that a delivery was answered %d", w.Code)
	}
}

// Large bodies are worked on one after the other, and those of everyday do not wait for them.
func TestLargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	enter, leave := make(chan struct{}), make(chan struct{})
	s := newStand(func(_ context.Context, in remediation.Inbound) (remediation.Accepted, error) {
		if len(in.Request.Body) > rules.LargeBody {
			enter <- struct{}{}
			<-leave
		}
		return remediation.Accepted{Event: "ev-1"}, nil
	})
	s.limits.Patience = time.Hour
	h := newEdge(s.cfg).router(byTCP)
	large := func() int {
		return send(h, "POST", "/v1/webhooks/pagerduty", strings.Repeat("x", rules.LargeBody+1)).Code
	}
	codes := make(chan int, 3)
	for range 3 {
		go func() { codes <- large() }()
	}
	for range 3 {
		<-enter
		for range 100 {
			if w := send(h, "POST", "/v1/webhooks/pagerduty", strings.Repeat("x", rules.LargeBody)); w.Code != 202 {
				t.Errorf("a small one beside large ones was answered %d", w.Code)
			}
		}
		select {
		case <-enter:
			t.Fatal("two large ones are worked on at once")
		default:
		}
		leave <- struct{}{}
		if code := <-codes; code != 202 {
			t.Errorf("a large one was answered %d", code)
		}
	}
	s.limits.Patience = 20 * time.Millisecond
	go func() { codes <- large() }()
	<-enter
	if code := large(); code != 503 {
		t.Errorf("one that waited too long for its turn was answered %d, want 503", code)
	}
	leave <- struct{}{}
	<-codes
}

func TestHeldBytesAreBoundedAndGivenBack(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.limits.MaxHeld = 6 << 10
	e := newEdge(s.cfg)
	h := e.router(byTCP)
	if w := send(h, "POST", "/v1/webhooks/pagerduty", strings.Repeat("x", 7<<10)); w.Code != 503 {
		t.Errorf("a body over the allowance was answered %d, want 503", w.Code)
	}
	if w := send(h, "POST", "/v1/webhooks/pagerduty", strings.Repeat("x", 3<<10)); w.Code != 202 {
		t.Errorf("a body within the allowance was answered %d, want 202", w.Code)
	}
	if held := e.held.held; held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// raw speaks to a real server on the loopback and gives the status of its answer.
func raw(t *testing.T, s *stand, text string, halfClose bool) int {
	t.Helper()
	server := httptest.NewUnstartedServer(newEdge(s.cfg).router(byTCP))
	server.Config.ReadTimeout = s.patience
	server.Start()
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}
	resp, err := nethttp.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func TestBodiesThatDoNotComeWhole(t *testing.T) {
	t.Parallel()
	head := "POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\n"
	cases := []struct {
		name      string
		text      string
		halfClose bool
		code      int
	}{
		{"truncated", head + "Content-Length: 50\r\n\r\n{\"half\":", true, 400},
		{"broken chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", true, 400},
		{"too slow", head + "Content-Length: 50\r\n\r\n{\"half\":", false, 503},
		{"endless chunks", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("64\r\n"+strings.Repeat("x", 100)+"\r\n", 20), false, 413},
		{"said to be huge", head + "Content-Length: 1000000000\r\n\r\n", false, 413},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			s := newStand(func(context.Context, remediation.Inbound) (remediation.Accepted, error) {
				calls.Add(1)
				return remediation.Accepted{}, nil
			})
			s.limits.MaxBody = 1000
			if got := raw(t, s, c.text, c.halfClose); got != c.code {
				t.Errorf("answered %d, want %d", got, c.code)
			}
			if calls.Load() != 0 {
				t.Error("the intake was given half a body")
			}
		})
	}
}

// wary is an Intake with an opinion of what comes before a body.
type wary struct {
	intakeFunc
	err error
}

func (w wary) Expects(in remediation.Inbound) error {
	if in.Request.Body != nil || in.Request.Header.Get("Authorization") == "" || in.Source != "pagerduty" {
		return errTest
	}
	return w.err
}

func standOf(w wary) *stand {
	s := newStand(nil)
	s.cfg.Intake, s.patience = w, time.Minute // longer than the test waits for an answer
	return s
}

// Who is refused by what comes before the body is answered while the body is still to come, however small.
func TestStrangersBodiesAreNotRead(t *testing.T) {
	t.Parallel()
	for code, err := range map[int]error{401: sources.ErrUnauthenticated, 404: remediation.ErrUnknownSource, 503: sources.ErrUnavailable} {
		wary := wary{accepting, err}
		head := "POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: "
		for _, size := range []string{"1000000", "100"} {
			if got := raw(t, standOf(wary), head+size+"\r\n\r\n{", false); got != code {
				t.Errorf("%v: answered %d before the body, want %d", err, got, code)
			}
		}
		if got := raw(t, standOf(wary), head+"2\r\n\r\n{}", false); got != code {
			t.Errorf("%v: answered %d, want %d", err, got, code)
		}
	}
	if w := standOf(wary{accepting, nil}).ask(byTCP, "POST", "/v1/webhooks/pagerduty", "{}", "Authorization", "Bearer x"); w.Code != 202 {
		t.Errorf("who is not refused is answered %d %s", w.Code, w.Body)
	}
}

func TestNothingAnswers429(t *testing.T) {
	t.Parallel()
	for _, rt := range newEdge(newStand(accepting).cfg).routes() {
		for _, code := range rt.codes {
			if code == nethttp.StatusTooManyRequests {
				t.Errorf("%s may answer 429, which Alertmanager does not retry", rt.pattern)
			}
		}
	}
	s := newStand(accepting)
	s.book.err = guard.Refuse(guard.Reconciling, "a deploy is under way")
	if w := s.ask(bySocket, "POST", "/v1/unpin", `{"target":"api","reason":"x"}`); w.Code != 409 {
		t.Errorf("a refusal was answered %d, want 409", w.Code)
	}
}
