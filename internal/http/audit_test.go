package http

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
)

func (b *book) Audit(_ context.Context, place string) (remediation.Audit, error) {
	return remediation.Audit{Runs: 3, Next: "run:x"}, b.note("audit " + place)
}

func (b *book) Head(context.Context) (remediation.Link, error) {
	return remediation.Link{Seq: 7, Hash: "beef"}, b.note("head")
}

func (b *book) Anchored(_ context.Context, a remediation.Anchor) (string, error) {
	return "link 7", b.note("anchor " + a.String())
}

func TestAudit(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0af", 21) + "0"
	gone := fmt.Errorf("reading: %w", remediation.ErrNotFound)
	for name, c := range map[string]struct {
		path  string
		err   error
		code  int
		asked []any
		says  string
	}{
		"the first part":      {"/v1/audit", nil, 200, []any{"audit "}, `"findings":[],"next":"run:x"`},
		"the next part":       {"/v1/audit?place=run:a%20b", nil, 200, []any{"audit run:a b"}, `"runs":3`},
		"no such part":        {"/v1/audit?place=x", gone, 404, []any{"audit x"}, "not found"},
		"the head":            {"/v1/audit/head", nil, 200, []any{"head"}, `"anchor":"7:beef"`},
		"no head yet":         {"/v1/audit/head", gone, 404, []any{"head"}, "not found"},
		"an anchor":           {"/v1/audit/anchors/7:" + hash, nil, 200, []any{"anchor 7:" + hash}, `"where":"link 7"`},
		"an anchor of a run":  {"/v1/audit/anchors/" + hash, nil, 200, []any{"anchor " + hash}, `"anchor":"` + hash},
		"an anchor not found": {"/v1/audit/anchors/" + hash, gone, 404, []any{"anchor " + hash}, "not found"},
		"no anchor at all":    {"/v1/audit/anchors/7:x", nil, 400, nil, "N:HASH"},
		"a broken store":      {"/v1/audit", errTest, 500, []any{"audit "}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(accepting)
			s.book.err = c.err
			w := s.ask(bySocket, "GET", c.path, "")
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("answered %d %s, want %d with %q", w.Code, w.Body, c.code, c.says)
			}
			if diff := cmp.Diff(c.asked, s.book.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}
