package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClassification(t *testing.T) {
	t.Parallel()
	grpcError := func(c codes.Code) error { return fmt.Errorf("updating: %w", status.Error(c, "said")) }
	tests := []struct {
		name                           string
		err                            error
		permanent, ambiguous, conflict bool
	}{
		{name: "nil"},
		{name: "aborted", err: grpcError(codes.Aborted), conflict: true},
		{name: "invalid argument", err: grpcError(codes.InvalidArgument), permanent: true},
		{name: "not found", err: grpcError(codes.NotFound), permanent: true},
		{name: "permission denied", err: grpcError(codes.PermissionDenied), permanent: true},
		{name: "failed precondition", err: grpcError(codes.FailedPrecondition), permanent: true},
		{name: "unauthenticated", err: grpcError(codes.Unauthenticated), permanent: true},
		{name: "already exists", err: grpcError(codes.AlreadyExists), permanent: true},
		{name: "resource exhausted", err: grpcError(codes.ResourceExhausted)},
		{name: "deadline exceeded", err: grpcError(codes.DeadlineExceeded), ambiguous: true},
		{name: "unavailable", err: grpcError(codes.Unavailable), ambiguous: true},
		{name: "unknown", err: grpcError(codes.Unknown), ambiguous: true},
		{name: "internal", err: grpcError(codes.Internal), ambiguous: true},
		{name: "canceled", err: grpcError(codes.Canceled), ambiguous: true},
		{name: "context", err: context.DeadlineExceeded, ambiguous: true},
		{name: "broken connection", err: &url.Error{Op: "Put", Err: io.ErrUnexpectedEOF}, ambiguous: true},
		{name: "connection reset", err: &url.Error{Op: "Put", Err: &net.OpError{Op: "read", Err: errors.New("reset")}}, ambiguous: true},
		{name: "connection refused", err: &url.Error{Op: "Put", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}},
		{name: "no such host", err: &url.Error{Op: "Put", Err: &net.DNSError{}}},
		{name: "secret", err: fmt.Errorf("x: %w", &SecretError{Err: errors.New("empty")})},
		{name: "rate limit", err: fmt.Errorf("x: %w", &RateLimited{Err: errors.New("429")})},
		{name: "resolved", err: fmt.Errorf("x: %w", ErrIncidentResolved), permanent: true},
		{name: "nothing known", err: errors.New("boom"), ambiguous: true},
		{name: "HTTP conflict", err: fmt.Errorf("x: %w", &CallError{Status: http.StatusConflict, permanent: true, Err: errors.New("409")}), permanent: true, conflict: true},
	}
	for _, tt := range tests {
		if IsPermanent(tt.err) != tt.permanent || IsAmbiguous(tt.err) != tt.ambiguous || IsConflict(tt.err) != tt.conflict {
			t.Errorf("%s: permanent %t, ambiguous %t, conflict %t", tt.name, IsPermanent(tt.err), IsAmbiguous(tt.err), IsConflict(tt.err))
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name, header, value string
		want                time.Duration
	}{
		{"PagerDuty", "ratelimit-reset", "17", 17 * time.Second},
		{"standard", "Retry-After", "5", 5 * time.Second},
		{"date", "Retry-After", now.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		{"date gone by", "Retry-After", now.Add(-time.Minute).Format(http.TimeFormat), minRetryAfter},
		{"zero", "Retry-After", "0", minRetryAfter},
		{"for ever", "Retry-After", "99999999", maxRetryAfter},
		{"negative", "Retry-After", "-5", defaultRetryAfter},
		{"garbage", "Retry-After", "soon", defaultRetryAfter},
		{"absent", "X-Other", "1", defaultRetryAfter},
	}
	for _, tt := range tests {
		if got := retryAfter(http.Header{http.CanonicalHeaderKey(tt.header): {tt.value}}, now); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	flat := errors.New("context canceled, says a library")
	if err := withContext(ctx, flat); errors.Is(err, context.Canceled) {
		t.Errorf("a living context was joined: %v", err)
	}
	cancel()
	if err := withContext(ctx, flat); !errors.Is(err, context.Canceled) || !errors.Is(err, flat) {
		t.Errorf("the context's end is lost: %v", err)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	cause := fmt.Errorf("posting token=%s and %s: %w", testSecret, url.QueryEscape(testSecret), context.Canceled)
	err := redact(cause, testSecret, "")
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%s", err)} {
		if strings.Contains(text, "s3cr3t") {
			t.Errorf("the secret shows in %q", text)
		}
	}
	if !errors.Is(err, context.Canceled) || errors.Unwrap(err) != nil {
		t.Errorf("Is and Unwrap of %v are wrong", err)
	}
	if plain := errors.New("plain"); redact(plain, testSecret) != plain { //nolint:errorlint // identity is what is asked
		t.Error("a clean error was replaced")
	}
}
