package executors_test

import (
	"testing"
	"time"

	_ "github.com/mixillo/remediator/internal/executors/logging"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	questions["logging.search"] = question{params: "{severity: error, matches: ECONNREFUSED}", stand: newLogStand}
	questions["logging.errors"] = question{stand: newLogStand}
	questions["logging.slow_requests"] = question{params: "{over: 1s}", stand: newLogStand}
	questions["logging.clients"] = question{stand: newLogStand}
}

// newLogStand is Cloud Run's world with a service that writes a log.
func newLogStand(t *testing.T) stand {
	f := newFixture(t)
	must(t, f.Log(service,
		sandbox.LogLine{JSON: map[string]any{"message": "connect ECONNREFUSED 10.0.0.7:27017"}, Count: 3, Over: time.Minute},
		sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: "https://backend.example.com/orders/17", RemoteIP: "203.0.113.7", Latency: 2 * time.Second}, Count: 30, Over: time.Minute},
	))
	return f
}
