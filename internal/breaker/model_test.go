package breaker_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/breaker"
)

// model is a breaker as people draw it: the state it is in, and since when.
type model struct {
	state  string // closed, open, probing, latched
	since  int    // minutes from noon
	fails  int
	prober string
}

func (m model) lets(run string, probeAfter, now int) bool {
	switch m.state {
	case "closed":
		return true
	case "open":
		return probeAfter > 0 && now >= m.since+probeAfter
	case "probing":
		return run == m.prober
	default:
		return false
	}
}

func (m model) begin(run string) model {
	if m.state == "open" {
		m.state, m.prober = "probing", run
	}
	return m
}

func (m model) end(effect breaker.Effect, most, now int) model {
	switch {
	case effect == breaker.None:
	case effect == breaker.NeedsHuman:
		m = model{state: "latched", since: now, fails: m.fails + 1}
	case effect == breaker.Helped && m.state != "latched":
		m = model{state: "closed"}
	case effect == breaker.Failed && m.state == "latched":
		m.fails, m.since = m.fails+1, now
	case effect == breaker.Failed && (m.state != "closed" || m.fails+1 >= most):
		m = model{state: "open", since: now, fails: m.fails + 1}
	case effect == breaker.Failed:
		m.fails++
	}
	return m
}

// Under any schedule of runs, effects, releases and clocks, the stored row says what the drawing says. A release ends every state.
func TestBreakerModelProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		most, probeAfter := rapid.IntRange(1, 4).Draw(t, "failures"), rapid.SampledFrom([]int{0, 30, 60}).Draw(t, "probe after")
		p := breaker.Policy{Failures: most, ProbeAfter: time.Duration(probeAfter) * time.Minute}
		row, m, now := breaker.Row{}, model{state: "closed"}, 0
		at := func() time.Time { return noon.Add(time.Duration(now) * time.Minute) }
		someRun := func(t *rapid.T) string { return fmt.Sprint("r", rapid.IntRange(0, 3).Draw(t, "run")) }
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				if run := someRun(t); row.Judge(p, run, at()) == "" {
					row, m = row.Begin(run), m.begin(run)
				}
			},
			"end": func(t *rapid.T) {
				effect := rapid.SampledFrom([]breaker.Effect{breaker.None, breaker.Helped, breaker.Failed, breaker.Failed, breaker.NeedsHuman}).Draw(t, "effect")
				row, m = row.Feed(p, effect, at()), m.end(effect, most, now)
			},
			"clock":   func(t *rapid.T) { now += rapid.IntRange(-20, 60).Draw(t, "minutes") },
			"release": func(*rapid.T) { row, m = breaker.Row{}, model{state: "closed"} },
			"": func(t *rapid.T) {
				run := someRun(t)
				if why := row.Judge(p, run, at()); (why == "") != m.lets(run, probeAfter, now) {
					t.Fatalf("%s: the row %+v says %q, and the drawing is %+v", run, row, why, m)
				}
				if row.Failures != m.fails {
					t.Fatalf("%d failures in a row, want %d", row.Failures, m.fails)
				}
			},
		})
	})
}
