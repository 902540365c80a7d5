package simulation

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// reached is what one seed has met.
type reached struct {
	faults   [faults]bool
	checks   map[string]bool // invariants that were put to the test
	refusals map[string]bool
	guards   map[string]bool // that have refused
	outcomes map[string]bool
	verdicts map[string]bool
	marks    map[string]bool
	expected map[string]bool // of firings, with the reason
	acts     bool
	must     int // firings that had to be acted on
	did      int // and were
	missed   []string
}

func newReached() reached {
	return reached{
		checks: map[string]bool{}, refusals: map[string]bool{}, guards: map[string]bool{}, outcomes: map[string]bool{}, verdicts: map[string]bool{}, marks: map[string]bool{},
		expected: map[string]bool{},
	}
}

// tally is what many seeds have met: in how many of them each thing was reached.
type tally struct {
	Seeds      int            `json:"seeds"`
	First      uint64         `json:"first_seed"`
	Seconds    float64        `json:"seconds"`
	Acting     int            `json:"seeds_that_act"`
	MustAct    int            `json:"must_act"`
	DidAct     int            `json:"did_act"`
	Checks     map[string]int `json:"invariants"`
	Faults     map[string]int `json:"faults"`
	Refusals   map[string]int `json:"refusals"`
	Guards     map[string]int `json:"guards"`
	Outcomes   map[string]int `json:"outcomes"`
	Verdicts   map[string]int `json:"verdicts"`
	Marks      map[string]int `json:"marks"`
	Expected   map[string]int `json:"expected"`
	Missed     []string       `json:"missed"`
	Violations map[string]int `json:"violations"`
	Bad        []uint64       `json:"bad_seeds"`

	began time.Time
}

func newTally(first uint64) *tally {
	t := &tally{
		First: first, began: time.Now(), Checks: map[string]int{}, Faults: map[string]int{}, Refusals: map[string]int{}, Guards: map[string]int{}, Outcomes: map[string]int{},
		Verdicts: map[string]int{}, Marks: map[string]int{}, Expected: map[string]int{}, Violations: map[string]int{}, Missed: []string{}, Bad: []uint64{},
	}
	for _, name := range faultNames {
		t.Faults[name] = 0
	}
	return t
}

// add counts a seed.
func (t *tally) add(s *sim) {
	t.Seeds++
	r := s.reached
	if r.acts {
		t.Acting++
	}
	for f, met := range r.faults {
		if met {
			t.Faults[faultNames[f]]++
		}
	}
	for into, from := range map[*map[string]int]map[string]bool{
		&t.Checks: r.checks, &t.Refusals: r.refusals, &t.Guards: r.guards, &t.Outcomes: r.outcomes, &t.Verdicts: r.verdicts, &t.Marks: r.marks, &t.Expected: r.expected,
	} {
		for name := range from {
			(*into)[name]++
		}
	}
	t.MustAct += r.must
	t.DidAct += r.did
	t.Missed = append(t.Missed, r.missed...)
	if len(s.violations) > 0 {
		t.Bad = append(t.Bad, s.seed)
		t.Violations[s.violations[0].invariant]++
	}
}

// write shows the tally to a reader.
func (t *tally) write(w io.Writer) {
	share := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
	fmt.Fprintf(w, "%d seeds from %d in %.1f s (%.0f per second); %.1f %% act; must act %d, did %d (%.2f %%); violations %d\n", t.Seeds, t.First,
		t.Seconds, float64(t.Seeds)/max(t.Seconds, 0.001), share(t.Acting, t.Seeds), t.MustAct, t.DidAct, share(t.DidAct, t.MustAct), len(t.Bad))
	for _, part := range []struct {
		name   string
		counts map[string]int
	}{
		{"violations", t.Violations}, {"invariants", t.Checks}, {"outcomes", t.Outcomes}, {"refusals", t.Refusals}, {"guards", t.Guards}, {"verdicts", t.Verdicts},
		{"faults", t.Faults}, {"marks", t.Marks}, {"expected", t.Expected},
	} {
		fmt.Fprintf(w, "  %s:", part.name)
		for _, name := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(w, " %s=%d", name, part.counts[name])
		}
		fmt.Fprintln(w)
	}
	for _, text := range t.Missed[:min(len(t.Missed), 20)] {
		fmt.Fprintln(w, "  missed:", text)
	}
}

func (t *tally) json() ([]byte, error) { return json.MarshalIndent(t, "", "  ") }
