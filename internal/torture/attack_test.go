package torture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The attacker is a process of its own, so that the good traffic beside it is sent and measured in peace.

// attack is the first line that the attacker is told.
type attack struct {
	Server  string        `json:"server"`  // host and port
	Sockets int           `json:"sockets"` // slow ones: slow headers, slow bodies, and slow bodies of strangers
	Token   string        `json:"token"`   // so that some of it is parsed
	Idle    bool          `json:"idle"`    // take only the processors that nobody else wants
	Lasts   time.Duration `json:"lasts"`
}

// harm is what the attacker tells at its end: what it sent, and how long after it stopped the server had closed all its sockets.
type harm struct {
	Slow   int64            `json:"slow"` // slow sockets that were opened
	Sent   map[string]int64 `json:"sent"`
	Codes  map[string]int64 `json:"codes"`
	Closed time.Duration    `json:"closed"`
}

// and is the harm of two attacks.
func (h harm) and(other harm) harm {
	sum := func(a, b map[string]int64) map[string]int64 {
		all := maps.Clone(b)
		for name, n := range a {
			all[name] += n
		}
		return all
	}
	return harm{Slow: h.Slow + other.Slow, Sent: sum(h.Sent, other.Sent), Codes: sum(h.Codes, other.Codes), Closed: max(h.Closed, other.Closed)}
}

type attacker struct {
	attack
	ctx   context.Context
	there sync.WaitGroup // slow sockets that have still to be opened
	slow  atomic.Int64
	turns atomic.Int64
	mu    sync.Mutex
	harm  harm
}

// attackAlways is the attacker's process.
func attackAlways(in io.Reader, out io.Writer) error {
	a := &attacker{harm: harm{Sent: map[string]int64{}, Codes: map[string]int64{}}}
	if err := json.NewDecoder(in).Decode(&a.attack); err != nil {
		return err
	}
	// Attackers have machines of their own: what they take of this one is not the server's to bear.
	if err := stepBack(a.Idle); err != nil {
		return err
	}
	var stop context.CancelFunc
	a.ctx, stop = context.WithCancel(context.Background())
	defer stop()
	hits := a.hits()
	var all sync.WaitGroup
	a.there.Add(a.Sockets)
	for i := range a.Sockets {
		all.Go(func() { a.creep(i) })
	}
	for name, h := range hits {
		all.Go(func() { a.repeat(name, h) })
	}
	there := make(chan struct{})
	go func() { a.there.Wait(); close(there) }()
	select {
	case <-there:
	case <-time.After(30 * time.Second): // on a machine that has no time for it those that are there must do
	}
	if _, err := io.WriteString(out, "{}\n"); err != nil { // all are there
		return err
	}
	time.Sleep(a.Lasts)
	stop()
	over := time.Now()
	all.Wait()
	a.harm.Closed, a.harm.Slow = time.Since(over), a.slow.Load()
	return json.NewEncoder(out).Encode(a.harm)
}

// stepBack gives every thread of this process the least priority, or only what nobody else wants of the processors; those that are begun later
// inherit it. (On Linux how it is scheduled is a thread's.) Where everybody is busy, as in the tests of all packages, what nobody wants would be
// nothing.
func stepBack(idle bool) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		switch {
		case err != nil:
		case !idle:
			err = unix.Setpriority(unix.PRIO_PROCESS, id, 19)
		default:
			err = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		}
		if err != nil {
			return fmt.Errorf("stepping back: %w", err)
		}
	}
	return nil
}

// dial connects from one of eight addresses of the loopback, none of them the good traffic's.
func (a *attacker) dial() (net.Conn, error) {
	from := net.IPv4(127, 0, 1, byte(1+a.turns.Add(1)%8))
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: from}}
	return d.Dial("tcp", a.Server)
}

// creepOver is the time over which the slow sockets are opened, so that the server does not cut them off all at once.
const creepOver = 5 * time.Second

// creep opens slow sockets one after the other, and waits for the server to close the last.
func (a *attacker) creep(i int) {
	head := "POST /v1/webhooks/alertmanager HTTP/1.1\r\nHost: x\r\n"
	switch i % 4 {
	case 0, 2:
		head += "Authorization: Bearer " + a.Token + "\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("[", 4<<10)
	case 1: // of a stranger, who is answered at once and comes again after a while
		head += "Authorization: Bearer forged\r\nContent-Length: 1000\r\n\r\n["
	}
	first := sync.OnceFunc(a.there.Done)
	pause(a.ctx, creepOver*time.Duration(i)/time.Duration(a.Sockets))
	for a.ctx.Err() == nil {
		conn, err := a.dial()
		if err != nil {
			pause(a.ctx, 100*time.Millisecond)
			continue
		}
		a.slow.Add(1)
		first()
		go func() { // a line of a header, or a few bytes of a body, each second
			_, err := io.WriteString(conn, head)
			for n := 0; err == nil && pause(a.ctx, time.Second); n++ {
				_, err = fmt.Fprintf(conn, "x%d: y\r\n", n)
			}
		}()
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		pause(a.ctx, time.Second)
	}
}

// hitEvery is how long an attacker of one kind rests between two hits, about.
const hitEvery = 250 * time.Millisecond

// hits are the attacks that are sent again and again: each writes a request until the server has enough.
func (a *attacker) hits() map[string]func(io.Writer) {
	all := map[string]func(io.Writer){
		"endless chunks":    a.endless,
		"1 GB declared":     a.declared,
		"1,000,000 headers": headers,
		"forged signature":  forgedSignature,
	}
	for name, body := range hostileBodies() {
		more := []string{fmt.Sprintf("Content-Length: %d", len(body))}
		if name == "gzip bomb" {
			more = append(more, "Content-Encoding: gzip")
		}
		all[name] = func(w io.Writer) { head(w, a.Token, more...); _, _ = io.WriteString(w, body) }
		all[name+", forged"] = func(w io.Writer) { head(w, "forged", more...); _, _ = io.WriteString(w, body) }
	}
	return all
}

// hostileBodies are made to cost more than their size.
func hostileBodies() map[string]string {
	const group = `{"version":"4","groupKey":"g","status":"firing","alerts":[`
	labels := func(n int) string {
		var b strings.Builder
		b.WriteString(group + `{"status":"firing","startsAt":"2026-11-23T02:00:00Z","labels":{"a":""`)
		for i := range n {
			fmt.Fprintf(&b, `,"%x":""`, i)
		}
		return b.String() + "}}]}"
	}
	return map[string]string{
		"10,000 deep":     strings.Repeat(`{"a":`, 10_000),
		"200,000 labels":  labels(200_000),
		"labels in 1 MiB": labels(90_000),
		"alerts in 1 MiB": group + "{}" + strings.Repeat(",{}", 340_000) + "]}",
		"gzip bomb":       bomb(),
	}
}

func head(w io.Writer, token string, more ...string) {
	_, _ = fmt.Fprintf(w, "POST /v1/webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", token, strings.Join(more, "\r\n"))
}

func (a *attacker) endless(w io.Writer) {
	head(w, a.Token, "Transfer-Encoding: chunked")
	repeatTo(w, "1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n", 1<<20)
}

func (a *attacker) declared(w io.Writer) {
	const size, block = 1_000_000_000, 100_000
	head(w, a.Token, fmt.Sprintf("Content-Length: %d", size))
	repeatTo(w, strings.Repeat("x", block), size/block)
}

func headers(w io.Writer) {
	_, _ = io.WriteString(w, "POST /v1/webhooks/alertmanager HTTP/1.1\r\nHost: x\r\n")
	repeatTo(w, "x: y\r\n", 1_000_000)
}

func forgedSignature(w io.Writer) {
	body := strings.Repeat("x", 1_000_000)
	_, _ = fmt.Fprintf(w, "POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\nX-PagerDuty-Signature: v1=00\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// repeatTo writes a text again and again until nobody takes it.
func repeatTo(w io.Writer, text string, times int) {
	for range times {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// bomb is 64 MiB of a JSON text, small.
func bomb() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	block := bytes.Repeat([]byte("["), 1<<20)
	for range 64 {
		_, _ = z.Write(block)
	}
	_ = z.Close()
	return b.String()
}

// repeat sends one attack again and again, at no set time, so that the attacks come one by one.
func (a *attacker) repeat(name string, send func(io.Writer)) {
	for pause(a.ctx, hitEvery/2+rand.N(hitEvery)) {
		conn, err := a.dial()
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		go func() { send(conn) }()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		a.count(name, line)
	}
}

func (a *attacker) count(name, line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	code := "cut off"
	if words := strings.Fields(line); len(words) > 1 {
		code = words[1]
	}
	a.harm.Sent[name]++
	a.harm.Codes[name+": "+code]++
}

// startAttack starts the attacker, waits until its slow sockets are open, and gives a function that waits for what it tells at its end.
func startAttack(a attack) (func() (harm, error), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleName+"=attacker")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(encoded(a)), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := json.NewDecoder(out)
	if err := said.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return func() (h harm, err error) {
		err = said.Decode(&h)
		if waited := cmd.Wait(); err == nil {
			err = waited
		}
		return h, err
	}, nil
}
