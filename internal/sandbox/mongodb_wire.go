package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Opcodes and sizes of MongoDB's wire protocol (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/).
const (
	opReply       = 1
	opQuery       = 2004
	opMsg         = 2013
	mongoHeader   = 16
	mongoBiggest  = 48_000_000
	checksumFlag  = 1
	awaitCapable  = 8
	tlsInternal   = 80
	greetingBytes = 512
)

// mongoMessage is a command as it came in.
type mongoMessage struct {
	id      int32
	query   bool // by OP_QUERY, as the first of a connection may be
	command bson.D
}

// mongoConn is a connection and what its commands share.
type mongoConn struct {
	net.Conn
	id       int64
	loggedIn bool
	talk     *scram
	gone     <-chan struct{}
}

func (m *mongoServer) accept(l net.Listener) {
	m.mu.Lock()
	m.listener = l
	m.mu.Unlock()
	m.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if c, door := m.admit(conn); c != nil {
				m.running.Go(func() { m.meet(c, door) })
			}
		}
	})
}

func (m *mongoServer) admit(conn net.Conn) (*mongoConn, MongoDoor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.door == MongoClosed || m.door == MongoSlammed {
		_ = conn.Close()
		return nil, m.door
	}
	m.lastConn++
	m.conns[conn] = true
	return &mongoConn{Conn: conn, id: m.lastConn, gone: m.gone}, m.door
}

func (m *mongoServer) meet(c *mongoConn, door MongoDoor) {
	defer func() {
		_ = c.Close()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, c.Conn)
	}()
	if door == MongoOpen {
		m.serve(c)
		return
	}
	if n, err := c.Read(make([]byte, greetingBytes)); n == 0 || err != nil {
		return
	}
	switch door {
	case MongoGarbled:
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\nthis is no MongoDB"))
	case MongoNotAllowed: // a TLS record of type alert, version 1.2, fatal
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, tlsInternal})
	default:
		<-c.gone
	}
}

// setDoor closes the listener and the connections where the door needs it, and opens it again at the same address.
func (m *mongoServer) setDoor(d MongoDoor) error {
	m.mu.Lock()
	before := m.door
	m.door = d
	close(m.gone)
	m.gone = make(chan struct{})
	for c := range m.conns {
		_ = c.Close()
	}
	if d == MongoClosed && m.listener != nil {
		_ = m.listener.Close()
		m.listener = nil
	}
	m.mu.Unlock()
	if before != MongoClosed || d == MongoClosed {
		return nil
	}
	l, err := net.Listen("tcp", m.address) //nolint:noctx // a listener on loopback is made at once
	if err != nil {
		return fmt.Errorf("opening MongoDB's door again: %w", err)
	}
	m.accept(l)
	return nil
}

func (m *mongoServer) serve(c *mongoConn) {
	for {
		in, err := readMongo(c)
		if err != nil {
			return
		}
		reply, ok := m.answer(c, in.command)
		if !ok {
			return
		}
		if err := writeMongo(c, in, reply); err != nil {
			return
		}
	}
}

var errMongoMessage = errors.New("a message of MongoDB's is malformed")

func readMongo(r io.Reader) (mongoMessage, error) {
	var head struct{ Length, ID, To, Op int32 }
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return mongoMessage{}, err
	}
	if head.Length < mongoHeader || head.Length > mongoBiggest {
		return mongoMessage{}, errMongoMessage
	}
	body := make([]byte, head.Length-mongoHeader)
	if _, err := io.ReadFull(r, body); err != nil {
		return mongoMessage{}, err
	}
	in := mongoMessage{id: head.ID, query: head.Op == opQuery}
	var err error
	switch head.Op {
	case opQuery:
		in.command, err = queryCommand(body)
	case opMsg:
		in.command, err = msgCommand(body)
	default:
		err = errMongoMessage
	}
	return in, err
}

// queryCommand reads flags, a namespace that ends with 0, skip, limit, and the command.
func queryCommand(body []byte) (bson.D, error) {
	if len(body) < 4 {
		return nil, errMongoMessage
	}
	_, rest, ok := bytes.Cut(body[4:], []byte{0})
	if !ok || len(rest) < 8 {
		return nil, errMongoMessage
	}
	var d bson.D
	if err := bson.Unmarshal(rest[8:], &d); err != nil {
		return nil, err
	}
	if inner, ok := field(d, "$query").(bson.D); ok {
		return inner, nil
	}
	return d, nil
}

// msgCommand reads the section that holds the command. Sequences of documents are those of writes, which are refused anyway.
func msgCommand(body []byte) (bson.D, error) {
	if len(body) < 4 {
		return nil, errMongoMessage
	}
	flags, rest := binary.LittleEndian.Uint32(body), body[4:]
	if flags&checksumFlag != 0 && len(rest) >= 4 {
		rest = rest[:len(rest)-4]
	}
	for len(rest) > 5 {
		kind, size := rest[0], int(binary.LittleEndian.Uint32(rest[1:]))
		if size < 4 || size > len(rest)-1 {
			return nil, errMongoMessage
		}
		if kind == 0 {
			var d bson.D
			err := bson.Unmarshal(rest[1:1+size], &d)
			return d, err
		}
		rest = rest[1+size:]
	}
	return nil, errMongoMessage
}

func writeMongo(w io.Writer, to mongoMessage, reply bson.D) error {
	doc, err := bson.Marshal(reply)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	op := int32(opMsg)
	if to.query {
		op = opReply
		_ = binary.Write(&body, binary.LittleEndian, struct {
			Flags  int32
			Cursor int64
			From   int32
			Number int32
		}{awaitCapable, 0, 0, 1})
	} else {
		body.Write(make([]byte, 5)) // no flags; a section of kind 0
	}
	body.Write(doc)
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, []int32{int32(mongoHeader + body.Len()), to.id + 1, to.id, op}) //nolint:gosec // small
	out.Write(body.Bytes())
	_, err = w.Write(out.Bytes())
	return err
}

// take finds the fault that is to befall a command.
func (m *mongoServer) take(command string) (MongoFault, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands[command]++
	for i, f := range m.faults {
		if f.Count > 0 && (f.Command == command || f.Command == "" && !beforeLogin[command]) {
			m.faults[i].Count--
			return f, true
		}
	}
	return MongoFault{}, false
}

// answer gives the reply, unless the connection is to end without one.
func (m *mongoServer) answer(c *mongoConn, command bson.D) (bson.D, bool) {
	if len(command) == 0 {
		return nil, false
	}
	m.book.mongo(command)
	f, hit := m.take(command[0].Key)
	if !hit {
		return m.perform(c, command), true
	}
	if f.Delay > 0 {
		select {
		case <-c.gone:
			return nil, false
		case <-time.After(f.Delay):
		}
	}
	switch {
	case f.Hang:
		<-c.gone
		return nil, false
	case f.Drop:
		return nil, false
	case f.Garbage:
		_, _ = c.Write(bytes.Repeat([]byte{0xff}, 2*mongoHeader))
		return nil, false
	case f.Code != 0:
		return mongoFailure(f.Code, f.CodeName, f.Message, f.Labels...), true
	}
	return m.perform(c, command), true
}
