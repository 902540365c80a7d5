package torture

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The gate holds against what comes in from outside. Each of these is short in the ordinary tests, and whole with -figures.

// whole is a figure's size, or its short form's.
func whole(short, long int) int {
	if *figures {
		return part(long)
	}
	return short
}

// fileGate is a gate on a database in a file.
func fileGate(t *testing.T, more string) *gate {
	t.Helper()
	dir := workplace(t)
	path := filepath.Join(dir, "db")
	return newGate(t, dir, "sqlite:"+path, database{driver: "sqlite", source: "file:" + path + "?_pragma=busy_timeout(10000)"}, more)
}

func (g *gate) figure(name string, values map[string]any) {
	g.t.Helper()
	for _, key := range sortedKeys(values) {
		g.t.Logf("%s: %s: %v", name, key, values[key])
	}
	if *figures {
		succeed(g.t, publish(figure{Name: name, Seed: *seed, Values: values}))
	}
}

const (
	attackSockets = 2000
	attackMemory  = 256 << 20
	attackWithin  = time.Minute
	// mostProcessor is what the attack may take of a processor, the good traffic included: the measure that holds on a busy machine too.
	mostProcessor = 0.75
	// attackTurns is how often the good traffic is measured alone and under attack, in turns: a disk's fsync takes twice as long in one
	// minute as in the next, and so its moods fall on both.
	attackTurns = 5
)

// TestAttack: 2,000 slow sockets, endless and huge bodies, deep and wide JSON, a million headers and a bomb, all at once. The good traffic
// beside them is all taken, and not slowed much; memory is bounded; everything ends by itself.
func TestAttack(t *testing.T) {
	g := fileGate(t, "")
	lasts := time.Duration(whole(6, 12)) * time.Second
	var (
		alone, under traffic
		did          harm
	)
	for turn := range whole(1, attackTurns) {
		settles := g.steady(lasts / 3) // what is made once is made, and what a former attack left is settled
		before := g.steady(lasts)
		beside, h := g.besideAttack(lasts)
		t.Logf("turn %d: alone %s; under attack %s", turn+1, before, beside)
		alone, under, did = alone.and(before), under.and(beside), did.and(h)
		alone.refused += settles.refused
	}
	memory, err := peakMemory(g.process.cmd.Process.Pid)
	succeed(t, err)
	ratio := float64(under.p99()) / float64(alone.p99())
	g.figure("attack", map[string]any{
		"alone": alone.String(), "under attack": under.String(), "p99 ratio": ratio, "peak memory (MB)": memory >> 20,
		"slow sockets opened": did.Slow, "sent": did.Sent, "answered": did.Codes, "all closed after": did.Closed.String(),
	})
	if alone.refused+under.refused > 0 || len(under.took) == 0 {
		t.Errorf("under attack %s, alone %s", under, alone)
	}
	if *figures && ratio > 2 { // only where this machine has nothing else to do
		t.Errorf("the attack slowed the good traffic from %s to %s", alone, under)
	}
	if *figures && under.processor > mostProcessor {
		t.Errorf("the server took %.2f processors under attack, %.2f alone", under.processor, alone.processor)
	}
	if memory > attackMemory {
		t.Errorf("the server held %d MB", memory>>20)
	}
}

// besideAttack is what becomes of the good traffic while everything hostile comes in at once.
func (g *gate) besideAttack(lasts time.Duration) (traffic, harm) {
	g.t.Helper()
	ended, err := startAttack(attack{Server: strings.TrimPrefix(g.base, "http://"), Sockets: attackSockets, Token: gateKey, Idle: *figures, Lasts: lasts + 2*time.Second})
	succeed(g.t, err)
	open := g.openSockets()
	good := g.steady(lasts)
	h, err := ended()
	succeed(g.t, err)
	hits := int64(0)
	for _, n := range h.Sent {
		hits += n
	}
	g.t.Logf("%d slow sockets were opened, %d files open at its begin, %d hits", h.Slow, open, hits)
	if h.Closed > attackWithin {
		g.t.Errorf("sockets were open for %s after the attack", h.Closed)
	}
	least := int64(1)
	if *figures { // half of what was meant
		least = int64(lasts/hitEvery) / 2
	}
	if h.Slow < attackSockets || len(h.Sent) < 14 || hits < 14*least {
		g.t.Errorf("that was no attack: %+v", h)
	}
	return good, h
}

// openSockets is about how many connections the server has.
func (g *gate) openSockets() int { return int(g.metric("process_open_fds")) }

// processorTime is what the server has taken of the processors so far, in seconds.
func (g *gate) processorTime() float64 { return g.metric("process_cpu_seconds_total") }

func (g *gate) metric(name string) float64 {
	g.t.Helper()
	patient := &http.Client{Timeout: attackWithin}
	resp, err := patient.Get(g.base + "/metrics")
	succeed(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	return metricOf(resp.Body, name)
}

// traffic is what became of good deliveries.
type traffic struct {
	took    []time.Duration
	refused int
	first   string // of those refused
	// processor is how many processors the server took meanwhile.
	processor float64
	lasted    time.Duration
}

// and is the traffic of both times together.
func (s traffic) and(other traffic) traffic {
	took := slices.Concat(s.took, other.took)
	slices.Sort(took)
	lasted := s.lasted + other.lasted
	return traffic{
		took: took, refused: s.refused + other.refused, first: cmp.Or(s.first, other.first), lasted: lasted,
		processor: (s.processor*s.lasted.Seconds() + other.processor*other.lasted.Seconds()) / lasted.Seconds(),
	}
}

func (s traffic) at(share float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	return s.took[min(len(s.took)-1, int(share*float64(len(s.took))))]
}

func (s traffic) p99() time.Duration { return s.at(0.99) }

func (s traffic) String() string {
	return fmt.Sprintf("%d taken, %d refused (%s), p50 %s, p99 %s, %.2f processors", len(s.took), s.refused, s.first, s.at(0.5), s.p99(), s.processor)
}

// goodRate is how many deliveries a second the good traffic has, of each of its two senders.
const goodRate = 25

// steady sends good deliveries at a steady rate for a while, from an address of its own, each at its time whatever became of the former.
func (g *gate) steady(lasts time.Duration) traffic {
	client := &http.Client{Timeout: sendPatience, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}
	defer client.CloseIdleConnections()
	var (
		s   traffic
		mu  sync.Mutex
		all sync.WaitGroup
	)
	before, start := g.processorTime(), time.Now()
	for n := range int(lasts.Seconds() * goodRate) {
		pause(g.t.Context(), time.Until(start.Add(time.Duration(n)*time.Second/goodRate)))
		for _, source := range []string{alertmanagerSource, pagerDutySource} {
			r := g.quiet(source)
			all.Go(func() {
				began := time.Now()
				got, err := sendTo(client, g.base, r)
				took := time.Since(began)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && got.code == http.StatusAccepted {
					s.took = append(s.took, took)
					return
				}
				s.refused++
				s.first = fmt.Sprint(source, " ", got.code, " ", err)
			})
		}
	}
	all.Wait()
	s.lasted = time.Since(start)
	s.processor = (g.processorTime() - before) / s.lasted.Seconds()
	slices.Sort(s.took)
	return s
}

var quietOnes atomic.Int64

// quiet is a signed delivery that concerns no rule.
func (g *gate) quiet(source string) request {
	at, id := time.Now(), fmt.Sprintf("quiet-%d", quietOnes.Add(1))
	r := request{source: source}
	if source == pagerDutySource {
		r.signed.Body = pdBody(id, "incident.annotated", "QNOBODY", at, at)
	} else {
		r.signed.Body = amBody(id, amAlert{Status: "firing", StartsAt: at, Labels: map[string]string{"alertname": "Quiet", "id": id}, Annotations: map[string]string{}})
	}
	return r.with(gateKey)
}

// TestSeriesStayFlat: whatever labels, sources and paths are sent, /metrics shows no more series than before.
func TestSeriesStayFlat(t *testing.T) {
	g := fileGate(t, "")
	const alerts, labels = 500, 50
	deliver := func(n int) {
		t.Helper()
		at := time.Now().UTC()
		all := make([]amAlert, 0, alerts)
		for i := range alerts {
			own := map[string]string{"alertname": "Down", "service": fmt.Sprintf("nobody-%d-%d", n, i)}
			for j := range labels - 1 {
				own[fmt.Sprint("l", j)] = fmt.Sprintf("v-%d-%d-%d", n, i, j)
			}
			all = append(all, amAlert{Status: "firing", StartsAt: at, Labels: own, Annotations: map[string]string{}})
		}
		got, err := g.send(request{source: alertmanagerSource}.of(amBody(fmt.Sprint("g", n), all...)))
		succeed(t, err)
		if got.code != http.StatusAccepted {
			t.Fatalf("answered %d %s", got.code, got.body)
		}
	}
	stray := func(n int) {
		t.Helper()
		for _, path := range []string{fmt.Sprintf("/v1/webhooks/nobody-%d", n), fmt.Sprintf("/nowhere/%d", n)} {
			resp, err := g.client.Post(g.base+path, "", strings.NewReader("{}"))
			succeed(t, err)
			succeed(t, resp.Body.Close())
		}
	}
	deliver(0)
	stray(0)
	before := g.series()
	deliveries := whole(100_000, 1_000_000) / alerts / labels
	for n := range deliveries {
		deliver(n + 1)
		stray(n + 1)
	}
	after := g.series()
	g.figure("series", map[string]any{"values": deliveries * alerts * labels, "series before": before, "series after": after})
	if after != before || before == 0 {
		t.Errorf("%d series before, %d after", before, after)
	}
}

// of is the request with a body, proved.
func (r request) of(body []byte) request {
	r.signed.Body = body
	return r.with(gateKey)
}

// TestReplays: captured deliveries that are sent again and again start nothing new.
func TestReplays(t *testing.T) {
	g := fileGate(t, "")
	var captured []request
	for _, source := range g.players() {
		captured = append(captured, g.firing(source, "captured"))
	}
	for _, r := range captured {
		got, err := g.send(r)
		succeed(t, err)
		if got.code != http.StatusAccepted {
			t.Fatalf("%s: %d %s", r.source, got.code, got.body)
		}
	}
	runs := g.count(`SELECT count(*) FROM runs`)
	again := whole(1000, 100_000)
	took := g.replay(captured, again)
	more := g.count(`SELECT count(*) FROM runs`) - runs
	g.figure("replays", map[string]any{"replays": again, "a second": float64(again) / took.Seconds(), "runs before": runs, "new runs": more})
	if runs == 0 || more != 0 {
		t.Errorf("%d runs of the captured deliveries, %d of their replays", runs, more)
	}
}

// replay sends captured deliveries again, until each was taken so many times in all.
func (g *gate) replay(captured []request, times int) time.Duration {
	g.t.Helper()
	var (
		all  sync.WaitGroup
		next atomic.Int64
	)
	client := &http.Client{Timeout: sendPatience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	began := time.Now()
	for range 64 {
		all.Go(func() {
			for n := next.Add(1); n <= int64(times); n = next.Add(1) {
				if err := takenInTheEnd(g.t.Context(), client, g.base, captured[int(n)%len(captured)]); err != nil {
					g.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

// takenInTheEnd sends as senders do: what is answered 5xx is sent again.
func takenInTheEnd(ctx context.Context, client *http.Client, base string, r request) error {
	return eventually(ctx, r.source+"'s delivery is taken", windDown, func() (bool, error) {
		got, err := sendTo(client, base, r)
		if err == nil && got.code >= 300 && got.code < 500 {
			return false, fmt.Errorf("answered %d %s", got.code, got.body)
		}
		return err == nil && got.code < 300, nil
	})
}
