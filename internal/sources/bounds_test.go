package sources

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

func TestBoundsKeep(t *testing.T) {
	t.Parallel()
	b := Bounds{Alerts: 3, Labels: 2, LabelBytes: 4}
	with := func(labels ...string) alert.Alert {
		a := alert.Alert{Labels: map[string]string{}}
		for _, one := range labels {
			name, value, _ := strings.Cut(one, "=")
			a.Labels[name] = value
		}
		return a
	}
	good, many, long := with("a=1"), with("a=1", "b=2", "c=3"), with("a=12345")
	for name, c := range map[string]struct {
		alerts  []alert.Alert
		kept    int
		warning string
		err     string
	}{
		"none":                   {nil, 0, "", ""},
		"within":                 {[]alert.Alert{good, with("abcd=1234", "b=2"), with()}, 3, "", ""},
		"one too many alerts":    {[]alert.Alert{good, good, good, good}, 0, "", "4 alerts, more than 3"},
		"one of too many labels": {[]alert.Alert{good, many, good}, 2, "1 of 3 alerts are out of bounds and left out: alert 2: it has 3 labels, more than 2", ""},
		"one with a long value":  {[]alert.Alert{long, good}, 1, "alert 1: a label of it is longer than 4 bytes", ""},
		"a value of characters":  {[]alert.Alert{with("a=äöü"), good}, 1, "longer than 4 bytes", ""},
		"a long name":            {[]alert.Alert{good, with("abcde=1")}, 1, "a label of it is longer than 4 bytes", ""},
		"a time of no year":      {[]alert.Alert{{StartsAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600))}, good}, 1, "alert 1: the time lies", ""},
		"an end of no year":      {[]alert.Alert{good, {EndsAt: time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 14*3600))}}, 1, "alert 2: the time lies", ""},
		"none left":              {[]alert.Alert{long, many}, 0, "", "alert 1: a label of it"},
	} {
		d, err := b.Keep(Delivery{DedupKey: "k", Type: "firing", Warning: "w", Alerts: c.alerts})
		if len(d.Alerts) != c.kept || d.DedupKey != "k" || d.Type != "firing" {
			t.Errorf("%s: kept %+v", name, d)
		}
		if c.err != "" {
			wantError(t, err, c.err)
		} else if err != nil || !strings.HasPrefix(d.Warning, "w") || !strings.Contains(d.Warning, c.warning) {
			t.Errorf("%s: warning %q, %v", name, d.Warning, err)
		}
	}
}

// A time of the delivery itself that cannot be stored makes it invalid.
func TestBoundsOfTimes(t *testing.T) {
	t.Parallel()
	far := time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, d := range []Delivery{{OccurredAt: far}, {Holds: []Hold{{At: far}}}} {
		got, err := DefaultBounds().Keep(d)
		wantError(t, err, "the time lies before 1970 or far ahead")
		if len(got.Holds) > 0 {
			t.Errorf("kept %+v", got)
		}
	}
}
