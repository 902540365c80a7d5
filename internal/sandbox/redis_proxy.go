package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

func (w *World) serveRedis(address string) error {
	l, err := w.listen("redis", address)
	if err != nil {
		return err
	}
	w.redis.listener = l
	w.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.redis.serve(conn) })
		}
	})
	return nil
}

// close ends the server and the proxy.
func (r *redisStandIn) close() error {
	if r.listener != nil {
		_ = r.listener.Close()
	}
	err := r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.clients {
		_ = c.Close()
	}
	return err
}

// admit connects a client to the server, if that runs.
func (r *redisStandIn) admit(conn net.Conn) (upstream *redisWire, leave func()) {
	server, err := r.running()
	if err != nil {
		return nil, func() { _ = conn.Close() }
	}
	up, err := server.dial()
	if err != nil {
		return nil, func() { _ = conn.Close() }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[conn], r.clients[up] = true, true
	return newRedisWire(up), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range []net.Conn{conn, up} {
			_ = c.Close()
			delete(r.clients, c)
		}
	}
}

// serve hands commands on one by one, until somebody hangs up.
func (r *redisStandIn) serve(conn net.Conn) {
	upstream, leave := r.admit(conn)
	defer leave()
	if upstream == nil {
		return
	}
	client, database := newRedisWire(conn), 0
	for {
		raw, words, err := client.frame()
		if err != nil || len(words) == 0 {
			return
		}
		if n, err := strconv.Atoi(words[len(words)-1]); err == nil && strings.EqualFold(words[0], "SELECT") {
			database = n
		}
		if r.hand(redisCall{raw: raw, name: words[0], database: database}, client, upstream) != nil {
			return
		}
	}
}

// redisCall is one command of a client.
type redisCall struct {
	raw      []byte
	name     string
	database int
}

// errHungUp ends a connection.
var errHungUp = errors.New("hung up")

// hand carries a command out and answers it, or what befalls it instead.
func (r *redisStandIn) hand(c redisCall, client, upstream *redisWire) error {
	r.book.redis(c)
	f := r.take(c.name)
	if err := sleep(context.Background(), f.Delay); err != nil {
		return err
	}
	spoilt := f.Drop || f.Hang || f.Garbage || f.Error != ""
	var reply []byte
	for range pick(f.Twice, 2, 1) {
		if spoilt && !f.ApplyThenFail {
			break
		}
		var err error
		if reply, err = r.carryOut(c, f.Before, upstream); err != nil {
			return err
		}
	}
	switch {
	case f.Drop, f.ApplyThenFail && !spoilt:
		return errHungUp
	case f.Hang:
		_, err := io.Copy(io.Discard, client) // until the client has had enough
		return errors.Join(errHungUp, err)
	case f.Garbage:
		reply = []byte("<html>out of order</html>\r\n")
	case f.Error != "":
		reply = []byte("-" + f.Error + "\r\n")
	}
	_, err := client.Write(reply)
	return err
}

func (r *redisStandIn) take(command string) RedisFault {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.faults, func(f RedisFault) bool {
		return f.Count > 0 && (f.Command == "" || strings.EqualFold(f.Command, command))
	})
	if i < 0 {
		return RedisFault{}
	}
	r.faults[i].Count--
	return r.faults[i]
}

// carryOut takes its turn, has the server run the command, and notes what that has changed before anybody is answered.
func (r *redisStandIn) carryOut(c redisCall, before []string, upstream *redisWire) ([]byte, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	if len(before) > 0 {
		if _, err := r.byHand(c.database, before); err != nil {
			return nil, err
		}
	}
	if _, err := upstream.Write(c.raw); err != nil {
		return nil, err
	}
	reply, _, err := upstream.frame()
	if err != nil {
		return nil, err
	}
	ran, err := r.done()
	r.record(ran)
	return reply, err
}
