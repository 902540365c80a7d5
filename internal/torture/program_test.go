package torture

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builtIn is the directory that the program was built into; it goes with the test binary.
var builtIn string

// build makes the program with its crash marks, once. The flags are those of the shipped build, so that both share the build cache.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "torture-bin-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	path := filepath.Join(dir, "remediator")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "failpoints", "-o", path, "../../cmd/remediator")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building with crash marks: %w\n%s", err, out)
	}
	return path, nil
})

func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TORTURE_PROGRAM"); path != "" { // a program with a planted bug
		return path
	}
	path, err := build()
	succeed(t, err)
	return path
}

// workplace is a directory short enough for a socket's path, readable by the user that PostgreSQL runs as.
func workplace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "torture-")
	succeed(t, err)
	succeed(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if *keep {
			t.Logf("kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// freePort is a port that nobody listens on at the moment, below those that connections going out are given: a server that was killed
// gets it back.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		succeed(t, l.Close())
		return port
	}
	t.Fatal("no port is free")
	return 0
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
