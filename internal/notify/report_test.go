package notify

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
)

// The report is posted in two parts, in the thread, once each whatever is lost, as the records say when it is told.
func TestReportIsPostedOnce(t *testing.T) {
	t.Parallel()
	for name, fault := range faults("/api/chat.postMessage") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			if fault.Path != "" {
				w.SetSlack(fault)
			}
			s := newStand(set,
				remediation.Message{ID: "s1", Channel: remediation.Slack, Kind: remediation.Post, Text: "resolved"},
				remediation.Message{ID: "s2", Channel: remediation.Slack, Kind: remediation.ReportRun, Text: "how to get it"},
				remediation.Message{ID: "s3", Channel: remediation.Slack, Kind: remediation.ReportRun, Text: "how to get it", Part: 1},
			)
			fails := true
			s.notifier.cfg.Report = func(_ context.Context, run string) (remediation.Report, error) {
				if fails { // the store is away for a moment
					fails = false
					return remediation.Report{}, errors.New("the disk")
				}
				return remediation.Report{Run: run, Title: "api <!channel>"}, nil
			}
			s.finish(t, rooms, 20)
			said := w.SlackMessages()
			if len(said) != 3 || !strings.HasPrefix(said[1].Text, "Report of api &lt;!channel&gt;\n") || !strings.HasPrefix(said[2].Text, "Timeline of run run-1\n") {
				t.Fatalf("Slack holds %+v", said)
			}
			for _, m := range said[1:] {
				if m.ThreadTS != said[0].TS {
					t.Errorf("%q stands in %q", m.Text, m.ThreadTS)
				}
			}
		})
	}
}

// Where the run is gone people are told how its report was to be had.
func TestReportOfNothing(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	s := newStand(set, remediation.Message{ID: "s1", Channel: remediation.Slack, Kind: remediation.ReportRun, Text: "how to get it", Part: 7})
	s.notifier.cfg.Report = func(context.Context, string) (remediation.Report, error) {
		return remediation.Report{}, remediation.ErrNotFound
	}
	s.finish(t, rooms, 2)
	if said := w.SlackMessages(); len(said) != 1 || said[0].Text != "how to get it" {
		t.Errorf("Slack holds %+v", said)
	}
}
