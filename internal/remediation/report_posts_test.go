package remediation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// The report of a run that has acted or called a human is posted behind its outcome; of another it is not, nor where the file says so.
func TestReportIsPosted(t *testing.T) {
	t.Parallel()
	const slack = "tell: {pagerduty: {}, slack: {connection: chat}}"
	for name, c := range map[string]struct {
		parts []string
		want  int
	}{
		"acted":        {[]string{slack}, 2},
		"called":       {[]string{slack, "-do", "-verify"}, 2},
		"observed":     {[]string{slack, "mode: observe"}, 0},
		"switched off": {[]string{"tell: {pagerduty: {}, slack: {connection: chat, report: false}}"}, 0},
		"no Slack":     {[]string{"tell: {pagerduty: {}}"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newWorld(t, rule("cure", c.parts...)).play(down(api))
			var kinds []remediation.MessageKind
			note := ""
			for _, m := range v.Messages {
				switch {
				case m.Channel == remediation.Slack:
					kinds = append(kinds, m.Kind)
				case m.Kind == remediation.Note:
					note = m.Text
				}
			}
			n := len(kinds) - c.want
			for _, kind := range kinds[n:] {
				if kind != remediation.ReportRun {
					t.Errorf("posts %v, want the last %d to be the report", kinds, c.want)
				}
			}
			if n > 0 && kinds[n-1] == remediation.ReportRun {
				t.Errorf("posts %v, want %d of the report", kinds, c.want)
			}
			if told := strings.Contains(note, "remediator report "+v.Run.ID); told != (v.Run.Acted || v.Run.Escalated) {
				t.Errorf("the note tells of the report: %t:\n%s", told, note)
			}
		})
	}
}

// A report fits into two posts, however long the run was, and says where the rest is.
func TestReportPosts(t *testing.T) {
	t.Parallel()
	r := remediation.Report{
		Run: "r1", Title: "api: down", Summary: "NOT FIXED: x", Severity: "P0", Guards: "all allowed it",
		Review: []string{"Impact: who?"}, Actions: []string{"mend\nit"}, Evidence: []string{"12:00:00Z health: sick"},
	}
	for i := range 500 {
		r.Timeline = append(r.Timeline, remediation.ReportLine{At: noon.Add(time.Duration(i) * time.Second), Text: fmt.Sprintf("seen: look %d", i)})
	}
	posts := r.Posts()
	if len(posts) != 2 {
		t.Fatalf("%d posts", len(posts))
	}
	for _, part := range []string{"Report of api: down\nNOT FIXED: x\nSeverity P0.", "\nPost-mortem\n• Impact: who?", "• mend it\n", "All of it: remediator report r1"} {
		if !strings.Contains(posts[0], part) {
			t.Errorf("it does not say %q:\n%s", part, posts[0])
		}
	}
	if n := len([]rune(posts[1])); n > 7600 || !strings.Contains(posts[1], "• 12:00:00Z seen: look 0\n") || !strings.HasSuffix(posts[1], "more lines: remediator report r1") {
		t.Errorf("the timeline has %d characters and ends in %q", n, posts[1][len(posts[1])-80:])
	}
}
