package guard_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/guard"
)

func TestReasons(t *testing.T) {
	t.Parallel()
	passing := map[guard.Reason]bool{
		guard.Paused: true, guard.TargetBusy: true, guard.Cooldown: true, guard.Storm: true, guard.UnknownFacts: true,
		guard.Reconciling: true, guard.SystemDown: true, guard.Conflicting: true, guard.StaleFacts: true, guard.Settling: true,
		guard.Frozen: true, guard.Held: true, guard.RulesDiffer: true,
	}
	lasting := []guard.Reason{
		guard.BudgetExhausted, guard.BreakerOpen, guard.Stale, guard.NotFiring, guard.UnknownTarget, guard.HumanHand, guard.SplitTraffic,
		guard.AlreadyPinned, guard.NoDestination, guard.NoCause, guard.Migrations, guard.OutOfBounds, guard.NothingToDo,
		guard.NeedsApproval, guard.PlanChanged, guard.RulesChanged, guard.GuardFailed, guard.AwaitsRelease, guard.Oscillation,
		guard.TooWide, guard.Itself, guard.Denied, guard.ApprovalExpired,
	}
	seen := map[guard.Reason]bool{}
	for _, r := range guard.Reasons() {
		if seen[r] {
			t.Errorf("%s is listed twice", r)
		}
		seen[r] = true
		if r.Passing() != passing[r] {
			t.Errorf("%s: passing %t", r, r.Passing())
		}
	}
	for _, r := range guard.Reasons() {
		if parks := r == guard.Paused || r == guard.RulesDiffer; r.Parks() != parks || parks && !r.Passing() {
			t.Errorf("%s: parks %t, passing %t", r, r.Parks(), r.Passing())
		}
	}
	for _, r := range lasting {
		if !seen[r] {
			t.Errorf("%s is not listed", r)
		}
	}
	if len(seen) != len(passing)+len(lasting) {
		t.Errorf("%d reasons are listed, and %d are judged here: say whether the new one passes", len(seen), len(passing)+len(lasting))
	}
}
