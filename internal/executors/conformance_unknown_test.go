package executors_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/store/memory"
)

// TestEveryProbeUnknownActsOnNothing: a rule whose `if` needs what a probe could not tell changes nothing, and its note says what was missing
// and why. Where the probe has told all the same, such as that what it asks is sick, the rule acts: nothing is refused for nothing.
func TestEveryProbeUnknownActsOnNothing(t *testing.T) {
	t.Parallel()
	p, told := newPager(t), newTally(t)
	for _, name := range executors.Probes() {
		for _, tr := range []trouble{noTrouble, denied, notFound, quota, hangs, garbageBack} {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				got := playQuestion(t, p, name, tr)
				for range 2 { // on a busy machine the facts of a fast world may grow old before they are asked
					if tr == noTrouble && got.rec.Run.Reason == guard.UnknownFacts {
						got = playQuestion(t, p, name, tr)
					}
				}
				told.count(tr, got.rec.Run.Outcome)
				if n := got.stand.Writes(); n != 0 {
					t.Errorf("a probe wrote %d times", n)
				}
				if got.knows {
					acted(t, got.play, got.rec, got.flags)
					return
				}
				refused(t, got.play, got.rec, got.flags)
			})
		}
	}
}

// questioned is a play of a rule that asks a probe, when it is over.
type questioned struct {
	play  *play
	rec   memory.Record
	stand stand // of the probe
	flags stand // of what the rule changes
	knows bool  // the probe told all that the rule needs
}

func playQuestion(t *testing.T, p *pager, name string, tr trouble) questioned {
	t.Helper()
	s, probe := asked(t, name)
	untold := ask(t, s, probe, noTrouble).Unknown
	needs := slices.DeleteFunc(fieldsOf(t, name), func(field string) bool { return slices.Contains(untold, field) })
	if len(needs) == 0 {
		t.Fatal("the probe tells nothing even when it meets no trouble")
	}
	if tr != noTrouble && !s.Befall(tr, true) {
		t.Skipf("%s knows no such trouble", executors.System(name))
	}
	out := questioned{stand: s, flags: newFlagStand(t), knows: tr == noTrouble || known(ask(t, s, probe, tr), needs)}
	out.play = newPlay(t, p, questionScript(t, name, s, out.flags, needs, tr), time.Minute)
	if tr != noTrouble {
		out.play.asking = func() { s.Befall(tr, true) } // for as long as it is asked
	}
	out.rec = out.play.fire(s)
	return out
}

// answered is what a probe told in a world.
type answered struct {
	executors.Answer
	err error
}

// ask asks the probe itself, with no engine between.
func ask(t *testing.T, s stand, p executors.Probe, tr trouble) answered {
	t.Helper()
	env := s.Env()
	env.Speed = speed // as the engine's
	ctx, cancel := context.WithTimeout(t.Context(), askedWithin(tr))
	defer cancel()
	answer, err := p.Ask(ctx, env)
	if tr == noTrouble {
		must(t, err)
	}
	return answered{answer, err}
}

// askedWithin is short only where nobody answers.
func askedWithin(tr trouble) time.Duration {
	if tr == hangs {
		return 300 * time.Millisecond // longer than any question of the suite waits by itself
	}
	return 20 * time.Second
}

func known(a answered, needs []string) bool {
	return a.err == nil && !slices.ContainsFunc(needs, func(field string) bool { return slices.Contains(a.Unknown, field) })
}

func fieldsOf(t *testing.T, name string) []string {
	t.Helper()
	kind, _ := executors.LookupProbe(name)
	return factNames(t, kind.FactType())
}

// questionScript is a rule that switches a flag off, which is none of the stand's, when all the needed fields of a fact are known.
func questionScript(t *testing.T, name string, s, flags stand, needs []string, tr trouble) script {
	t.Helper()
	env, params := s.Env(), questions[name].params
	if f, fills := s.(interface{ fill(string) string }); fills {
		params = f.fill(params)
	}
	if params == "" {
		params = "{}"
	}
	out := script{
		target: env.Target, clients: maps.Clone(flags.Env().Connections), mode: rules.Auto, kind: "http.call", params: switchOff,
		gather: map[string]string{"pulse": newPulse(t, flags)},
	}
	maps.Copy(out.clients, env.Connections)
	out.gather["fact"] = "timeout: " + askedWithin(tr).String() + "\n" + name + ":\n  " + strings.ReplaceAll(strings.TrimSpace(params), "\n", "\n  ")
	var parts []string
	for _, field := range needs {
		parts = append(parts, "fact."+field+" == fact."+field)
	}
	out.when = strings.Join(append(parts, "pulse.sick"), " && ")
	return out
}

func acted(t *testing.T, p *play, rec memory.Record, flags stand) {
	t.Helper()
	if rec.Run.Outcome != remediation.Fixed || flags.Writes() != 1 {
		t.Errorf("all is known, and it ended as %s (%s) with %d changes: %s\n%s", rec.Run.Outcome, rec.Run.Reason, flags.Writes(), rec.Run.Detail, p.notes())
	}
}

func refused(t *testing.T, p *play, rec memory.Record, flags stand) {
	t.Helper()
	if rec.Run.Outcome != remediation.RefusedRun || rec.Run.Reason != guard.UnknownFacts || len(rec.Steps) != 0 || flags.Writes() != 0 {
		t.Errorf("a fact is unknown, and it ended as %s (%s) with %d changes: %s", rec.Run.Outcome, rec.Run.Reason, flags.Writes(), rec.Run.Detail)
	}
	notes := p.notes()
	if len(notes) != 1 {
		t.Fatalf("%d notes tell the outcome: %v", len(notes), notes)
	}
	for _, words := range []string{
		"remediator: REFUSED (nothing was changed): unknown_facts: rule play cannot be judged without fact", "\nWhat was done\n- nothing\n", whyOf(rec.Run),
	} {
		if !strings.Contains(notes[0], words) {
			t.Errorf("the note does not say %q:\n%s", words, notes[0])
		}
	}
	if n := p.called(); n != 0 {
		t.Errorf("%d humans were called for a run that silenced no pager", n)
	}
}

// whyOf is what the probe said when it was asked last.
func whyOf(r remediation.Run) string {
	for _, s := range slices.Backward(r.Seen) {
		switch {
		case s.Probe != "fact":
		case s.Err != "":
			return " fact: could not be had: " + s.Err
		default:
			return " fact: " + s.Summary
		}
	}
	return "what the probe said, which nobody has kept"
}
