package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// Retain drops what is older than it has to be kept, all at once. What it drops of the runs stays in the fleet's chain, marked as pruned.
func (v *View) Retain(ctx context.Context, r remediation.Retention, now time.Time) (more bool, err error) {
	r = r.Filled()
	err = v.write(ctx, func(t *transaction) error {
		t.dropBodies(now.Add(-r.Bodies))
		t.dropActs(now.Add(-actsKept - 24*time.Hour))
		t.dropRuns(now.Add(-r.Runs), now)
		t.dropEvents(now.Add(-r.Runs))
		drop(t, t.sightings, func(at sighting) bool { return at.began.Before(now.Add(-r.Runs)) })
		drop(t, t.stales, func(at late) bool { return t.stales[at].CreatedAt.Before(now.Add(-r.Runs)) })
		return nil
	})
	return false, err
}

// oldEvents are the oldest events up to the first one that is younger, but for those that wait for their look-up.
func (r *rows) oldEvents(before time.Time) []remediation.Event {
	var old []remediation.Event
	for _, id := range slices.Sorted(maps.Keys(r.events)) {
		e := r.events[id]
		if !e.ReceivedAt.Before(before) {
			break
		}
		if e.State != remediation.EventPending {
			old = append(old, e)
		}
	}
	return old
}

func (t *transaction) dropBodies(before time.Time) {
	for _, e := range t.oldEvents(before) {
		e.Body, e.Delivery = nil, sources.Delivery{}
		put(t, t.events, e.ID, e)
	}
}

// dropActs drops debits that no window reaches.
func (t *transaction) dropActs(before time.Time) {
	old := t.acts
	t.undo = append(t.undo, func() { t.acts = old })
	t.acts = nil
	for _, a := range old {
		if !a.At.Before(before) {
			t.acts = append(t.acts, a)
		}
	}
}

// dropRuns drops linked runs that nothing needs, with all that belongs to them, and marks their links.
func (t *transaction) dropRuns(before, now time.Time) {
	chain := slices.Clone(t.chain)
	for i, l := range chain {
		one, there := t.runs[l.Run]
		if !there || !l.At.Before(before) || one.State != remediation.Done || t.needs(one) {
			continue
		}
		chain[i].PrunedAt = now
		of := func(id string) bool { return id == l.Run }
		drop(t, t.runs, of)
		drop(t, t.steps, of)
		drop(t, t.journal, of)
		drop(t, t.approvals, of)
		drop(t, t.outbox, func(id string) bool { return t.outbox[id].Run == l.Run })
	}
	t.setChain(chain)
}

// needs reports whether the run waits for a human's word, a debt is open by it, a message of it waits, or a run of its episode goes on.
func (t *transaction) needs(one run) bool {
	if one.parked {
		return true
	}
	for _, d := range t.debts {
		if d.Run == one.ID && d.SettledAt.IsZero() {
			return true
		}
	}
	for _, m := range t.outbox {
		if m.Run == one.ID && m.State == remediation.MessageQueued {
			return true
		}
	}
	for _, other := range t.runs {
		if other.Alert.Episode == one.Alert.Episode && other.Target == one.Target && other.State != remediation.Done {
			return true
		}
	}
	return false
}

// dropEvents drops the oldest events whose runs are gone and whose messages are told, with their rulings.
func (t *transaction) dropEvents(before time.Time) {
	for _, e := range t.oldEvents(before) {
		if t.used(e.ID) {
			continue
		}
		drop(t, t.rulings, func(at place) bool { return at.event == e.ID })
		drop(t, t.outbox, func(id string) bool { return t.outbox[id].Run == e.ID })
		drop(t, t.events, func(id string) bool { return id == e.ID })
		drop(t, t.known, func(at delivery) bool { return t.known[at] == e.ID })
	}
}

func (t *transaction) used(event string) bool {
	for at, r := range t.rulings {
		if _, there := t.runs[r.Run]; at.event == event && there {
			return true
		}
	}
	for _, m := range t.outbox {
		if m.Run == event && m.State == remediation.MessageQueued {
			return true
		}
	}
	return false
}
