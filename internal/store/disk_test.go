package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// A full disk answers 503 and passes: what was accepted stays, and once there is room all goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "4m")
	s := open(t, store.Config{DSN: "sqlite:" + filepath.Join(dir, "db")})
	fillsAndEmpties(t, s, filepath.Join(dir, "filler"))
}

func fillsAndEmpties(t *testing.T, s *store.Store, filler string) {
	t.Helper()
	fill(t, filler)
	var kept []string
	var full error
	body := noise(20_000)
	for range 1000 {
		e := newEvent()
		e.Body = body
		if _, full = s.Accept(t.Context(), remediation.Acceptance{Event: e}); full != nil {
			break
		}
		kept = append(kept, e.ID)
	}
	if !errors.Is(full, remediation.ErrUnavailable) || s.Err() != nil {
		t.Fatalf("on the full disk: %v, broken: %v", full, s.Err())
	}
	must(t, os.Remove(filler))
	if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	for _, id := range kept {
		if _, err := s.Event(t.Context(), id); err != nil {
			t.Errorf("accepted and lost: %v", err)
		}
	}
}

func smallDisk(t *testing.T, size string) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatalf("mounting a small disk: %v", err)
		}
		t.Skipf("left out: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fill leaves a little room on the disk.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	must(t, err)
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	info, err := f.Stat()
	must(t, err)
	must(t, f.Truncate(info.Size()-(256<<10)))
	must(t, f.Close())
}
