package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mixillo/remediator/internal/rules"
)

// Errors of taking a body in.
var (
	errTooLarge = errors.New("the body is too large")
	errFull     = errors.New("too many deliveries at once")
)

// places is how many deliveries are worked on at once.
type places struct{ now atomic.Pointer[pool] }

type pool struct {
	*semaphore.Weighted
	size int64
}

// ofSize is the pool; where the rules have been read again with another size, a new one: who is in the old one leaves it by and by.
func (p *places) ofSize(size int) *pool {
	now := p.now.Load()
	for now == nil || now.size != int64(size) {
		fresh := &pool{Weighted: semaphore.NewWeighted(int64(size)), size: int64(size)}
		if p.now.CompareAndSwap(now, fresh) {
			return fresh
		}
		now = p.now.Load()
	}
	return now
}

// bodyPerPlace is how much of a body one place is for, in bytes. A parsed body holds up to fifteen times its size, so that it is the size
// of all bodies at work that has to be bounded; their number alone would not do.
const bodyPerPlace = 16 << 10

// turn waits a little for places, in the order of those who wait; whoever gets them must leave. Large bodies are worked on one after the
// other: they must not take every processor at once.
func (e *edge) turn(ctx context.Context, body int) (leave func(), err error) {
	limits := e.cfg.Limits()
	alone, all := func() {}, e.places.ofSize(limits.InFlight)
	if body > rules.LargeBody { // before it takes places, which those of everyday have use for while it waits
		if alone, err = take(ctx, e.large, 1, limits.Patience); err != nil {
			return nil, err
		}
	}
	places, err := take(ctx, all.Weighted, min(all.size, 1+int64(body)/bodyPerPlace), limits.Patience)
	if err != nil {
		alone()
		return nil, err
	}
	return func() { places(); alone() }, nil
}

// take waits at most so long for n places and gives what frees them.
func take(ctx context.Context, of *semaphore.Weighted, n int64, patience time.Duration) (func(), error) {
	if !of.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := of.Acquire(ctx, n); err != nil {
			return nil, fmt.Errorf("%w: %w", errFull, err)
		}
	}
	return func() { of.Release(n) }, nil
}

// body reads the request's body whole, of at most so many bytes. Memory is borrowed as bytes arrive, so that those who send slowly hold
// little of it.
func (e *edge) body(r *nethttp.Request, l *loan, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, errTooLarge
	}
	room := roomOf(e.cfg.Limits())
	var buf []byte
	for {
		if len(buf) == cap(buf) {
			grown := min(max(2*int64(cap(buf)), 4<<10), most+1)
			if !l.borrow(grown-int64(cap(buf)), room) {
				return nil, errFull
			}
			buf = append(make([]byte, 0, grown), buf...)
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > most:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, fmt.Errorf("reading the body: %w", err)
		}
	}
}

// smallBody is the size, in bytes, up to which a body may take the last quarter of the memory, so that a few that are large and slow do
// not keep those of everyday out.
const smallBody = 16 << 10

// room is what bodies may hold, in bytes.
type room struct {
	all  int64
	each int64 // those of one address: one that sends slowly must not keep the others out
}

// roomOf leaves one address a quarter, and always two whole bodies.
func roomOf(limits rules.Intake) room {
	r := room{all: int64(limits.MaxHeld), each: int64(limits.MaxHeld)}
	if limits.PerAddress > 0 {
		r.each = max(r.all/4, 2*int64(limits.MaxBody))
	}
	return r
}

// allowance is the memory that bodies hold together, in bytes. Safe for concurrent use.
type allowance struct {
	mu   sync.Mutex
	held int64
	from map[netip.Prefix]int64 // of each address
}

// loan is one body's part of the allowance. For one goroutine.
type loan struct {
	of   *allowance
	from netip.Prefix
	size int64
}

func (e *edge) loan(r *nethttp.Request) *loan {
	return &loan{of: &e.held, from: prefixOf(r.RemoteAddr)}
}

// borrow takes n bytes more, unless there is no room for them.
func (l *loan) borrow(n int64, in room) bool {
	if l.size+n > smallBody {
		in.all -= in.all / 4
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.held+n > in.all || l.from.IsValid() && l.of.from[l.from]+n > in.each {
		return false
	}
	l.change(n)
	return true
}

func (l *loan) repay() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.change(-l.size)
}

// change is called with the lock held.
func (l *loan) change(n int64) {
	if l.of.from == nil {
		l.of.from = map[netip.Prefix]int64{}
	}
	l.size += n
	l.of.held += n
	if l.of.from[l.from] += n; l.of.from[l.from] == 0 {
		delete(l.of.from, l.from)
	}
}
