package http

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// What Slack is answered to a click: only what it may try again is a 503.
func TestClickAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"taken":              {nil, 200},
		"not Slack's":        {fmt.Errorf("reading: %w", connect.ErrUnsigned), 401},
		"another workspace":  {fmt.Errorf("%w: none", remediation.ErrNotFound), 404},
		"no click":           {errors.New("it is no click"), 400},
		"the secret is away": {&connect.SecretError{Err: errors.New("gone")}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			s.book.err = c.err
			w := s.ask(byTCP, "POST", "/v1/slack/chat", "payload=x")
			if w.Code != c.code || len(s.book.asked) != 1 || s.book.asked[0] != "click on chat: payload=x" {
				t.Errorf("%d %s, asked %v", w.Code, w.Body, s.book.asked)
			}
		})
	}
	s := newStand(accepting)
	if w := s.ask(byTCP, "POST", "/v1/slack/chat", strings.Repeat("x", maxClick+1)); w.Code != 400 || len(s.book.asked) != 0 {
		t.Errorf("too large: %d, asked %v", w.Code, s.book.asked)
	}
}
