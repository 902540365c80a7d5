package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/mixillo/remediator/internal/remediation"
)

// Worker does the work the rows ask for. Hints may come early, late or twice. An error is logged, and the visit made again later.
// remediation.ErrStaleHint and remediation.ErrFenced are no errors: somebody else was there first.
type Worker interface {
	Advance(ctx context.Context, hint remediation.Hint) error
	Match(ctx context.Context, event string) error
	// Deliver tells messages of the lane until the outbox has none that may be told now.
	Deliver(ctx context.Context, lane remediation.Lane) error
	// Rejudge gives parked runs their next attempt once nothing parks them any more.
	Rejudge(ctx context.Context) error
}

const (
	visitTimeout = 60 * time.Second
	rescueAfter  = 75 * time.Second // must exceed visitTimeout
	sweepEvery   = time.Second
	sweepTimeout = 5 * time.Second
	sweepLimit   = 500
	// busyAgain is when a River job looks again at a key that is being visited: long enough to be over, most likely.
	busyAgain = 5 * time.Second
	// keepJobs is short: our rows hold the history.
	keepJobs = 10 * time.Minute
)

// roads is what Start set in motion.
type roads struct {
	worker Worker
	cancel context.CancelFunc // of visits
	swept  chan struct{}      // closed when the sweeper has ended
	quit   chan struct{}      // ends the sweeper
	once   sync.Once
}

// Start begins to visit what is due and what will be, if this process works; else w is not called. It returns at once; visits get
// contexts that end after visitTimeout, and when a Stop gave up waiting, not when ctx does. It may be called once.
func (s *Store) Start(ctx context.Context, w Worker) error {
	visits, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &roads{worker: w, cancel: cancel, swept: make(chan struct{}), quit: make(chan struct{})}
	s.mu.Lock()
	started := s.roads != nil || s.closed
	if !started {
		s.roads = r
	}
	s.mu.Unlock()
	if started {
		cancel()
		return errors.New("the queue was started before, or is closed")
	}
	go s.upkeepAlways(visits, r)
	if !works(s.roles) {
		return nil
	}
	s.crew.start(visits)
	if err := s.queue.Start(visits); err != nil {
		return fmt.Errorf("starting the queue: %w", err)
	}
	return nil
}

// Stop begins no new visit and waits for those under way until ctx ends; then their contexts are cancelled.
func (s *Store) Stop(ctx context.Context) error { return s.halt(ctx) }

func (s *Store) halt(ctx context.Context) error {
	s.mu.Lock()
	r := s.roads
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	defer r.cancel()
	r.once.Do(func() { close(r.quit) })
	<-r.swept
	defer s.leave(ctx)
	if !works(s.roles) {
		return nil
	}
	err := s.crew.stop(ctx)
	if stop := s.queue.Stop(ctx); stop != nil {
		err = errors.Join(err, stop, s.cut(r))
	}
	s.linkLast(ctx)
	if err != nil {
		return fmt.Errorf("stopping the queue: %w", err)
	}
	return nil
}

// cut cancels what would not end by itself, and gives it a moment to say so.
func (s *Store) cut(r *roads) error {
	r.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return s.queue.StopAndCancel(ctx)
}

// visit calls the worker for one task. A panic is an error of that visit alone.
func (s *Store) visit(ctx context.Context, t task) (err error) {
	s.mu.Lock()
	w := s.roads.worker
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		s.report(t, err)
	}()
	if err := s.call(ctx, w, t); !errors.Is(err, remediation.ErrStaleHint) && !errors.Is(err, remediation.ErrFenced) {
		return err
	}
	return nil
}

func (s *Store) call(ctx context.Context, w Worker, t task) error {
	switch t.kind {
	case advanceTask:
		return w.Advance(ctx, t.hint)
	case matchTask:
		if mine, err := s.reserve(ctx, t.event); err != nil || !mine {
			return err
		}
		return w.Match(ctx, t.event)
	default:
		return w.Deliver(ctx, t.lane)
	}
}

func (s *Store) report(t task, err error) {
	if err == nil {
		return
	}
	s.metrics.failures.WithLabelValues(string(t.kind)).Inc()
	s.log.Warn("a visit failed and is tried again", "kind", t.kind, "id", t.key().id, "error", err)
}

// upkeepAlways does each second what keeps this process in step with the others.
func (s *Store) upkeepAlways(ctx context.Context, r *roads) {
	defer close(r.swept)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := s.upkeep(ctx, r.worker); err != nil {
			s.log.Warn("sweeping", "error", err)
		}
		select {
		case <-r.quit:
			return
		case <-ticker.C:
		}
	}
}

// upkeep has a deadline: a database that does not answer must not end it for ever.
func (s *Store) upkeep(ctx context.Context, w Worker) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	err := s.clock.measure(ctx)
	if works(s.roles) {
		err = errors.Join(err, s.sweep(ctx), w.Rejudge(ctx))
	}
	if s.shared {
		err = errors.Join(err, s.beat(ctx))
	}
	return err
}

// sweep is the road that needs no hint: it looks for what should have been done by now.
func (s *Store) sweep(ctx context.Context) error {
	due, err := s.Due(ctx, s.Now())
	if err != nil {
		return err
	}
	for _, hint := range due.Runs {
		s.crew.offerOverdue(task{kind: advanceTask, hint: hint})
	}
	for _, event := range due.Events {
		s.crew.offerOverdue(task{kind: matchTask, event: event})
	}
	for _, lane := range due.Lanes {
		s.crew.offerOverdue(task{kind: deliverTask, lane: lane})
	}
	s.crew.forgive()
	return s.tend(ctx)
}

// Due lists what should have been visited by now: runs whose lease or wait is over, events that wait for their look-up, lanes whose
// first message may be told. At most a few hundred of each.
func (s *Store) Due(ctx context.Context, now time.Time) (remediation.Due, error) {
	var (
		due remediation.Due
		err error
		r   = s.db.reader()
		at  = micros(now)
	)
	if due.Runs, err = list(ctx, r, scanHint, dueRuns, at, sweepLimit); err != nil {
		return due, fmt.Errorf("reading overdue runs: %w", err)
	}
	if due.Events, err = list(ctx, r, scanText, dueEvents, at, sweepLimit); err != nil {
		return due, fmt.Errorf("reading pending events: %w", err)
	}
	if due.Lanes, err = list(ctx, r, scanLane, dueLanes, at, sweepLimit); err != nil {
		return due, fmt.Errorf("reading the outbox: %w", err)
	}
	return due, nil
}

const (
	dueRuns   = `SELECT id, version FROM runs WHERE due_at > 0 AND due_at <= $1 ORDER BY due_at LIMIT $2`
	dueEvents = `SELECT id FROM events WHERE state = 'pending' AND wake_at <= $1 ORDER BY wake_at LIMIT $2`
	// dueLanes leaves out the lanes whose first message waits: it holds back the later ones.
	dueLanes = `SELECT DISTINCT run, channel FROM outbox AS o WHERE state = 'queued' AND not_before <= $1 AND NOT EXISTS (
	SELECT 1 FROM outbox AS p WHERE p.run = o.run AND p.channel = o.channel AND p.state = 'queued' AND p.not_before > $1
	AND (p.seq < o.seq OR p.seq = o.seq AND p.id < o.id)) LIMIT $2`
)

func scanHint(r row) (h remediation.Hint, err error) {
	err = r.Scan(&h.Run, &h.Version)
	return h, err
}

func scanText(r row) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}

func scanLane(r row) (l remediation.Lane, err error) {
	err = r.Scan(&l.Run, &l.Channel)
	return l, err
}

// The arguments of River's jobs: the backstop of the same visits.
type (
	advanceArgs struct {
		Run     string `json:"run"`
		Version int64  `json:"version"`
	}
	matchArgs struct {
		Event string `json:"event"`
	}
	deliverArgs struct {
		Run     string              `json:"run"`
		Channel remediation.Channel `json:"channel"`
	}
)

func (advanceArgs) Kind() string { return string(advanceTask) }
func (matchArgs) Kind() string   { return string(matchTask) }
func (deliverArgs) Kind() string { return string(deliverTask) }

func (a advanceArgs) task() task {
	return task{kind: advanceTask, hint: remediation.Hint{Run: a.Run, Version: a.Version}}
}
func (a matchArgs) task() task { return task{kind: matchTask, event: a.Event} }
func (a deliverArgs) task() task {
	return task{kind: deliverTask, lane: remediation.Lane{Run: a.Run, Channel: a.Channel}}
}

// visitArgs are a job's arguments that say what to visit.
type visitArgs interface {
	river.JobArgs
	task() task
}

// visitor makes the visits that River's jobs ask for.
type visitor[T visitArgs] struct {
	river.WorkerDefaults[T]
	crew *crew
}

// Work makes the visit, or comes back later when one of the same key is under way: that one may die.
func (v *visitor[T]) Work(ctx context.Context, job *river.Job[T]) error {
	ran, err := v.crew.try(ctx, job.Args.task())
	if !ran {
		return river.JobSnooze(busyAgain)
	}
	return err
}

// backstop is a River job for a task at a time, zero for now. Jobs are not unique: River's unique key is a random hash, whose index would cost the
// intake a third of its rate, and a wish that is skipped because a job like it is running would be lost. A job too many is a no-op.
func backstop(args visitArgs, at time.Time) river.InsertManyParams {
	return river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{ScheduledAt: at, MaxAttempts: 5}}
}

// queueConfig is of River's client, whatever its database. Without workers it only inserts.
func (s *Store) queueConfig() *river.Config {
	if !works(s.roles) {
		return &river.Config{Logger: quiet(s.log)}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &visitor[advanceArgs]{crew: s.crew})
	river.AddWorker(workers, &visitor[matchArgs]{crew: s.crew})
	river.AddWorker(workers, &visitor[deliverArgs]{crew: s.crew})
	return &river.Config{
		Queues:                      map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: hands}},
		Workers:                     workers,
		Logger:                      quiet(s.log),
		FetchCooldown:               10 * time.Millisecond,
		FetchPollInterval:           100 * time.Millisecond,
		JobTimeout:                  visitTimeout,
		RescueStuckJobsAfter:        rescueAfter,
		CompletedJobRetentionPeriod: keepJobs,
	}
}

func newClient[T any](driver riverdriver.Driver[T], q *river.Config) (*river.Client[T], error) {
	client, err := river.NewClient(driver, q)
	if err != nil {
		return nil, fmt.Errorf("setting up the queue: %w", err)
	}
	return client, nil
}
