package torture

import (
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// clockSlack is how far the sandbox's and the servers' times may lie apart: all run on one machine.
const clockSlack = 100 * time.Millisecond

// mutations: each was decided by a record before it, and made once.
func (c *checker) mutations() {
	seen := map[string]bool{}
	for _, m := range c.made {
		step, recorded := c.operation[m.Operation]
		switch {
		case m.Operation == "":
			c.find(faultIntent, m.Resource, "was changed at %s without an operation's id", m.Time.Format(time.StampMilli))
			continue
		case seen[m.Operation]:
			c.find(faultTwice, m.Run, "operation %s was made twice", m.Operation)
		case !recorded:
			c.find(faultIntent, m.Run, "operation %s was made, and no step has it", m.Operation)
		case step.StartedAt.After(m.Time.Add(clockSlack)):
			c.find(faultIntent, m.Run, "operation %s was made %s before its step was recorded", m.Operation, step.StartedAt.Sub(m.Time))
		case !c.intended(m):
			c.find(faultIntent, m.Run, "operation %s was made, and the journal has no intent before it", m.Operation)
		}
		seen[m.Operation] = true
		if run, ok := c.Runs[m.Run]; ok && run.Target != m.Resource {
			c.find(faultOther, m.Run, "is for %s and changed %s", run.Target, m.Resource)
		}
		if o, ok := c.Outages[c.Runs[m.Run].Alert.Labels["outage"]]; ok && !o.Touches {
			c.find(faultOther, m.Run, "acted, and no rule may act in %q", o.Story)
		}
	}
	for run, all := range c.byRun {
		c.repeats(run, all)
	}
}

// intended reports whether the run's journal holds, before the call, as many intents as it has made calls.
func (c *checker) intended(m mutation) bool {
	intents, calls := 0, 0
	for _, e := range c.Journal[m.Run] {
		if e.Kind == remediation.EntryIntent && !e.At.After(m.Time.Add(clockSlack)) {
			intents++
		}
	}
	for _, other := range c.byRun[m.Run] {
		if other.Seq <= m.Seq {
			calls++
		}
	}
	return intents >= calls
}

// repeats finds a decision that was carried out twice under two ids: the same effect again, with nothing else in between.
func (c *checker) repeats(run string, all []mutation) {
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.Effect == b.Effect && c.operation[a.Operation].Undo == c.operation[b.Operation].Undo {
			c.find(faultTwice, run, "did the same by %s and %s: %s", a.Operation, b.Operation, a.Effect)
		}
	}
}

// blind finds calls that were made again although they had taken effect: where nobody meddles, only that costs a call its precondition.
func (c *checker) blind() {
	for _, e := range c.Ledger {
		if e.Verb != "update_service_refused" {
			continue
		}
		for run, made := range c.byRun {
			o := c.Outages[c.Runs[run].Alert.Labels["outage"]]
			if o.Service != e.Resource || o.Meddles || made[0].Seq > e.Seq {
				continue
			}
			if slices.ContainsFunc(c.handsOf(run), func(s handSpan) bool { return e.Time.After(s.from) && e.Time.Before(s.to) }) {
				c.find(faultTwice, run, "called again at %s after %v: %s", e.Time.Format(time.StampMicro), made[0], detail(e, "reason"))
			}
		}
	}
}

// handSpan is a time in which a run has its hand on a target.
type handSpan struct {
	run      string
	from, to time.Time
}

// hands: on one target only one run acts at a time, and each mutation falls into the time of its own run.
func (c *checker) hands() {
	byTarget := map[string][]handSpan{}
	for run := range c.byRun {
		target := c.Runs[run].Target
		byTarget[target] = append(byTarget[target], c.handsOf(run)...)
	}
	for target, spans := range byTarget {
		slices.SortFunc(spans, func(a, b handSpan) int { return a.from.Compare(b.from) })
		for i := 1; i < len(spans); i++ {
			if a, b := spans[i-1], spans[i]; b.from.Before(a.to) && a.run != b.run {
				c.find(faultOverlap, target, "run %s began to act at %s, while run %s did until %s",
					b.run, b.from.Format(time.StampMicro), a.run, a.to.Format(time.StampMicro))
			}
		}
	}
	for _, m := range c.made {
		own := c.handsOf(m.Run)
		inside := slices.ContainsFunc(own, func(s handSpan) bool {
			return !m.Time.Before(s.from.Add(-clockSlack)) && !m.Time.After(s.to.Add(clockSlack))
		})
		if len(own) > 0 && !inside {
			c.find(faultOverlap, m.Run, "operation %s came at %s, when the run did not act", m.Operation, m.Time.Format(time.StampMicro))
		}
	}
}

// handsOf is the time from a run's first intent to its end. A follow-up lets go whenever it waits for calm: its hand is on the target
// from each act's intent to that act's end.
func (c *checker) handsOf(id string) []handSpan {
	run, steps := c.Runs[id], c.Steps[id]
	if len(steps) == 0 {
		return nil
	}
	if run.Origin != remediation.ByFollowUp {
		return []handSpan{{run: id, from: steps[0].StartedAt, to: orNow(run.DoneAt)}}
	}
	var all []handSpan
	for _, s := range steps {
		all = append(all, handSpan{run: id, from: s.StartedAt, to: orNow(s.EndedAt)})
	}
	return all
}

// orNow is the end of what goes on.
func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

func (m mutation) String() string { return fmt.Sprintf("%s: %s", m.Operation, m.Effect) }
