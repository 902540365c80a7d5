package http

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
)

func (b *book) Answer(_ context.Context, a remediation.Approval) error { return b.note(a) }
func (b *book) Mark(_ context.Context, m remediation.Mark) error       { return b.note(m) }
func (b *book) Unmark(_ context.Context, target, revision string) (bool, error) {
	return true, b.note([2]string{target, revision})
}
func (b *book) Declare(_ context.Context, actor string) (string, error) {
	return "abc", b.note("declared by " + actor)
}

const digest12 = "0123456789ab"

func TestConsent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body string
		code       int
		asked      []any
		says       string
	}{
		"approve": {"/v1/approve", `{"run":"r1","digest":"` + digest12 + `"}`, 200,
			[]any{remediation.Approval{Run: "r1", Digest: digest12, Actor: "ann", Approved: true, At: noon}}, `"approved":true`},
		"deny": {"/v1/deny", `{"run":"r1","digest":"` + digest12 + `","reason":"not now"}`, 200,
			[]any{remediation.Approval{Run: "r1", Digest: digest12, Actor: "ann", Reason: "not now", At: noon}}, `"approved":false`},
		"approve without a plan":        {"/v1/approve", `{"run":"r1"}`, 400, nil, "digest"},
		"approve by too few characters": {"/v1/approve", `{"run":"r1","digest":"0123456789a"}`, 400, nil, "digest"},
		"approve by no digest":          {"/v1/approve", `{"run":"r1","digest":"0123456789a%"}`, 400, nil, "digest"},
		"approve of nothing":            {"/v1/approve", `{"digest":"` + digest12 + `"}`, 400, nil, "run"},
		"deny without a reason":         {"/v1/deny", `{"run":"r1","digest":"` + digest12 + `"}`, 400, nil, "reason"},
		"a reason too long":             {"/v1/approve", `{"run":"r1","digest":"` + digest12 + `","reason":"` + strings.Repeat("x", 1025) + `"}`, 400, nil, "reason"},
		"mark": {"/v1/mark", `{"target":"api","revision":"api-00007-abc","reason":"drops a column"}`, 200,
			[]any{remediation.Mark{Target: "api", Revision: "api-00007-abc", Reason: "drops a column", Actor: "ann", At: noon}}, "api-00007-abc"},
		"mark of no revision":      {"/v1/mark", `{"target":"api","reason":"x"}`, 400, nil, "revision"},
		"mark of a strange name":   {"/v1/mark", `{"target":"api","revision":"../x","reason":"x"}`, 400, nil, "revision"},
		"mark without a reason":    {"/v1/mark", `{"target":"api","revision":"api-7"}`, 400, nil, "reason"},
		"unmark":                   {"/v1/unmark", `{"target":"api","revision":"api-7"}`, 200, []any{[2]string{"api", "api-7"}}, `"unmarked":true`},
		"unmark of nothing":        {"/v1/unmark", `{"revision":"api-7"}`, 400, nil, "target"},
		"declare":                  {"/v1/declare", ``, 200, []any{"declared by ann"}, `"rules_hash":"abc"`},
		"release a storm":          {"/v1/release", `{"storm":"true"}`, 200, []any{Release{Storm: true, Actor: "ann"}}, ""},
		"release a storm of one":   {"/v1/release", `{"storm":"true","target":"api"}`, 400, nil, "fleet"},
		"release a storm, perhaps": {"/v1/release", `{"storm":"maybe"}`, 400, nil, "storm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			got := s.ask(bySocket, "POST", c.path, c.body, actorHeader, "ann")
			if got.Code != c.code || !strings.Contains(got.Body.String(), c.says) {
				t.Errorf("answered %d %s, want %d with %q", got.Code, got.Body, c.code, c.says)
			}
			if diff := cmp.Diff(c.asked, s.book.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}
