package remediation_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/remediation"
)

// TestKindsKnowTheIncident that the run is about, by whichever names the sender knew.
func TestKindsKnowTheIncident(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]executors.Incident{
		"by the sender's key": {Key: "key-api"}, "by PagerDuty's id": {ID: "Q1", Key: "key-api"}, "of none": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rule("cure"))
			given := map[string]executors.Incident{}
			w.scene(api).hooks.given = func(call string, env executors.Env) { given[call] = env.Incident }
			a := down(api)
			a.IncidentID, a.IncidentKey = want.ID, want.Key
			if v := w.play(a); v.Run.Outcome != remediation.Fixed {
				t.Errorf("the run came to %s", v.Run.Outcome)
			}
			if diff := cmp.Diff(map[string]executors.Incident{"ask": want, "apply": want}, given); diff != "" {
				t.Error(diff)
			}
		})
	}
}
