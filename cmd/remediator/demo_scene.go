package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	demoSigningSecret = "a-signing-secret-for-the-demo-only"
	demoBearerToken   = "a-bearer-token-for-the-demo-only"
	demoConnection    = "pagerduty"
)

// The services of the story, each with one trouble of its own.
const (
	backend  = "mixillo-backend"  // gets a bad deploy
	search   = "mixillo-search"   // gets slow
	checkout = "mixillo-checkout" // is not healed by a rollback
	media    = "mixillo-media"    // is mended by a human first
)

// scene adds the services, with a history in which each was healthy.
func (s *stage) scene() error {
	for _, name := range []string{backend, search, checkout, media} {
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
	return nil
}

// overlay points the rules' connections, sources and targets at the sandbox. JSON is YAML.
func (s *stage) overlay() ([]byte, error) {
	secrets := map[string]string{
		"signing": demoSigningSecret, "bearer": demoBearerToken,
		"pagerduty": sandbox.PagerDutyToken, "routing": sandbox.PagerDutyRoutingKey, "slack": sandbox.SlackToken,
	}
	files := map[string]string{}
	for name, value := range secrets {
		files[name] = filepath.Join(s.dir, name)
		if err := os.WriteFile(files[name], []byte(value), 0o600); err != nil {
			return nil, fmt.Errorf("writing a secret of the demo: %w", err)
		}
	}
	targets := map[string]any{}
	for _, name := range []string{backend, search, checkout, media} {
		targets[name] = map[string]any{
			"cloud_run":  map[string]any{"service": name, "max_instances_limit": 40},
			"health":     s.world.BackendURL(name) + "/health",
			"control":    s.world.BackendURL(name) + "/control",
			"migrations": "marked",
		}
	}
	return json.Marshal(map[string]any{
		"targets": targets,
		"sources": map[string]any{
			"pagerduty":    map[string]any{"signing_secret_file": files["signing"], "labels": demoLabels},
			"alertmanager": map[string]any{"bearer_token_file": files["bearer"]},
		},
		"connections": map[string]any{
			"google_cloud": map[string]any{
				"project": "mixillo", "region": "europe-west1", "endpoint": s.world.GoogleEndpoint(), "insecure": true,
			},
			demoConnection: map[string]any{
				"endpoint": s.world.PagerDutyURL(), "events_endpoint": s.world.PagerDutyURL(), "insecure": true,
				"token_file": files["pagerduty"], "routing_key_file": files["routing"], "from": "remediator-bot@example.com",
			},
			"slack": map[string]any{"endpoint": s.world.SlackURL(), "insecure": true, "token_file": files["slack"], "channel": "#incidents"},
		},
	})
}

// demoLabels takes the story's incidents as they are sent: their details are the labels.
const demoLabels = `{"alertname": string(details.alertname), "service": string(details.service), "severity": string(details.severity)}`
