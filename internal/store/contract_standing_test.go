package store_test

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// standing is what the contract asks of a store about all that stands in the way of acts beside pauses, locks, breakers and budgets.
type standing interface {
	ReleaseStorm(ctx context.Context) error
	Storm(ctx context.Context) (seen, released time.Time, err error)
	Mark(ctx context.Context, m remediation.Mark) error
	Unmark(ctx context.Context, target, revision string) (bool, error)
	Answer(ctx context.Context, a remediation.Approval) error
}

func standingContract() map[string]func(*world) {
	return map[string]func(*world){
		"a person's hold":              holds,
		"an older word undoes nothing": olderWords,
		"a storm pages once":           stormPagesOnce,
		"a latch waits for a release":  latches,
		"parked runs":                  parkedRuns,
		"a run pauses its target":      pausesItsTarget,
		"marks":                        marks,
		"an answer to a plan":          answers,
		"follow-ups know of the end":   followUpsKnowOfTheEnd,
		"what an act was is debited":   actsAreKept,
		"an answer is not for a visit": answerMeetsAVisit,
	}
}

// hold accepts an event that is a person's word about an incident.
func (w *world) hold(h remediation.Hold) {
	w.t.Helper()
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Holds: []remediation.Hold{h}})
	must(w.t, err)
}

// heldBy asks a run that acts on an alert of the incident who is at it.
func (w *world) heldBy(run remediation.Run, what, want string) {
	w.t.Helper()
	s, err := w.Snapshot(w.t.Context(), remediation.SnapshotQuery{Now: noon, Run: run.ID, Rule: "restart", Target: "api"})
	must(w.t, err)
	if s.HeldBy != want {
		w.t.Errorf("%s: held by %q, want %q", what, s.HeldBy, want)
	}
}

func (w *world) ofIncident(id, key string) remediation.Run {
	a := firing("e")
	a.IncidentID, a.IncidentKey = id, key
	return w.born(a, "api")
}

func holds(w *world) {
	run := w.ofIncident("Q1", "key")
	heldBy := func(what, want string) { w.t.Helper(); w.heldBy(run, what, want) }
	heldBy("nobody is at it", "")
	w.hold(remediation.Hold{IncidentID: "Q2", IncidentKey: "other", By: "ann", At: noon})
	heldBy("another incident", "")
	w.hold(remediation.Hold{IncidentKey: "key", By: "ben", At: noon})
	w.reopen()
	heldBy("by its key", "ben")
	w.hold(remediation.Hold{IncidentKey: "key", Lifted: true, At: noon})
	heldBy("let go of", "")
	w.hold(remediation.Hold{IncidentID: "Q1", By: "cid", At: noon})
	heldBy("by its id", "cid")
	w.hold(remediation.Hold{IncidentID: "Q2", IncidentKey: "other", Lifted: true, At: noon})
	heldBy("another one is let go of", "cid")
	w.hold(remediation.Hold{IncidentID: "Q1", IncidentKey: "key", Lifted: true, At: noon})
	heldBy("let go of by its id", "")
	w.hold(remediation.Hold{IncidentID: "Q0", IncidentKey: "key", By: "eve", At: noon})
	heldBy("an earlier incident of the same key", "")
}

// olderWords: deliveries that come late, and what is taken back after it was stored, touch nothing newer.
func olderWords(w *world) {
	run := w.ofIncident("Q1", "key")
	said := func(what, by string, lifted bool, at time.Duration, want string) {
		w.t.Helper()
		w.hold(remediation.Hold{IncidentID: "Q1", IncidentKey: "key", By: by, Lifted: lifted, At: noon.Add(at)})
		w.heldBy(run, what, want)
	}
	said("ann is at it", "ann", false, time.Minute, "ann")
	said("an older end", "", true, 0, "ann")
	said("somebody was at it before", "bot", false, 0, "ann")
	said("the end of just that", "ann", true, time.Minute, "")
	said("a newer one", "ben", false, 2*time.Minute, "ben")
	said("a newer one still", "cid", false, 3*time.Minute, "cid")
	said("its end", "", true, 4*time.Minute, "")
}

func stormPagesOnce(w *world) {
	wants := func(target string, at time.Time) {
		w.t.Helper()
		run := w.born(firing("e-"+newID()), target)
		must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Want = &guard.Want{Target: target, At: at} }))
	}
	wants("a", noon)
	wants("b", noon)
	wants("a", noon.Add(time.Minute))
	w.reopen()
	want := map[string]int64{"a": noon.Add(time.Minute).UnixMicro(), "b": noon.UnixMicro()}
	if diff := cmp.Diff(want, byTarget(w.snapshot("restart", "c").Wants)); diff != "" {
		w.t.Errorf("wants (-want +got):\n%s", diff)
	}
	paged := func(what string, want bool) {
		w.t.Helper()
		run := w.born(firing("e-"+newID()), "c-"+newID())
		page := remediation.Message{ID: newID(), Run: "storm-" + newID(), Channel: remediation.PagerDuty, Kind: remediation.Note, CreatedAt: noon}
		must(w.t, w.commit(&run, func(c *remediation.Commit) {
			c.Storm = &remediation.StormCall{Since: w.clock.now().Add(-time.Minute), Pages: []remediation.Message{page}}
		}))
		_, _, ok, err := w.Next(w.t.Context(), remediation.Lane{Run: page.Run, Channel: remediation.PagerDuty}, w.clock.now(), time.Minute)
		must(w.t, err)
		if ok != want {
			w.t.Errorf("%s: paged %t, want %t", what, ok, want)
		}
	}
	paged("the first refusal", true)
	w.clock.advance(59 * time.Second)
	paged("in the same storm", false)
	w.clock.advance(59 * time.Second)
	paged("it goes on", false)
	w.clock.advance(61 * time.Second)
	paged("the next storm", true)
	w.clock.advance(time.Second)
	must(w.t, w.ReleaseStorm(w.t.Context()))
	if s := w.snapshot("restart", "c"); !s.Released.Equal(w.clock.now()) {
		w.t.Errorf("released at %s, want %s", s.Released, w.clock.now())
	}
	w.clock.advance(time.Second)
	paged("after a release", true)
	seen, released, err := w.Storm(w.t.Context())
	must(w.t, err)
	if !seen.Equal(w.clock.now()) || !released.Equal(w.clock.now().Add(-time.Second)) {
		w.t.Errorf("a storm was seen at %s, and ended at %s", seen, released)
	}
}

func byTarget(all []guard.Want) map[string]int64 {
	out := map[string]int64{}
	for _, w := range all {
		out[w.Target] = w.At.UnixMicro()
	}
	return out
}

// once lets the run make an act of a kind that waits for a release afterwards.
func (w *world) once(run *remediation.Run, kind string) error {
	return w.commit(run, func(c *remediation.Commit) {
		c.Run.Rule, c.Intent = "restart", w.intent(*run, "restart", plenty)
		c.Intent.Query.Once, c.Intent.Query.Act.Kind = true, kind
	})
}

func latches(w *world) {
	var refusal *guard.Refusal
	again := func(what, kind string, free bool) {
		w.t.Helper()
		run := w.born(firing("e-"+newID()), "api")
		err := w.once(&run, kind)
		if free && err != nil || !free && (!errors.As(err, &refusal) || refusal.Reason != guard.AwaitsRelease) {
			w.t.Errorf("%s: %v", what, err)
		}
		must(w.t, w.commit(&run, func(c *remediation.Commit) { c.Unlock, c.Unlatch = true, true }))
	}
	first := w.born(firing("e"), "api")
	must(w.t, w.once(&first, "rollback"))
	must(w.t, w.once(&first, "rollback")) // its own latch does not stop it
	must(w.t, w.commit(&first, func(c *remediation.Commit) { c.Unlock = true }))
	w.reopen()
	again("another run's", "rollback", false)
	again("another kind, which has no effect", "restart", true)
	again("and leaves no latch", "restart", true)
	if n, err := w.Release(w.t.Context(), "restart", ""); n != 0 || err != nil {
		w.t.Errorf("releasing the rule opened %d, %v", n, err)
	}
	again("after a release of the rule", "rollback", false)
	if n, err := w.Release(w.t.Context(), "", "api"); n != 1 || err != nil {
		w.t.Errorf("releasing the target opened %d, %v", n, err)
	}
	again("after a release", "rollback", true)
}

// pausesItsTarget: a run may stop the automation on its target with its last word; what a human has stopped stays as it is.
// claimEpisode tells the episode of a parked run.
func marks(w *world) {
	for _, m := range []remediation.Mark{
		{Target: "api", Revision: "api-7", Reason: "a new column", Actor: "ann", At: noon},
		{Target: "api", Revision: "api-9", Reason: "first words", Actor: "ann", At: noon},
		{Target: "api", Revision: "api-9", Reason: "better words", Actor: "ben", At: noon},
		{Target: "web", Revision: "web-1", Reason: "elsewhere", Actor: "ann", At: noon},
	} {
		must(w.t, w.Mark(w.t.Context(), m))
	}
	w.reopen()
	are := func(target string, want map[string]string) {
		w.t.Helper()
		got := w.propose(firing("e-"+newID()), target)
		c, err := w.claim(got.Runs[0])
		must(w.t, err)
		if diff := cmp.Diff(want, c.Marks); diff != "" {
			w.t.Errorf("marks of %s (-want +got):\n%s", target, diff)
		}
	}
	are("api", map[string]string{"api-7": "a new column", "api-9": "better words"})
	are("db", nil)
	for i, want := range []bool{true, false} {
		if was, err := w.Unmark(w.t.Context(), "api", "api-9"); was != want || err != nil {
			w.t.Errorf("taken back %d times: %t, %v", i+1, was, err)
		}
	}
	are("api", map[string]string{"api-7": "a new column"})
}

// asks lets a run wait for an answer.
func (w *world) asks(digest string) remediation.Run {
	w.t.Helper()
	run := w.born(firing("e-"+newID()), "api-"+newID())
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Phase, c.Run.Asked, c.Run.WakeAt, c.Lease = remediation.Waiting, remediation.PhaseAsk, digest, noon.Add(time.Hour), time.Time{}
	}))
	return run
}

func answers(w *world) {
	run := w.asks("digest")
	yes := remediation.Approval{Run: run.ID, Digest: "digest", Actor: "ann", Reason: "r", Approved: true, At: noon}
	for what, c := range map[string]struct {
		change func(*remediation.Approval)
		want   error
	}{
		"to no run":      {func(a *remediation.Approval) { a.Run = "none" }, remediation.ErrNotFound},
		"to other words": {func(a *remediation.Approval) { a.Digest = "other" }, remediation.ErrStaleHint},
	} {
		a := yes
		c.change(&a)
		if err := w.Answer(w.t.Context(), a); !errors.Is(err, c.want) {
			w.t.Errorf("an answer %s: %v", what, err)
		}
	}
	must(w.t, w.Answer(w.t.Context(), yes))
	no := yes
	no.Approved = false
	if err := w.Answer(w.t.Context(), no); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("a second answer: %v", err)
	}
	w.reopen()
	c, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
	must(w.t, err)
	if diff := cmp.Diff(&yes, c.Approval); diff != "" {
		w.t.Errorf("the answer (-want +got):\n%s", diff)
	}
	must(w.t, w.commit(&c.Run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Asked, c.Run.WakeAt, c.Lease = remediation.Waiting, "the next rung", noon.Add(time.Hour), time.Time{}
	}))
	if c, err = w.claim(remediation.Hint{Run: run.ID, Version: c.Run.Version}); err != nil || c.Approval != nil {
		w.t.Errorf("the next question has the answer %+v, %v", c.Approval, err)
	}
}

// A run that is being visited asks nothing: the visit may be ending its patience.
func answerMeetsAVisit(w *world) {
	run := w.asks("digest")
	w.clock.advance(time.Hour)
	_, err := w.claim(remediation.Hint{Run: run.ID, Version: run.Version})
	must(w.t, err)
	yes := remediation.Approval{Run: run.ID, Digest: "digest", Actor: "ann", Approved: true, At: noon}
	if err := w.Answer(w.t.Context(), yes); !errors.Is(err, remediation.ErrStaleHint) {
		w.t.Errorf("an answer to a run that is being visited: %v", err)
	}
}

func followUpsKnowOfTheEnd(w *world) {
	parent := w.born(firing("e"), "api")
	end := remediation.Resolution{Source: "alertmanager", Episode: "e", At: noon}
	_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
	must(w.t, err)
	follow := proposal(firing("e"), "api").Run
	follow.Origin, follow.State, follow.WakeAt, follow.Parent = remediation.ByFollowUp, remediation.Waiting, noon.Add(time.Hour), parent.ID
	alone := follow
	alone.ID, alone.Parent = newID(), ""
	must(w.t, w.commit(&parent, func(c *remediation.Commit) { c.Spawn = []remediation.Run{follow, alone} }))
	for id, want := range map[string]time.Time{follow.ID: noon, alone.ID: {}} {
		c, err := w.claim(remediation.Hint{Run: id})
		must(w.t, err)
		if !c.Episode.EndedAt.Equal(want) {
			w.t.Errorf("follow-up %s: its alert ended at %s, want %s", id, c.Episode.EndedAt, want)
		}
	}
}

func actsAreKept(w *world) {
	run := w.born(firing("e"), "api")
	act := guard.Act{
		Run: run.ID, Rule: "restart", Target: "api", At: noon, Kind: "rollback", From: map[string]string{"rev": "7"}, To: map[string]string{"rev": "6"},
	}
	must(w.t, w.commit(&run, func(c *remediation.Commit) {
		c.Intent = w.intent(run, "restart", plenty)
		c.Intent.Act = act
	}))
	w.reopen()
	if diff := cmp.Diff([]guard.Act{act}, w.snapshot("restart", "api").Acts); diff != "" {
		w.t.Errorf("acts (-want +got):\n%s", diff)
	}
}
