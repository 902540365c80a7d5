package torture

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// balancer stands before the servers, as a cloud's does: PagerDuty knows one address. A connection goes to the next server that takes it.
type balancer struct {
	listener net.Listener
	servers  []string // host:port
	turn     atomic.Int64
	open     sync.WaitGroup
}

func newBalancer(t *testing.T, replicas []*replica) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	succeed(t, err)
	b := &balancer{listener: l}
	for _, r := range replicas {
		b.servers = append(b.servers, r.base()[len("http://"):])
	}
	b.open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.pass(conn)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.open.Wait()
	})
	return b
}

func (b *balancer) base() string { return "http://" + b.listener.Addr().String() }

// pass joins a connection with a server until either end closes.
func (b *balancer) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	for range b.servers {
		server, err := net.Dial("tcp", b.servers[int(b.turn.Add(1))%len(b.servers)])
		if err != nil {
			continue
		}
		defer func() { _ = server.Close() }()
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
		return
	}
}
