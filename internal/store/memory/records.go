package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// LinkDone links runs that have ended into the fleet's chain, in the order of their ids, and reports how many.
func (s *Store) LinkDone(ctx context.Context, now time.Time) (int, error) {
	n := 0
	err := s.write(ctx, func(t *transaction) error {
		for _, id := range slices.Sorted(maps.Keys(t.runs)) {
			if r := t.runs[id]; r.State == remediation.Done && !r.linked {
				t.relink(append(slices.Clip(t.chain), t.newest().Next(r.Run, now)))
				r.linked = true
				put(t, t.runs, id, r)
				n++
			}
		}
		return nil
	})
	return n, err
}

func (t *transaction) relink(chain []remediation.Link) {
	old := t.chain
	t.undo = append(t.undo, func() { t.chain = old })
	t.chain = chain
}

// newest is the head of the fleet's chain; the zero Link when nothing was linked yet.
func (r *rows) newest() remediation.Link {
	if len(r.chain) == 0 {
		return remediation.Link{}
	}
	return r.chain[len(r.chain)-1]
}

// Head is the newest link of the fleet's chain; remediation.ErrNotFound when nothing was linked yet.
func (s *Store) Head(ctx context.Context) (head remediation.Link, err error) {
	err = s.read(ctx, func(r *rows) error {
		if head = r.newest(); head.Seq == 0 {
			return fmt.Errorf("%w: no run has been linked yet", remediation.ErrNotFound)
		}
		return nil
	})
	return head, err
}

// Anchored tells where a head that was written elsewhere is found in the records; remediation.ErrNotFound when it is not.
func (s *Store) Anchored(ctx context.Context, a remediation.Anchor) (where string, err error) {
	err = s.read(ctx, func(r *rows) error {
		where, err = r.anchored(a)
		return err
	})
	return where, err
}

func (r *rows) anchored(a remediation.Anchor) (string, error) {
	for _, l := range r.chain {
		if l.Anchor() == a || a.Seq == 0 && l.Head == a.Hash {
			return fmt.Sprintf("link %d", l.Seq), nil
		}
	}
	for run, entries := range r.journal {
		if a.Seq == 0 && slices.ContainsFunc(entries, func(e remediation.Entry) bool { return e.Hash == a.Hash }) {
			return "run " + run, nil
		}
	}
	return "", fmt.Errorf("looking for the anchor %s: %w", a, remediation.ErrNotFound)
}

// Audit verifies all records in one part. remediation.ErrNotFound for a place that is not "".
func (s *Store) Audit(ctx context.Context, place string) (out remediation.Audit, err error) {
	if place != "" {
		return out, fmt.Errorf("auditing from %q: %w", place, remediation.ErrNotFound)
	}
	err = s.read(ctx, func(r *rows) error {
		out = r.audit(s.now())
		return nil
	})
	return out, err
}

func (r *rows) audit(now time.Time) remediation.Audit {
	out := remediation.Audit{Links: len(r.chain), Findings: []remediation.Finding{}}
	if at := remediation.VerifyChain(remediation.Link{}, r.chain); at >= 0 {
		out.Findings = append(out.Findings, remediation.Finding{Place: fmt.Sprintf("link %d", at+1), What: "the link does not fit the fleet's chain"})
	}
	all := r.dossiers()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		one := all[id]
		count(&out, one)
		out.Findings = append(out.Findings, one.Judge(now)...)
	}
	out.Findings = append(out.Findings, r.unrecorded()...)
	return out
}

// dossiers gathers what is stored of every run, and what belongs to none.
func (r *rows) dossiers() map[string]remediation.Records {
	all := map[string]remediation.Records{}
	change := func(id string, fn func(*remediation.Records)) {
		one := all[id]
		one.ID = id
		fn(&one)
		all[id] = one
	}
	for id, run := range r.runs {
		change(id, func(one *remediation.Records) { one.Run = &run.Run })
	}
	for _, l := range r.chain {
		change(l.Run, func(one *remediation.Records) { one.Link = &l })
	}
	for id, entries := range r.journal {
		change(id, func(one *remediation.Records) { one.Entries = entries })
	}
	for id, steps := range r.steps {
		change(id, func(one *remediation.Records) { one.Steps = steps })
	}
	return all
}

func count(out *remediation.Audit, one remediation.Records) {
	out.Entries += len(one.Entries)
	if one.Link != nil && !one.Link.PrunedAt.IsZero() {
		out.Pruned++
	}
	if one.Run == nil {
		return
	}
	out.Runs++
	switch {
	case one.Run.State != remediation.Done:
		out.Open++
	case one.Link == nil:
		out.Unlinked++
	}
}

// unrecorded finds debits of acts that the journal knows nothing of.
func (r *rows) unrecorded() []remediation.Finding {
	debits := map[string]int{}
	for _, a := range r.acts {
		debits[a.Run]++
	}
	var out []remediation.Finding
	for _, run := range slices.Sorted(maps.Keys(debits)) {
		for _, e := range r.journal[run] {
			if e.Kind == remediation.EntryIntent {
				debits[run]--
			}
		}
		if debits[run] > 0 {
			out = append(out, remediation.Finding{Place: "run " + run, What: "more acts were debited than intents recorded"})
		}
	}
	return out
}

// Retain drops all of what is older than it has to be kept. What it drops of the runs stays in the fleet's chain, marked as pruned.
func (s *Store) Retain(ctx context.Context, r remediation.Retention, now time.Time) (bool, error) {
	r = r.Filled()
	return false, s.write(ctx, func(t *transaction) error {
		t.dropBodies(now.Add(-r.Bodies))
		t.dropActs(now.Add(-actsKept - day))
		t.dropRuns(now.Add(-r.Runs), now)
		t.dropEvents(now.Add(-r.Runs))
		return nil
	})
}

const day = 24 * time.Hour

func (t *transaction) dropBodies(before time.Time) {
	for id, e := range t.events {
		if e.ReceivedAt.Before(before) && e.State != remediation.EventPending && len(e.Body) > 0 {
			e.Body, e.Delivery = nil, remediation.Event{}.Delivery
			put(t, t.events, id, e)
		}
	}
}

func (t *transaction) dropActs(before time.Time) {
	old := t.acts
	t.undo = append(t.undo, func() { t.acts = old })
	t.acts = slices.DeleteFunc(slices.Clone(old), func(a guard.Act) bool { return a.At.Before(before) })
}

func (t *transaction) dropRuns(before, now time.Time) {
	chain := slices.Clone(t.chain)
	for i, l := range chain {
		if !l.PrunedAt.IsZero() || !l.At.Before(before) || t.needed(t.runs[l.Run]) {
			continue
		}
		is := func(run string) bool { return run == l.Run }
		drop(t, t.runs, is)
		drop(t, t.journal, is)
		drop(t, t.steps, is)
		drop(t, t.approvals, is)
		drop(t, t.outbox, func(id string) bool { return t.outbox[id].Run == l.Run })
		chain[i].PrunedAt = now
	}
	t.relink(chain)
}

// needed: a human's word is waited for, a debt is open by the run, a message waits, or a run of its episode goes on.
func (t *transaction) needed(r run) bool {
	if r.parked || t.untold(r.ID) {
		return true
	}
	for _, d := range t.debts {
		if d.Run == r.ID && d.SettledAt.IsZero() {
			return true
		}
	}
	for _, other := range t.runs {
		if other.State != remediation.Done && other.Alert.Episode == r.Alert.Episode && other.Target == r.Target {
			return true
		}
	}
	return false
}

func (t *transaction) untold(run string) bool {
	for _, m := range t.outbox {
		if m.Run == run && m.State == remediation.MessageQueued {
			return true
		}
	}
	return false
}

func (t *transaction) dropEvents(before time.Time) {
	for id, e := range t.events {
		if !e.ReceivedAt.Before(before) || e.State == remediation.EventPending || t.untold(id) || t.decides(id) {
			continue
		}
		drop(t, t.events, func(event string) bool { return event == id })
		drop(t, t.rulings, func(at place) bool { return at.event == id })
		drop(t, t.outbox, func(message string) bool { return t.outbox[message].Run == id })
		drop(t, t.known, func(at delivery) bool { return t.known[at] == id })
	}
}

// decides reports whether a run that is there goes by the event.
func (t *transaction) decides(event string) bool {
	for at, u := range t.rulings {
		if _, there := t.runs[u.Run]; at.event == event && there {
			return true
		}
	}
	return false
}
