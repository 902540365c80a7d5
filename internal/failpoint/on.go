//go:build failpoints

// Package failpoint marks the places where a crash is tried out. In a normal build every mark compiles to nothing.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

var passes atomic.Int64

// Here kills the process with SIGKILL when REMEDIATOR_FAILPOINT names this place, as "name" or "name:n" for the n-th pass. Every pass is
// first appended, as a line, to the file that REMEDIATOR_FAILPOINT_LOG names, so that a test can discover the places there are.
func Here(name string) {
	if f := passed(); f != nil {
		_, _ = f.WriteString(name + "\n")
	}
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

// passed opens the log of passes once; nil when none is asked for or it cannot be opened.
var passed = sync.OnceValue(func() *os.File {
	f, err := os.OpenFile(os.Getenv("REMEDIATOR_FAILPOINT_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	return f
})
