package remediation_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/sources"
)

// The end of an alert that nobody heard of before, as after a lost database, starts nothing.
func TestAResolvedAlertStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	ended := down(api)
	ended.Status, ended.EndsAt = alert.Resolved, w.now()
	got := w.deliver("am", sources.Delivery{Alerts: []alert.Alert{ended}, OccurredAt: w.now()})
	if len(got.Runs) != 0 || len(got.Rulings) != 0 || len(w.open()) != 0 {
		t.Errorf("it led to %+v", got)
	}
}
