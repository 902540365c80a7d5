package remediation

import (
	"fmt"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/rules"
)

// An answer that comes after the lease has ended could meet a new owner's call.
func TestNoCallOutlivesItsLease(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{time.Second, 15 * time.Second, 5 * time.Minute} {
		for _, asked := range []time.Duration{0, 5 * time.Second, time.Hour} {
			for _, left := range []time.Duration{lease, lease / 10, 0} {
				t.Run(fmt.Sprint(lease, " ", asked, " ", left), func(t *testing.T) {
					t.Parallel()
					now := time.Now()
					v := &visit{e: New(Config{Lease: lease, Now: func() time.Time { return now }}), leased: leaseEnd{now.Add(left), time.Now().Add(left)}}
					ctx, cancel := v.bounded(t.Context(), asked)
					defer cancel()
					if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) >= lease || time.Until(deadline) > left {
						t.Errorf("a call may take until %s, %t", deadline, ok)
					}
				})
			}
		}
	}
}

func TestOnlyWhatHasAWayBackIsScaledBack(t *testing.T) {
	t.Parallel()
	for reversible, want := range map[bool]bool{true: true, false: false} {
		step := Step{Kind: "cloud_run.scale", Change: executors.Change{Reversible: reversible}}
		if got := concerns(rules.Afterward{Kind: rules.ScaleBack}, step); got != want {
			t.Errorf("reversible %t: a follow-up is left: %t", reversible, got)
		}
	}
}
