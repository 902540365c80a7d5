//go:build !failpoints

package failpoint_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/failpoint"
)

func TestANormalBuildPasses(t *testing.T) {
	t.Setenv("REMEDIATOR_FAILPOINT", "here")
	failpoint.Here("here")
	failpoint.Here("here")
}
