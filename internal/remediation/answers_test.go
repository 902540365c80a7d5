package remediation_test

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

func answerCases() map[string]outcomeCase {
	return map[string]outcomeCase{
		"the system rejects the call": {
			rules: []string{rule("cure")}, applies: 1, detail: "nothing was changed",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(1, false, status.Error(codes.PermissionDenied, "no"))
			},
			want: end{Outcome: remediation.NotFixed, Steps: oneFailed, Messages: toldNotFixed},
		},
		"the system has no time for the call at first": {
			rules: []string{rule("cure")}, applies: 2,
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(1, false, status.Error(codes.ResourceExhausted, "slow down"))
			},
			want: end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed},
		},
		"the system has no time for the call, and meanwhile a human is at the target": {
			rules: []string{rule("cure")}, applies: 1, detail: "between two tries",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = func(int) (bool, error) {
					w.scene(api).set("theirs")
					return false, status.Error(codes.ResourceExhausted, "slow down")
				}
			},
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.HumanHand), Steps: oneDropped, Messages: toldNotFixed},
		},
		"the system never has time for the call": {
			rules: []string{rule("cure")}, applies: 3, detail: "slow down",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(9, false, status.Error(codes.ResourceExhausted, "slow down"))
			},
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.SystemDown), Messages: toldNotFixed,
				Steps: []remediation.StepState{remediation.StepDropped, remediation.StepDropped, remediation.StepDropped}},
		},
		"the change fails inside the system": {
			rules: []string{rule("cure")}, applies: 1, detail: "no quota",
			prepare: func(w *world) { w.scene(api).hooks.observe = always(executors.Failed, "no quota") },
			want:    end{Outcome: remediation.NotFixed, Steps: oneFailed, Messages: toldNotFixed},
		},
		"ambiguous, and it happened": {
			rules: []string{rule("cure")}, applies: 1,
			prepare: func(w *world) { w.scene(api).hooks.apply = failing(1, true, errTimeout) },
			want:    end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"ambiguous, and it lands late": {
			rules: []string{rule("cure")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(1, true, errTimeout)
				w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
					if n == 1 { // it is still on its way
						o.Progress = executors.NotApplied
					}
					return o, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"ambiguous, and it did not happen": {
			rules: []string{rule("cure")}, applies: 2,
			prepare: func(w *world) { w.scene(api).hooks.apply = failing(1, false, errTimeout) },
			want: end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed,
				Rulings: verdicts{"cure": remediation.Chosen}},
		},
		"ambiguous, and it cannot be told": {
			rules: []string{rule("cure")}, applies: 1, detail: "cannot be told",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(1, true, errTimeout)
				w.scene(api).hooks.observe = always(executors.Unclear, "two operations look alike")
			},
			want: end{Outcome: remediation.NeedsHuman, Steps: oneUnclear, Messages: toldNotFixed},
		},
		"ambiguous, and another hand": {
			rules: []string{rule("cure")}, applies: 1, detail: "may have taken effect",
			prepare: func(w *world) {
				w.scene(api).hooks.apply = failing(1, false, errTimeout)
				w.scene(api).hooks.observe = always(executors.Foreign, "it is theirs")
			},
			want: end{Outcome: remediation.NeedsHuman, Steps: oneUnclear, Messages: toldNotFixed},
		},
		"accepted, and another hand": {
			rules: []string{rule("cure")}, applies: 1, detail: "after our call",
			prepare: func(w *world) { w.scene(api).hooks.observe = always(executors.Foreign, "it is theirs") },
			want:    end{Outcome: remediation.Inconclusive, Steps: oneUnclear, Messages: toldNotFixed},
		},
		"accepted, shown late": {
			rules: []string{rule("cure")}, applies: 1,
			prepare: func(w *world) {
				w.scene(api).hooks.observe = func(n int, o executors.Observation) (executors.Observation, error) {
					if n < 4 {
						o.Progress = executors.NotApplied
					}
					return o, nil
				}
			},
			want: end{Outcome: remediation.Fixed, Steps: oneApplied, Messages: toldFixed},
		},
		"accepted, never complete": {
			rules: []string{rule("cure")}, applies: 1, detail: "did not complete in time",
			prepare: func(w *world) {
				w.scene(api).hooks.observe = func(int, executors.Observation) (executors.Observation, error) {
					w.advance(time.Minute)
					return executors.Observation{Progress: executors.Pending, Detail: "creating"}, nil
				}
			},
			want: end{Outcome: remediation.NeedsHuman, Messages: toldNotFixed, Steps: oneUnclear},
		},
		"the version moves under the plan once": {
			rules: []string{rule("cure")}, applies: 2,
			prepare: func(w *world) { w.scene(api).hooks.apply = moving(w, 1, "bad") },
			want:    end{Outcome: remediation.Fixed, Steps: []remediation.StepState{remediation.StepDropped, remediation.StepApplied}, Messages: toldFixed},
		},
		"the version keeps moving under the plan": {
			rules: []string{rule("cure")}, applies: 3, detail: "3 plans in a row",
			prepare: func(w *world) { w.scene(api).hooks.apply = moving(w, 9, "bad") },
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.PlanChanged), Messages: toldNotFixed,
				Steps: []remediation.StepState{remediation.StepDropped, remediation.StepDropped, remediation.StepDropped}},
		},
		"a human was faster": {
			rules: []string{rule("cure")}, applies: 1, detail: "the target is theirs",
			prepare: func(w *world) { w.scene(api).hooks.apply = moving(w, 1, "theirs") },
			want:    end{Outcome: remediation.RefusedRun, Reason: string(guard.HumanHand), Steps: oneDropped, Messages: toldNotFixed},
		},
		"the plan is refused": {
			rules: []string{rule("cure")}, detail: "40 is the most",
			prepare: func(w *world) {
				w.scene(api).hooks.plan = func() error { return guard.Refuse(guard.OutOfBounds, "40 is the most") }
			},
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.OutOfBounds), Messages: toldOnly, Rulings: verdicts{"cure": remediation.Refused}},
		},
		"the plan cannot be made": {
			rules: []string{rule("cure"), rule("next")}, detail: "planning fake.act",
			prepare: func(w *world) { w.scene(api).hooks.plan = func() error { return errors.New("no answer") } },
			want: end{Outcome: remediation.RefusedRun, Reason: string(guard.UnknownFacts), Messages: toldOnly,
				Rulings: verdicts{"cure": remediation.Refused, "next": remediation.Shadowed}},
		},
	}
}

// failing lets the first n calls end in err; made: they take effect all the same.
func failing(n int, made bool, err error) func(int) (bool, error) {
	return func(i int) (bool, error) {
		if i <= n {
			return made, err
		}
		return true, nil
	}
}

// lostFrom loses the calls from one to another on their way.
func lostFrom(from, to int) func(int) (bool, error) {
	return func(i int) (bool, error) {
		if i >= from && i <= to {
			return false, errTimeout
		}
		return true, nil
	}
}

// moving lets another hand put api into a state during the first n calls.
func moving(w *world, n int, state string) func(int) (bool, error) {
	return func(i int) (bool, error) {
		if i <= n {
			w.scene(api).set(state)
		}
		return true, nil
	}
}

func always(p executors.Progress, detail string) func(int, executors.Observation) (executors.Observation, error) {
	return func(int, executors.Observation) (executors.Observation, error) {
		return executors.Observation{Progress: p, Detail: detail}, nil
	}
}
