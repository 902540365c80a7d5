package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// fateKind is how a life ends, or what befalls it before.
type fateKind string

// The fates. Calm is a life without one.
const (
	fateCalm  fateKind = ""
	fateKill  fateKind = "kill"      // SIGKILL at a random time
	fateMark  fateKind = "failpoint" // SIGKILL at a mark of the program's own
	fatePause fateKind = "pause"     // SIGSTOP for longer than the lease, then SIGCONT, then SIGKILL at a random time
	fateSync  fateKind = "fsync"     // fsync and fdatasync fail from some call on
	fateArmed fateKind = "armed"     // SIGKILL at a mark, however long it takes to come by it
)

// fate is what one life of a server has to expect.
type fate struct {
	kind  fateKind
	after time.Duration // of being up
	pause time.Duration
	then  time.Duration // between the pause and the end
	mark  string        // name:n of a failpoint
	log   string        // file that passes are written to
	nth   int           // call of fsync, of each thread, from which on it fails
}

// markPatience is how long a life may take to come by its mark; syncPatience, to its failing fsync and from there to its exit.
const (
	markPatience = 2 * time.Second
	syncPatience = 15 * time.Second
)

// soonPassed is how often a life of the usual length comes by a mark.
const soonPassed = 20

// env is what a server of this fate is told.
func (f fate) env() []string {
	var env []string
	if f.mark != "" {
		env = append(env, "REMEDIATOR_FAILPOINT="+f.mark)
	}
	if f.log != "" {
		env = append(env, "REMEDIATOR_FAILPOINT_LOG="+f.log)
	}
	return env
}

// wrap puts a server whose fsync fails under strace.
func (f fate) wrap(l launch) launch {
	l.env = append(l.env, f.env()...)
	if f.kind != fateSync {
		return l
	}
	inject := fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d+", f.nth)
	l.args = append([]string{"-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", inject, l.program}, l.args...)
	l.program = "strace"
	return l
}

// play lets the fate befall a process that is up. It returns when the process is to be waited for, or ctx ended.
func (f fate) play(ctx context.Context, r *replica, p *process) {
	switch f.kind {
	case fateMark:
		if !p.wait(ctx, markPatience) && ctx.Err() == nil {
			r.strike(p)
		}
	case fateSync:
		if !p.wait(ctx, syncPatience) && ctx.Err() == nil {
			r.stats.unreached(f)
			r.strike(p)
		}
	case fatePause:
		if !p.wait(ctx, f.after) && ctx.Err() == nil {
			r.halt(ctx, p, f.pause)
		}
		if !p.wait(ctx, f.then) && ctx.Err() == nil {
			r.strike(p)
		}
	case fateKill:
		if !p.wait(ctx, f.after) && ctx.Err() == nil {
			r.strike(p)
		}
	default:
		select {
		case <-p.ended:
		case <-ctx.Done():
		}
	}
}

// fates draws the lives of a torture.
type fates struct {
	odds  map[fateKind]int
	mean  time.Duration // of a life, once up; longer on a machine that is slow to start one
	lease time.Duration // what a pause is longer than
	dir   string        // where passes are written

	mu     sync.Mutex
	behind func() bool // whether too much waits to be taken: every other life is a long one then, so that the load stays what it shall be
	dice   *rand.Rand
	start  time.Duration  // how long servers took to come up lately
	marks  map[string]int // passes a life makes, by name
	logs   int
}

func (s *fates) draw() fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := fate{kind: s.pick(), after: s.span()}
	if s.behind != nil && s.behind() && s.dice.IntN(2) == 0 {
		f.kind, f.after = fateKill, 3*max(s.mean, 3*s.start)
	}
	if s.logs == 0 || s.dice.IntN(12) == 0 {
		s.logs++
		f.log = filepath.Join(s.dir, fmt.Sprintf("passes-%d", s.logs))
	}
	switch f.kind {
	case fateMark:
		if len(s.marks) == 0 {
			f.kind = fateKill
			break
		}
		names := sortedKeys(s.marks)
		name := names[s.dice.IntN(len(names))]
		f.mark = fmt.Sprintf("%s:%d", name, 1+s.dice.IntN(min(max(s.marks[name], 1), soonPassed)))
	case fatePause:
		f.pause = s.lease + time.Duration(s.dice.Int64N(int64(s.lease/2)))
		f.after, f.then = f.after/2, s.span()/2
	case fateSync:
		f.nth = 1 + s.dice.IntN(40)
	default:
	}
	return f
}

// spare lets lives be long while a sender is behind.
func (s *fates) spare(behind func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = behind
}

// pick draws a kind by its odds.
func (s *fates) pick() fateKind {
	kinds, sum := sortedKeys(s.odds), 0
	for _, k := range kinds {
		sum += s.odds[k]
	}
	x := s.dice.IntN(sum)
	for _, k := range kinds {
		if x -= s.odds[k]; x < 0 {
			return k
		}
	}
	return fateKill
}

// span draws the length of a life: mostly short, sometimes long enough for a run to end in peace. Where a start takes long, lives have to
// be long too, or nothing would come to its end.
func (s *fates) span() time.Duration {
	mean := max(s.mean, 3*s.start)
	return min(time.Duration(s.dice.ExpFloat64()*float64(mean))+50*time.Millisecond, 5*mean)
}

// started learns how long a server takes to come up.
func (s *fates) started(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = (3*s.start + d) / 4
}

// learn takes up the marks that a logged life came by, once it is over.
func (s *fates) learn(log string) {
	text, err := os.ReadFile(log)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for name := range strings.FieldsSeq(string(text)) {
		counts[name]++
	}
	for name, n := range counts {
		s.marks[name] = max(s.marks[name], n)
	}
	_ = os.Remove(log)
}

// sortedKeys makes a map's order that of chance alone.
func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
