package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// Due lists what should have been visited by now: runs whose lease or wait is over, events that wait for their look-up, lanes whose
// first message may be told.
func (v *View) Due(ctx context.Context, now time.Time) (due remediation.Due, err error) {
	err = v.read(ctx, func(r *rows) error {
		due = remediation.Due{Runs: r.dueRuns(now), Events: r.dueEvents(now), Lanes: r.dueLanes(now)}
		return nil
	})
	return due, err
}

// Wake is when Due will have something next; false when nothing is waited for.
func (s *Store) Wake() (at time.Time, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sooner := func(t time.Time) {
		if !waits || t.Before(at) {
			at, waits = t, true
		}
	}
	for _, one := range s.runs {
		if !one.due.IsZero() {
			sooner(one.due)
		}
	}
	for _, e := range s.events {
		if e.State == remediation.EventPending {
			sooner(e.WakeAt)
		}
	}
	for _, first := range s.heads() {
		sooner(first.NotBefore)
	}
	return at, waits
}

// heads are the first queued messages of all lanes.
func (r *rows) heads() map[remediation.Lane]remediation.Message {
	heads := map[remediation.Lane]remediation.Message{}
	for _, m := range r.outbox {
		if m.State != remediation.MessageQueued {
			continue
		}
		lane := remediation.Lane{Run: m.Run, Channel: m.Channel}
		if first, known := heads[lane]; !known || m.Seq < first.Seq || m.Seq == first.Seq && m.ID < first.ID {
			heads[lane] = m
		}
	}
	return heads
}

func (r *rows) dueRuns(now time.Time) []remediation.Hint {
	var over []run
	for _, one := range r.runs {
		if !one.due.IsZero() && !one.due.After(now) {
			over = append(over, one)
		}
	}
	slices.SortFunc(over, func(a, b run) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID)) })
	var hints []remediation.Hint
	for _, one := range over {
		hints = append(hints, remediation.Hint{Run: one.ID, Version: one.Version})
	}
	return hints
}

func (r *rows) dueEvents(now time.Time) []string {
	var over []remediation.Event
	for _, e := range r.events {
		if e.State == remediation.EventPending && !e.WakeAt.After(now) {
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b remediation.Event) int { return cmp.Or(a.WakeAt.Compare(b.WakeAt), cmp.Compare(a.ID, b.ID)) })
	var ids []string
	for _, e := range over {
		ids = append(ids, e.ID)
	}
	return ids
}

// dueLanes leaves out the lanes whose first message waits: it holds back the later ones.
func (r *rows) dueLanes(now time.Time) []remediation.Lane {
	var lanes []remediation.Lane
	for lane, first := range r.heads() {
		if !first.NotBefore.After(now) {
			lanes = append(lanes, lane)
		}
	}
	slices.SortFunc(lanes, func(a, b remediation.Lane) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Channel, b.Channel))
	})
	return lanes
}

// Record is a run with all that is stored about it.
type Record struct {
	Run      remediation.Run
	EndedAt  time.Time // when its episode resolved; zero while it fires
	Steps    []remediation.Step
	Rulings  []remediation.Ruling // of every event that belongs to the run
	Entries  []remediation.Entry
	Messages []remediation.Message
}

// Run reads a run with all that is stored about it; remediation.ErrNotFound if there is none.
func (s *Store) Run(ctx context.Context, id string) (rec Record, err error) {
	err = s.read(ctx, func(r *rows) error {
		one, err := find(r.runs, "run", id)
		if err == nil {
			rec = clone(r.record(one))
		}
		return err
	})
	return rec, err
}

func (r *rows) record(one run) Record {
	return Record{
		Run: one.Run, EndedAt: one.ended, Steps: r.steps[one.ID], Entries: r.journal[one.ID],
		Rulings:  r.rulingsOf(func(u remediation.Ruling) bool { return u.Run == one.ID }),
		Messages: r.messages(func(m remediation.Message) bool { return m.Run == one.ID }),
	}
}

// Records reads every run with all that is stored about it, oldest first.
func (s *Store) Records(ctx context.Context) (all []Record, err error) {
	err = s.read(ctx, func(r *rows) error {
		for _, one := range r.runs {
			all = append(all, clone(r.record(one)))
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Run.ID, b.Run.ID) })
	return all, err
}

func (r *rows) rulingsOf(chosen func(remediation.Ruling) bool) []remediation.Ruling {
	var all []remediation.Ruling
	for _, u := range r.rulings {
		if chosen(u) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b remediation.Ruling) int { return cmp.Or(cmp.Compare(a.Event, b.Event), a.Seq-b.Seq) })
	return all
}

// EventRulings reads the verdicts on an event, in their order.
func (s *Store) EventRulings(ctx context.Context, event string) (all []remediation.Ruling, err error) {
	err = s.read(ctx, func(r *rows) error {
		all = r.rulingsOf(func(u remediation.Ruling) bool { return u.Event == event })
		return nil
	})
	return all, err
}
