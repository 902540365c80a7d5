package http

import (
	"errors"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/rules"
)

// crowd is a listener that bounds how many connections are open at once, in all and from one address. Whoever is too many is answered 503
// at once: in the backlog, where netutil.LimitListener leaves them, senders would wait for those who hold the places and in the end take
// the server for dead, and of an address nothing is known there. A sender that comes again loses nothing. Bounds may change at any time.
type crowd struct {
	net.Listener
	limits func() rules.Intake
	log    *slog.Logger

	mu   sync.Mutex
	open int
	from map[netip.Prefix]int
	told time.Time // when the log was last told

	turnedAway chan struct{} // places for those who are told so
}

// tellers bounds how many are told at once that they are too many; others are only cut off, which senders take for a reason to come again.
const tellers = 64

func newCrowd(l net.Listener, limits func() rules.Intake, log *slog.Logger) *crowd {
	return &crowd{Listener: l, limits: limits, log: log, from: map[netip.Prefix]int{}, turnedAway: make(chan struct{}, tellers)}
}

// Accept gives the next connection that there is room for.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := prefixOf(conn.RemoteAddr().String())
		if c.enter(from) {
			return &counted{Conn: conn, head: true, leave: sync.OnceFunc(func() { c.leave(from) })}, nil
		}
		c.turnAway(conn)
	}
}

// prefixOf is whom a connection counts for: an IPv4 address, or the network of an IPv6 one, of which a host has all addresses.
func prefixOf(address string) netip.Prefix {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap(), 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (c *crowd) enter(from netip.Prefix) bool {
	limits := c.limits()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= limits.Connections || limits.PerAddress > 0 && c.from[from] >= limits.PerAddress {
		if now := time.Now(); now.Sub(c.told) > time.Minute {
			c.told = now
			c.log.Warn("connections are turned away", "open", c.open, "from", from.String(), "from_there", c.from[from])
		}
		return false
	}
	c.open++
	c.from[from]++
	return true
}

func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.from[from]--; c.from[from] <= 0 {
		delete(c.from, from)
	}
}

// turnAway answers without having read. What the client still sends is read for a moment, or its kernel would drop the answer.
func (c *crowd) turnAway(conn net.Conn) {
	select {
	case c.turnedAway <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	go func() {
		defer func() { _ = conn.Close(); <-c.turnedAway }()
		const said = `{"error":"too many connections; come again"}` + "\n"
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: "+retryAfter+"\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"+said)
		if closeWrite(conn) == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
		}
	}()
}

// maxHeaderLines bounds the lines of a request's header. Senders have twenty; read, a line of five bytes holds a hundred.
const maxHeaderLines = 128

var errHeaderLines = errors.New("the header has too many lines")

// counted is a connection that gives its place back when it is closed, and breaks off a header of too many lines while it comes in: once
// net/http has read one, its memory is spent. Reads are made one after the other, as net/http does.
type counted struct {
	net.Conn
	leave func()

	head  bool // a header comes in
	blank bool // its present line is empty so far, and not the first
	lines int
}

// CloseWrite tells the client that nothing more comes. net/http does so before it closes a connection of which it has not read all, or the
// client's kernel might drop the answer.
func (c *counted) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite ends one half of a connection; errors.ErrUnsupported where it has no halves.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Read counts what it reads of a header.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, b := range p[:n] {
		if !c.head {
			break
		}
		c.count(b)
	}
	if c.lines > maxHeaderLines {
		return 0, errHeaderLines
	}
	return n, err
}

func (c *counted) count(b byte) {
	const handshake = 0x16 // how TLS begins: its lines cannot be seen
	switch {
	case b == '\n' && c.blank, b == handshake && c.lines == 0:
		c.head = false
	case b == '\n':
		c.lines++
		c.blank = true
	case b != '\r':
		c.blank = false
	}
}

// follow tells a connection, as http.Server.ConnState, that its next request comes. One that was sent before the answer to the former is
// not counted right; nobody sends POST so.
func follow(conn net.Conn, state nethttp.ConnState) {
	if c, ok := conn.(*counted); ok && state == nethttp.StateIdle {
		c.head, c.blank, c.lines = true, false, 0
	}
}

// Close closes the connection.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
