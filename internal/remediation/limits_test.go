package remediation_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// TestRateOfASource: what is over it is turned away for a while, and neither another source nor a stranger uses it up.
func TestRateOfASource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), "intake: {rate: {per_second: 10, burst: 3}}\n")
	send := func(source string, h http.Header) error {
		_, err := w.engine.Accept(t.Context(), remediation.Inbound{Source: source, Request: sources.Request{Header: h, Body: []byte("{")}})
		return err
	}
	for range 20 {
		if err := send("am", http.Header{"Forged": {"1"}}); !errors.Is(err, sources.ErrUnauthenticated) {
			t.Fatalf("a stranger: %v", err)
		}
	}
	for range 3 {
		must(t, send("am", nil))
	}
	if err := send("am", nil); !errors.Is(err, remediation.ErrTooMany) {
		t.Errorf("the fourth at once: %v", err)
	}
	must(t, send("pd", nil))
	w.advance(100 * time.Millisecond)
	must(t, send("am", nil))
	if err := send("am", nil); !errors.Is(err, remediation.ErrTooMany) {
		t.Errorf("the second within a tenth of a second: %v", err)
	}
}

// TestRateOfLargeDeliveries: those of a source are taken by a rate of their own, which leaves its small ones theirs.
func TestRateOfLargeDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), "intake: {large_rate: {per_second: 1, burst: 2}}\n")
	send := func(source string, size int) error {
		_, err := w.engine.Accept(t.Context(), remediation.Inbound{Source: source, Request: sources.Request{Body: make([]byte, size)}})
		return err
	}
	large := rules.LargeBody + 1
	for range 2 {
		must(t, send("am", large))
	}
	must(t, send("am", rules.LargeBody))
	if err := send("am", large); !errors.Is(err, remediation.ErrTooMany) || !strings.HasSuffix(err.Error(), "large_rate") {
		t.Errorf("the third large one at once: %v", err)
	}
	must(t, send("am", rules.LargeBody))
	must(t, send("pd", large))
	w.advance(time.Second)
	must(t, send("am", large))
}

// TestOutOfBounds: a delivery out of bounds is stored and flagged; one alert out of them does not take the others with it.
func TestOutOfBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"), "intake: {alerts: 3, labels: 4, label_bytes: 100B}\n")
	huge, wide := down(web), down(web)
	huge.Labels = map[string]string{"alertname": "Down", "service": web, "x": strings.Repeat("x", 101)}
	wide.Labels = map[string]string{"alertname": "Down", "service": web}
	for i := range 3 {
		wide.Labels[fmt.Sprint("l", i)] = ""
	}
	for name, c := range map[string]struct {
		alerts []alert.Alert
		state  remediation.EventState
		runs   int
		note   string
	}{
		"one of three": {[]alert.Alert{huge, down(api), wide}, remediation.EventMatched, 1, "2 of 3 alerts are out of bounds"},
		"all":          {[]alert.Alert{huge, wide}, remediation.EventInvalid, 0, "longer than 100 bytes"},
		"too many":     {[]alert.Alert{down(api), down(web), down(api), down(web)}, remediation.EventInvalid, 0, "4 alerts, more than 3"},
	} {
		got := w.deliver("am", sources.Delivery{DedupKey: name, Alerts: c.alerts})
		e := w.event(got.Event)
		if e.State != c.state || len(got.Runs) != c.runs || !strings.Contains(e.Note, c.note) {
			t.Errorf("%s: state %s, %d runs, note %q", name, e.State, len(got.Runs), e.Note)
		}
	}
}

// TestSeriesDoNotFollowTheSender: no value that a sender chooses makes a series of its own.
func TestSeriesDoNotFollowTheSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	w.metrics.Init(w.book.current)
	series := func() (n int) {
		families, err := w.registry.Gather()
		must(t, err)
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	deliver := func(i int) {
		a, strange := down(api), down(fmt.Sprintf("nobody-%d", i))
		a.Labels["instance"], a.Episode = fmt.Sprintf("host-%d", i), fmt.Sprintf("episode-%d", i)
		w.deliver("am", sources.Delivery{DedupKey: fmt.Sprint("d", i), Type: fmt.Sprint("type-", i), Alerts: []alert.Alert{a, strange}})
		w.deliver("am", sources.Delivery{DedupKey: fmt.Sprint("i", i), Ignored: fmt.Sprint("why ", i)})
	}
	deliver(0)
	before := series()
	for i := range 20 {
		deliver(i + 1)
	}
	if after := series(); after != before || before == 0 {
		t.Errorf("%d series before, %d after", before, after)
	}
}
