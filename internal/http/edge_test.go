package http

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// intakeFunc is an Intake for tests.
type intakeFunc func(context.Context, remediation.Inbound) (remediation.Accepted, error)

func (intakeFunc) Expects(remediation.Inbound) error { return nil }

func (f intakeFunc) Accept(ctx context.Context, in remediation.Inbound) (remediation.Accepted, error) {
	return f(ctx, in)
}

// book is a Reader and Control that remembers what it was asked.
type book struct {
	mu     sync.Mutex
	asked  []any
	err    error
	run    RunView
	runs   []remediation.Run
	status Status
}

func (b *book) note(v any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, v)
	return b.err
}

func (b *book) Run(_ context.Context, id string) (RunView, error) { return b.run, b.note("run " + id) }
func (b *book) Runs(_ context.Context, f RunFilter) ([]remediation.Run, error) {
	return b.runs, b.note(f)
}
func (b *book) Event(_ context.Context, id string) (EventView, error) {
	return EventView{}, b.note("event " + id)
}
func (b *book) Status(context.Context) (Status, error)            { return b.status, b.note("status") }
func (b *book) Pause(_ context.Context, p guard.Pause) error      { return b.note(p) }
func (b *book) Release(_ context.Context, r Release) (int, error) { return 2, b.note(r) }
func (b *book) Unpin(_ context.Context, u Unpin) (string, error)  { return "run-9", b.note(u) }
func (b *book) Click(_ context.Context, connection string, _ nethttp.Header, body []byte) error {
	return b.note("click on " + connection + ": " + string(body))
}
func (b *book) Start(_ context.Context, p remediation.ByPerson) (string, error) {
	return "run-8", b.note(p)
}
func (b *book) Resume(_ context.Context, s guard.Scope, name, actor string) (int, error) {
	return 1, b.note([3]string{string(s), name, actor})
}

type stand struct {
	book   *book
	reg    *prometheus.Registry
	cfg    Config
	limits rules.Intake // may be changed before the first request

	patience time.Duration // how long a raw request may take
}

func newStand(intake intakeFunc) *stand {
	reg := prometheus.NewRegistry()
	b := &book{}
	s := &stand{book: b, reg: reg, limits: rules.DefaultIntake(), patience: 300 * time.Millisecond, cfg: Config{
		Intake: intake, Reader: b, Control: b, Hand: b, Clicks: b, Consent: b, Auditor: b, Gatherer: reg, Registerer: reg,
		Ready:   func() error { return nil },
		Reload:  func(context.Context) error { return nil },
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:     func() time.Time { return noon },
		Version: "v1.2.3",
	}}
	s.cfg.Limits = func() rules.Intake { return s.limits }
	return s
}

func accepting(context.Context, remediation.Inbound) (remediation.Accepted, error) {
	return remediation.Accepted{Event: "ev-1"}, nil
}

func failing(err error) intakeFunc {
	return func(context.Context, remediation.Inbound) (remediation.Accepted, error) {
		return remediation.Accepted{}, err
	}
}

// ask sends one request by the road and gives the recorded answer.
func (s *stand) ask(by road, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return send(newEdge(s.cfg).router(by), method, path, body, header...)
}

func send(h nethttp.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decoded(t *testing.T, body io.Reader) map[string]any {
	t.Helper()
	got := map[string]any{}
	if err := json.NewDecoder(body).Decode(&got); err != nil {
		t.Fatalf("the answer is no JSON: %v", err)
	}
	return got
}

var errTest = errors.New("as the test asked")
