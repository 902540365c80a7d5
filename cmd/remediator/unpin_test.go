package main

import (
	"testing"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/remediation"
)

// What a person settles is what was left there, else what could have been.
func TestUnpinSettlesWhatWasLeft(t *testing.T) {
	t.Parallel()
	with := func(systems ...string) executors.Target {
		sections := map[string]any{}
		for _, s := range systems {
			sections[s] = struct{}{}
		}
		return executors.Target{Systems: sections}
	}
	held := []remediation.Debt{{Target: "other", Kind: executors.DebtPinnedTraffic}, {Target: "admin", Kind: executors.DebtHeldDeploys}}
	for name, c := range map[string]struct {
		debts  []remediation.Debt
		target executors.Target
		want   string
	}{
		"the debt of a target of both": {held, with("cloud_run", "vercel"), "vercel.promote"},
		"no debt, of both":             {nil, with("cloud_run", "vercel"), "cloud_run.unpin"},
		"no debt, of Vercel":           {held[:1], with("vercel"), "vercel.promote"},
		"no system that owes":          {nil, with("redis"), unpinAction},
	} {
		if got := settling(c.debts, c.target, "admin"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
