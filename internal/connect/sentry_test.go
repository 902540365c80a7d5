package connect

import (
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestSentryAndStripeConnections(t *testing.T) {
	t.Parallel()
	token := Secret{File: "/nowhere"}
	for name, c := range map[string]struct {
		config Config
		right  bool
	}{
		"sentry":                      {&SentryConfig{Organization: "mixillo", Token: token}, true},
		"sentry of our own":           {&SentryConfig{Organization: "mixillo", Token: token, Endpoint: "https://sentry.example.com/base"}, true},
		"sentry without organization": {&SentryConfig{Token: token}, false},
		"sentry of a path":            {&SentryConfig{Organization: "a/../b", Token: token}, false},
		"sentry without token":        {&SentryConfig{Organization: "mixillo"}, false},
		"sentry in plain text":        {&SentryConfig{Organization: "mixillo", Token: token, Endpoint: "http://sentry.example.com"}, false},
		"stripe":                      {&StripeConfig{Key: token}, true},
		"stripe without key":          {&StripeConfig{}, false},
		"stripe in plain text":        {&StripeConfig{Key: token, Endpoint: "http://stripe.example.com"}, false},
	} {
		if err := c.config.Check(); (err == nil) != c.right {
			t.Errorf("%s: %v", name, err)
		}
		client, err := c.config.Open(t.Context())
		if (err == nil) != c.right {
			t.Errorf("%s: opened with %v", name, err)
		}
		if err == nil {
			_ = client.Close()
		}
	}
}

// TestAnswerHeaders: the header of a good answer is given, and Sentry's limit is believed.
func TestAnswerHeaders(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	r := newRESTServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "next")
		w.Header().Set("X-Sentry-Rate-Limit-Reset", strconv.FormatInt(time.Now().Add(50*time.Second).Unix(), 10))
		w.WriteHeader(status)
	})
	var header http.Header
	if err := r.Do(t.Context(), Request{Doing: "asking", Answered: &header}, nil); err != nil || header.Get("Link") != "next" {
		t.Errorf("%v, %v", header, err)
	}
	status, header = http.StatusTooManyRequests, nil
	err := r.Do(t.Context(), Request{Doing: "asking", Answered: &header}, nil)
	var limited *RateLimited
	if !errors.As(err, &limited) || limited.RetryAfter < 40*time.Second || limited.RetryAfter > 50*time.Second || header != nil {
		t.Errorf("%v, header %v", err, header)
	}
}
