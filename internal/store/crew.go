package store

import (
	"context"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// taskKind is what a task visits; also the River job's kind.
type taskKind string

const (
	advanceTask taskKind = "advance"
	matchTask   taskKind = "match"
	deliverTask taskKind = "deliver"
)

// task is one visit to make. Which of the other fields counts depends on the kind.
type task struct {
	kind  taskKind
	hint  remediation.Hint
	event string
	lane  remediation.Lane
}

// taskKey identifies what a task visits: no two visits of one key run at the same time in this process.
type taskKey struct {
	kind    taskKind
	id      string
	channel remediation.Channel
}

func (t task) key() taskKey {
	switch t.kind {
	case advanceTask:
		return taskKey{kind: t.kind, id: t.hint.Run}
	case matchTask:
		return taskKey{kind: t.kind, id: t.event}
	default:
		return taskKey{kind: t.kind, id: t.lane.Run, channel: t.lane.Channel}
	}
}

const (
	// hands is how many visits run at once: they mostly wait for somebody else's server.
	hands = 16
	// maxPending and maxTimers bound the memory; what does not fit is found by the sweep.
	maxPending = 100_000
	maxTimers  = 10_000
	firstDelay = time.Second
	maxDelay   = time.Minute
)

// penalty keeps a visit that failed from being tried in a hot loop.
type penalty struct {
	failures int
	until    time.Time
}

// crew makes visits in this process: at once, at a time, and never two of the same key together. Nothing it holds is needed after a
// crash. Its lock is never held during a visit, so that offering work never waits for one.
type crew struct {
	visit func(ctx context.Context, t task) error

	mu      sync.Mutex
	ctx     context.Context // of visits; nil until start
	limit   int
	running int // hands at work
	guests  int // visits made by try
	queue   []taskKey
	pending map[taskKey]task
	busy    map[taskKey]bool
	penalty map[taskKey]penalty
	timers  map[taskKey]*time.Timer
	idle    chan struct{} // closed when the last visit ends after stop
	stopped bool
	deaf    bool // takes no offers: the other roads must do
}

func newCrew(visit func(context.Context, task) error) *crew {
	return &crew{
		visit:   visit,
		pending: map[taskKey]task{},
		busy:    map[taskKey]bool{},
		penalty: map[taskKey]penalty{},
		timers:  map[taskKey]*time.Timer{},
		idle:    make(chan struct{}),
	}
}

// start lets the visits begin that were offered so far and from now on.
func (c *crew) start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.limit = ctx, hands
	for range min(len(c.queue), hands) {
		c.hire()
	}
}

// offer asks for a visit as soon as a hand is free. It never waits.
func (c *crew) offer(t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(t)
}

// offerOverdue is offer for the sweep: it leaves alone what is under way, or failed a short while ago.
func (c *crew) offerOverdue(t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := t.key()
	if c.busy[k] || time.Now().Before(c.penalty[k].until) {
		return
	}
	c.put(t)
}

// offerAfter is offer after a while. The newest wish for a key replaces the former.
func (c *crew) offerAfter(t task, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait <= 0 {
		c.put(t)
		return
	}
	c.putAfter(t, wait)
}

func (c *crew) putAfter(t task, wait time.Duration) {
	k := t.key()
	if old, ok := c.timers[k]; ok {
		old.Stop()
	} else if len(c.timers) >= maxTimers {
		return
	}
	if c.stopped || c.deaf {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.timers[k] == timer {
			delete(c.timers, k)
			c.put(t)
		}
	})
	c.timers[k] = timer
}

func (c *crew) put(t task) {
	k := t.key()
	old, known := c.pending[k]
	if c.stopped || c.deaf || !known && len(c.pending) >= maxPending {
		return
	}
	if known && old.hint.Version > t.hint.Version {
		return
	}
	c.pending[k] = t
	if !known && !c.busy[k] {
		c.push(k)
	}
}

func (c *crew) push(k taskKey) {
	c.queue = append(c.queue, k)
	c.hire()
}

func (c *crew) hire() {
	if c.running < c.limit {
		c.running++
		go c.work()
	}
}

func (c *crew) work() {
	for {
		t, ok := c.take()
		if !ok {
			return
		}
		c.finish(t, c.visit(c.ctx, t))
	}
}

// take gives the next task, or counts the hand off when there is none.
func (c *crew) take() (task, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || len(c.queue) == 0 {
		c.running--
		c.rest()
		return task{}, false
	}
	k := c.queue[0]
	c.queue = c.queue[1:]
	t := c.pending[k]
	delete(c.pending, k)
	c.busy[k] = true
	return t, true
}

func (c *crew) rest() {
	if c.stopped && c.running+c.guests == 0 {
		close(c.idle)
	}
}

// try makes the visit in the caller's goroutine unless one of the same key is under way or waiting.
func (c *crew) try(ctx context.Context, t task) (ran bool, err error) {
	k := t.key()
	c.mu.Lock()
	_, waits := c.pending[k]
	if c.busy[k] || waits || c.stopped {
		c.mu.Unlock()
		return false, nil
	}
	c.busy[k] = true
	c.guests++
	c.mu.Unlock()

	err = c.visit(ctx, t)
	c.finish(t, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guests--
	c.rest()
	return true, err
}

// finish frees the key. What was offered meanwhile comes next; after a failure it waits, longer each time.
func (c *crew) finish(t task, err error) {
	k := t.key()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, k)
	delay := c.punish(k, err)
	next, more := c.pending[k]
	switch {
	case !more:
	case delay > 0:
		delete(c.pending, k)
		c.putAfter(next, delay)
	default:
		c.push(k)
	}
}

func (c *crew) punish(k taskKey, err error) time.Duration {
	if err == nil {
		delete(c.penalty, k)
		return 0
	}
	p := c.penalty[k]
	delay := min(firstDelay<<min(p.failures, 6), maxDelay)
	c.penalty[k] = penalty{failures: p.failures + 1, until: time.Now().Add(delay)}
	return delay
}

// forgive drops the penalties that are long over, of keys nobody visits any more.
func (c *crew) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, p := range c.penalty {
		if time.Since(p.until) > 10*maxDelay {
			delete(c.penalty, k)
		}
	}
}

// stop begins no further visit and waits for those under way until ctx ends.
func (c *crew) stop(ctx context.Context) error {
	c.mu.Lock()
	if !c.stopped {
		c.stopped = true
		for _, timer := range c.timers {
			timer.Stop()
		}
		c.rest()
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
