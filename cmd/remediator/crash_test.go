package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	crashWorkers   = 4 // most of a night is waiting
	crashBaselines = 3 // nights without a crash, from which the places are learned
	crashTries     = 4 // at a pass that not every night makes
)

// kill is one crash to be made: at the n-th pass of a place, by number. Again asks for a second one, when the server that goes on comes
// by the same place.
type kill struct {
	place  string
	pass   int
	number int
	again  bool
}

// toll is what the crashes at one place led to. Again counts the kills of servers that went on after a kill.
type toll struct{ kills, again, unreached, lost, twice, other int }

// TestCrash kills the server with SIGKILL at every step boundary of a rollback: before and after each commit and each remote call, so
// also between what the remote has done and our record of it. The places are discovered by nights without a crash. After a restart the
// sandbox's ledger, kept by another process, must hold one change of traffic, one acknowledgement, one note, one resolve and each
// Slack message once. CRASH_KILLS sets how often each place is tried (1); CRASH_AT keeps to the places that begin with it.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("crashes take a minute")
	}
	t.Parallel()
	h := &harness{t: t, program: crashProgram(t), tolls: map[string]*toll{}, seen: map[string]int{}}
	built := time.Now()
	h.eachWorker(crashBaselines, func(o *outside, i int) { h.baseline(o, i) })
	if t.Failed() {
		return
	}
	plan := h.plan(killsPerPlace(t))
	h.eachWorker(len(plan), func(o *outside, i int) { h.strike(o, plan[i]) })
	t.Logf("%d kills planned, played in %s\n%s", len(plan), time.Since(built).Round(time.Second), h.table())
}

func killsPerPlace(t *testing.T) int {
	text := os.Getenv("CRASH_KILLS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CRASH_KILLS is %q, not a number of kills", text)
	}
	return n
}

// harness shares the work among workers and keeps the tolls.
type harness struct {
	t       *testing.T
	program string

	mu     sync.Mutex
	seen   map[string]int // passes that every baseline made, by place
	nights int
	tolls  map[string]*toll
}

// eachWorker does n pieces of work, shared among workers that each have a world.
func (h *harness) eachWorker(n int, work func(o *outside, i int)) {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var all sync.WaitGroup
	for range min(crashWorkers, n) {
		all.Go(func() {
			o, err := newOutside(h.t.Context(), h.program)
			if err != nil {
				h.t.Errorf("starting a world: %v", err)
				return
			}
			defer func() { _ = o.close() }()
			for i := range next {
				work(o, i)
			}
		})
	}
	all.Wait()
}

// baseline plays a night without a crash. It must end as it should, and its passes are those to crash at.
func (h *harness) baseline(o *outside, i int) {
	ctx, log := h.t.Context(), filepath.Join(o.dir, "passes")
	n, err := o.newNight(ctx, fmt.Sprintf("calm-%d", i))
	if err != nil {
		h.t.Errorf("baseline %d: %v", i, err)
		return
	}
	_, views, err := n.until(ctx, "REMEDIATOR_FAILPOINT_LOG="+log)
	if err != nil {
		h.t.Errorf("baseline %d: %v", i, err)
		return
	}
	if f, err := n.judge(views); err != nil || !f.clean() {
		h.t.Errorf("baseline %d: %v, %v", i, f, err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		h.t.Errorf("baseline %d: %v", i, err)
	}
	h.learn(strings.Fields(string(text)))
	_ = os.Remove(log)
}

// learn keeps, of each place, the passes that every night makes.
func (h *harness) learn(places []string) {
	counts := map[string]int{}
	for _, place := range places {
		counts[place]++
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nights++; h.nights == 1 {
		h.seen = counts
		return
	}
	maps.DeleteFunc(h.seen, func(place string, _ int) bool { return counts[place] == 0 })
	for place := range h.seen {
		h.seen[place] = min(h.seen[place], counts[place])
	}
}

// plan lists the kills. The passes of a place take turns, and places begin with different ones.
func (h *harness) plan(times int) []kill {
	var plan []kill
	for i, place := range slices.Sorted(maps.Keys(h.seen)) {
		if !strings.HasPrefix(place, os.Getenv("CRASH_AT")) {
			continue
		}
		h.tolls[place] = &toll{}
		for k := range times {
			plan = append(plan, kill{place: place, pass: 1 + (i+k)%h.seen[place], number: k, again: (i/2+k)%2 == 1})
		}
	}
	return plan
}

// strike plays nights until one has crashed at the wanted pass. A night that polls less often does not come so far: the next one crashes
// earlier. Every night must end as it should, crashed or not.
func (h *harness) strike(o *outside, k kill) {
	wanted := k.pass
	for try := range crashTries {
		k.pass = max(1, wanted>>(2*try))
		service := fmt.Sprintf("%s-%d-%d", strings.NewReplacer(".", "-", "_", "-").Replace(k.place), k.number, try)
		died, f, err := crash(h.t.Context(), o, service, k)
		h.record(k, died, f)
		if err != nil {
			h.t.Errorf("killed at pass %d of %s: %v", k.pass, k.place, err)
			return
		}
		if !f.clean() {
			h.t.Errorf("killed %d times, first at pass %d of %s: %v", died, k.pass, k.place, f)
		}
		if died > 0 {
			return
		}
	}
	h.t.Errorf("pass %d of %s was not reached in %d nights", wanted, k.place, crashTries)
}

// crash plays one night that crashes at the place, and goes on with a new server until one lives. It tells how many died.
func crash(ctx context.Context, o *outside, service string, k kill) (died int, f *finding, err error) {
	n, err := o.newNight(ctx, service)
	if err != nil {
		return 0, nil, err
	}
	places := []string{fmt.Sprintf("%s:%d", k.place, k.pass), ""}
	if k.again {
		places = slices.Insert(places, 1, k.place+":1")
	}
	for _, place := range places {
		p, views, err := n.until(ctx, "REMEDIATOR_FAILPOINT="+place)
		if err != nil {
			return died, nil, err
		}
		if !p.killed() {
			f, err = n.judge(views)
			return died, f, err
		}
		died++
	}
	return died, nil, errors.New("a server that nobody killed was killed")
}

func (h *harness) record(k kill, died int, f *finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tolls[k.place]
	if died > 0 {
		t.kills, t.again = t.kills+1, t.again+died-1
	} else {
		t.unreached++
	}
	if f != nil {
		t.lost, t.twice, t.other = t.lost+len(f.lost), t.twice+len(f.twice), t.other+len(f.other)
	}
}

// table is the closing account.
func (h *harness) table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "place\tpasses\tkills\tagain\tnot reached\tlost\ttwice\tother")
	var sum toll
	for _, place := range slices.Sorted(maps.Keys(h.tolls)) {
		t := h.tolls[place]
		fmt.Fprintf(w, "%s\t%d\t%v\n", place, h.seen[place], t)
		sum.add(*t)
	}
	fmt.Fprintf(w, "all %d places\t\t%v\n", len(h.tolls), &sum)
	_ = w.Flush()
	return out.String()
}

// String is the toll's columns.
func (t *toll) String() string {
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%d", t.kills, t.again, t.unreached, t.lost, t.twice, t.other)
}

func (t *toll) add(o toll) {
	t.kills, t.again, t.unreached = t.kills+o.kills, t.again+o.again, t.unreached+o.unreached
	t.lost, t.twice, t.other = t.lost+o.lost, t.twice+o.twice, t.other+o.other
}
