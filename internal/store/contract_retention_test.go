package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// retain drops all there is to drop and reports in how many rounds.
func (w *world) retain(r remediation.Retention) int {
	w.t.Helper()
	for rounds := 1; rounds < 100; rounds++ {
		more, err := w.Retain(w.t.Context(), r, w.clock.now())
		must(w.t, err)
		if !more {
			return rounds
		}
	}
	w.t.Fatal("retention goes on for ever")
	return 0
}

func (w *world) hasEvent(id string) (there, body bool) {
	w.t.Helper()
	e, err := w.Event(w.t.Context(), id)
	if err != nil && !errors.Is(err, remediation.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil, len(e.Body) > 0
}

const day = 24 * time.Hour

func bodiesAreDropped(w *world) {
	at := func(d time.Duration, state remediation.EventState) string {
		e := newEvent()
		e.ReceivedAt, e.State, e.DedupKey = noon.Add(d), state, newID()
		_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: e})
		must(w.t, err)
		return e.ID
	}
	old, younger := at(0, remediation.EventMatched), at(day, remediation.EventIgnored)
	w.clock.advance(30*day + time.Second)
	w.retain(remediation.Retention{})
	check := func(id string, wantThere, wantBody bool) {
		w.t.Helper()
		if there, body := w.hasEvent(id); there != wantThere || body != wantBody {
			w.t.Errorf("after %s the event is there: %v, its body: %v", w.clock.now().Sub(noon), there, body)
		}
	}
	check(old, true, false)
	check(younger, true, true)
	w.clock.advance(day)
	pending, behindIt := at(2*day, remediation.EventPending), at(2*day, remediation.EventMatched)
	w.retain(remediation.Retention{})
	check(younger, true, false)
	w.clock.advance(2 * day)
	w.retain(remediation.Retention{})
	check(behindIt, true, false)
	w.clock.advance(998 * day)
	behind := at(1031*day, remediation.EventMatched)
	w.retain(remediation.Retention{Runs: 365 * day})
	check(old, false, false)
	check(younger, false, false)
	check(pending, true, true) // nobody has looked it up yet
	check(behindIt, false, false)
	check(behind, true, true)
}

func oldRunsAreDropped(w *world) {
	old := w.told("api")
	w.link(1)
	w.clock.advance(day)
	younger := w.told("api")
	w.link(1)
	head, err := w.Head(w.t.Context())
	must(w.t, err)
	w.clock.advance(remediation.KeepRuns - day + time.Second)
	w.retain(remediation.Retention{})
	w.recordsHold(remediation.Audit{Runs: 1, Entries: 3, Links: 2, Pruned: 1})
	for _, a := range []remediation.Anchor{{Hash: old.Head}, {Hash: younger.Head}, head.Anchor()} {
		if _, err := w.Anchored(w.t.Context(), a); err != nil {
			w.t.Errorf("after retention: %v", err)
		}
	}
	if _, err := w.claim(remediation.Hint{Run: old.ID}); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("the dropped run answers %v", err)
	}
	again := w.told("api")
	w.link(1)
	if got, err := w.Head(w.t.Context()); err != nil || got.Run != again.ID || got.Prev != head.Hash {
		w.t.Errorf("the chain goes on with %+v, %v", got, err)
	}
	w.recordsHold(remediation.Audit{Runs: 2, Entries: 6, Links: 3, Pruned: 1})
}

func neededIsKept(w *world) {
	w.born(firing("open"), "open")
	owing := w.born(firing("owing"), "owing")
	debt := remediation.Debt{Target: "owing", Kind: "pinned_traffic", Run: owing.ID, Detail: "d", Since: noon}
	must(w.t, w.commit(&owing, func(c *remediation.Commit) { c.Debts = []remediation.Debt{debt} }))
	w.conclude(&owing)
	untold := w.born(firing("untold"), "untold")
	message := remediation.Message{ID: newID(), Run: untold.ID, Channel: remediation.Slack, CreatedAt: noon}
	must(w.t, w.commit(&untold, func(c *remediation.Commit) { c.Messages = []remediation.Message{message} }))
	w.conclude(&untold)
	parent := w.born(firing("parent"), "parent")
	follow := proposal(firing("parent"), "parent").Run
	follow.Origin, follow.State, follow.WakeAt, follow.Parent = remediation.ByFollowUp, remediation.Waiting, noon.Add(time.Hour), parent.ID
	must(w.t, w.commit(&parent, func(c *remediation.Commit) { c.Spawn = []remediation.Run{follow} }))
	w.conclude(&parent)
	parked := w.born(firing("parked"), "parked")
	parked.Rule = "restart"
	w.end(&parked, remediation.RefusedRun, guard.Paused)
	w.link(4)
	w.recordsHold(remediation.Audit{Runs: 6, Open: 2, Entries: 3, Links: 4})
	w.clock.advance(1000 * day)
	w.retain(remediation.Retention{})
	w.recordsHold(remediation.Audit{Runs: 6, Open: 2, Entries: 3, Links: 4})

	must(w.t, w.End(w.t.Context(), remediation.Sent{ID: message.ID, State: remediation.MessageSent, At: w.clock.now()}))
	w.retain(remediation.Retention{})
	w.recordsHold(remediation.Audit{Runs: 5, Open: 2, Entries: 2, Links: 4, Pruned: 1})
}

func actsOutliveBudgets(w *world) {
	w.told("api")
	w.clock.advance(31 * day)
	w.retain(remediation.Retention{Runs: time.Hour})
	if s := w.snapshot("restart", "api"); len(s.Acts) != 1 {
		w.t.Errorf("the acts a budget may count: %+v", s.Acts)
	}
	w.clock.advance(2 * day)
	if w.retain(remediation.Retention{}) != 1 {
		w.t.Error("one act took more than one round")
	}
	w.clock.advance(-2 * day)
	if s := w.snapshot("restart", "api"); len(s.Acts) != 0 {
		w.t.Errorf("acts that no window reaches: %+v", s.Acts)
	}
}

func youngRunsAreKept(w *world) {
	w.told("api")
	w.link(1)
	w.clock.advance(remediation.LeastKept - time.Second)
	w.retain(remediation.Retention{Bodies: time.Second, Runs: time.Second})
	w.recordsHold(remediation.Audit{Runs: 1, Entries: 3, Links: 1})
	w.clock.advance(2 * time.Second)
	w.retain(remediation.Retention{Bodies: time.Second, Runs: time.Second})
	w.recordsHold(remediation.Audit{Links: 1, Pruned: 1})
}

// TestRetentionGoesInSmallSteps: more rows than a round drops take several.
func TestRetentionGoesInSmallSteps(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const n = 1201
	acceptMany(t, w.subject.(*store.Store), n)
	last := newEvent()
	last.ReceivedAt = noon.Add(1000 * day)
	_, err := w.Accept(t.Context(), remediation.Acceptance{Event: last})
	must(t, err)
	w.clock.advance(1000 * day)
	rounds := w.retain(remediation.Retention{})
	counts, err := w.subject.(*store.Store).Counts(t.Context())
	must(t, err)
	if left := counts.Events[remediation.EventMatched]; left != n+1 || rounds < 3 || rounds > 5 {
		t.Errorf("%d events were looked at in %d rounds, %d are left", n, rounds, left)
	}
}
