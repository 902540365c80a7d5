package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// disguises are ways of writing 127.0.0.1 and 169.254.169.254, and names that lead there.
var disguises = []string{
	"127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7F.0x0.0x0.0x1", "0177.0.0.1", "0177.0.0.01", "127.0.0.1.",
	"127.000.000.001", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1", "localhost", "LOCALHOST", "localhost.",
	"LocalHost.", "localhost.localdomain", "127.0.0.1.nip.io", "0", "0.0.0.0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]",
	"[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[::1%25lo]", "169.254.169.254", "169.254.43518",
	"169.16689662", "2852039166", "0xa9fea9fe", "025177524776", "0251.0376.0251.0376", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]",
	"[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fe80::a9fe:a9fe]", "metadata", "metadata.google.internal", "METADATA.google.internal.",
	"instance-data", "169.254.169.254.xip.io", "evil-allowed.example", "allowed.example.evil.test", "allowed.example%2eevil.test", "allowedxexample",
}

// places are where in a URL a disguise may stand, beside the host that is allowed.
var places = []string{
	"http://%s/", "http://%s:PORT/latest/meta-data/", "https://%s/", "HTTP://%s:PORT", "http://allowed.example@%s:PORT/", "http://allowed.example:80@%s/",
	"http://allowed.example%%2f@%s:PORT/", "http://allowed.example%%23@%s/", "http:%s", "//%s:PORT/", "http:///%s:PORT", "http://allowed.example\\@%s/",
	"http://allowed.example%%00.%s/", "http://%s:PORT#@allowed.example/", "http://%s?@allowed.example", "http://%s\\.allowed.example/", "http://%s:0x50/",
	"ftp://%s/", "gopher://%s:PORT/", "file://%s/etc/passwd", "http://allowed.example:PORT@%s:PORT/", "http://allowed.example @%s/", "http://allowed.example\t%s/",
}

// No way of writing an address leads to a server that is not allowed: nothing is dialled but what was meant.
func TestNoDisguiseLeadsAside(t *testing.T) {
	t.Parallel()
	trapped := make(chan string, 1000)
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { trapped <- r.Host }))
	defer trap.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(trap.URL, "http://"))
	client := NewHTTPClient(HTTPConfig{Hosts: []string{"allowed.example:80"}, Insecure: true, Timeout: time.Second})
	transport := client.Transport.(*guardedTransport).next
	through := transport.DialContext
	var mu sync.Mutex
	var dialled []string
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dialled = append(dialled, address)
		mu.Unlock()
		if address == "allowed.example:80" {
			return nil, errors.New("it is not dialled in a test")
		}
		return through(ctx, network, address)
	}
	tried := 0
	for _, place := range places {
		for _, host := range disguises {
			address := strings.ReplaceAll(fmt.Sprintf(place, host), "PORT", port)
			tried++
			if body, err := tryGet(t, client, address); err == nil {
				t.Errorf("%q was answered: %q", address, body)
			}
		}
	}
	for _, address := range dialled {
		if address != "allowed.example:80" {
			t.Errorf("%s was dialled", address)
		}
	}
	if close(trapped); len(trapped) > 0 || tried < 200 {
		t.Errorf("of %d URLs %d have reached the trap, one as %q", tried, len(trapped), <-trapped)
	}
}

// tryGet is get for an address that may be none.
func tryGet(t *testing.T, client *http.Client, address string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close()
	return resp.Status, nil
}

// fickle is a DNS server of one name that answers each question with the next of its addresses, the last for ever.
type fickle struct {
	mu      sync.Mutex
	answers []string
	asked   int
}

func (n *fickle) next() net.IP {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := min(n.asked, len(n.answers)-1)
	n.asked++
	return net.ParseIP(n.answers[at]).To4()
}

// serve answers questions for addresses of version 4, and says that there is none of another.
func (n *fickle) serve(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		size, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		end := 12
		for buffer[end] != 0 {
			end += int(buffer[end]) + 1
		}
		end += 5
		if end > size {
			continue
		}
		answer := append([]byte{buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buffer[12:end]...)
		if buffer[end-3] == 1 { // type A
			answer[7] = 1
			answer = append(append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), n.next()...)
		}
		_, _ = conn.WriteTo(answer, from)
	}
}

func (n *fickle) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go n.serve(conn)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A name that led to a good address once is judged again when it is dialled again: by what it leads to then.
func TestRebindingLeadsNowhere(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(hostOf(t, srv.URL))
	for name, c := range map[string]struct {
		answers []string
		refused []bool // of one dial after the other
	}{
		"good":                            {[]string{"127.0.0.1"}, []bool{false, false}},
		"metadata":                        {[]string{"169.254.169.254"}, []bool{true, true}},
		"good first, then metadata":       {[]string{"127.0.0.1", "169.254.169.254"}, []bool{false, true}},
		"metadata first, then good again": {[]string{"169.254.169.254", "127.0.0.1"}, []bool{true, false}},
		"unspecified":                     {[]string{"0.0.0.0"}, []bool{true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialer := guardedDialer(5 * time.Second)
			dialer.Resolver = (&fickle{answers: c.answers}).resolver(t)
			client := NewHTTPClient(HTTPConfig{Hosts: []string{"rebound.example"}, Insecure: true, FreshConnections: true})
			client.Transport.(*guardedTransport).next.DialContext = dialer.DialContext
			for i, refused := range c.refused {
				_, err := tryGet(t, client, "http://rebound.example:"+port+"/")
				if errors.Is(err, ErrHostRefused) != refused || !refused && err != nil {
					t.Errorf("dial %d: %v, want refused %t", i, err, refused)
				}
			}
		})
	}
}
