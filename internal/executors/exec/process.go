package exec

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

const (
	system = "exec"
	// maxOutput bounds what is kept of a program's output, in bytes.
	maxOutput = 16 << 10
	// outputWait is how long output is waited for that something else than the program holds open.
	outputWait = time.Second
)

// process is one run of a program.
type process struct {
	argv   []string
	dir    string
	env    []string // all of it: nothing of ours is inherited
	output bool     // keep what it writes
}

// ended is how a program ended by itself.
type ended struct {
	exit   int
	output []byte
}

// run starts the program without a shell and without any file of ours, and waits for it. When the context ends it is killed, and in any case
// what it has left running in its process group. A *connect.CallError says that it was not started; any other error that it was, and did
// not end by itself.
func (p process) run(ctx context.Context) (ended, error) {
	if ctx.Err() != nil {
		return ended{}, p.notStarted(ctx.Err())
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.argv[0], p.argv[1:]...) //nolint:gosec // the rules file's own words
	cmd.Dir, cmd.Env, cmd.WaitDelay = p.dir, p.env, outputWait
	kept := &head{most: maxOutput}
	if p.output {
		cmd.Stdout, cmd.Stderr = kept, kept
	}
	if err := apart(cmd); err != nil {
		return ended{}, p.notStarted(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return ended{}, p.notStarted(err)
	}
	await(ctx, cmd.Process.Pid)
	err := cmd.Wait()
	switch exit := cmd.ProcessState.ExitCode(); {
	case ctx.Err() != nil:
		return ended{}, fmt.Errorf("running %s: it was ended before it was done: %w", p.argv[0], ctx.Err())
	case exit < 0:
		return ended{}, fmt.Errorf("running %s: it was ended by force: %s", p.argv[0], cmd.ProcessState)
	case err != nil && exit == 0 && !errors.Is(err, exec.ErrWaitDelay):
		return ended{}, fmt.Errorf("running %s: %w", p.argv[0], err)
	default:
		return ended{exit: exit, output: kept.bytes}, nil
	}
}

// await returns when the program has ended, by itself or with the context, and nothing of its group runs any more.
func await(ctx context.Context, pid int) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		endGroup(pid)
	})
	awaitEnd(pid)
	if !stop() {
		<-done
	}
	endGroup(pid)
}

// notStarted proves that nothing was done.
func (p process) notStarted(err error) error {
	return &connect.CallError{System: system, Doing: "starting " + p.argv[0], Err: err}
}

// head keeps the beginning of what is written to it.
type head struct {
	bytes []byte
	most  int
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.bytes = append(h.bytes, p[:min(len(p), h.most-len(h.bytes))]...)
	return len(p), nil
}
