package executors_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/status"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	questions["status.statuspage"] = question{params: "{url: 'http://SANDBOX/pages/mongodb', components: [europe-west1]}", stand: newStatusStand}
	questions["status.google_cloud"] = question{params: "{url: 'http://SANDBOX/google', products: [Cloud Run], locations: [europe-west1]}", stand: newStatusStand}
	questions["status.stripe"] = question{
		params: "{page: 'http://SANDBOX/stripe', api: 'http://SANDBOX/stripe-api', timeout: 100ms}", stand: newStatusStand, tells: downOrUnknown,
	}
}

// statusStand is the vendors' pages.
type statusStand struct {
	*testing.T
	*sandbox.World
}

func newStatusStand(t *testing.T) stand {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	w.SetStatusPage(sandbox.StatusPage{Name: "mongodb", Components: []sandbox.StatusComponent{{Name: "europe-west1", Group: "Google Cloud"}}})
	w.SetGoogleIncidents(sandbox.GoogleIncident{ID: "x1", Text: "Cloud Run is slow", Products: []string{"Cloud Run"}, Locations: []string{"europe-west1"}})
	return &statusStand{T: t, World: w}
}

func (s *statusStand) Env() executors.Env {
	return executors.Env{Target: executors.Target{Name: "backend"}, Now: time.Now(), Speed: speed}
}

func (s *statusStand) fill(params string) string {
	return strings.ReplaceAll(params, "http://SANDBOX", s.URL("status"))
}

func (*statusStand) Writes() int { return 0 }

func (s *statusStand) Befall(t trouble, _ bool) bool {
	f := spoiled(t)
	f.Count = callsOf
	must(s.T, s.Spoil("status", f))
	return true
}

// downOrUnknown: an API that hangs does not answer, which is known; any other trouble leaves it open, and it never is up.
func downOrUnknown(t *testing.T, tr trouble, answer executors.Answer, err error) {
	t.Helper()
	fact, ok := answer.Fact.(*status.Stripe)
	if err != nil || ok && len(answer.Unknown) > 0 && (!fact.Up || tr == denied) {
		return
	}
	t.Errorf("all is well: %+v, unknown %v", answer.Fact, answer.Unknown)
}
