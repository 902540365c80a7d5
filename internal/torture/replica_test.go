package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// replica is one server: a place in the fleet that is filled again at once when its process dies.
type replica struct {
	name   string
	port   int
	launch func(fate) launch
	fates  *fates // nil: a calm life
	stats  *stats

	mu      sync.Mutex
	process *process
	up      time.Time // when the process said that it is up; zero before
	calm    bool
	armed   string         // mark at which lives end until one does
	deaths  chan time.Time // of the armed life
}

func (r *replica) base() string { return fmt.Sprintf("http://127.0.0.1:%d", r.port) }

// patience of one life.
const (
	startWithin = 60 * time.Second
	endWithin   = 45 * time.Second // of a server that was asked to end: it lets visits under way end
)

// keep fills the place until ctx ends. It leaves the process alone then: see stop.
func (r *replica) keep(ctx context.Context) {
	died := time.Time{}
	for ctx.Err() == nil {
		f := r.next()
		p, up, err := r.start(f)
		if err != nil {
			r.stats.blame("%s could not be started: %v", r.name, err)
			return
		}
		if r.live(ctx, p, f, up, died); ctx.Err() != nil {
			return
		}
		<-p.ended
		died = p.died
		r.bury(p, f)
		if p.died.Sub(p.began) < time.Second && !p.killed() {
			pause(ctx, 200*time.Millisecond) // its database is away
		}
	}
}

func (r *replica) next() fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.armed != "" {
		return fate{kind: fateArmed, mark: r.armed}
	}
	if r.calm || r.fates == nil {
		return fate{}
	}
	return r.fates.draw()
}

// start starts a process and gives a channel that is closed once it listens.
func (r *replica) start(f fate) (*process, <-chan struct{}, error) {
	up := make(chan struct{})
	l := r.launch(f)
	var p *process
	said := make(chan *process, 1)
	l.stderr = func(line []byte) {
		if p == nil {
			p = <-said
		}
		p.keepLine(string(line))
		var entry struct{ Msg string }
		if strings.Contains(string(line), "remediator is up") && json.Unmarshal(line, &entry) == nil {
			r.mu.Lock()
			r.up = time.Now()
			r.mu.Unlock()
			close(up)
		}
	}
	started, err := start(l)
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	r.process, r.up = started, time.Time{}
	r.mu.Unlock()
	said <- started
	return started, up, nil
}

// live waits until the process listens and plays its fate. A life that ctx cuts short goes on.
func (r *replica) live(ctx context.Context, p *process, f fate, up <-chan struct{}, died time.Time) {
	select {
	case <-up:
		if !died.IsZero() {
			r.stats.restarted(time.Since(died))
		}
		if r.fates != nil {
			r.fates.started(time.Since(p.began))
		}
	case <-p.ended:
		return
	case <-ctx.Done():
		return
	case <-time.After(startWithin):
		r.stats.blame("%s did not come up within %s: %s", r.name, startWithin, p.said())
		p.kill()
		return
	}
	f.play(ctx, r, p)
}

// bury counts how a process ended.
func (r *replica) bury(p *process, f fate) {
	if f.kind == fateArmed && p.killed() {
		r.fell(p.died)
	}
	if f.log != "" {
		r.fates.learn(f.log)
	}
	r.stats.died(r.name, p, f)
}

// strike kills the process unless it is gone already.
func (r *replica) strike(p *process) {
	if !p.gone() {
		p.kill()
	}
}

// halt stops the process for a while with SIGSTOP, and lets it go on.
func (r *replica) halt(ctx context.Context, p *process, d time.Duration) {
	if p.signal(syscall.SIGSTOP) != nil || p.gone() {
		return
	}
	r.stats.paused(d)
	pause(ctx, d)
	_ = p.signal(syscall.SIGCONT)
}

// arm lets the lives to come end at a mark, up to the first that does, and tells of it.
func (r *replica) arm(mark string) <-chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed, r.deaths = mark, make(chan time.Time, 1)
	return r.deaths
}

func (r *replica) fell(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.armed != "" {
		r.armed = ""
		r.deaths <- at
	}
}

// pid is the present process's.
func (r *replica) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.cmd.Process.Pid
}

// listening reports whether the present process has said that it is up.
func (r *replica) listening() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.up.IsZero() && r.process != nil && !r.process.gone()
}

// stop ends the present process as an operator does. keep must have ended.
func (r *replica) stop() error {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil || p.gone() {
		return nil
	}
	code, err := p.stop(endWithin)
	if err == nil && code != 0 {
		err = fmt.Errorf("it ended with %d", code)
	}
	if err != nil {
		return fmt.Errorf("stopping %s: %w\n%s", r.name, err, p.said())
	}
	return nil
}

// kill ends the present process, whatever state it is in.
func (r *replica) kill() {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p != nil {
		p.kill()
	}
}
