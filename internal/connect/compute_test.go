package connect

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

// TestComputeFailures: what a failed write says of itself, and of whether it may have taken effect.
func TestComputeFailures(t *testing.T) {
	t.Parallel()
	body := func(code int, reason, message string) string {
		return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"errors":[{"reason":%q,"message":%q}]}}`, code, message, reason, message)
	}
	tests := []struct {
		name                                      string
		status                                    int
		body                                      string
		ambiguous, conflict, throttled, permanent bool
	}{
		{"denied", 403, body(403, "forbidden", "Required 'compute.securityPolicies.update' permission"), false, false, false, false},
		{"not found", 404, body(404, "notFound", "The resource was not found"), false, false, false, true},
		{"asked too often", 403, body(403, "rateLimitExceeded", "Quota exceeded for quota group"), false, false, true, false},
		{"asked too often, newly", 429, body(429, "rateLimitExceeded", "Too many"), false, false, true, false},
		{"no more rules", 403, body(403, "quotaExceeded", "Quota 'SECURITY_POLICY_RULES' exceeded"), false, false, false, false},
		{"priority taken", 400, body(400, "invalid", "Invalid value for field 'resource.priority': '9'. Cannot have rules with the same priorities."), false, true, false, true},
		{"invalid", 400, body(400, "invalid", "Invalid value"), false, false, false, true},
		{"a precondition", 412, body(412, "conditionNotMet", "Invalid fingerprint."), false, true, false, true},
		{"backend error", 500, body(500, "backendError", "x"), true, false, false, false},
		{"unavailable", 503, "gateway", true, false, false, false},
		{"garbage", 200, "<html>", true, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			t.Cleanup(server.Close)
			g, err := NewGoogle(t.Context(), GoogleConfig{Project: "p", Region: "r", Endpoint: "localhost:1", ComputeEndpoint: server.URL, Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			p, err := g.SecurityPolicies(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.AddRule(t.Context(), "edge", &computepb.SecurityPolicyRule{Priority: proto.Int32(9)})
			if err == nil || IsAmbiguous(err) != tt.ambiguous || IsConflict(err) != tt.conflict || IsThrottled(err) != tt.throttled || IsPermanent(err) != tt.permanent {
				t.Errorf("ambiguous %t, conflict %t, throttled %t, permanent %t: %v", IsAmbiguous(err), IsConflict(err), IsThrottled(err), IsPermanent(err), err)
			}
			if calls != 1 {
				t.Errorf("%d calls", calls)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestComputeEndpoint: where the other APIs are stood in for, Google's own is never asked, and plaintext is said in the file.
func TestComputeEndpoint(t *testing.T) {
	t.Parallel()
	g, err := NewGoogle(t.Context(), GoogleConfig{Project: "p", Region: "r", Endpoint: "localhost:1", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.SecurityPolicies(t.Context()); !errors.Is(err, errNoCompute) || IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []GoogleConfig{
		{Project: "p", Region: "r", ComputeEndpoint: "http://localhost:1"}, {Project: "p", Region: "r", ComputeEndpoint: "localhost:1"},
	} {
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "compute_endpoint") {
			t.Errorf("%s: %v", bad.ComputeEndpoint, err)
		}
	}
	base, err := GoogleConfig{Project: "p", Region: "r"}.computeBase()
	if err != nil || base.String() != computeEndpoint {
		t.Errorf("%v, %v", base, err)
	}
}

// TestLost: a call that was not made has lost its precondition, and has certainly done nothing.
func TestLost(t *testing.T) {
	t.Parallel()
	if err := fmt.Errorf("applying: %w", Lost("vercel", "moving", "it was moved")); !IsConflict(err) || IsAmbiguous(err) || IsThrottled(err) {
		t.Error(err)
	}
}
