package store_test

import (
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

func pausesItsTarget(w *world) {
	ends := func(episode string) guard.Pause {
		run := w.born(firing(episode), "api")
		p := guard.Pause{Scope: guard.Target, Name: "api", Actor: "rule breach", Reason: episode, Since: w.clock.now(), Until: w.clock.now().Add(time.Hour)}
		must(w.t, w.commit(&run, func(c *remediation.Commit) {
			c.Run.State, c.Run.Phase, c.Run.Outcome = remediation.Done, remediation.PhaseDone, remediation.Observed
			c.Unlock, c.Pause = true, &p
		}))
		return p
	}
	first := ends("first")
	ends("second")
	w.pausesAre("the first word counts", first)
	_, err := w.Resume(w.t.Context(), guard.Target, "api")
	must(w.t, err)
	human := guard.Pause{Scope: guard.Target, Name: "api", Actor: "ann", Reason: "looking", Since: w.clock.now()}
	must(w.t, w.Pause(w.t.Context(), human))
	ends("third")
	w.pausesAre("a human's word counts", human)
}

func (w *world) pausesAre(what string, want ...guard.Pause) {
	w.t.Helper()
	got, err := w.Pauses(w.t.Context())
	must(w.t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func parkedRuns(w *world) {
	var parked []string
	for _, c := range []struct {
		outcome      remediation.Outcome
		reason       guard.Reason
		acted, parks bool
	}{
		{outcome: remediation.RefusedRun, reason: guard.Paused, parks: true}, {outcome: remediation.RefusedRun, reason: guard.RulesDiffer, parks: true},
		{outcome: remediation.RefusedRun, reason: guard.Cooldown}, {outcome: remediation.NotFixed, reason: guard.Paused},
		{outcome: remediation.RefusedRun, reason: guard.Paused, acted: true},
	} {
		run := w.born(firing("e-"+newID()), "api")
		run.Rule, run.Acted = "restart", c.acted
		w.end(&run, c.outcome, c.reason)
		if c.parks {
			parked = append(parked, run.ID)
		}
	}
	w.parkedAre("refused", parked...)
	w.reopen()
	w.parkedAre("after a restart", parked...)
	again := func(run string) (remediation.Accepted, remediation.Proposal) {
		w.t.Helper()
		p := proposal(firing("again-"+run), "api")
		event := newEvent() // of the former attempt: it is stored, and this one is not
		got, err := w.Accept(w.t.Context(), remediation.Acceptance{Again: run, Event: event, Proposals: []remediation.Proposal{p}})
		must(w.t, err)
		return got, p
	}
	if got, p := again(parked[0]); got.Duplicate || len(got.Runs) != 1 || got.Runs[0].Run != p.Run.ID {
		w.t.Errorf("the next attempt: %+v", got)
	}
	if got, _ := again(parked[0]); !got.Duplicate || len(got.Runs) != 0 {
		w.t.Errorf("the next attempt, twice: %+v", got)
	}
	if got, _ := again("none"); !got.Duplicate || len(got.Runs) != 0 {
		w.t.Errorf("the next attempt of no run: %+v", got)
	}
	w.parkedAre("one is judged again", parked[1])
	c, err := w.claimEpisode(parked[1])
	must(w.t, err)
	end := remediation.Resolution{Source: "alertmanager", Episode: c, At: noon}
	_, err = w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
	must(w.t, err)
	w.parkedAre("its alert has ended")
}

func (w *world) claimEpisode(id string) (string, error) {
	all, err := w.Parked(w.t.Context(), nil)
	for _, run := range all {
		if run.ID == id {
			return run.Alert.Episode, err
		}
	}
	return "", errors.Join(err, remediation.ErrNotFound)
}

func (w *world) parkedAre(what string, want ...string) {
	w.t.Helper()
	all, err := w.Parked(w.t.Context(), nil)
	must(w.t, err)
	var got []string
	for _, run := range all {
		got = append(got, run.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s: parked (-want +got):\n%s", what, diff)
	}
}
