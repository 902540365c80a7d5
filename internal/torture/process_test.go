package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tailLines is how much of what a process said is kept.
const tailLines = 200

// launch says how a process is started.
type launch struct {
	program string
	args    []string
	env     []string
	stdin   bool              // keep a pipe to its standard input
	stdout  func(line []byte) // told of each line of its standard output
	stderr  func(line []byte) // told of each line of its standard error
}

// process is one of the torture's processes, the leader of a group of its own. It dies with the test, however that ends.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	began time.Time
	ended chan struct{} // closed when it is gone and its last line was read
	died  time.Time     // once ended is closed
	state *os.ProcessState

	mu   sync.Mutex
	tail []string
}

// start starts a process. Ending ctx does not end it: kill does.
func start(l launch) (*process, error) {
	p := &process{cmd: exec.Command(l.program, l.args...), ended: make(chan struct{}), began: time.Now()}
	p.cmd.Env = append(os.Environ(), l.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if l.stdin {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	said, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(l.program), err)
	}
	var read sync.WaitGroup
	read.Go(func() { p.read(out, l.stdout) })
	read.Go(func() { p.read(said, l.stderr) })
	go func() {
		read.Wait()
		_ = p.cmd.Wait()
		p.state, p.died = p.cmd.ProcessState, time.Now()
		close(p.ended)
	}()
	return p, nil
}

// read keeps the last lines of a pipe and tells of each.
func (p *process) read(from io.Reader, tell func([]byte)) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if tell != nil {
			tell(lines.Bytes())
			continue
		}
		p.keepLine(lines.Text())
	}
	_, _ = io.Copy(io.Discard, from) // a line too long must not stop the process
}

func (p *process) keepLine(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tail) >= 2*tailLines {
		p.tail = slices.Clone(p.tail[tailLines:])
	}
	p.tail = append(p.tail, line)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail[max(0, len(p.tail)-tailLines):], "\n")
}

// signal reaches the whole group, so that a tracer takes what it traces with it.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits until the process is gone; false when that took too long, or ctx ended.
func (p *process) wait(ctx context.Context, d time.Duration) bool {
	patience := time.NewTimer(d)
	defer patience.Stop()
	select {
	case <-p.ended:
		return true
	case <-patience.C:
		return p.gone()
	case <-ctx.Done():
		return p.gone()
	}
}

// kill ends the group at once and waits for its end.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL)
	_ = p.signal(syscall.SIGCONT)
	<-p.ended
}

// stop asks the process to end by itself and gives the exit code; one that does not is killed.
func (p *process) stop(patience time.Duration) (int, error) {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return -1, err
	}
	if !p.wait(context.Background(), patience) {
		p.kill()
		return -1, fmt.Errorf("it did not end within %s", patience)
	}
	return p.state.ExitCode(), nil
}

// killed reports whether the process ended by SIGKILL.
func (p *process) killed() bool {
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// pause sleeps until the time is over or ctx ends, and reports whether the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// eventually asks until it holds, fails, or the time is over.
func eventually(ctx context.Context, what string, within time.Duration, holds func() (bool, error)) error {
	deadline := time.Now().Add(within)
	for {
		ok, err := holds()
		switch {
		case err != nil:
			return fmt.Errorf("waiting until %s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("waited %s in vain until %s", within, what)
		case !pause(ctx, 50*time.Millisecond):
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
}
