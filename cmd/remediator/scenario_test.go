package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/sandbox"
)

// TestScenarios plays every page of the playbook, each on a world of its own, where it helps and where it must not act.
func TestScenarios(t *testing.T) {
	t.Parallel()
	seen := &nameSet{}
	if *learn {
		t.Cleanup(func() { seen.write(t) })
	}
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			var told strings.Builder
			s := rehearse(t, &told)
			err := s.perform(t.Context(), sc)
			if sc.redis && errors.Is(err, sandbox.ErrNoRedis) && os.Getenv("REQUIRE_ALL") == "" {
				t.Skipf("left out: %v", err)
			}
			if err != nil {
				t.Errorf("%v\n%s", err, &told)
			}
			benignCalls(t, seen, s.world.Calls())
		})
	}
}

// rehearse is a stage of the shipped rules at the tests' speed.
func rehearse(t *testing.T, out io.Writer) *stage {
	t.Helper()
	path := shortDir(t)
	s, err := newStage(t.Context(), out, demoOptions{speed: worldSpeed}, path)
	succeed(t, err)
	s.patience = shiftPatience
	t.Cleanup(s.close)
	return s
}
