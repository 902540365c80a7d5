package simulation

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedsFlag  = flag.Int("seeds", 2000, "how many seeds to play")
	firstFlag  = flag.Uint64("first", 1, "the first of them")
	seedFlag   = flag.Uint64("seed", 0, "play this seed alone and tell its story")
	enoughFlag = flag.Int("enough", 0, "stop after so many seeds that are broken; 0: never")
	reportFlag = flag.String("report", "", "write what was reached to this file, as JSON")
	secondsHow = flag.Duration("progress", 0, "say how far it is, so often")
)

// What many seeds have to come to: a house that never acts breaks nothing.
const (
	many        = 250  // seeds, of which the shares are asked
	leastActing = 0.20 // of all seeds
	leastDid    = 0.99 // of the firings that had to be acted on
)

// worlds that are broken are told of up to this number.
const toldMost = 3

// playSeed plays one seed in a bubble of its own, where time is what the world makes of it.
func playSeed(t *testing.T, seed uint64, tell bool) *sim {
	var s *sim
	synctest.Test(t, func(*testing.T) {
		s = newSim(seed, tell)
		s.play()
	})
	return s
}

// TestSimulation plays the seeds and fails on the first promises that are broken.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		s := playSeed(t, *seedFlag, true)
		fmt.Fprintln(os.Stderr, s.tale())
		if len(s.violations) > 0 {
			t.Fail()
		}
		return
	}
	debug.SetGCPercent(400) // a world is small and soon gone
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 300)
	}
	total := newTally(*firstFlag)
	told := time.Now()
	for seed := *firstFlag; seed < *firstFlag+uint64(n); seed++ {
		s := playSeed(t, seed, false)
		total.add(s)
		if len(s.violations) > 0 && len(total.Bad) <= toldMost {
			t.Errorf("seed %d: %s\nreplay it with: make simulate SEED=%d", seed, playSeed(t, seed, true).tale(), seed)
		}
		if *enoughFlag > 0 && len(total.Bad) >= *enoughFlag {
			break
		}
		if *secondsHow > 0 && time.Since(told) > *secondsHow {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d seeds, %.0f per second, %d broken\n", total.Seeds, n, float64(total.Seeds)/time.Since(total.began).Seconds(), len(total.Bad))
		}
	}
	total.Seconds = time.Since(total.began).Seconds()
	report(t, total)
}

func report(t *testing.T, total *tally) {
	var b strings.Builder
	total.write(&b)
	t.Log(b.String())
	if total.Seeds >= many && float64(total.Acting) < leastActing*float64(total.Seeds) {
		t.Errorf("only %d of %d seeds act", total.Acting, total.Seeds)
	}
	if total.Seeds >= many && float64(total.DidAct) < leastDid*float64(total.MustAct) {
		t.Errorf("of %d firings that had to be acted on only %d were", total.MustAct, total.DidAct)
	}
	if len(total.Bad) > toldMost {
		t.Errorf("%d seeds are broken: %v", len(total.Bad), total.Bad[:min(len(total.Bad), 50)])
	}
	if *reportFlag == "" {
		return
	}
	text, err := total.json()
	if err == nil {
		err = os.WriteFile(*reportFlag, append(text, '\n'), 0o600)
	}
	if err != nil {
		t.Errorf("writing the report: %v", err)
	}
}

// tale is all that is known of a seed, for the reader of a failure.
func (s *sim) tale() string {
	var b strings.Builder
	for _, v := range s.violations {
		fmt.Fprintf(&b, "%s is broken at %.3f s: %s\n", v.invariant, v.at.Seconds(), v.text)
	}
	fmt.Fprintf(&b, "\nthe story of seed %d\n%s", s.seed, s.story)
	for _, rec := range s.records() {
		r := rec.Run
		fmt.Fprintf(&b, "\nrun %s (%s) on %s for %s: rule %s, %s %s %s: %s\n", r.ID, r.Origin, r.Target, r.Alert.Episode, r.Rule, r.State, r.Outcome, r.Reason, r.Detail)
		for _, e := range rec.Entries {
			fmt.Fprintf(&b, "  %9.3f %s: %s\n", e.At.Sub(s.began).Seconds(), e.Kind, e.Text)
		}
	}
	b.WriteString("\nthe calls\n")
	for _, c := range s.calls {
		fmt.Fprintf(&b, "  %9.3f %s by %s, %s: %s from %s to %s, landed %.3f\n", c.began.Seconds(), c.operation, c.replica, c.target, c.kind, c.from, c.to, c.landed.Seconds())
	}
	fmt.Fprintf(&b, "\nthe rules\n%s", codeOf(s.code, 0).text)
	return b.String()
}

// TestReplayIsExact: the same seed tells the same story, to the letter.
func TestReplayIsExact(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		first, second := playSeed(t, seed, true), playSeed(t, seed, true)
		if first.tale() != second.tale() {
			t.Fatalf("seed %d tells two stories:\n%s\n---\n%s", seed, first.tale(), second.tale())
		}
		if quiet := playSeed(t, seed, false); quiet.clockAtEnd != first.clockAtEnd || len(quiet.calls) != len(first.calls) {
			t.Fatalf("seed %d goes another way when nobody listens", seed)
		}
	}
}
