package connect_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// scriptedRedis answers every line that begins a command with what it is told to: enough for what no real server does.
func scriptedRedis(t *testing.T, secure *tls.Config, answer func(command string) string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if reply := answer(strings.ToUpper(lines.Text())); reply != "" {
						_, _ = conn.Write([]byte(reply))
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// obliging knows neither HELLO nor any trouble.
func obliging(command string) string {
	switch command {
	case "HELLO":
		return "-ERR unknown command 'HELLO'\r\n"
	case "AUTH":
		return "+OK\r\n"
	case "PING":
		return "+PONG\r\n"
	}
	return ""
}

func pinged(t *testing.T, c connect.RedisConfig) error {
	t.Helper()
	server, err := connect.NewRedis(c)
	if err != nil {
		t.Fatal(err)
	}
	return server.Session(t.Context(), 0, func(context.Context, *connect.Session) error { return nil })
}

func TestRedisConfig(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config connect.RedisConfig
		says   string // "" where it is right
	}{
		"right":             {connect.RedisConfig{Endpoint: "redis.example.com:6379"}, ""},
		"no port":           {connect.RedisConfig{Endpoint: "redis.example.com"}, "host:port"},
		"no host":           {connect.RedisConfig{Endpoint: ":6379"}, "host:port"},
		"a URL":             {connect.RedisConfig{Endpoint: "redis://h:6379"}, "host:port"},
		"a metadata server": {connect.RedisConfig{Endpoint: "169.254.169.254:80"}, "metadata"},
		"its name":          {connect.RedisConfig{Endpoint: "Metadata.google.internal.:80"}, "metadata"},
		"a user alone":      {connect.RedisConfig{Endpoint: "h:1", User: "bot"}, "password"},
		"below zero":        {connect.RedisConfig{Endpoint: "h:1", Database: -1}, "database"},
		"both":              {connect.RedisConfig{Endpoint: "h:1", Insecure: true, CAFile: "ca"}, "exclude"},
	} {
		err := tt.config.Check()
		if (tt.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisOverTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewUnstartedServer(nil) // for its certificate, which names 127.0.0.1
	web.StartTLS()
	t.Cleanup(web.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := scriptedRedis(t, &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}, obliging)
	if err := pinged(t, connect.RedisConfig{Endpoint: secure, CAFile: ca}); err != nil {
		t.Errorf("a certificate of the authority that was named: %v", err)
	}
	for name, c := range map[string]connect.RedisConfig{
		"a certificate of strangers": {Endpoint: secure}, "no such file": {Endpoint: secure, CAFile: ca + "x"},
	} {
		c.Timeout = 5 * time.Second
		if err := pinged(t, c); err == nil || connect.IsRedisDown(err) || connect.IsAmbiguous(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The password is read anew for each session, and no error shows it, even where the server repeats it.
func TestRedisPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := scriptedRedis(t, nil, func(command string) string {
		switch command {
		case "HELLO", "AUTH":
			return "-WRONGPASS not hunter2\r\n"
		case "PING":
			return "+PONG\r\n"
		}
		return ""
	})
	c := connect.RedisConfig{Endpoint: address, Insecure: true, Password: connect.Secret{File: file}}
	if err := pinged(t, c); err == nil || strings.Contains(err.Error(), "hunter2") || connect.IsAmbiguous(err) || connect.IsRedisDown(err) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var secret *connect.SecretError
	if err := pinged(t, c); !errors.As(err, &secret) {
		t.Errorf("the file is gone: %v", err)
	}
}

// Where a call may have taken effect, and where it cannot have.
func TestRedisErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reply                      string
		ambiguous, throttled, down bool
	}{
		"refused":         {reply: "-NOPERM no\r\n"},
		"busy":            {reply: "-BUSY Redis is busy running a script\r\n", throttled: true, down: true},
		"loading":         {reply: "-LOADING Redis is loading\r\n", throttled: true, down: true},
		"garbage":         {reply: "<html>\r\n", ambiguous: true},
		"nothing":         {ambiguous: true, down: true},
		"without an end":  {reply: "$80000000\r\n" + strings.Repeat("x", 66<<20), ambiguous: true},
		"a broken length": {reply: "$x\r\n", ambiguous: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := scriptedRedis(t, nil, func(command string) string {
				if command == "DEL" {
					return tt.reply
				}
				return obliging(command)
			})
			timeout := 3 * time.Second
			if len(tt.reply) > 1<<20 {
				timeout = time.Minute // it is the bytes that are too many
			}
			server, err := connect.NewRedis(connect.RedisConfig{Endpoint: address, Insecure: true, Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			err = server.Session(t.Context(), 0, func(ctx context.Context, s *connect.Session) error {
				_, err := s.Change(ctx, "removing a key", "DEL", "a")
				return err
			})
			if err == nil || connect.IsAmbiguous(err) != tt.ambiguous || connect.IsThrottled(err) != tt.throttled || connect.IsRedisDown(err) != tt.down {
				t.Errorf("ambiguous %t, throttled %t, down %t: %v", connect.IsAmbiguous(err), connect.IsThrottled(err), connect.IsRedisDown(err), err)
			}
		})
	}
}
