package main

import (
	"context"
	"sync"
	"time"
)

// Between two looks at whether a poll is due or a feed has fallen silent; the world's speed shortens it.
const (
	feedsEvery = time.Second
	feedsLeast = 50 * time.Millisecond
	// watchTimeout bounds one look at the feeds, which asks nobody but the store.
	watchTimeout = 5 * time.Second
)

// feedLoops poll the sources and watch their feeds. They run beside the store's sweep and beside each other: a sender that does not answer
// delays nothing else.
type feedLoops struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// startFeeds begins the loops, in a process that works: the others have no credentials.
func (a *app) startFeeds(ctx context.Context) {
	ctx, a.feeds.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.feeds.running.Go(func() { a.again(ctx, "polling", a.engine.Poll) })
	a.feeds.running.Go(func() {
		a.again(ctx, "watching the feeds", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, watchTimeout)
			defer cancel()
			return a.engine.Watch(ctx)
		})
	})
}

// stop ends what is under way and waits for that.
func (l *feedLoops) stop() {
	if l.cancel != nil {
		l.cancel()
	}
	l.running.Wait()
}

// again does something until the context ends; what fails is logged and tried again when its time comes.
func (a *app) again(ctx context.Context, doing string, do func(context.Context) error) {
	every := max(time.Duration(float64(feedsEvery)/max(a.config.Options.Speed, 1)), feedsLeast)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			a.config.Log.Warn(doing, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
