package simulation

import (
	"container/heap"
	"time"
)

// planned is something that will happen at a moment since the beginning.
type planned struct {
	at  time.Duration
	seq int // what was planned first happens first
	do  func()
}

// agenda is what the world will do, earliest first.
type agenda []planned

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(planned)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	p := (*a)[last]
	*a = (*a)[:last]
	return p
}

func (a *agenda) add(p planned) { heap.Push(a, p) }
func (a *agenda) next() planned { return heap.Pop(a).(planned) }
func (a agenda) first() (time.Duration, bool) {
	if len(a) == 0 {
		return 0, false
	}
	return a[0].at, true
}
