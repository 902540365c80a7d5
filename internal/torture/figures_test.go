package torture

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// measured leaves out figures that nobody asked for.
func measured(t *testing.T, databases ...string) {
	t.Helper()
	if !*figures {
		t.Skip("figures are measured with -figures")
	}
	for _, d := range databases {
		if *dbs == "both" || *dbs == d {
			return
		}
	}
	t.Skip("not asked for")
}

// part is the share that was asked for of a figure's size, at least one.
func part(n int) int { return max(1, int(*share*float64(n))) }

// set makes a scene of a story on a service, outside of the director's own turns.
func (c *campaign) set(name, on string, n int) *scene {
	s := &scene{director: c.director, service: on, outage: fmt.Sprintf("%s-%d", on, n), road: roadAlertmanager}
	for _, st := range stories() {
		if st.name == name {
			s.story = st
		}
	}
	return s
}

// begin breaks the service and lets the alert fire.
func (s *scene) begin(ctx context.Context) error {
	s.began = s.world.ledger.size()
	if err := s.story.before(ctx, s); err != nil {
		return err
	}
	s.starts = time.Now().UTC()
	s.learn(nil)
	return s.sender.deliver(s.delivery(kindOutage, "firing"))
}

// outcome plays a scene to its end in peace.
func (s *scene) outcome(ctx context.Context) (remediation.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, outageWithin)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	repeats, enough := context.WithCancel(ctx)
	defer enough()
	go s.repeat(repeats, 0)
	ended := s.awaitOutcome(ctx)
	s.resolve()
	s.tidy(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := s.outages[s.outage].Ended
	if !ended || len(ends) == 0 {
		return "", fmt.Errorf("the outage %s did not end", s.outage)
	}
	return ends[len(ends)-1], nil
}

// query reads one row of the database beside the servers.
func (c *campaign) query(ctx context.Context, db *sql.DB, dest []any, query string, args ...any) bool {
	return db.QueryRowContext(ctx, query, args...).Scan(dest...) == nil
}

// peakMemory is the most memory the process has held, in bytes.
func peakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells no VmHWM", pid)
}

// metricOf is the value of a series without labels in what /metrics shows; 0 when it is not there.
func metricOf(text io.Reader, name string) float64 {
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// figure is one line of the report.
type figure struct {
	Name   string         `json:"name"`
	Seed   uint64         `json:"seed"`
	Values map[string]any `json:"values"`
}

func (c *campaign) figure(values map[string]any) {
	f := figure{Name: c.name, Seed: *seed, Values: values}
	for _, name := range sortedKeys(values) {
		c.t.Logf("%s: %s: %v", c.name, name, values[name])
	}
	succeed(c.t, publish(f))
}

// finish lets a campaign come to its end like a torture, and judges it, with the journals of senders that have ended before.
func (c *campaign) finish(ctx context.Context, calm context.CancelFunc, earlier ...string) account {
	c.t.Helper()
	calm()
	c.keeping.Wait()
	c.peace(ctx, &sync.WaitGroup{}, func() {})
	a := c.judge(ctx, earlier...)
	c.t.Logf("\n%s", a.String())
	if !a.clean() {
		c.t.Errorf("%s: the evidence is against it; seed %d", c.name, *seed)
	}
	return a
}
