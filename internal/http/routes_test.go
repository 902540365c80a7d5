package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mixillo/remediator/internal/connect"
)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func count(t *testing.T, s *stand, route, code string) prometheus.Collector {
	t.Helper()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remediator_http_requests_total",
		Help: "Requests by the pattern of their route and the status they were answered with.",
	}, []string{"route", "code"})
	var there prometheus.AlreadyRegisteredError
	if err := s.reg.Register(c); !errors.As(err, &there) {
		t.Fatalf("the metric is not registered: %v", err)
	}
	existing, isVec := there.ExistingCollector.(*prometheus.CounterVec)
	if !isVec {
		t.Fatalf("the metric is a %T", there.ExistingCollector)
	}
	return existing.WithLabelValues(route, code)
}

func secretIn(t *testing.T, text string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return connect.Secret{File: path}
}

func TestEveryRouteDeclaresItsRight(t *testing.T) {
	t.Parallel()
	e := newEdge(newStand(accepting).cfg)
	declared := map[string]right{}
	for _, r := range e.routes() {
		if r.right != public && r.right != api {
			t.Errorf("%s %s declares no right", r.method, r.pattern)
		}
		declared[r.method+" "+r.pattern] = r.right
	}
	served := map[string]right{}
	mux, _ := e.router(byTCP).(chi.Routes)
	err := chi.Walk(mux, func(method, pattern string, _ nethttp.Handler, _ ...func(nethttp.Handler) nethttp.Handler) error {
		key := method + " " + pattern
		if _, there := declared[key]; !there {
			t.Errorf("%s is served and is not in the table", key)
		}
		served[key] = declared[key]
		return nil
	})
	if diff := cmp.Diff(declared, served); err != nil || diff != "" {
		t.Errorf("walking: %v; declared against served:\n%s", err, diff)
	}
	open := map[string]bool{
		"GET /": true, "GET /-/healthy": true, "GET /-/ready": true, "GET /metrics": true, "POST /v1/webhooks/{source}": true,
		"POST /v1/slack/{connection}": true,
	}
	for key, r := range declared {
		if (r == public) != open[key] {
			t.Errorf("%s: public is %v, want %v", key, r == public, open[key])
		}
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	const token = "a-token-that-is-long-enough"
	unreadable := connect.Secret{File: filepath.Join(t.TempDir(), "missing")}
	cases := []struct {
		name   string
		by     road
		token  connect.Secret
		header string
		code   int
	}{
		{"socket", bySocket, connect.Secret{}, "", 200},
		{"socket, with a token configured", bySocket, unreadable, "", 200},
		{"TCP without a token configured", byTCP, connect.Secret{}, "", 403},
		{"TCP without a token configured, with some token", byTCP, connect.Secret{}, "Bearer " + token, 403},
		{"TCP with the token", byTCP, secretIn(t, token), "Bearer " + token, 200},
		{"TCP with the token, other case", byTCP, secretIn(t, token), "bearer " + token, 200},
		{"TCP without", byTCP, secretIn(t, token), "", 401},
		{"TCP with another", byTCP, secretIn(t, token), "Bearer " + token + "x", 401},
		{"TCP with a part", byTCP, secretIn(t, token), "Bearer " + token[:5], 401},
		{"TCP with another scheme", byTCP, secretIn(t, token), "Basic " + token, 401},
		{"TCP with the bare token", byTCP, secretIn(t, token), token, 401},
		{"TCP, token unreadable", byTCP, unreadable, "Bearer ", 503},
		{"TCP, token empty", byTCP, secretIn(t, ""), "Bearer ", 503},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			s.cfg.Token = c.token
			h := newEdge(s.cfg).router(c.by)
			for _, r := range newEdge(Config{}).routes() {
				if r.right != api {
					continue
				}
				path := strings.ReplaceAll(r.pattern, "{id}", "x")
				w := send(h, r.method, path, `{"target":"api","reason":"because"}`, "Authorization", c.header)
				got := w.Code
				if got < 300 || got == 400 { // past the door: resume and release take no reason
					got = 200
				}
				if got != c.code {
					t.Errorf("%s %s was answered %d %s, want %d", r.method, path, w.Code, w.Body, c.code)
				}
				if strings.Contains(w.Body.String(), token) {
					t.Errorf("the answer shows the token: %s", w.Body)
				}
			}
			if w := send(h, "GET", "/-/healthy", ""); w.Code != 200 {
				t.Errorf("healthy was answered %d", w.Code)
			}
		})
	}
}

func TestUndeclaredRightRefuses(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.cfg.Token = secretIn(t, "a-token-that-is-long-enough")
	e := newEdge(s.cfg)
	for _, by := range []road{byTCP, bySocket} {
		h := e.allowed(nobody, by, func(nethttp.ResponseWriter, *nethttp.Request) { t.Error("let through") })
		if w := send(h, "GET", "/", ""); w.Code != 403 {
			t.Errorf("answered %d, want 403", w.Code)
		}
	}
}

func TestMetricsNameRoutesOnly(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	h := newEdge(s.cfg).router(byTCP)
	for i := range 50 {
		send(h, "POST", fmt.Sprintf("/v1/webhooks/s%d", i), "{}")
		send(h, "GET", fmt.Sprintf("/nowhere/%d", i), "")
		send(h, fmt.Sprintf("VERB%d", i), "/", "")
	}
	before := testutil.CollectAndCount(s.reg, "remediator_http_requests_total")
	send(h, "GET", "/another", "")
	if after := testutil.CollectAndCount(s.reg, "remediator_http_requests_total"); after != before || after > 100 {
		t.Errorf("%d series, then %d", before, after)
	}
	if n := testutil.ToFloat64(count(t, s, "/v1/webhooks/{source}", "202")); n != 50 {
		t.Errorf("%v webhooks were counted, want 50", n)
	}
	problems, err := testutil.GatherAndLint(s.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", err, problems)
	}
	if w := send(h, "GET", "/metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `route="/v1/unpin"`) {
		t.Errorf("metrics were answered %d without the zeros of a route", w.Code)
	}
}

func TestServerListens(t *testing.T) {
	t.Parallel()
	server := New(newStand(accepting).cfg)
	dir, err := os.MkdirTemp("", "s") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "api.sock")
	if err := leaveStale(path); err != nil {
		t.Fatal(err)
	}
	socket, err := ListenSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info, err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(socket) }()
	go func() { ended <- server.Serve(tcp) }()
	overSocket := &nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
	overTCP := &nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}}
	checkGet(t, overSocket, "http://socket/v1/status", 200)
	checkGet(t, overTCP, "http://"+tcp.Addr().String()+"/v1/status", 403)
	checkGet(t, overTCP, "http://"+tcp.Addr().String()+"/-/ready", 200)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("shutting down: %v", err)
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func leaveStale(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("leaving a stale socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

func checkGet(t *testing.T, c *nethttp.Client, url string, want int) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("GET %s was answered %d, want %d", url, resp.StatusCode, want)
	}
}

func TestListenSocketRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := ListenSocket(t.Context(), file); err == nil {
		_ = l.Close()
		t.Error("a file that is no socket was replaced")
	}
	if kept, _ := os.ReadFile(file); string(kept) != "keep me" {
		t.Errorf("the file now holds %q", kept)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if _, err := ListenSocket(t.Context(), long); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long path: %v", err)
	}
	served := filepath.Join(t.TempDir(), "s")
	l, err := ListenSocket(t.Context(), served)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := ListenSocket(t.Context(), served); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a socket that is served: %v", err)
	}
}
