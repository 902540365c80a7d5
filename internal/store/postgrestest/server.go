//go:build linux

package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// server is one run of the postmaster.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Restart starts the server, after a stop or when it died, and waits until it takes connections: after a crash it recovers first.
func (c *Cluster) Restart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil && !c.server.ended() {
		return errors.New("the server is running")
	}
	s, err := c.run()
	if err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}
	c.server = s
	if err := c.waitReady(s); err != nil {
		_ = s.end(syscall.SIGQUIT)
		return err
	}
	return nil
}

// run starts the postmaster so that it is told to stop when this process dies. That is tied to the thread that started it, which
// therefore stays until the postmaster has ended. It is given back then: other children that it has started would die with it.
func (c *Cluster) run() (*server, error) {
	log, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	args := []string{"-D", c.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories=" + c.dir, "-c", "max_connections=200"}
	for _, setting := range c.settings {
		args = append(args, "-c", setting)
	}
	s := &server{cmd: c.command(context.Background(), "postgres", args...), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.done)
		defer func() { _ = log.Close() }()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
	}()
	return s, <-started
}

func (c *Cluster) logFile() string { return filepath.Join(c.dir, "log") }

// waitReady reads what pg_ctl reads: the state in the last line of the postmaster's file, which a dead one may have left behind.
func (c *Cluster) waitReady(s *server) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		text, _ := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		lines := strings.Split(string(text), "\n")
		if len(lines) >= 8 && lines[0] == fmt.Sprint(s.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("postgres ended at its start: %s", c.lastWords())
		case <-time.After(lookFor):
		}
	}
	return fmt.Errorf("postgres takes no connections: %s", c.lastWords())
}

// lastWords is the end of the server's log.
func (c *Cluster) lastWords() string {
	text, _ := os.ReadFile(c.logFile())
	return string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}

// Stop ends the server: at once, as if it had crashed, or after disconnecting everybody and writing a checkpoint. Of a stopped one
// nothing is asked.
func (c *Cluster) Stop(immediate bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	signal := syscall.SIGINT
	if immediate {
		signal = syscall.SIGQUIT
	}
	err := c.server.end(signal)
	c.server = nil
	return err
}

// Pid is the process id of the postmaster, 0 while it is stopped.
func (c *Cluster) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return 0
	}
	return c.server.cmd.Process.Pid
}

func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *server) end(signal os.Signal) error {
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping postgres: %w", err)
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("postgres did not stop"), s.cmd.Process.Kill())
	}
}
