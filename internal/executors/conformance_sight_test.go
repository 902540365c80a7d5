package executors_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
)

// sight is what there is to see of a play that is over: the system's ledger, the run, and what people were told.
type sight struct {
	trouble  trouble
	applied  int // changes that the system has made for us, by its own ledger
	outcome  remediation.Outcome
	calls    int      // that somebody answered or that were given up
	notes    []string // on the incident, of what became of the run
	asked    int      // approvals that were asked for, each of which pages
	called   int      // pages after the incident began
	resolved bool     // the incident
	untold   []string // messages that nobody has got
}

// fair are the outcomes that may be true of a call that met a trouble. What provably did nothing and passes is tried again; what has an
// effect, or may have one, is read back and never blindly made again.
var fair = map[trouble][]remediation.Outcome{
	noTrouble:   {remediation.Fixed},
	denied:      {remediation.NotFixed},
	notFound:    {remediation.NotFixed},
	quota:       {remediation.Fixed},
	conflict:    {remediation.Fixed, remediation.RefusedRun},
	hangs:       {remediation.Fixed, remediation.NeedsHuman},
	lateAnswer:  {remediation.Fixed, remediation.NeedsHuman},
	garbageBack: {remediation.Fixed, remediation.NeedsHuman},
	unseen:      {remediation.NeedsHuman},
}

// lasting are the troubles after which a call is not made again: it had an effect, or will not have one another time.
var lasting = []trouble{noTrouble, denied, notFound, lateAnswer, garbageBack, unseen}

// headOf is how a note begins for each outcome.
var headOf = map[remediation.Outcome]string{
	remediation.Fixed: "FIXED (verified)", remediation.NotFixed: "NOT FIXED", remediation.RefusedRun: "REFUSED (nothing was changed)",
	remediation.NeedsHuman: "NEEDS A HUMAN (the change may have taken effect)",
}

var deedEnd = regexp.MustCompile(`(?m)^- \d\d:\d\d:\d\dZ .*?: (done, read back at|failed: |not done: |never answered, no trace of it|unclear: |begun, its end)`)

// deeds are how the acts ended, as a note says it.
func deeds(note string) (ends []string) {
	_, done, _ := strings.Cut(note, "\nWhat was done\n")
	done, _, _ = strings.Cut(done, "\n\n")
	for _, m := range deedEnd.FindAllStringSubmatch(done, -1) {
		ends = append(ends, strings.TrimSuffix(m[1], ": "))
	}
	return ends
}

func countOf(all []string, wanted ...string) (n int) {
	for _, s := range all {
		if slices.Contains(wanted, s) {
			n++
		}
	}
	return n
}

// lies are what was done or said and is not so.
func (s sight) lies() (all []string) {
	for _, judge := range []func(sight) string{
		once, fairOutcome, trueOutcome, oneNote, noteOfOutcome, noteOfDeeds, noteOfNothing, noteOfProof, noBlindRetry, humanCalled, resolvedOnlyFixed, allTold,
	} {
		if lie := judge(s); lie != "" {
			all = append(all, lie)
		}
	}
	return all
}

func once(s sight) string {
	return unless(s.applied <= 1, "the change was made %d times", s.applied)
}

func fairOutcome(s sight) string {
	return unless(slices.Contains(fair[s.trouble], s.outcome), "after %s the outcome is %s, want one of %v", s.trouble, s.outcome, fair[s.trouble])
}

// trueOutcome: fixed is what was done, and refused or not fixed what was not, since the pulse is well as soon as it is done.
func trueOutcome(s sight) string {
	switch s.outcome {
	case remediation.Fixed:
		return unless(s.applied == 1, "fixed, and the ledger holds %d changes", s.applied)
	case remediation.RefusedRun, remediation.NotFixed, remediation.Observed, remediation.ResolvedItself:
		return unless(s.applied == 0, "%s, and the ledger holds the change", s.outcome)
	default:
		return ""
	}
}

func oneNote(s sight) string {
	return unless(len(s.notes) == 1, "%d notes tell the outcome", len(s.notes))
}

func (s sight) note() string { return strings.Join(s.notes, "\n") }

func noteOfOutcome(s sight) string {
	return unless(strings.HasPrefix(s.note(), "remediator: "+headOf[s.outcome]+": "), "the outcome is %s, the note says\n%s", s.outcome, s.note())
}

// noteOfDeeds: what the note calls done is in the ledger, and what is in the ledger the note calls done, or says that it cannot tell.
func noteOfDeeds(s sight) string {
	ends := deeds(s.note())
	done, doubt := countOf(ends, "done, read back at"), countOf(ends, "unclear", "begun, its end")
	return unless(done <= s.applied && s.applied <= done+doubt,
		"the ledger holds %d changes, the note tells %d done and %d unclear:\n%s", s.applied, done, doubt, s.note())
}

func noteOfNothing(s sight) string {
	return unless(s.applied == 0 || !strings.Contains(s.note(), "nothing was changed"), "the change was made, and the note says\n%s", s.note())
}

func noteOfProof(s sight) string {
	return unless(strings.Contains(s.note(), "\nHow it was verified\n") == (s.outcome == remediation.Fixed), "a proof of %s:\n%s", s.outcome, s.note())
}

func noBlindRetry(s sight) string {
	return unless(s.calls <= 1 || !slices.Contains(lasting, s.trouble), "after %s the call was made again: %d times", s.trouble, s.calls)
}

// humanCalled: whoever is asked for an approval is paged for it, and again when it did not end well.
func humanCalled(s sight) string {
	if s.outcome == remediation.Fixed {
		return unless(s.called == s.asked, "fixed, and %d humans were called for %d questions", s.called, s.asked)
	}
	return unless(s.called > s.asked, "%s, and no human was called", s.outcome)
}

func resolvedOnlyFixed(s sight) string {
	return unless(!s.resolved || s.outcome == remediation.Fixed, "%s, and the incident is resolved", s.outcome)
}

// allTold: what was not told is a resolution that its sender gives itself, if anything.
func allTold(s sight) string { return unless(len(s.untold) == 0, "untold: %v", s.untold) }

func unless(holds bool, format string, args ...any) string {
	if holds {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

const noteOfFixed = `remediator: FIXED (verified): verify held for 5ms.
rule play, target backend, mode auto

What was done
- 12:00:00Z flush: cache: done, read back at 12:00:01Z
    keys: 3 -> 0

How it was verified
- verify held for 5ms

journal head 1:abc`

// TestJudgeOfTruth shows that each rule of the judge finds its lie, and that the truth passes.
func TestJudgeOfTruth(t *testing.T) {
	t.Parallel()
	truth := func() sight {
		return sight{trouble: lateAnswer, applied: 1, outcome: remediation.Fixed, calls: 1, notes: []string{noteOfFixed}}
	}
	say := func(s *sight, old, now string) { s.notes[0] = strings.ReplaceAll(s.notes[0], old, now) }
	for name, c := range map[string]struct {
		lie  func(*sight)
		want string
	}{
		"the truth":                     {func(*sight) {}, ""},
		"made twice":                    {func(s *sight) { s.applied = 2 }, "made 2 times"},
		"given up though done":          {func(s *sight) { s.outcome = remediation.NotFixed }, "the outcome is not_fixed"},
		"fixed though not done":         {func(s *sight) { s.applied = 0 }, "holds 0 changes"},
		"refused though done":           {func(s *sight) { s.outcome = remediation.RefusedRun }, "holds the change"},
		"told twice":                    {func(s *sight) { s.notes = append(s.notes, noteOfFixed) }, "2 notes"},
		"told otherwise":                {func(s *sight) { say(s, "FIXED (verified)", "NOT FIXED") }, "the note says"},
		"done told as not done":         {func(s *sight) { say(s, "done, read back at", "not done: ") }, "0 done and 0 unclear"},
		"not done told as done":         {func(s *sight) { s.applied = 0 }, "1 done"},
		"nothing is said to be done":    {func(s *sight) { say(s, "verify held for 5ms.", "the system rejected the call, nothing was changed.") }, "the change was made"},
		"fixed without proof":           {func(s *sight) { say(s, "How it was verified", "Seen") }, "a proof of fixed"},
		"made again blindly":            {func(s *sight) { s.calls = 2 }, "made again"},
		"paged for what is well":        {func(s *sight) { s.called = 1 }, "1 humans"},
		"nobody is called":              {func(s *sight) { s.outcome = remediation.NeedsHuman }, "no human was called"},
		"asked and then left alone":     {func(s *sight) { s.outcome, s.asked, s.called = remediation.NeedsHuman, 1, 1 }, "no human was called"},
		"resolved though not fixed":     {func(s *sight) { s.outcome, s.resolved = remediation.NeedsHuman, true }, "is resolved"},
		"a message that nobody has got": {func(s *sight) { s.untold = []string{"note: dead"} }, "untold"},
	} {
		s := truth()
		c.lie(&s)
		if got := strings.Join(s.lies(), "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: the judge says %q, want %q", name, got, c.want)
		}
	}
}
