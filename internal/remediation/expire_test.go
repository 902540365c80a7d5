package remediation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// forAnHour makes what is planned one that is made for an hour.
func forAnHour(c *executors.Change) { c.Lasts = time.Hour }

// lasting plays a rule whose act is made for an hour, and gives its run's follow-up.
func lasting(t *testing.T, parts ...string) (w *world, parent, follow string) {
	t.Helper()
	w = newWorld(t, rule("block", parts...))
	w.scene(api).hooks.change = forAnHour
	parent = w.play(down(api)).Run.ID
	return w, parent, w.followUp(parent)
}

// lapsed is a follow-up at the moment at which it wakes.
func lapsed(t *testing.T) (w *world, follow string) {
	t.Helper()
	w, _, follow = lasting(t)
	w.advance(w.view(follow).Run.WakeAt.Sub(w.now()))
	return w, follow
}

func (w *world) wantEnded(id string) {
	w.t.Helper()
	v := w.finish(id)
	if state, _ := w.scene(api).now(); v.Run.Outcome != remediation.Undone || state != "bad" {
		w.t.Errorf("ended %s with the target %s, want it as before the act\n%s", v.Run.Outcome, state, story(v))
	}
}

func TestWhatIsMadeForATimeIsEnded(t *testing.T) {
	t.Parallel()
	w, parent, follow := lasting(t)
	run := w.view(parent)
	at := run.Steps[0].EndedAt.Add(time.Hour)
	note := run.Messages[len(run.Messages)-2].Text
	if says := "until " + at.Format(time.DateTime) + "Z; remediator ends it then"; run.Run.Outcome != remediation.Fixed || !strings.Contains(note, says) {
		t.Errorf("ended %s, and the note does not say %q:\n%s", run.Run.Outcome, says, note)
	}
	report := remediation.NewReport(remediation.Told{Run: run.Run, Steps: run.Steps}).Markdown()
	if !strings.Contains(report, "it stands until "+at.Format(time.DateOnly)) {
		t.Errorf("the report does not say until when it stands:\n%s", report)
	}
	waits := w.view(follow).Run
	must(t, w.engine.Advance(t.Context(), remediation.Hint{Run: follow, Version: waits.Version})) // an early hint does nothing
	if w.scene(api).made("undo") != 0 {
		t.Error("it was ended before its time")
	}
	w.restart()
	w.wantEnded(follow)
	if !w.now().Equal(at) {
		t.Errorf("ended at %s, want %s", w.now(), at)
	}
	if n := len(w.acts()); n != 2 {
		t.Errorf("%d debits for an act and its end", n)
	}
	w.expect(w.view(follow), end{Outcome: remediation.Undone, Steps: oneApplied, Messages: toldOnly})
	if runs := w.runs(); len(runs) != 2 {
		t.Errorf("%d runs, want the act's and that of its end", len(runs))
	}
}

// What a run has left is ended however the run ended.
func TestAnyOutcomeIsEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   string
		play func(*scene)
		want remediation.Outcome
	}{
		"it did not help":   {"fake.act: {to: other}", func(*scene) {}, remediation.NotFixed},
		"it cannot be told": {"fake.act: {to: other}", func(s *scene) { s.hooks.ask = afterTheAct(s, errTimeout) }, remediation.Inconclusive},
		"its call is unclear": {"fake.act: {to: other}", func(s *scene) {
			s.hooks.apply, s.hooks.observe = failing(1, true, errTimeout), always(executors.Unclear, "?")
		}, remediation.NeedsHuman},
		"its undo is refused": {"fake.back: {to: other}", func(s *scene) { s.hooks.undo = func() error { return guard.Refuse(guard.OutOfBounds, "no") } }, remediation.NotFixed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("block", "do: [{"+c.do+"}]"))
			s := w.scene(api)
			s.hooks.change = forAnHour
			c.play(s)
			v := w.play(down(api))
			if v.Run.Outcome != c.want {
				t.Fatalf("ended %s\n%s", v.Run.Outcome, story(v))
			}
			s.hooks = hooks{}
			w.wantEnded(w.followUp(v.Run.ID))
		})
	}
}

// afterTheAct fails whatever is asked after the first call.
func afterTheAct(s *scene, err error) func(int, *fact) ([]string, error) {
	return func(int, *fact) ([]string, error) {
		if s.made("apply") > 0 {
			return nil, err
		}
		return nil, nil
	}
}

// What was taken back already, or ends by itself, needs nobody.
func TestNothingIsLeftToEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do     string
		change func(*executors.Change)
		says   string
	}{
		"taken back":      {"fake.back: {to: other}", forAnHour, ""},
		"ends by itself":  {"fake.act: {to: good}", func(c *executors.Change) { c.Lasts, c.EndsItself = time.Hour, true }, "the system ends it then by itself"},
		"for no set time": {"fake.act: {to: good}", func(*executors.Change) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("block", "do: [{"+c.do+"}]"))
			w.scene(api).hooks.change = c.change
			v := w.play(down(api))
			if n := len(w.runs()); n != 1 {
				t.Errorf("%d runs after one that ended %s", n, v.Run.Outcome)
			}
			note := v.Messages[len(v.Messages)-1].Text + v.Messages[1].Text
			if !strings.Contains(note, c.says) || strings.Contains(note, "How long it stands") != (c.says != "") {
				t.Errorf("the note says\n%s", note)
			}
		})
	}
}

// G19: nothing that stops automation stops the end of what was made for a time.
func TestNothingStopsTheEnd(t *testing.T) {
	t.Parallel()
	w, follow := lapsed(t)
	w.pause(guard.Fleet, "")
	for range 5 {
		_ = w.systems.Do("fake", false, func() error { return errTimeout })
	}
	w.racing.blind = errors.New("the snapshot cannot be read")
	for range 9 {
		if isDone(w.view(follow).Run) {
			break
		}
		must(t, w.visit(follow))
	}
	if v := w.view(follow); v.Run.Outcome != remediation.Undone {
		t.Errorf("ended %s\n%s", v.Run.Outcome, story(v))
	}
}

// A run that is at work on the target is waited for.
func TestTheEndWaitsForTheTarget(t *testing.T) {
	t.Parallel()
	w, _, follow := lasting(t, unhurried)
	w.scene(api).hooks.change = nil
	w.advance(w.view(follow).Run.WakeAt.Sub(w.now()) - 10*time.Second)
	w.scene(api).cured = map[string]bool{"never": true}
	busy := other(api)
	busy.StartsAt = w.now()
	id := w.fire(busy)
	w.until(id, inPhase(remediation.PhaseVerify))
	w.scene(api).set("good")
	w.until(follow, func(remediation.Run) bool { return w.now().Sub(noon) > 63*time.Minute })
	if n := w.scene(api).made("apply"); n != 2 {
		t.Fatalf("%d calls while another run holds the target", n)
	}
	w.finish(id)
	w.wantEnded(follow)
}

// A system that is away is waited for; people are told once that it is late.
func TestTheEndIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*scene, func() error){
		"the plan": func(s *scene, err func() error) { s.hooks.undo = err },
		"the call": func(s *scene, err func() error) {
			s.hooks.apply = func(int) (bool, error) { e := err(); return e == nil, e }
		},
		"the read-back": func(s *scene, err func() error) {
			s.hooks.observe = func(_ int, o executors.Observation) (executors.Observation, error) { return o, err() }
		},
	} {
		for _, err := range []error{errTimeout, status.Error(codes.PermissionDenied, "no"), status.Error(codes.ResourceExhausted, "quota"), guard.Refuse(guard.Reconciling, "a change is under way")} {
			t.Run(fmt.Sprint(name, " ", err), func(t *testing.T) {
				t.Parallel()
				w, follow := lapsed(t)
				since := w.now()
				away(w.scene(api), func() error {
					if w.now().Sub(since) < 2*time.Hour {
						return err
					}
					return nil
				})
				late := w.until(follow, func(r remediation.Run) bool { return r.Escalated })
				if after := w.now().Sub(since); after < 15*time.Minute || after > 16*time.Minute || !strings.Contains(late.Messages[0].Text, "still stands") {
					t.Errorf("people were told after %s: %s", after, late.Messages[0].Text)
				}
				w.wantEnded(follow)
				w.expect(w.view(follow), end{
					Outcome: remediation.Undone, Steps: endOf(w.view(follow)).Steps, Messages: []remediation.MessageKind{remediation.Escalate, remediation.Note, remediation.Note},
				})
				if after, tries := w.now().Sub(since), w.scene(api).made("undo")+w.scene(api).made("observe"); after > 3*time.Hour || tries > 60 {
					t.Errorf("ended after %s and %d looks", after, tries)
				}
				if n := len(w.acts()); n != 2 {
					t.Errorf("%d debits for an act and its end", n)
				}
			})
		}
	}
}

// What another hand has changed is that hand's: people are told what is left.
func TestTheEndIsNotThatOfAnotherHand(t *testing.T) {
	t.Parallel()
	w, follow := lapsed(t)
	w.scene(api).set("theirs")
	v := w.finish(follow)
	if state, _ := w.scene(api).now(); state != "theirs" {
		t.Errorf("the target is %s", state)
	}
	w.expect(v, end{Outcome: remediation.RefusedRun, Reason: string(guard.HumanHand), Messages: toldOnly})
	for _, says := range []string{"the target is theirs", "does not touch any more", "set it back to bad", "set api from bad to good"} {
		if !strings.Contains(v.Messages[0].Text, says) {
			t.Errorf("it does not say %q:\n%s", says, v.Messages[0].Text)
		}
	}
}

// What is gone already has ended.
func TestTheEndOfWhatIsGone(t *testing.T) {
	t.Parallel()
	w, follow := lapsed(t)
	w.scene(api).hooks.undo = func() error { return guard.Refuse(guard.NothingToDo, "there is no such rule") }
	w.expect(w.finish(follow), end{Outcome: remediation.Observed, Messages: toldOnly})
}

// A change without a way back, which a human has approved, is not ended by guessing: somebody is called.
func TestTheEndOfWhatHasNoWayBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("block", "mode: approve"))
	w.scene(api).hooks.change = func(c *executors.Change) { c.Lasts, c.Reversible, c.UndoHint = time.Hour, false, "" }
	asked := w.asked()
	must(t, w.answer(asked, asked.Asked, true))
	w.heard(asked)
	follow := w.followUp(w.finish(asked.ID).Run.ID)
	w.expect(w.finish(follow), end{Outcome: remediation.RefusedRun, Reason: string(guard.NeedsApproval), Messages: toldHuman})
	if w.scene(api).made("undo") != 0 {
		t.Error("its way back was planned")
	}
}

// People hear of the end even when the rules that told of the act are gone.
func TestTheEndWithoutItsRules(t *testing.T) {
	t.Parallel()
	w, follow := lapsed(t)
	w.load(rule("another"))
	w.engine.Rules = lost{w.book}
	w.wantEnded(follow)
	if n := len(w.view(follow).Messages); n == 0 {
		t.Error("nobody was told")
	}
}

// A process that dies at any commit of the end leaves it to the next one: it is ended once.
func TestADeathAtEveryCommitOfTheEnd(t *testing.T) {
	t.Parallel()
	for n := 1; n < 20; n++ {
		w, follow := lapsed(t)
		w.racing.commits, w.racing.dieAfter = 0, n
		died := w.visitUntilDeath(follow)
		if died {
			w.restart()
		}
		w.wantEnded(follow)
		if _, version := w.scene(api).now(); version != 2 {
			t.Errorf("after a death at commit %d the target was changed %d times, want 2", n, version)
		}
		if !died {
			return
		}
	}
}
