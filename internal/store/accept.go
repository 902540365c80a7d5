package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/mixillo/remediator/internal/remediation"
)

// maxBatch is how many deliveries one transaction stores at most.
const maxBatch = 256

// waiting is one acceptance and where its end is told. The channel holds one answer, so that a waiter who left harms nobody.
type waiting struct {
	acceptance remediation.Acceptance
	packed     bool // the event's body
	answer     chan answer
}

type answer struct {
	accepted remediation.Accepted
	err      error
}

var errClosed = fmt.Errorf("%w: the store is closed", remediation.ErrUnavailable)

// Accept stores all of it or nothing, in one transaction with whatever else waits at this moment, and returns once that is on the
// disk. Every error wraps remediation.ErrUnavailable; after one that came from ctx it may be stored all the same.
func (s *Store) Accept(ctx context.Context, a remediation.Acceptance) (remediation.Accepted, error) {
	if a.Looked || a.Again != "" { // its body is stored
		return s.accept(ctx, a, false)
	}
	body, err := s.newStoredBody(a.Event.Body)
	if err != nil {
		return remediation.Accepted{}, fmt.Errorf("%w: %w", remediation.ErrUnavailable, err)
	}
	a.Event.Body = body.row
	if body.parts == nil {
		return s.accept(ctx, a, body.packed)
	}
	if err := s.storeParts(ctx, a.Event.ID, body.parts); err != nil {
		return remediation.Accepted{}, err
	}
	got, err := s.accept(ctx, a, false)
	if got.Duplicate {
		s.forgetParts(ctx, a.Event.ID)
	}
	return got, err
}

func (s *Store) accept(ctx context.Context, a remediation.Acceptance, packed bool) (remediation.Accepted, error) {
	w := &waiting{acceptance: a, packed: packed, answer: make(chan answer, 1)}
	select {
	case s.intake <- w:
	case <-s.closing:
		return remediation.Accepted{}, errClosed
	case <-ctx.Done():
		return remediation.Accepted{}, fmt.Errorf("%w: %w", remediation.ErrUnavailable, context.Cause(ctx))
	}
	select {
	case got := <-w.answer:
		return got.accepted, got.err
	case <-s.closing:
		return remediation.Accepted{}, errClosed
	case <-ctx.Done():
		return remediation.Accepted{}, fmt.Errorf("%w: %w", remediation.ErrUnavailable, context.Cause(ctx))
	}
}

// acceptAll drains what waits into one transaction after the other, without waiting for more.
func (s *Store) acceptAll() {
	for {
		select {
		case <-s.closing:
			return
		case first := <-s.intake:
			s.acceptTogether(s.drain(first))
		}
	}
}

func (s *Store) drain(first *waiting) []*waiting {
	batch := []*waiting{first}
	for len(batch) < maxBatch {
		select {
		case next := <-s.intake:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// acceptTogether stores a batch. When it fails before its commit, each is tried alone, so that a poisonous one fails alone; but not
// while there is no database to try it on.
func (s *Store) acceptTogether(batch []*waiting) {
	err := s.acceptBatch(batch)
	if err == nil {
		return
	}
	if len(batch) == 1 || hopeless(err) {
		refuse(batch, err)
		return
	}
	for i := range batch {
		if err := s.acceptBatch(batch[i : i+1]); hopeless(err) {
			refuse(batch[i:], err)
			return
		} else if err != nil {
			refuse(batch[i:i+1], err)
		}
	}
}

// hopeless tells that trying again would do nothing, or what must not be done: whether a commit is on the disk may be unknown.
func hopeless(err error) bool { return errors.Is(err, errCommit) || errors.Is(err, errNoTransaction) }

func refuse(batch []*waiting, err error) {
	for _, w := range batch {
		w.answer <- answer{err: fmt.Errorf("%w: storing a delivery: %w", remediation.ErrUnavailable, err)}
	}
}

func (s *Store) acceptBatch(batch []*waiting) error {
	var (
		now     = s.Now()
		answers = make([]remediation.Accepted, len(batch))
		jobs    []river.InsertManyParams
		tasks   []task
	)
	err := s.write(context.Background(), writeAccept, func(ctx context.Context, t *transaction) error {
		if err := t.serialise(ctx, admissionKeys(batch)...); err != nil {
			return err
		}
		fresh, err := insertEvents(ctx, t, batch)
		if err != nil {
			return err
		}
		for i, w := range batch {
			in := admission{t: t, lazy: t.lazily(), now: now, fresh: fresh[w]}
			if works(s.roles) {
				in.owner, in.lease = s.owner, s.lease
			}
			if err := in.store(ctx, w.acceptance); err != nil {
				return err
			}
			answers[i] = in.accepted
			jobs, tasks = append(jobs, in.jobs...), append(tasks, in.tasks...)
		}
		if len(jobs) > 0 {
			if err := t.enqueue(ctx, jobs); err != nil {
				return fmt.Errorf("enqueueing: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.metrics.batch.Observe(float64(len(batch)))
	for i, w := range batch {
		w.answer <- answer{accepted: answers[i]}
	}
	s.offerAll(tasks)
	return nil
}

// admissionKeys are held while a batch is stored. Admit joins a proposal to the runs there are of its target, so no other process may
// add one meanwhile; and two that change runs of others would wait for each other's rows.
func admissionKeys(batch []*waiting) []string {
	var keys []string
	for _, w := range batch {
		for _, p := range w.acceptance.Proposals {
			keys = append(keys, "admit:"+p.Run.Target)
		}
		for _, s := range w.acceptance.Stale {
			keys = append(keys, "admit:"+s.Target)
		}
		if len(w.acceptance.Sightings) > 0 || w.acceptance.Push != nil {
			keys = append(keys, feedKey(w.acceptance.Event.Source))
		}
		if len(w.acceptance.Resolved)+len(w.acceptance.Moves) > 0 || w.acceptance.Again != "" {
			keys = append(keys, runsKey)
		}
	}
	return keys
}

func (s *Store) offerAll(tasks []task) {
	for _, t := range tasks {
		s.crew.offer(t)
	}
}

// admission stores one acceptance inside a batch's transaction and notes what is to be done after the commit.
type admission struct {
	t        *transaction
	lazy     tx // the same transaction
	now      time.Time
	fresh    bool          // the event was inserted: it is new to the store
	owner    string        // who visits what is stored here; "": another process
	lease    time.Duration // how long that is left to the owner
	accepted remediation.Accepted
	jobs     []river.InsertManyParams
	tasks    []task
}

// backstopAt is when another process looks after what the owner visits at once; zero, which River tells the workers of, if there is none.
func (in *admission) backstopAt() time.Time {
	if in.owner == "" {
		return time.Time{}
	}
	return in.now.Add(in.lease)
}

func (in *admission) store(ctx context.Context, a remediation.Acceptance) error {
	fresh, err := in.event(ctx, a)
	if err != nil || !fresh {
		return err
	}
	for _, r := range a.Resolved {
		if err := endEpisodes(ctx, in.lazy, r, in.now); err != nil {
			return err
		}
	}
	for _, m := range a.Moves {
		if err := moveRuns(ctx, in.lazy, m); err != nil {
			return err
		}
	}
	if err := in.holds(ctx, a.Holds); err != nil {
		return err
	}
	if err := in.feed(ctx, a); err != nil {
		return err
	}
	for _, p := range a.Proposals {
		if err := in.propose(ctx, p, a.Again != ""); err != nil {
			return err
		}
	}
	for _, s := range a.Stale {
		if err := in.stale(ctx, s); err != nil {
			return err
		}
	}
	if err := in.rulings(ctx, a.Rulings); err != nil {
		return err
	}
	tasks, jobs, err := insertMessages(ctx, in.lazy, a.Messages, in.backstopAt())
	in.tasks, in.jobs = append(in.tasks, tasks...), append(in.jobs, jobs...)
	return err
}

// event completes the event when it was looked up, and looks after one that was inserted. It reports false for one that is known, or
// completed, already.
func (in *admission) event(ctx context.Context, a remediation.Acceptance) (bool, error) {
	in.accepted.Event = a.Event.ID
	if a.Again != "" {
		fresh, err := unpark(ctx, in.t, a.Again)
		in.accepted.Duplicate = !fresh
		return fresh, err
	}
	if a.Looked {
		fresh, err := completeEvent(ctx, in.t, a.Event)
		in.accepted.Duplicate = !fresh
		return fresh, err
	}
	if !in.fresh {
		var err error
		in.accepted.Duplicate = true
		in.accepted.Event, err = knownEvent(ctx, in.t, a.Event)
		return false, err
	}
	if a.Event.State == remediation.EventPending {
		in.tasks = append(in.tasks, task{kind: matchTask, event: a.Event.ID})
		in.jobs = append(in.jobs, backstop(matchArgs{Event: a.Event.ID}, in.backstopAt()))
	}
	return true, nil
}

// propose inserts the run, or records that the event belongs to a run that exists.
// What is judged again and finds its place taken leaves the verdicts of the event as they are.
func (in *admission) propose(ctx context.Context, p remediation.Proposal, again bool) error {
	related, err := relatedRuns(ctx, in.t, p.Run)
	if err != nil {
		return err
	}
	decision := remediation.Admit(p, related)
	if again && !decision.New {
		return nil
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
		err = in.bear(ctx, p.Run)
	} else {
		err = joins(ctx, in.lazy, decision, p.Run.Alert)
	}
	if err != nil {
		return err
	}
	return in.rulings(ctx, rulings)
}

// bear inserts a run that this process holds from the start, so that its first visit needs no claim; or one that is due at once, for
// whoever works.
func (in *admission) bear(ctx context.Context, run remediation.Run) error {
	due := in.now.Add(in.lease)
	if in.owner == "" {
		run.State = remediation.Queued
	} else {
		run.Epoch, run.LeaseOwner, run.LeaseUntil = 1, in.owner, due
	}
	if err := insertRun(ctx, in.lazy, run, due); err != nil {
		return err
	}
	hint := remediation.Hint{Run: run.ID, Version: run.Version, Epoch: run.Epoch}
	in.accepted.Runs = append(in.accepted.Runs, hint)
	in.tasks = append(in.tasks, task{kind: advanceTask, hint: hint})
	in.jobs = append(in.jobs, backstop(advanceArgs{Run: run.ID, Version: run.Version}, in.backstopAt()))
	return nil
}

func (in *admission) rulings(ctx context.Context, rulings []remediation.Ruling) error {
	for _, r := range rulings {
		r.Event = cmp.Or(r.Event, in.accepted.Event)
		if err := upsertRuling(ctx, in.lazy, r); err != nil {
			return err
		}
		in.accepted.Rulings = append(in.accepted.Rulings, r)
	}
	return nil
}
