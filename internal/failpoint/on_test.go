//go:build failpoints

package failpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mixillo/remediator/internal/failpoint"
)

// TestMain plays the process that is killed when the test binary is started again with PLAY set.
func TestMain(m *testing.M) {
	if os.Getenv("PLAY") != "" {
		for i := range 3 {
			failpoint.Here("elsewhere")
			failpoint.Here("here")
			_, _ = fmt.Fprintln(os.Stdout, "passed", i)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestHereKillsAtTheNamedPass(t *testing.T) {
	t.Parallel()
	for point, passed := range map[string]int{
		"": 3, "here": 0, "here:1": 0, "here:2": 1, "here:3": 2, "here:4": 3, "nowhere": 3, "her": 3, "elsewhere:2": 1, "here:x": 0,
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "passes")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "PLAY=1", "REMEDIATOR_FAILPOINT="+point, "REMEDIATOR_FAILPOINT_LOG="+log)
			var out bytes.Buffer
			cmd.Stdout = &out
			err := cmd.Run()
			if got := strings.Count(out.String(), "passed"); got != passed {
				t.Errorf("passed %d times, want %d", got, passed)
			}
			if killed := wasKilled(err); killed != (passed < 3) {
				t.Errorf("killed %t: %v", killed, err)
			}
			if b, err := os.ReadFile(log); err != nil || !strings.HasPrefix(string(b), "elsewhere\n") {
				t.Errorf("the log of passes: %q, %v", b, err)
			}
		})
	}
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
