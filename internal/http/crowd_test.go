package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/rules"
)

// serving is a real server on the loopback.
func serving(t *testing.T, s *stand) string {
	t.Helper()
	server := New(s.cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.tcp.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// dialFrom connects from an address of the loopback.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// deliver sends a delivery over a connection that is open and gives the answer.
func deliver(t *testing.T, conn net.Conn) reply {
	t.Helper()
	_, _ = io.WriteString(conn, "POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	resp, err := nethttp.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return reply{resp.StatusCode, resp.Header.Get("Retry-After"), resp.Close}
}

// reply is what came back for a delivery.
type reply struct {
	code   int
	retry  string
	closes bool
}

// TestConnectionsAreBounded: who is too many is answered 503 at once, one address does not keep another out, and a place that is given back
// is there for the next.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.limits.Connections, s.limits.PerAddress = 3, 2
	addr := serving(t, s)
	held := []net.Conn{dialFrom(t, "127.0.0.1", addr), dialFrom(t, "127.0.0.1", addr)}
	for _, c := range held {
		if resp := deliver(t, c); resp.code != 202 {
			t.Fatalf("within the bounds: %d", resp.code)
		}
	}
	turnedAway := func(from, why string) {
		t.Helper()
		if resp := deliver(t, dialFrom(t, from, addr)); resp.code != 503 || resp.retry == "" || !resp.closes {
			t.Errorf("%s: %d, %+v", why, resp.code, resp)
		}
	}
	turnedAway("127.0.0.1", "the third from an address that may have two")
	other := dialFrom(t, "127.0.0.2", addr)
	if resp := deliver(t, other); resp.code != 202 {
		t.Errorf("the third of three in all, from another address: %d", resp.code)
	}
	turnedAway("127.0.0.3", "the fourth of three in all")
	_ = held[0].Close()
	taken := false
	for deadline := time.Now().Add(10 * time.Second); !taken && time.Now().Before(deadline); {
		taken = deliver(t, dialFrom(t, "127.0.0.1", addr)).code == 202
	}
	if !taken {
		t.Error("a place that was given back is not there for the next")
	}
}

// TestManyTooMany: however many are turned away, each is answered 503 or cut off, and nobody waits.
func TestManyTooMany(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.limits.Connections, s.limits.PerAddress = 1, 0
	addr := serving(t, s)
	if resp := deliver(t, dialFrom(t, "127.0.0.1", addr)); resp.code != 202 {
		t.Fatalf("the first: %d", resp.code)
	}
	for range 4 * tellers {
		c := dialFrom(t, "127.0.0.2", addr)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\n") // and no more
		go func() { _, _ = io.Copy(io.Discard, c) }()
	}
	for range tellers {
		c := dialFrom(t, "127.0.0.3", addr)
		began := time.Now()
		text, err := io.ReadAll(c)
		if err == nil && len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 503 ") {
			t.Errorf("answered %q", text)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it waited %s", took)
		}
	}
}

func TestPrefixOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[::ffff:192.0.2.7]:80": "192.0.2.7/32", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80": "fe80::/64",
	} {
		if got := prefixOf(addr).String(); got != want {
			t.Errorf("%s counts for %s, want %s", addr, got, want)
		}
	}
}

// TestHeadersAreBounded: a header too large, or of too many lines, is broken off; what follows a header is not counted for one.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	addr := serving(t, newStand(accepting))
	lines := func(n int) string { return strings.Repeat("x: y\r\n", n) }
	const first, last = "POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\n", "Content-Length: 1000\r\n\r\n"
	body := strings.Repeat("\n", 1000)
	for name, c := range map[string]struct {
		requests []string
		code     int // of the last
	}{
		"as many lines as may be":  {[]string{first + lines(maxHeaderLines-3) + last + body}, 202},
		"one line more":            {[]string{first + lines(maxHeaderLines-2) + last + body}, 400},
		"lines without an end":     {[]string{first + lines(100_000)}, 400},
		"a line without an end":    {[]string{first + "x: " + strings.Repeat("y", 1<<20)}, 431},
		"the second request's":     {[]string{first + last + body, first + lines(maxHeaderLines) + last + body}, 400},
		"two requests of many":     {[]string{first + lines(100) + last + body, first + lines(100) + last + body}, 202},
		"header's lines in a body": {[]string{first + last + strings.Repeat("x: y\r\n", 200)[:1000]}, 202},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialFrom(t, "127.0.0.1", addr)
			answers := bufio.NewReader(conn)
			for i, request := range c.requests {
				go func() { _, _ = io.WriteString(conn, request) }()
				resp, err := nethttp.ReadResponse(answers, nil)
				if err != nil && c.code == 400 { // or cut off, as it depends on how much of it came at once
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if i == len(c.requests)-1 && resp.StatusCode != c.code {
					t.Errorf("answered %d, want %d", resp.StatusCode, c.code)
				}
			}
		})
	}
}

// readBy counts what a server reads.
type readBy struct {
	net.Listener
	bytes atomic.Int64
}

func (l *readBy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &readConn{conn, l}, err
}

type readConn struct {
	net.Conn
	by *readBy
}

func (c *readConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.by.bytes.Add(int64(n))
	return n, err
}

// TestHeldConnectionsAreCheap: what a connection holds whose header, of as many small lines as may be, never ends.
func TestHeldConnectionsAreCheap(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &readBy{Listener: inner}
	s := newStand(accepting)
	s.limits.ReadHeader, s.limits.Read = time.Minute, time.Minute
	server := New(s.cfg)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.tcp.Close() })
	var header strings.Builder
	header.WriteString("POST / HTTP/1.1\r\n")
	for i := range maxHeaderLines - 2 {
		fmt.Fprintf(&header, "x%d: %s\r\n", i, strings.Repeat("y", 50))
	}
	const held, most = 200, 64 << 10
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range held {
		_, _ = io.WriteString(dialFrom(t, "127.0.0.1", inner.Addr().String()), header.String())
	}
	for deadline := time.Now().Add(30 * time.Second); l.bytes.Load() < int64(held*header.Len()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server has read %d bytes", l.bytes.Load())
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / held
	t.Logf("%d bytes a connection, the client's part included", each)
	if each > most || each < 4<<10 {
		t.Errorf("a connection holds %d bytes", each)
	}
}

// TestLargeBodiesTakeSeveralPlaces: the size of what is worked on at once is bounded, and one that takes all places is still taken.
func TestLargeBodiesTakeSeveralPlaces(t *testing.T) {
	t.Parallel()
	s := newStand(accepting)
	s.limits.InFlight, s.limits.Patience = 4, 10*time.Millisecond
	e := newEdge(s.cfg)
	leave, err := e.turn(t.Context(), 2*bodyPerPlace)
	if err != nil {
		t.Fatal(err)
	}
	small, err := e.turn(t.Context(), 0)
	if err != nil {
		t.Fatalf("the fourth place: %v", err)
	}
	if _, err := e.turn(t.Context(), 0); err == nil {
		t.Error("a fifth place was given")
	}
	s.limits.InFlight = 5 // the rules are read again
	more, err := e.turn(t.Context(), 4*bodyPerPlace)
	if err != nil {
		t.Errorf("after the rules allow more: %v", err)
	}
	for _, leave := range []func(){leave, small, more} {
		leave()
	}
	all, err := e.turn(t.Context(), 100*bodyPerPlace)
	if err != nil {
		t.Fatalf("one larger than all places: %v", err)
	}
	all()
}

// TestSmallBodiesHaveRoomLeft: a few large bodies do not keep out those of everyday.
func TestSmallBodiesHaveRoomLeft(t *testing.T) {
	t.Parallel()
	all := &allowance{}
	const most = 1 << 20
	in := room{all: most, each: most}
	large, small, next := loan{of: all}, loan{of: all}, loan{of: all}
	for n := 0; n < most && large.borrow(64<<10, in); n += 64 << 10 {
		continue
	}
	if large.size != most*3/4 {
		t.Errorf("a large body took %d of %d", large.size, most)
	}
	if !small.borrow(smallBody, in) || small.borrow(1, in) {
		t.Error("a small body takes what is left, and is large beyond that")
	}
	for all.held < most {
		l := loan{of: all}
		if !l.borrow(smallBody, in) {
			t.Fatal("no room, though not all is taken")
		}
	}
	if next.borrow(1, in) {
		t.Error("more than all was lent")
	}
}

// TestOneAddressLeavesRoom: what it holds at once is bounded, whatever the sizes, and given back.
func TestOneAddressLeavesRoom(t *testing.T) {
	t.Parallel()
	all, in := &allowance{}, room{all: 1 << 20, each: 256 << 10}
	here, there := prefixOf("192.0.2.1:1"), prefixOf("[2001:db8::1]:1")
	var held []*loan
	for range 100 {
		l := &loan{of: all, from: here}
		if l.borrow(8<<10, in) {
			held = append(held, l)
		}
	}
	if len(held) != 32 {
		t.Errorf("one address holds %d of 8 KiB, want 32", len(held))
	}
	if other := (&loan{of: all, from: there}); !other.borrow(256<<10, in) {
		t.Error("another address finds no room")
	}
	for _, l := range held {
		l.repay()
	}
	if again := (&loan{of: all, from: here}); !again.borrow(256<<10, in) || len(all.from) != 2 {
		t.Errorf("what was given back is not there: %v", all.from)
	}
	if own := roomOf(rules.Intake{MaxHeld: 4 << 20, MaxBody: 2 << 20, PerAddress: 1}); own.each != 4<<20 {
		t.Errorf("an address may not send two whole bodies: %+v", own)
	}
}

func TestBodyBoundOfASource(t *testing.T) {
	t.Parallel()
	set, err := rules.Load("r", []byte("version: 1\nsources:\n  loud: {kind: alertmanager, bearer_token_file: x, limits: {max_body: 2KiB}}\n"), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newStand(accepting)
	s.limits = set.Intake
	for source, code := range map[string]int{"loud": 413, "other": 202} {
		if w := s.ask(byTCP, "POST", "/v1/webhooks/"+source, strings.Repeat("x", 3<<10)); w.Code != code {
			t.Errorf("3 KiB for %s: %d, want %d", source, w.Code, code)
		}
		s.cfg.Registerer = nil
	}
}
