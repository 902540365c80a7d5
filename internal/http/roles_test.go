package http

import (
	"strings"
	"testing"
)

// What a process was not started for it refuses, so that a sender keeps its delivery; what keeps it running it serves in every role.
func TestRoles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		roles                []string
		webhook, clicks, api int
	}{
		"all by default": {nil, 202, 200, 200},
		"ingest":         {[]string{"ingest"}, 202, 200, 403},
		"ui":             {[]string{"ui"}, 503, 503, 200},
		"worker":         {[]string{"worker"}, 503, 503, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			s.cfg.Roles = c.roles
			e := newEdge(s.cfg)
			h := e.router(bySocket)
			for _, r := range e.routes() {
				want := 200
				switch {
				case strings.Contains(r.pattern, "/slack/"):
					want = c.clicks
				case strings.Contains(r.pattern, "/webhooks/"):
					want = c.webhook
				case strings.HasPrefix(r.pattern, "/v1/"):
					want = c.api
				}
				path := strings.NewReplacer("{id}", "x", "{source}", "alertmanager", "{connection}", "slack").Replace(r.pattern)
				w := send(h, r.method, path, `{"target":"api","reason":"because"}`)
				got := w.Code
				if want == 200 && (got < 300 || got == 400) { // past the door
					got = 200
				}
				if got != want {
					t.Errorf("%s %s was answered %d %s, want %d", r.method, path, w.Code, w.Body, want)
				}
			}
		})
	}
}
