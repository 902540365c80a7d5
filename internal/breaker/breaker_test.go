package breaker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/breaker"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var policy = breaker.Policy{Failures: 3, ProbeAfter: time.Hour}

func TestFeed(t *testing.T) {
	t.Parallel()
	const inARow = "3 run(s) in a row did not help"
	open := breaker.Row{Failures: 3, OpenedAt: noon.Add(-time.Hour), Reason: inARow}
	probing := open.Begin("r1")
	latched := breaker.Row{}.Feed(policy, breaker.NeedsHuman, noon)
	for name, c := range map[string]struct {
		row    breaker.Row
		effect breaker.Effect
		want   breaker.Row
	}{
		"closed, no act":              {breaker.Row{}, breaker.None, breaker.Row{}},
		"closed, it helped":           {breaker.Row{Failures: 2}, breaker.Helped, breaker.Row{}},
		"the first failure":           {breaker.Row{}, breaker.Failed, breaker.Row{Failures: 1}},
		"the failure before the last": {breaker.Row{Failures: 1}, breaker.Failed, breaker.Row{Failures: 2}},
		"the last failure opens":      {breaker.Row{Failures: 2}, breaker.Failed, breaker.Row{Failures: 3, OpenedAt: noon, Reason: inARow}},
		"a human is needed: latched": {breaker.Row{}, breaker.NeedsHuman,
			breaker.Row{Failures: 1, OpenedAt: noon, Latched: true, Reason: "an act may have taken effect and nobody has looked yet"}},
		"the probe helped":         {probing, breaker.Helped, breaker.Row{}},
		"the probe failed":         {probing, breaker.Failed, breaker.Row{Failures: 4, OpenedAt: noon, Reason: "4 run(s) in a row did not help"}},
		"the probe said nothing":   {probing, breaker.None, probing},
		"latched stays, no effect": {latched, breaker.None, latched},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.row.Feed(policy, c.effect, noon)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPolicyOfNoFailuresOpensAtTheFirst(t *testing.T) {
	t.Parallel()
	if row := (breaker.Row{}).Feed(breaker.Policy{}, breaker.Failed, noon); !row.Open() {
		t.Error("it stayed closed")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	open := breaker.Row{Failures: 3, OpenedAt: noon, Reason: "why"}
	latched := open
	latched.Latched = true
	for name, c := range map[string]struct {
		row    breaker.Row
		policy breaker.Policy
		run    string
		after  time.Duration
		free   bool
	}{
		"closed":                        {breaker.Row{Failures: 2}, policy, "r1", 0, true},
		"open":                          {open, policy, "r1", time.Hour - 1, false},
		"half open":                     {open, policy, "r1", time.Hour, true},
		"half open, another one probes": {open.Begin("r0"), policy, "r1", 2 * time.Hour, false},
		"the probe itself goes on":      {open.Begin("r1"), policy, "r1", time.Minute, true},
		"no run has no name":            {open, policy, "", time.Minute, false},
		"no probes by policy":           {open, breaker.Policy{Failures: 3}, "r1", 1000 * time.Hour, false},
		"latched":                       {latched, policy, "r1", 1000 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if why := c.row.Judge(c.policy, c.run, noon.Add(c.after)); (why == "") != c.free {
				t.Errorf("got %q, want free %t", why, c.free)
			}
		})
	}
}

func TestBeginMarksOnlyAnOpenBreaker(t *testing.T) {
	t.Parallel()
	if row := (breaker.Row{Failures: 1}).Begin("r1"); row.Probe != "" {
		t.Errorf("a closed breaker has the probe %s", row.Probe)
	}
}

// life is a breaker under any order of runs, one at a time as the target's lock has it: what its rules promise holds after each step.
type life struct {
	row     breaker.Row
	now     time.Time
	run     string // the one under way, "" if none
	latched bool
	next    int
}

func (l *life) begin(t *rapid.T) {
	if l.run != "" {
		t.Skip("another run holds the target")
	}
	l.next++
	run := fmt.Sprint("r", l.next)
	if l.row.Judge(policy, run, l.now) != "" {
		return
	}
	switch {
	case l.latched:
		t.Fatalf("run %s was let through a latched breaker", run)
	case l.row.Open() && l.now.Sub(l.row.OpenedAt) < policy.ProbeAfter:
		t.Fatalf("run %s probes too early", run)
	}
	l.row, l.run = l.row.Begin(run), run
}

func (l *life) end(t *rapid.T) {
	if l.run == "" {
		t.Skip("none is under way")
	}
	effect := rapid.SampledFrom([]breaker.Effect{breaker.Helped, breaker.Failed, breaker.NeedsHuman}).Draw(t, "effect")
	before := l.row
	l.row, l.run = l.row.Feed(policy, effect, l.now), ""
	switch {
	case effect == breaker.Helped && l.row != breaker.Row{}:
		t.Fatalf("it helped, and left %+v", l.row)
	case effect == breaker.NeedsHuman && (!l.row.Open() || !l.row.Latched):
		t.Fatalf("a human is needed, and the row is %+v", l.row)
	case effect == breaker.Failed && before.Open() && !l.row.Open():
		t.Fatal("a failure closed it")
	case effect == breaker.Failed && l.row.Failures != before.Failures+1:
		t.Fatalf("a failure was not counted: %+v", l.row)
	}
	l.latched = l.latched || effect == breaker.NeedsHuman
}

func TestBreakerLifeProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &life{now: noon}
		t.Repeat(map[string]func(*rapid.T){
			"begin": l.begin,
			"end":   l.end,
			"wait": func(t *rapid.T) {
				l.now = l.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute)
			},
			"release": func(*rapid.T) { l.row, l.latched = breaker.Row{}, false },
			"": func(t *rapid.T) {
				if l.row.Open() && l.row.Reason == "" {
					t.Fatal("open and says no reason: it would be taken for closed")
				}
				if !l.row.Open() && l.row.Failures >= policy.Failures {
					t.Fatalf("closed after %d failures", l.row.Failures)
				}
				if l.row.Open() && l.row.Judge(policy, "another", l.row.OpenedAt.Add(policy.ProbeAfter-1)) == "" {
					t.Fatal("another run passes an open breaker")
				}
			},
		})
	})
}
