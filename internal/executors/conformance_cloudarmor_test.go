package executors_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudarmor"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["cloud_armor.block"] = example{
		params: "{from: top, lasts: 1h}", stand: newArmorStand, gather: map[string]string{"top": "{logging.clients: {window: 10m}}"},
	}
	examples["cloud_armor.rate_limit"] = example{params: "{per_minute: 60, per_client_ip: true, lasts: 30m}", stand: newArmorStand}
	questions["cloud_armor.policy"] = question{stand: newArmorStand}
}

// offenders is a fact that names networks.
type offenders []netip.Prefix

func (o offenders) Offenders() []netip.Prefix { return o }

// armorStand is a policy with a rate limit in preview, before a service that takes traffic from its load balancer alone.
type armorStand struct {
	*testing.T
	*sandbox.World
	google *connect.Google
}

func newArmorStand(t *testing.T) stand {
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	must(t, w.AddService(sandbox.Service{Name: service}))
	must(t, w.SetIngress(service, true))
	must(t, w.Log(service, sandbox.LogLine{Count: 40, Over: time.Minute, Request: &sandbox.LoggedRequest{
		URL: "https://backend.example.com/login", Status: http.StatusBadRequest, RemoteIP: "203.0.113.7",
	}}))
	all := &sandbox.ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &sandbox.ArmorAddresses{SrcIPRanges: []string{"*"}}}
	w.AddSecurityPolicy(sandbox.ArmorPolicy{Name: "edge", Rules: []sandbox.ArmorRule{{
		Priority: 1000, Action: "throttle", Description: "rate limit, off", Preview: true, Match: all, RateLimitOptions: &sandbox.ArmorRateLimit{
			ConformAction: "allow", ExceedAction: "deny(429)", EnforceOnKey: "IP", RateLimitThreshold: &sandbox.ArmorThreshold{Count: 300, IntervalSec: 60},
		},
	}}})
	google, err := connect.NewGoogle(t.Context(), connect.GoogleConfig{
		Project: "mixillo", Region: "europe-west1", Endpoint: w.GoogleEndpoint(), ComputeEndpoint: w.URL("compute"), Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, google.Close()) })
	return &armorStand{T: t, World: w, google: google}
}

func (s *armorStand) Env() executors.Env {
	return executors.Env{
		Target: executors.Target{Name: "backend", Systems: map[string]any{
			"cloud_run": &cloudrun.Service{Service: service},
			"cloud_armor": &cloudarmor.Policy{
				Policy: "edge", RateLimit: 1000, Priorities: cloudarmor.Priorities{From: 500, To: 509},
				NeverBlock: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			},
		}},
		Connections: connect.Set{"google_cloud": s.google}, Now: time.Now(), Speed: speed,
		Facts: map[string]any{"top": offenders{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8:1:2::/64")}},
	}
}

func (s *armorStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == "cloud_armor" && e.By != sandbox.Human && e.By != "platform" {
			n++
		}
	}
	return n
}

func (s *armorStand) Befall(t trouble, reads bool) bool {
	if t == conflict { // a person takes the priority of the block, and writes the rate limit anew
		all := &sandbox.ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &sandbox.ArmorAddresses{SrcIPRanges: []string{"198.51.100.0/24"}}}
		must(s.T, s.SetArmorRule("edge", sandbox.ArmorRule{Priority: 500, Action: "deny(403)", Description: "ann", Match: all}))
		must(s.T, s.SetArmorRule("edge", sandbox.ArmorRule{Priority: 1000, Action: "allow", Description: "ann", Match: all}))
		return true
	}
	f := httpTrouble(t)
	f.Count = callsOf
	if !reads {
		f.Method, f.Count = http.MethodPost, 1
	}
	must(s.T, s.Spoil("compute", f))
	return true
}
