package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

const (
	progressEvery = 10 * time.Second
	// windDown bounds each part of the end: of the outages under way, of the sender, of what is still to be done and told.
	windDown = 2 * time.Minute
	// outboxLease is how long a message is kept for the one who tells it; a dead server holds it that long.
	outboxLease = time.Minute
)

// run tortures for the campaign's time, lets everything come to its end in peace, and gives the verdict.
func (c *campaign) run() account {
	ctx := c.t.Context()
	chaos, calm := context.WithCancel(ctx)
	defer calm()
	c.open(chaos)
	c.senderFor(nil)
	hard, give := context.WithCancel(ctx)
	defer give()
	outages, last := context.WithCancel(chaos)
	directing := c.directs(outages, hard)
	var harming sync.WaitGroup
	if c.harm != nil {
		harming.Go(func() { c.harm(chaos, c) })
	}
	c.watch(chaos)
	last()
	calm()
	harming.Wait()
	c.keeping.Wait()
	c.t.Logf("%s: the torture is over; what is under way comes to its end", c.name)
	c.peace(ctx, directing, give)
	return c.judge(ctx)
}

// directs starts outages on all services, shared among the workers.
func (c *campaign) directs(ctx, hard context.Context) *sync.WaitGroup {
	var all sync.WaitGroup
	names := c.names()
	for w := range c.workers {
		var own []string
		for i := w; i < len(names); i += c.workers {
			own = append(own, names[i])
		}
		all.Go(func() { c.director.direct(ctx, hard, c.dice(uint64(100+w)), own) })
	}
	return &all
}

// watch tells how far it is until the time is over, or the world or the sender is gone: without them there is no torture.
func (c *campaign) watch(ctx context.Context) {
	over := time.NewTimer(c.lasts)
	defer over.Stop()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-over.C:
			return
		case <-ctx.Done():
			return
		case <-c.world.process.ended:
			c.stats.blame("the world ended before its time: %s", c.world.process.said())
			return
		case <-c.sender.process.ended:
			c.stats.blame("the sender ended before its time: %s", c.sender.process.said())
			return
		case <-tick.C:
			c.t.Log(c.progress())
		}
	}
}

// peace restarts the servers for good and waits until the outages are played, everything was taken, done and told. Then the servers are
// stopped as an operator stops them.
func (c *campaign) peace(ctx context.Context, directing *sync.WaitGroup, give context.CancelFunc) {
	for _, r := range c.replicas {
		r.kill()
		r.calm = true
	}
	succeed(c.t, c.endLeases(ctx))
	calm, end := context.WithCancel(ctx)
	defer end()
	c.keep(calm)
	played := make(chan struct{})
	go func() { directing.Wait(); close(played) }()
	select {
	case <-played:
	case <-time.After(windDown):
		c.stats.blame("outages are not over %s after the last crash", windDown)
		give()
		<-played
	}
	if err := c.sender.finish(windDown); err != nil {
		c.stats.blame("%v", err)
	}
	if err := c.settled(calm, windDown); err != nil {
		c.stats.blame("%v", err)
	}
	if err := c.audit(calm); err != nil {
		c.stats.blame("%v", err)
	}
	end()
	c.keeping.Wait()
	for _, r := range c.replicas {
		if err := r.stop(); err != nil {
			c.stats.blame("%v", err)
		}
	}
}

// endLeases lets the leases on messages run out that dead servers held, as if all had been down for a minute.
func (c *campaign) endLeases(ctx context.Context) error {
	db, err := c.rows.open()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `UPDATE outbox SET not_before = 0 WHERE state = 'queued' AND not_before <= $1`,
		time.Now().Add(outboxLease).UnixMicro())
	return errors.Join(err, db.Close())
}

// settled waits until nothing is to be done but what waits for its time.
func (c *campaign) settled(ctx context.Context, patience time.Duration) error {
	var left string
	err := eventually(ctx, "everything is done and told", patience, func() (bool, error) {
		pause(ctx, 500*time.Millisecond)
		n, err := c.api.counts(ctx)
		if err != nil {
			return false, err
		}
		left = fmt.Sprintf("%d messages, events %v, runs %v", n.Counts.Messages, n.Counts.Events, n.Counts.Runs)
		if n.Counts.Messages > 0 || n.Counts.Events["pending"] > 0 || n.Counts.Runs["queued"]+n.Counts.Runs["running"] > 0 {
			return false, nil
		}
		waiting, err := c.waiting(ctx)
		return !waiting, err
	})
	if err != nil {
		return fmt.Errorf("%w: left are %s", err, left)
	}
	return nil
}

// audit lets the program judge its own records, against the heads that its notes have left outside. The sweep links a run's end into the
// fleet's chain a moment after it.
func (c *campaign) audit(ctx context.Context) error {
	var notes strings.Builder
	all, err := c.world.ledger.entries()
	for _, e := range all {
		if e.By == bot && e.Verb == "note_added" {
			notes.WriteString(detail(e, "content") + "\n")
		}
	}
	file := filepath.Join(c.dir, "notes")
	if err := errors.Join(err, os.WriteFile(file, []byte(notes.String()), 0o600)); err != nil {
		return err
	}
	args := []string{"audit", "verify", "--server", c.replicas[0].base(), "--token-file", filepath.Join(c.dir, "api")}
	if strings.Contains(notes.String(), "journal head ") {
		args = append(args, "--anchors", file)
	}
	var said []byte
	err = eventually(ctx, "the records hold", windDown, func() (bool, error) {
		var failed error
		said, failed = exec.CommandContext(ctx, c.program, args...).CombinedOutput()
		return failed == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// waiting reports whether a run waits that is no follow-up, or acts.
func (c *campaign) waiting(ctx context.Context) (bool, error) {
	for before := ""; ; {
		var listed struct{ Runs []remediation.Run }
		if err := c.api.insist(ctx, http.MethodGet, "/v1/runs?state=waiting&limit=500&before="+before, nil, &listed); err != nil {
			return false, err
		}
		if slices.ContainsFunc(listed.Runs, func(r remediation.Run) bool { return !slices.Contains(patient, r.Phase) }) {
			return true, nil
		}
		if len(listed.Runs) < 500 {
			return false, nil
		}
		before = listed.Runs[len(listed.Runs)-1].ID
	}
}

// judge reads what everybody has written down, the senders of earlier parts included.
func (c *campaign) judge(ctx context.Context, earlier ...string) account {
	c.world.process.kill()
	e := evidence{Outages: c.director.outages}
	var err error
	if e.Ledger, err = c.world.ledger.entries(); err != nil {
		c.stats.blame("%v", err)
	}
	for _, path := range append(earlier, c.sender.journal) {
		sent, err := receipts(path)
		if err != nil {
			c.stats.blame("%v", err)
		}
		e.Sent = append(e.Sent, sent...)
	}
	if err := c.rows.gather(ctx, &e); err != nil {
		c.stats.blame("reading the rows: %v", err)
	}
	if err := c.director.trouble(); err != nil {
		c.stats.blame("the director: %v", err)
	}
	return c.account(e)
}
