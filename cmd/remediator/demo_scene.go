package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	demoSigningSecret = "a-signing-secret-for-the-demo-only"
	demoSlackSecret   = "a-slack-secret-for-the-demo-only"
	demoBearerToken   = "a-bearer-token-for-the-demo-only" //nolint:gosec // of the sandbox
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

// overlay points every connection, source and target of the rules at the sandbox, whatever it is called. JSON is YAML.
func (s *stage) overlay(written *rules.Set) ([]byte, error) {
	files, err := s.secrets()
	if err != nil {
		return nil, err
	}
	targets := map[string]any{}
	for name := range written.Targets {
		targets[name] = s.target(name)
	}
	for _, name := range []string{backend, search, checkout, media} {
		targets[name] = s.target(name)
	}
	connections := map[string]any{}
	for name, config := range written.Connections {
		connections[name] = s.connection(config, files)
	}
	for name, config := range standard() {
		connections[name] = s.connection(config, files)
	}
	sources := map[string]any{pagerDutySource: source(pagerDutySource, files)}
	for name, kind := range written.SourceKinds {
		sources[name] = source(kind, files)
	}
	return json.Marshal(map[string]any{"targets": targets, "connections": connections, "sources": sources})
}

// pagerDutySource is the source the story's webhooks come in by, and its kind.
const pagerDutySource = "pagerduty"

func source(kind string, files map[string]string) map[string]any {
	if kind == pagerDutySource {
		return map[string]any{"kind": kind, "signing_secret_file": files["signing"], "labels": demoLabels}
	}
	return map[string]any{"kind": kind, "bearer_token_file": files["bearer"]}
}

// standard are the connections that the story needs.
func standard() map[string]connect.Config {
	return map[string]connect.Config{
		"google_cloud": &connect.GoogleConfig{}, "pagerduty": &connect.PagerDutyConfig{}, "slack": &connect.SlackConfig{},
	}
}

// secrets writes the stand-ins' credentials into files.
func (s *stage) secrets() (map[string]string, error) {
	files := map[string]string{}
	for name, value := range map[string]string{
		"signing": demoSigningSecret, "slack-signing": demoSlackSecret, "bearer": demoBearerToken,
		"pagerduty": sandbox.PagerDutyToken, "routing": sandbox.PagerDutyRoutingKey, "slack": sandbox.SlackToken,
	} {
		files[name] = filepath.Join(s.dir, name)
		if err := os.WriteFile(files[name], []byte(value), 0o600); err != nil {
			return nil, fmt.Errorf("writing a secret of the demo: %w", err)
		}
	}
	return files, nil
}

func (s *stage) target(name string) map[string]any {
	return map[string]any{
		"cloud_run":  map[string]any{"service": name, "max_instances_limit": 40},
		"health":     s.world.BackendURL(name) + "/health",
		"control":    s.world.BackendURL(name) + "/control",
		"migrations": "marked",
	}
}

// connection is the stand-in of a connection's kind. One that has none is pointed at nothing.
func (s *stage) connection(config connect.Config, files map[string]string) map[string]any {
	switch config.(type) {
	case *connect.GoogleConfig:
		return map[string]any{
			"kind": "google_cloud", "project": "mixillo", "region": "europe-west1", "endpoint": s.world.GoogleEndpoint(), "insecure": true,
			"compute_endpoint": s.world.URL("compute"),
		}
	case *connect.SlackConfig:
		return map[string]any{
			"kind": "slack", "endpoint": s.world.SlackURL(), "insecure": true, "token_file": files["slack"], "channel": "#incidents",
			"signing_secret_file": files["slack-signing"],
		}
	default:
		return map[string]any{
			"kind": "pagerduty", "endpoint": s.world.PagerDutyURL(), "events_endpoint": s.world.PagerDutyURL(), "insecure": true,
			"token_file": files["pagerduty"], "routing_key_file": files["routing"], "from": "remediator-bot@example.com",
		}
	}
}

// demoLabels takes the story's incidents as they are sent: their details are the labels.
const demoLabels = `{"alertname": string(details.alertname), "service": string(details.service), "severity": string(details.severity)}`
