package torture

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// stats counts what was done to the servers.
type stats struct {
	mu       sync.Mutex
	Kills    int            `json:"kills"`
	Marks    map[string]int `json:"failpoints"` // kills at a mark, by name
	Pauses   int            `json:"pauses"`
	Stops    int            `json:"database_stops"`
	Full     int            `json:"disk_full"`
	Syncs    int            `json:"fsync_errors"` // lives that ended by themselves because an fsync failed
	Missed   int            `json:"fsync_unreached"`
	Exits    int            `json:"exits"` // of servers that could not go on without their database, or its disk
	Faults   int            `json:"sandbox_faults"`
	restarts []time.Duration
	blames   []string
	excuse   time.Time // until when a server may exit by itself: its database was taken away
	lenient  bool      // its disk is full now and then
}

func newStats() *stats { return &stats{Marks: map[string]int{}} }

func (s *stats) restarted(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts = append(s.restarts, d)
}

func (s *stats) paused(time.Duration) { s.count(&s.Pauses) }

func (s *stats) unreached(fate) { s.count(&s.Missed) }

func (s *stats) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// blame records what must not happen.
func (s *stats) blame(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.blames) < 50 {
		s.blames = append(s.blames, fmt.Sprintf(format, args...))
	}
}

// excused lets servers exit by themselves for a while.
func (s *stats) excused(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(d); until.After(s.excuse) {
		s.excuse = until
	}
}

// died counts the end of a process. One that ended by itself needs an excuse.
func (s *stats) died(name string, p *process, f fate) {
	switch {
	case f.kind == fateSync && !p.killed():
		s.count(&s.Syncs)
	case p.killed():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.Kills++
		if f.kind == fateMark && p.died.Sub(p.began) < markPatience {
			s.Marks[strings.Split(f.mark, ":")[0]]++
		}
	default:
		s.mu.Lock()
		excused := s.lenient || time.Now().Before(s.excuse)
		s.mu.Unlock()
		s.count(&s.Exits)
		if !excused {
			s.blame("%s ended by itself with %v:\n%s", name, p.state, lastLines(p.said(), 20))
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// spread is a set of times in two figures.
type spread struct {
	N   int           `json:"n"`
	P50 time.Duration `json:"p50_ns"`
	Max time.Duration `json:"max_ns"`
}

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	return spread{N: len(sorted), P50: sorted[len(sorted)/2], Max: sorted[len(sorted)-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %s, max %s (n=%d)", s.P50.Round(time.Millisecond), s.Max.Round(time.Millisecond), s.N)
}
