package sources

import (
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

func TestWatchdogKnowsItsAlert(t *testing.T) {
	t.Parallel()
	w := &Watchdog{Match: []string{`alertname="Watchdog"`, `cluster=~"a|b"`}, Every: 5 * time.Minute}
	dog := map[string]string{"alertname": "Watchdog", "cluster": "a"}
	for name, c := range map[string]struct {
		alerts []alert.Alert
		want   bool
	}{
		"it":             {[]alert.Alert{{Status: alert.Firing, Labels: dog}}, true},
		"among others":   {[]alert.Alert{{Status: alert.Firing}, {Status: alert.Firing, Labels: dog}}, true},
		"its end":        {[]alert.Alert{{Status: alert.Resolved, Labels: dog}}, false},
		"of another one": {[]alert.Alert{{Status: alert.Firing, Labels: map[string]string{"alertname": "Watchdog", "cluster": "c"}}}, false},
		"none":           {nil, false},
	} {
		if got := w.In(c.alerts); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if got := w.Silence(); got != 450*time.Second {
		t.Errorf("it may stay away for %s", got)
	}
	if got := (&Watchdog{Every: time.Minute}).Silence(); got != 2*time.Minute {
		t.Errorf("with the least margin it may stay away for %s", got)
	}
}

func TestWatchdogIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dog  *Watchdog
		want string // "" for a good one
	}{
		"good":         {&Watchdog{Match: []string{`alertname="Watchdog"`}, Every: time.Minute}, ""},
		"nothing":      {&Watchdog{Every: time.Minute}, "watchdog.match: must name the alert"},
		"every alert":  {&Watchdog{Match: []string{`alertname=~".+"`}, Every: time.Minute}, "must name the alert"},
		"no matcher":   {&Watchdog{Match: []string{`alertname="Watchdog"`, `a=`}, Every: time.Minute}, "watchdog.match.1: cannot read the matcher"},
		"never late":   {&Watchdog{Match: []string{`alertname="Watchdog"`}}, "watchdog.every: "},
		"early margin": {&Watchdog{Match: []string{`alertname="Watchdog"`}, Every: time.Minute, Margin: -1}, "watchdog.margin: "},
	} {
		if err := c.dog.check(); c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			wantError(t, err, c.want)
		}
	}
}
