package main

import (
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

// The services of the story, each with one trouble of its own.
const (
	backend  = "mixillo-backend"  // gets a bad deploy
	search   = "mixillo-search"   // gets slow
	checkout = "mixillo-checkout" // is not healed by a rollback
	media    = "mixillo-media"    // is mended by a human first
	admin    = "mixillo-admin"    // is a site on Vercel
)

var services = []string{backend, search, checkout, media}

// What the shipped rules name of the systems around.
const (
	egress       = "203.0.113.10"
	armorPolicy  = backend
	paymentsFlag = "new-payments"
	passwordJob  = "reset-admin-password"
)

// scene adds the services, with a history in which each was healthy, and the systems around them, all well.
func (s *stage) scene() error {
	for _, name := range services {
		err := s.world.AddService(sandbox.Service{
			Name: name,
			Revisions: []sandbox.Revision{
				{CreatedAgo: 60 * time.Hour},
				{CreatedAgo: 20 * time.Hour},
			},
			MaxInstances: 40,
		})
		if err != nil {
			return fmt.Errorf("adding service %s: %w", name, err)
		}
	}
	return s.surroundings()
}

// surroundings are the systems around the services. Redis is a real server, and started where a scenario needs it.
func (s *stage) surroundings() error {
	w := s.world
	w.SetAtlasCluster(sandbox.AtlasCluster{Name: "mixillo"})
	if err := w.AddAtlasEntry(sandbox.AtlasEntry{Entry: egress, Comment: "Cloud NAT of the backend"}); err != nil {
		return fmt.Errorf("letting the backend into Atlas: %w", err)
	}
	w.SetStatusPage(sandbox.StatusPage{Name: "mongodb", Components: []sandbox.StatusComponent{{Name: "MongoDB Atlas"}}})
	w.SetGoogleIncidents()
	w.SetStripeStatus(sandbox.StripeStatus{})
	w.AddWebhookEndpoint(sandbox.StripeEndpoint{URL: "https://backend.mixillo.com/api/webhooks/stripe"})
	w.AddSentryProject(backend)
	w.AddVercelProject(sandbox.VercelProject{ID: "prj_admin", Name: admin, Deployments: []sandbox.VercelDeployment{
		{ID: "dpl_1", CreatedAgo: 60 * time.Hour}, {ID: "dpl_2", CreatedAgo: 20 * time.Hour},
	}})
	w.SetFlag(sandbox.Flag{Key: paymentsFlag, Enabled: true})
	w.AddSecurityPolicy(sandbox.ArmorPolicy{Name: armorPolicy, Rules: []sandbox.ArmorRule{peopleRateLimit()}})
	return nil
}

// peopleRateLimit is the rule that people have made for an attack, in preview until then.
func peopleRateLimit() sandbox.ArmorRule {
	return sandbox.ArmorRule{
		Priority: 2000, Action: "throttle", Description: "rate limit, off", Preview: true,
		Match: &sandbox.ArmorMatch{VersionedExpr: "SRC_IPS_V1", Config: &sandbox.ArmorAddresses{SrcIPRanges: []string{"*"}}},
		RateLimitOptions: &sandbox.ArmorRateLimit{
			ConformAction: "allow", ExceedAction: "deny(429)", EnforceOnKey: "IP", RateLimitThreshold: &sandbox.ArmorThreshold{Count: 300, IntervalSec: 60},
		},
	}
}
