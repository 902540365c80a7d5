package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// redisPatience is for a machine that is busy: a start takes some milliseconds on an idle one.
const redisPatience = 20 * time.Second

// ErrNoRedis says that this machine has no redis-server.
var ErrNoRedis = errors.New("no redis-server here (Debian package redis-server)")

// redisServer is one run of a real redis-server: on a unix socket in a directory of its own, so that no port can be taken, and without
// anything kept on the disk.
type redisServer struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func startRedisServer(settings ...string) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoRedis
	}
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, fmt.Errorf("making the directory of redis-server: %w", err)
	}
	s := &redisServer{dir: dir, done: make(chan struct{})}
	args := append([]string{
		"--port", "0", "--unixsocket", s.socket(), "--dir", dir, "--save", "", "--appendonly", "no", "--requirepass", RedisPassword,
		"--logfile", s.log(), "--databases", "4",
	}, settings...)
	s.cmd = exec.CommandContext(context.Background(), program, args...) //nolint:gosec // the program is the one that was found
	dieWithParent(s.cmd)
	if err = s.run(); err == nil {
		err = s.waitReady()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting redis-server: %w", err), s.stop())
	}
	return s, nil
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "socket") }

func (s *redisServer) log() string { return filepath.Join(s.dir, "log") }

// run starts the process. That it dies with ours is tied to the thread which started it: that one stays until the process has ended.
func (s *redisServer) run() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.done)
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
	}()
	return <-started
}

func (s *redisServer) waitReady() error {
	for deadline := time.Now().Add(redisPatience); time.Now().Before(deadline); {
		if conn, err := s.dial(); err == nil {
			return conn.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended at its start: %s", s.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("it takes no connections: %s", s.lastWords())
}

func (s *redisServer) lastWords() string {
	text, _ := os.ReadFile(s.log())
	return string(bytes.TrimSpace(text[max(0, len(text)-1000):]))
}

func (s *redisServer) dial() (net.Conn, error) {
	return (&net.Dialer{Timeout: redisPatience}).DialContext(context.Background(), "unix", s.socket())
}

// stop ends the process at once, as if it had crashed, and deletes its files.
func (s *redisServer) stop() error {
	if s.cmd.Process != nil {
		if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping redis-server: %w", err)
		}
		<-s.done
	}
	return os.RemoveAll(s.dir)
}
