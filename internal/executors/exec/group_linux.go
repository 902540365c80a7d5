package exec

import (
	"errors"
	"math"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// apart puts a program into a process group of its own, and lets it end with us: one that outlived us would be a call that may still be
// under way. The kernel ends it when the thread that started it is gone, so that thread has to wait for it.
func apart(cmd *exec.Cmd) error {
	// Go opens files so that no program inherits them; what we were started with may have been opened otherwise. Kernels before 5.11 cannot.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// awaitEnd waits until the program has ended, and leaves it to be waited for: until then its group's number belongs to nobody else.
func awaitEnd(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		continue
	}
}

// endGroup ends the program and what it started, unless that has made itself a session of its own.
func endGroup(pid int) { _ = unix.Kill(-pid, unix.SIGKILL) } // no such group is as good
