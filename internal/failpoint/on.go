//go:build failpoints

// Package failpoint marks the places where a crash is tried out. In a normal build every mark compiles to nothing.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var passes atomic.Int64

// Here kills the process with SIGKILL when REMEDIATOR_FAILPOINT names this place, as "name" or "name:n" for the n-th pass.
func Here(name string) {
	want, count, _ := strings.Cut(os.Getenv("REMEDIATOR_FAILPOINT"), ":")
	if want != name {
		return
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		n = 1
	}
	if passes.Add(1) != n {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
