package remediation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// outcomeCase is one alert on api from its webhook to the run's end.
type outcomeCase struct {
	rules   []string
	prepare func(w *world)
	want    end
	applies int    // calls that were made
	detail  string // part of the run's sentence
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, c := range outcomeCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.rules...)
			if c.prepare != nil {
				c.prepare(w)
			}
			v := w.play(down(api))
			w.expect(v, c.want)
			if got := w.scene(api).made("apply"); got != c.applies {
				t.Errorf("%d calls were made, want %d\n%s", got, c.applies, story(v))
			}
			if !strings.Contains(v.Run.Detail, c.detail) {
				t.Errorf("the sentence is %q, want %q in it", v.Run.Detail, c.detail)
			}
		})
	}
}

type verdicts = map[string]remediation.Verdict

func outcomeCases() map[string]outcomeCase {
	all := map[string]outcomeCase{}
	for _, some := range []map[string]outcomeCase{verifyCases(), chooseCases(), answerCases(), ladderCases(), takeBackCases()} {
		for name, c := range some {
			all[name] = c
		}
	}
	return all
}

func verifyCases() map[string]outcomeCase {
	return map[string]outcomeCase{
		"fixed": {
			rules: []string{rule("cure")}, applies: 1, detail: "verify held for 1m0s",
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{"cure": remediation.Chosen}},
		},
		"fixed, and the rule does not resolve": {
			rules: []string{rule("cure", "tell: {pagerduty: {}}")}, applies: 1,
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed[:2]},
		},
		"not fixed": {
			rules: []string{rule("cure", "do: [{fake.act: {to: other}}]")}, applies: 1, detail: "at the deadline verify did not hold",
			want: end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed, Rulings: verdicts{"cure": remediation.Chosen}},
		},
		"unknown at the deadline": {
			rules: []string{rule("cure")}, applies: 1, detail: "could not be told",
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
					if n > 1 {
						return []string{"ok"}, nil
					}
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed},
		},
		"held too short": {
			rules: []string{rule("cure")}, applies: 1, detail: "had held for only",
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(_ int, f *fact) ([]string, error) {
					f.OK = w.now().Sub(noon) > 4*time.Minute+30*time.Second
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed},
		},
		"a sample that fails begins the hold again, and only that": {
			rules: []string{rule("cure")}, applies: 1, detail: "verify held for 1m0s",
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, f *fact) ([]string, error) {
					f.OK = f.OK && n != 5
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"another hand while the effect is verified": {
			rules: []string{rule("cure")}, applies: 1, detail: "somebody else changed the target",
			prepare: func(w *world) { w.scene(api).hooks.ask = foreignAt(w, 3, "theirs") },
			want:    end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed},
		},
		"another hand puts it back while the effect is verified": {
			rules: []string{rule("cure")}, applies: 1, detail: "somebody else changed the target",
			prepare: func(w *world) {
				w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
					if n > 3 {
						o = executors.Observation{Progress: executors.NotApplied, Detail: "it is as it was before"}
					}
					return o, nil
				}
			},
			want: end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed},
		},
		"settle begins when the change is read back": {
			rules: []string{rule("cure", "verify: {if: health.ok, hold: 1m, within: 5m, every: 10s, settle: 2m}")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.observe = func(_ int, o executors.Observation) (executors.Observation, error) {
					if w.now().Sub(noon) < 3*time.Minute {
						o.Progress = executors.Pending
					}
					return o, nil
				}
				w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
					if n > 1 && w.now().Sub(noon) < 5*time.Minute {
						w.t.Error("asked before it had settled")
					}
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"settle is waited for": {
			rules: []string{rule("cure", "verify: {if: health.ok, hold: 1m, within: 5m, every: 10s, settle: 2m}")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, f *fact) ([]string, error) {
					if n > 1 && w.now().Sub(noon) < 2*time.Minute {
						return nil, errors.New("asked before it had settled")
					}
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
	}
}

// foreignAt lets another hand change api when the n-th question is asked.
func foreignAt(w *world, at int, state string) func(int, *fact) ([]string, error) {
	return func(n int, _ *fact) ([]string, error) {
		if n == at {
			w.scene(api).set(state)
		}
		return nil, nil
	}
}

func chooseCases() map[string]outcomeCase {
	unknown := func(w *world) {
		w.scene(api).hooks.ask = func(int, *fact) ([]string, error) { return []string{"ok"}, nil }
	}
	return map[string]outcomeCase{
		"observe leaves a note and no acknowledgement": {
			rules: []string{rule("look", "mode: observe")}, detail: "it would set api from bad to good",
			want: end{Outcome: remediation.Observed, Messages: toldOnly, Rulings: verdicts{"look": remediation.Chosen}},
		},
		"observe never shadows": {
			rules: []string{rule("look", "mode: observe"), rule("cure")}, applies: 1,
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed,
				Rulings: verdicts{"look": remediation.Chosen, "cure": remediation.Chosen}},
		},
		"the first that holds is chosen, the second shadowed": {
			rules: []string{rule("no", `if: health.value > 5.0`), rule("first"), rule("second")}, applies: 1,
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed,
				Rulings: verdicts{"no": remediation.IfFalse, "first": remediation.Chosen, "second": remediation.Shadowed}},
		},
		"no condition holds": {
			rules: []string{rule("first", "if: health.ok"), rule("second", "if: health.ok")}, detail: "no rule's condition held",
			want: end{Rulings: verdicts{"first": remediation.IfFalse, "second": remediation.IfFalse}},
		},
		"facts that cannot be had": {
			rules: []string{rule("no", `if: health.value > 5.0`), rule("cure")}, prepare: unknown, detail: "health.ok",
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.UnknownFacts), Messages: toldOnly,
				Rulings: verdicts{"no": remediation.IfFalse, "cure": remediation.Refused}},
		},
		"facts that come with the third try": {
			rules: []string{rule("cure")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
					if n < 3 {
						return nil, errors.New("not now")
					}
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed, Rulings: verdicts{"cure": remediation.Chosen}},
		},
		"an unknown fact that does not decide": {
			rules:   []string{rule("cure", `if: health.ill || health.value > 5.0`)},
			applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(int, *fact) ([]string, error) { return []string{"value"}, nil }
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"approve asks, and does nothing when nobody answers": {
			rules: []string{rule("cure", "mode: approve")}, detail: "nobody answered",
			want: end{
				Outcome: remediation.RefusedRun, Reason: string(guard.ApprovalExpired), Rulings: verdicts{"cure": remediation.Refused},
				Messages: []remediation.MessageKind{remediation.Escalate, remediation.Note, remediation.Escalate, remediation.Note},
			},
		},
		"a rule that only diagnoses calls a human": {
			rules: []string{rule("say", "-do", "-verify")}, detail: "only diagnoses",
			want: end{Outcome: remediation.Observed, Messages: toldHuman, Rulings: verdicts{"say": remediation.Chosen}},
		},
	}
}

func ladderCases() map[string]outcomeCase {
	two := []remediation.StepState{remediation.StepApplied, remediation.StepApplied}
	return map[string]outcomeCase{
		"the second rung helps": {
			rules: []string{rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]")}, applies: 2,
			want: end{Outcome: remediation.Fixed, Steps: two, Messages: toldFixed},
		},
		"no rung helps": {
			rules: []string{rule("cure", "do: [{fake.act: {to: one}}, {fake.act: {to: two}}]")}, applies: 2,
			want: end{Outcome: remediation.NotFixed, Steps: two, Messages: toldNotFixed},
		},
		"the second rung needs a budget too": {
			rules:   []string{rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]", "guard: {per_hour: 1}")},
			applies: 1, detail: "budget_exhausted",
			want: end{Outcome: remediation.NotFixed, Reason: string(guard.BudgetExhausted), Steps: oneApplied, Messages: toldNotFixed,
				Rulings: verdicts{"cure": remediation.Chosen}},
		},
		"no second rung after what could not be told": {
			rules: []string{rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, _ *fact) ([]string, error) {
					if n > 1 {
						return nil, errors.New("no answer")
					}
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Inconclusive, Steps: oneApplied, Messages: toldNotFixed},
		},
		"a rejected rung is followed by the next": {
			rules: []string{rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: good}}]")}, applies: 2,
			prepare: func(w *world) { w.scene(api).hooks.apply = failing(1, false, status.Error(codes.NotFound, "gone")) },
			want:    end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepFailed, remediation.StepApplied}, Messages: toldFixed},
		},
		"one change in two calls": {
			rules: []string{rule("cure", "do: [{fake.two: {to: half, then: good}}]")}, applies: 2,
			want: end{Outcome: remediation.Fixed, Steps: two, Messages: toldFixed},
		},
	}
}

func takeBackCases() map[string]outcomeCase {
	two := []remediation.StepState{remediation.StepApplied, remediation.StepApplied}
	ladder := "do: [{fake.back: {to: other}}, {fake.act: {to: good}}]"
	return map[string]outcomeCase{
		"a change that did not help is taken back": {
			rules: []string{rule("cure", "do: [{fake.back: {to: other}}]")}, applies: 2, detail: "verify did not hold",
			want: end{Outcome: remediation.Undone, Steps: two, Messages: toldNotFixed},
		},
		"it is not taken back over another hand": {
			rules: []string{rule("cure", "do: [{fake.back: {to: other}}]")}, applies: 1, detail: "taking it back was not possible",
			prepare: func(w *world) {
				w.scene(api).hooks.undo = func() error { return guard.Refuse(guard.HumanHand, "it is theirs") }
			},
			want: end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed},
		},
		"taking it back is rejected": {
			rules: []string{rule("cure", ladder)}, applies: 2, detail: "what was done before it stands",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = func(n int) (bool, error) {
					if n == 2 {
						return false, status.Error(codes.PermissionDenied, "no")
					}
					return true, nil
				}
			},
			want: end{Outcome: remediation.NotFixed, Steps: []remediation.StepState{remediation.StepApplied, remediation.StepFailed}, Messages: toldNotFixed},
		},
		"taking it back has no effect at first": {
			rules: []string{rule("cure", ladder)}, applies: 3, detail: "was taken back",
			prepare: func(w *world) { w.scene(api).hooks.apply = lostFrom(2, 2) },
			want: end{Outcome: remediation.Undone, Reason: string(guard.BudgetExhausted), Messages: toldNotFixed,
				Steps: []remediation.StepState{remediation.StepApplied, remediation.StepDropped, remediation.StepApplied}},
		},
		"taken back, then the next rung helps": {
			rules: []string{rule("cure", ladder, "guard: {target_per_hour: 9, per_hour: 9}")}, applies: 3, detail: "verify held",
			want: end{Outcome: remediation.Fixed, Messages: toldFixed,
				Steps: []remediation.StepState{remediation.StepApplied, remediation.StepApplied, remediation.StepApplied}},
		},
		"taking it back never has an effect": {
			rules: []string{rule("cure", ladder)}, applies: 4, detail: "taking the change back had no effect",
			prepare: func(w *world) { w.scene(api).hooks.apply = lostFrom(2, 9) },
			want: end{Outcome: remediation.NotFixed, Messages: toldNotFixed,
				Steps: []remediation.StepState{remediation.StepApplied, remediation.StepDropped, remediation.StepDropped, remediation.StepDropped}},
		},
		"not worse: it stays": {
			rules: []string{rule("cure", "do: [{fake.worse: {to: other}}]")}, applies: 1,
			want: end{Outcome: remediation.NotFixed, Steps: oneApplied, Messages: toldNotFixed},
		},
		"worse: it is taken back": {
			rules: []string{rule("cure", "do: [{fake.worse: {to: other}}]", "if: health.value > 0.5")}, applies: 2,
			prepare: func(w *world) {
				w.scene(api).hooks.ask = func(n int, f *fact) ([]string, error) {
					f.Ill = n > 1
					return nil, nil
				}
			},
			want: end{Outcome: remediation.Undone, Steps: two, Messages: toldNotFixed},
		},
	}
}
