package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Bounds of how long a rate limit is believed.
const (
	defaultRetryAfter = 30 * time.Second
	minRetryAfter     = time.Second
	maxRetryAfter     = time.Hour
)

// call names one use of a client library.
type call struct {
	system  string
	doing   string
	mutates bool // a failure may have taken effect
}

// exchange is the HTTP client that a library is given for one call. It keeps what libraries drop: the real error, the status, the
// headers, and whether anything was sent. For one goroutine at a time, except for the trace.
type exchange struct {
	client    *http.Client
	call      call
	sent      atomic.Bool
	status    int
	header    http.Header
	errorBody []byte
	err       error
}

// Do implements the HTTP client interface of both libraries.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	// A request counts as sent from the moment it has a connection: when a context ends, the write may still be under way.
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { x.sent.Store(true) }}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	if req.Header.Get("From") == "" {
		req.Header.Del("From")
	}
	resp, err := x.client.Do(req)
	x.err = err
	if err != nil {
		return nil, err
	}
	x.status, x.header = resp.StatusCode, resp.Header
	if resp.StatusCode >= http.StatusBadRequest {
		x.keepBody(resp)
	}
	return resp, nil
}

// keepBody reads an error's body, so that its words can be told even when the library does not know their shape.
func (x *exchange) keepBody(resp *http.Response) {
	body, _ := io.ReadAll(resp.Body) // what could be read is all there is to tell
	_ = resp.Body.Close()
	x.errorBody = body
	resp.Body = io.NopCloser(bytes.NewReader(body))
}

// fail turns a library's error into a *RateLimited or *CallError without the given secrets.
func (x *exchange) fail(ctx context.Context, err error, secrets ...Value) error {
	if x.err != nil {
		err = x.err
	}
	err = inOneLine(withContext(ctx, err), secrets...)
	if x.status == http.StatusTooManyRequests {
		wrapped := fmt.Errorf("%s: %w", x.call.doing, err)
		return &RateLimited{System: x.call.system, RetryAfter: retryAfter(x.header, time.Now()), Err: wrapped}
	}
	return &CallError{
		System: x.call.system, Doing: x.call.doing, Status: x.status, Err: err,
		permanent: x.permanent(err), ambiguous: x.ambiguous(),
	}
}

// permanent leaves out the answers that a rotated credential mends: what is to be told waits for it.
func (x *exchange) permanent(err error) bool {
	clientError := x.status >= 400 && x.status < 500 && x.status != http.StatusRequestTimeout &&
		x.status != http.StatusUnauthorized && x.status != http.StatusForbidden
	return clientError || errors.Is(err, ErrHostRefused) || errors.Is(err, ErrRedirectRefused)
}

// ambiguous: only a plain 4xx proves that nothing was done.
func (x *exchange) ambiguous() bool {
	provenRefusal := x.err == nil && x.status >= 400 && x.status < 500 && x.status != http.StatusRequestTimeout
	return x.call.mutates && x.sent.Load() && !provenRefusal
}

// retryAfter reads PagerDuty's ratelimit-reset or the standard Retry-After, in seconds or as a date, and Sentry's reset, which is the time
// itself in seconds of the epoch (getsentry/sentry-docs, docs/api/ratelimits.mdx).
func retryAfter(h http.Header, now time.Time) time.Duration {
	if at, err := strconv.ParseInt(h.Get("X-Sentry-Rate-Limit-Reset"), 10, 64); err == nil && at > 0 {
		return clamp(time.Unix(at, 0).Sub(now))
	}
	for _, name := range []string{"Ratelimit-Reset", "Retry-After"} {
		text := strings.TrimSpace(h.Get(name))
		if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
			return clamp(time.Duration(seconds) * time.Second)
		}
		if at, err := http.ParseTime(text); err == nil {
			return clamp(at.Sub(now))
		}
	}
	return defaultRetryAfter
}

func clamp(d time.Duration) time.Duration { return min(max(d, minRetryAfter), maxRetryAfter) }

// parseEndpoint reads the base URL of a system, without a trailing slash.
func parseEndpoint(text string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	switch {
	case err != nil:
		return nil, errors.New("endpoint is not a URL")
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("endpoint must begin with https:// or http:// and name a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("endpoint must hold no user, query or fragment")
	case u.Scheme == "http" && !insecure:
		return nil, fmt.Errorf("endpoint %s is plaintext http: that needs insecure: true", u.Redacted())
	}
	return u, nil
}

func hostPort(u *url.URL) string { return plainHost(u.Hostname()) + ":" + portOf(u) }
