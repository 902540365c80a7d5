package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrIncidentResolved is returned, wrapped, by calls that only make sense on an open incident.
var ErrIncidentResolved = errors.New("the incident is resolved")

// RateLimited is returned when a system asks to be left alone for a while. The call was refused: nothing took effect.
type RateLimited struct {
	System     string        // "pagerduty" or "slack"
	RetryAfter time.Duration // how long to wait; 30 s when the system does not say
	Err        error
}

// Error says who limits and for how long.
func (e *RateLimited) Error() string {
	return fmt.Sprintf("%s: rate limited, retry after %s: %v", e.System, e.RetryAfter, e.Err)
}

// Unwrap gives the library's error.
func (e *RateLimited) Unwrap() error { return e.Err }

// CallError is what a wrapped HTTP client returns for every failed call. It holds no secret.
type CallError struct {
	System string // "pagerduty" or "slack"
	Doing  string // "acknowledging incident Q1"
	Status int    // HTTP status of the answer; 0 when there was none
	Code   int    // PagerDuty's own error code; 0 when there is none
	Err    error

	permanent, ambiguous, conflict bool
}

// Error says which system, what was being done, and what went wrong.
func (e *CallError) Error() string { return fmt.Sprintf("%s: %s: %v", e.System, e.Doing, e.Err) }

// Unwrap gives the cause; context.Canceled and context.DeadlineExceeded are found by errors.Is.
func (e *CallError) Unwrap() error { return e.Err }

// refused is a call that this package does not make, because it could never succeed.
func refused(system, doing, format string, args ...any) error {
	return &CallError{System: system, Doing: doing, Err: fmt.Errorf(format, args...), permanent: true}
}

// IsPermanent reports whether the same call can only fail again: HTTP 4xx other than 401 and 403 (a rotated
// credential mends those), 408 and 429, a refused host, a gRPC code that
// speaks of the request itself. Such an error is not worth a retry.
func IsPermanent(err error) bool {
	var (
		call    *CallError
		limited *RateLimited
	)
	if errors.As(err, &call) {
		return call.permanent
	}
	if errors.As(err, &limited) {
		return false
	}
	if errors.Is(err, ErrHostRefused) || errors.Is(err, ErrRedirectRefused) || errors.Is(err, ErrIncidentResolved) {
		return true
	}
	code, ok := grpcCode(err)
	return ok && permanentCode(code)
}

// IsAmbiguous reports whether the call may have taken effect although it failed: a timeout, a broken connection or a 5xx after the
// request may have been sent, or a gRPC code that does not rule it out. An error that nothing is known about is ambiguous too,
// because the other answer would allow a second call. Reads by the wrapped clients are never ambiguous.
//
// An operation that a system itself reports as failed is no failed call: ask whether it is done before asking this.
func IsAmbiguous(err error) bool {
	if err == nil {
		return false
	}
	var (
		call    *CallError
		limited *RateLimited
	)
	switch {
	case errors.As(err, &limited):
		return false
	case errors.As(err, &call):
		return call.ambiguous
	case errors.Is(err, ErrIncidentResolved), neverSent(err):
		return false
	}
	if code, ok := grpcCode(err); ok {
		return ambiguousCode(code)
	}
	return true
}

// IsThrottled reports whether the system did nothing because it is asked too much: gRPC RESOURCE_EXHAUSTED or HTTP 429.
func IsThrottled(err error) bool {
	var limited *RateLimited
	code, ok := grpcCode(err)
	return errors.As(err, &limited) || ok && code == codes.ResourceExhausted
}

// Lost is a call that was not made because what it rests on, read once more right before it, is no longer so. It is for systems that take
// no precondition themselves.
func Lost(system, doing, format string, args ...any) error {
	return &CallError{System: system, Doing: doing, Err: fmt.Errorf(format, args...), conflict: true}
}

// IsConflict reports whether the call was refused because its precondition (an etag) no longer held: gRPC ABORTED, HTTP 409 or 412, or Lost.
func IsConflict(err error) bool {
	var call *CallError
	if errors.As(err, &call) {
		return call.conflict || call.Status == http.StatusConflict || call.Status == http.StatusPreconditionFailed
	}
	code, ok := grpcCode(err)
	return ok && code == codes.Aborted
}

// neverSent knows the errors that come before a request leaves.
func neverSent(err error) bool {
	var (
		secret *SecretError
		dial   *net.OpError
		dns    *net.DNSError
		cert   *tls.CertificateVerificationError
	)
	return errors.Is(err, ErrHostRefused) || errors.As(err, &secret) || errors.As(err, &dns) || errors.As(err, &cert) ||
		errors.As(err, &dial) && dial.Op == "dial"
}

// grpcCode finds a gRPC status anywhere in the chain. A context's own error has none and is left to the caller.
func grpcCode(err error) (codes.Code, bool) {
	if err == nil {
		return codes.OK, false
	}
	s, ok := status.FromError(err)
	if !ok {
		return codes.Unknown, false
	}
	return s.Code(), true
}

func permanentCode(c codes.Code) bool {
	switch c {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition,
		codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// ambiguousCode lists the codes that do not prove that nothing was done.
func ambiguousCode(c codes.Code) bool {
	switch c {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// withContext joins the context's own error where a library has flattened it to text.
func withContext(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return errors.Join(err, cause)
	}
	return err
}

// redact takes secrets out of an error's text. A system or proxy may echo what it was sent.
func redact(err error, secrets ...Value) error {
	text := err.Error()
	clean := text
	for _, s := range secrets {
		if s != "" {
			clean = strings.NewReplacer(s.Reveal(), hidden, url.QueryEscape(s.Reveal()), hidden).Replace(clean)
		}
	}
	if clean == text {
		return err
	}
	return &redactedError{text: clean, cause: err}
}

// redactedError answers errors.Is for its cause but does not hand it out: its text holds a secret.
type redactedError struct {
	text  string
	cause error
}

// Error gives the clean text.
func (e *redactedError) Error() string { return e.text }

// Is implements the hook of errors.Is.
func (e *redactedError) Is(target error) bool { return errors.Is(e.cause, target) }

// faultMost bounds the text of a failed exchange, in characters: a system may answer an error with megabytes.
const faultMost = 3 * gistMost

// inOneLine makes an error's text one line of bounded length without secrets. What it wraps is found as before, unless it held a secret.
func inOneLine(err error, secrets ...Value) error {
	err = redact(err, secrets...) // before the cut, which would leave half of one
	text := err.Error()
	line := Line(text, faultMost)
	if line == text {
		return err
	}
	return redact(&linedError{text: line, cause: err}, secrets...) // of which characters that are not seen had parted one
}

// linedError is an error told in one line.
type linedError struct {
	text  string
	cause error
}

// Error gives the line.
func (e *linedError) Error() string { return e.text }

// Unwrap gives the error as it was.
func (e *linedError) Unwrap() error { return e.cause }
