package sandbox

import (
	"os"
	"os/exec"
	"syscall"
)

func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// halt lets a process stand still, or go on.
func halt(p *os.Process, still bool) error {
	return p.Signal(pick(still, syscall.SIGSTOP, syscall.SIGCONT))
}
