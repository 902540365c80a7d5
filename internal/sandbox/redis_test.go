package sandbox_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

// redisClient speaks the protocol by hand.
type redisClient struct {
	net.Conn
	in *bufio.Reader
}

func startRedis(t *testing.T) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.StartRedis(); errors.Is(err, sandbox.ErrNoRedis) && os.Getenv("REQUIRE_ALL") == "" {
		t.Skipf("left out: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return w
}

func dialRedis(t *testing.T, w *sandbox.World) redisClient {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.RedisAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return redisClient{conn, bufio.NewReader(conn)}
}

// ask gives the first line of the answer, "" for none.
func (c redisClient) ask(words ...string) string {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	_, _ = c.Write([]byte(text))
	line, _ := c.in.ReadString('\n')
	return strings.TrimSpace(line)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	w := startRedis(t)
	c := dialRedis(t, w)
	for _, step := range []struct{ command, want string }{
		{"PING", "-NOAUTH Authentication required."},
		{"AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled."},
		{"AUTH " + sandbox.RedisPassword, "+OK"},
		{"SET a 1", "+OK"},
		{"UNLINK a b", ":1"},
		{"FLUSHDB", "+OK"},
	} {
		if got := c.ask(strings.Fields(step.command)...); got != step.want {
			t.Errorf("%s: %q, want %q", step.command, got, step.want)
		}
	}
	if _, err := w.Redis(0, "SET", "b", "2"); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range w.Ledger() {
		told = append(told, e.Verb+" by "+strings.TrimSuffix(e.By, "@mixillo.iam.gserviceaccount.com"))
	}
	if got := strings.Join(told, ", "); got != "set by remediator, unlink by remediator, flush by remediator, set by human" {
		t.Errorf("the ledger: %s", got)
	}
}

// What is carried out twice is told twice, and what was spoilt before it took effect is not told at all.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	w := startRedis(t)
	for name, tt := range map[string]struct {
		fault   sandbox.RedisFault
		answer  string
		changes int
	}{
		"twice":             {sandbox.RedisFault{Twice: true}, "+OK", 2},
		"cut":               {sandbox.RedisFault{Drop: true}, "", 0},
		"cut afterwards":    {sandbox.RedisFault{Drop: true, ApplyThenFail: true}, "", 1},
		"told it was wrong": {sandbox.RedisFault{Error: "BUSY"}, "-BUSY", 0},
		"garbage":           {sandbox.RedisFault{Garbage: true, ApplyThenFail: true}, "<html>out of order</html>", 1},
		"late":              {sandbox.RedisFault{Delay: 10 * time.Millisecond}, "+OK", 1},
	} {
		before := len(w.Ledger())
		c := dialRedis(t, w)
		c.ask("AUTH", sandbox.RedisPassword)
		tt.fault.Command = "set"
		w.SpoilRedis(tt.fault)
		if got := c.ask("SET", "a", "1"); got != tt.answer {
			t.Errorf("%s: answered %q", name, got)
		}
		if n := len(w.Ledger()) - before; n != tt.changes {
			t.Errorf("%s: %d changes", name, n)
		}
	}
}

func TestRedisStopsAndStarts(t *testing.T) {
	t.Parallel()
	w := startRedis(t)
	if err := w.FillRedis(sandbox.RedisKeys{Prefix: "k", Count: 3, Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.StopRedis(); err != nil {
		t.Fatal(err)
	}
	if got := dialRedis(t, w).ask("PING"); got != "" {
		t.Errorf("a server that was stopped answers %q", got)
	}
	if _, err := w.Redis(0, "PING"); err == nil {
		t.Error("a server that was stopped runs a command")
	}
	if err := w.StartRedis("--maxmemory", "5mb"); err != nil {
		t.Fatal(err)
	}
	words, err := w.Redis(0, "DBSIZE")
	if err != nil || words[0] != "0" {
		t.Errorf("after a start: %v, %v", words, err)
	}
	if err := w.PauseRedis(true); err != nil {
		t.Fatal(err)
	}
	c := dialRedis(t, w)
	answered := make(chan string, 1)
	go func() { answered <- c.ask("PING") }()
	select {
	case got := <-answered:
		t.Errorf("a server that stands still answers %q", got)
	case <-time.After(50 * time.Millisecond):
	}
	if err := w.PauseRedis(false); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != "-NOAUTH Authentication required." {
		t.Errorf("and when it goes on: %q", got)
	}
}
