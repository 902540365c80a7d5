package memory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
)

// Accept stores all of it or nothing. Every error wraps remediation.ErrUnavailable.
func (v *View) Accept(ctx context.Context, a remediation.Acceptance) (remediation.Accepted, error) {
	in := admission{now: v.now(), lease: v.lease, owner: v.owner}
	err := v.write(ctx, func(t *transaction) error {
		in.t = t
		in.store(clone(a))
		return nil
	})
	if err != nil {
		return remediation.Accepted{}, unavailable(err)
	}
	return clone(in.accepted), nil
}

// admission stores one acceptance inside a transaction.
type admission struct {
	t        *transaction
	now      time.Time
	lease    time.Duration
	owner    string
	accepted remediation.Accepted
}

func (in *admission) store(a remediation.Acceptance) {
	if !in.event(a) {
		return
	}
	for _, r := range a.Resolved {
		in.endEpisodes(r)
	}
	in.moves(a.Moves)
	in.holds(a.Holds)
	in.feed(a)
	for _, p := range a.Proposals {
		in.propose(p, a.Again != "")
	}
	in.stale(a.Stale)
	in.rulings(a.Rulings)
	insertMessages(in.t, a.Messages)
}

// event stores the event, or completes it when it was looked up. It reports false for one that is known, or completed, already.
func (in *admission) event(a remediation.Acceptance) bool {
	e := a.Event
	in.accepted.Event = e.ID
	if a.Again != "" {
		fresh := in.unpark(a.Again)
		in.accepted.Duplicate = !fresh
		return fresh
	}
	if a.Looked {
		stored := in.t.events[e.ID]
		in.accepted.Duplicate = stored.State != remediation.EventPending
		if in.accepted.Duplicate {
			return false
		}
		stored.State, stored.Note, stored.RulesHash, stored.Attempts = e.State, e.Note, e.RulesHash, e.Attempts
		stored.WakeAt, stored.Delivery = time.Time{}, e.Delivery
		put(in.t, in.t.events, e.ID, stored)
		return true
	}
	if e.DedupKey != "" {
		key := delivery{at: e.OccurredAt.Truncate(time.Microsecond), source: e.Source, key: e.DedupKey}
		if known, ok := in.t.known[key]; ok {
			in.accepted.Duplicate, in.accepted.Event = true, known
			return false
		}
		put(in.t, in.t.known, key, e.ID)
	}
	put(in.t, in.t.events, e.ID, e)
	return true
}

// endEpisodes records that a firing ended, on the runs it made. By the key of an incident it ends only what began before: keys recur.
func (in *admission) endEpisodes(r remediation.Resolution) {
	at := in.endOf(r)
	in.endStale(r)
	for id, one := range in.t.runs {
		later := one.State != remediation.Done && one.ended.Before(at) || one.by != ""
		if (one.ended.IsZero() || later && r.By == "") && one.endedBy(r, at) {
			one.ended, one.by = at, r.By
			put(in.t, in.t.runs, id, one)
		}
	}
}

// endOf is when a firing ended: now, where nobody says.
func (in *admission) endOf(r remediation.Resolution) time.Time {
	if r.At.IsZero() {
		return in.now
	}
	return r.At
}

// moves makes the runs of incidents that were merged into others runs of those.
func (in *admission) moves(moves []remediation.Move) {
	for _, m := range moves {
		move(in.t, in.t.runs, m)
		move(in.t, in.t.stales, m)
	}
}

func move[K comparable](t *transaction, all map[K]run, m remediation.Move) {
	for key, one := range all {
		a := one.Alert
		byKey := a.IncidentID == "" && m.Key != "" && a.IncidentKey == m.Key && one.ended.IsZero() && !a.StartsAt.After(m.At)
		if a.IncidentID == m.From || byKey {
			one.Alert.IncidentID = m.To
			put(t, all, key, one)
		}
	}
}

func (r run) endedBy(end remediation.Resolution, at time.Time) bool {
	a := r.Alert
	if (r.Origin == remediation.ByDrill) != end.Drill {
		return false
	}
	if r.joined.After(at) {
		return false // it is told late
	}
	if end.Episode != "" && a.Source == end.Source && a.Episode == end.Episode {
		return true
	}
	same := end.IncidentID != "" && a.IncidentID == end.IncidentID || end.IncidentKey != "" && a.IncidentKey == end.IncidentKey
	return same && !a.StartsAt.After(at) && (end.Fingerprint == "" || alert.Fingerprint(a.Labels) == end.Fingerprint)
}

// propose inserts the run, claimed by this owner, or records that the event belongs to a run that exists. What is judged again and finds
// its place taken leaves the verdicts of the event as they are.
func (in *admission) propose(p remediation.Proposal, again bool) {
	decision := remediation.Admit(p, in.t.related(p.Run))
	if again && !decision.New {
		return
	}
	rulings := make([]remediation.Ruling, len(p.Rulings))
	for i, r := range p.Rulings {
		r.Run, r.Detail = p.Run.ID, cmp.Or(r.Detail, decision.Why)
		if !decision.New {
			r.Run, r.Verdict, r.Detail = decision.Joins, remediation.Duplicate, decision.Why
		}
		rulings[i] = r
	}
	if decision.New {
		in.bear(p.Run)
	} else {
		in.join(decision, p.Run.Alert)
	}
	in.rulings(rulings)
}

// join records that a firing has joined a run: of the run's own alert, if it is a later one, an earlier end is no end any more.
func (in *admission) join(a remediation.Admission, of alert.Alert) {
	one := in.t.runs[a.Joins]
	own := alert.Fingerprint(of.Labels) == alert.Fingerprint(one.Alert.Labels)
	if own && a.Anew {
		one.ended, one.by = time.Time{}, ""
	}
	if own && a.Since.After(one.joined) {
		one.joined = a.Since
	}
	put(in.t, in.t.runs, one.ID, one)
}

// bear inserts a run that this owner holds from the start, so that its first visit needs no claim; or one that is due at once, for
// whoever works.
func (in *admission) bear(r remediation.Run) {
	due := in.now
	if in.owner == "" {
		r.State = remediation.Queued
	} else {
		due = in.now.Add(in.lease)
		r.Epoch, r.LeaseOwner, r.LeaseUntil = 1, in.owner, due
	}
	put(in.t, in.t.runs, r.ID, run{Run: r, due: due})
	in.accepted.Runs = append(in.accepted.Runs, remediation.Hint{Run: r.ID, Version: r.Version, Epoch: r.Epoch})
}

func (in *admission) rulings(rulings []remediation.Ruling) {
	for _, r := range rulings {
		r.Event = cmp.Or(r.Event, in.accepted.Event)
		putRuling(in.t, r)
		in.accepted.Rulings = append(in.accepted.Rulings, r)
	}
}

// putRuling stores a verdict. What it is about stays as it was first said.
func putRuling(t *transaction, r remediation.Ruling) {
	at := place{event: r.Event, seq: r.Seq}
	if old, ok := t.rulings[at]; ok {
		old.Run, old.Verdict, old.Detail = r.Run, r.Verdict, r.Detail
		r = old
	}
	put(t, t.rulings, at, r)
}

// Event reads one event with its body; its delivery is kept only where it had, or has, to be looked up.
func (v *View) Event(ctx context.Context, id string) (remediation.Event, error) {
	var e remediation.Event
	err := v.read(ctx, func(r *rows) (err error) {
		e, err = find(r.events, "event", id)
		e = clone(e)
		return err
	})
	return e, err
}

// Postpone records a look-up that failed. remediation.ErrNotFound when the event is not pending.
func (v *View) Postpone(ctx context.Context, id string, until time.Time, why string) error {
	return v.write(ctx, func(t *transaction) error {
		e := t.events[id]
		if e.State != remediation.EventPending {
			return fmt.Errorf("postponing event %s: %w", id, remediation.ErrNotFound)
		}
		e.Attempts, e.WakeAt, e.Note = e.Attempts+1, until, why
		put(t, t.events, id, e)
		return nil
	})
}
