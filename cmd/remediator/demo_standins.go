package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	demoSigningSecret = "a-signing-secret-for-the-demo-only"
	demoSlackSecret   = "a-slack-secret-for-the-demo-only"
	demoBearerToken   = "a-bearer-token-for-the-demo-only" //nolint:gosec // of the sandbox
)

// pagerDutySource is the source the story's webhooks come in by, and its kind.
const pagerDutySource = "pagerduty"

// demoLabels takes the story's incidents as they are sent: their details are the labels.
const demoLabels = `{"alertname": string(details.alertname), "service": string(details.service), "severity": string(details.severity)}`

// overlay points every connection, source and target of the rules at the sandbox, whatever it is called. JSON is YAML.
func (s *stage) overlay(written *rules.Set) ([]byte, error) {
	files, err := s.secrets()
	if err != nil {
		return nil, err
	}
	targets, err := s.targets(written)
	if err != nil {
		return nil, err
	}
	connections := map[string]any{}
	for name, config := range written.Connections {
		if connections[name], err = s.connection(config, files); err != nil {
			return nil, fmt.Errorf("connection %s: %w", name, err)
		}
	}
	for name, config := range standard() {
		if connections[name], err = s.connection(config, files); err != nil {
			return nil, err
		}
	}
	sources := map[string]any{pagerDutySource: s.source(pagerDutySource, files)}
	for name, kind := range written.SourceKinds {
		sources[name] = s.source(kind, files)
	}
	return json.Marshal(map[string]any{"targets": targets, "connections": connections, "sources": sources})
}

// addresses are the stand-ins of what the shipped rules name by its address.
func (s *stage) addresses() map[string]string {
	return map[string]string{
		"https://status.mongodb.com":                          s.world.URL("status") + "/pages/mongodb",
		"https://status.cloud.google.com":                     s.world.URL("status") + "/google",
		"https://status.stripe.com":                           s.world.URL("status") + "/stripe",
		"https://api.stripe.com":                              s.world.URL("status") + "/stripe-api",
		"https://flags.mixillo.com/api/flags/" + paymentsFlag: s.world.URL("flags") + "/api/flags/" + paymentsFlag,
	}
}

func (s *stage) source(kind string, files map[string]string) map[string]any {
	if kind == pagerDutySource {
		return map[string]any{"kind": kind, "signing_secret_file": files["signing"], "labels": cmp.Or(s.dressed.labels, demoLabels)}
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
		"mongodb": s.world.MongoURI(), "atlas": sandbox.AtlasClientSecret, "redis": sandbox.RedisPassword, "sentry": sandbox.SentryToken,
		"stripe": sandbox.StripeKey, "vercel": sandbox.VercelToken, "api": sandbox.APIPassword, "flags": sandbox.FlagsToken,
		"flags-signing": sandbox.FlagsSigningKey,
	} {
		files[name] = filepath.Join(s.dir, name)
		if err := os.WriteFile(files[name], []byte(value), 0o600); err != nil {
			return nil, fmt.Errorf("writing a secret of the demo: %w", err)
		}
	}
	return files, nil
}

// targets are those of the rules and the services of the story. What a target's sections say of themselves stays as it is written.
func (s *stage) targets(written *rules.Set) (map[string]any, error) {
	var file struct {
		Targets map[string]map[string]any `yaml:"targets"`
	}
	if err := yaml.Unmarshal(written.Text, &file); err != nil {
		return nil, fmt.Errorf("reading the targets: %w", err)
	}
	targets := map[string]any{}
	for _, name := range services {
		targets[name] = s.target(name, map[string]any{"cloud_run": map[string]any{}})
	}
	for name := range written.Targets {
		targets[name] = s.target(name, file.Targets[name])
	}
	return targets, nil
}

// target is a declared target as the sandbox has it: its Cloud Run service bears its name, and its health is that service's, or its site's.
func (s *stage) target(name string, written map[string]any) map[string]any {
	target := maps.Clone(written)
	target["control"] = s.world.BackendURL(backend) + "/control"
	target["health"] = s.world.BackendURL(name) + "/health"
	if site, ok := written["vercel"].(map[string]any); ok {
		target["health"] = fmt.Sprintf("%s/sites/%s/health", s.world.URL("vercel"), site["project"])
	}
	if run, ok := written["cloud_run"].(map[string]any); ok {
		section := map[string]any{"service": name, "max_instances_limit": 40}
		if jobs, lists := run["jobs"]; lists {
			section["jobs"] = jobs
		}
		target["cloud_run"], target["migrations"] = section, "marked"
	}
	return target
}

// errNoStandIn says that a connection would reach what the demo must not touch.
var errNoStandIn = errors.New("the demo has no stand-in for it: try the rules that need it on a server of their own")

// connection is the stand-in of a connection's kind.
func (s *stage) connection(config connect.Config, files map[string]string) (map[string]any, error) {
	at := func(kind, endpoint string, more map[string]any) (map[string]any, error) {
		c := map[string]any{"kind": kind, "endpoint": endpoint, "insecure": true}
		maps.Copy(c, more)
		return c, nil
	}
	switch config := config.(type) {
	case *connect.GoogleConfig:
		return at("google_cloud", s.world.GoogleEndpoint(), map[string]any{
			"project": "mixillo", "region": "europe-west1", "compute_endpoint": s.world.URL("compute"),
		})
	case *connect.SlackConfig:
		return at("slack", s.world.SlackURL(), map[string]any{
			"token_file": files["slack"], "channel": "#incidents", "signing_secret_file": files["slack-signing"],
		})
	case *connect.PagerDutyConfig:
		return at("pagerduty", s.world.PagerDutyURL(), map[string]any{
			"events_endpoint": s.world.PagerDutyURL(), "token_file": files["pagerduty"], "routing_key_file": files["routing"],
			"from": "remediator-bot@example.com",
		})
	case *connect.APIConfig:
		return s.httpConnection(config, files), nil
	case *connect.MongoConfig:
		return map[string]any{"kind": "mongodb", "uri_file": files["mongodb"], "insecure": true}, nil
	case *connect.AtlasConfig:
		return at("atlas", s.world.URL("atlas"), map[string]any{
			"project": sandbox.AtlasProject, "client_id": sandbox.AtlasClientID, "client_secret_file": files["atlas"],
		})
	case *connect.RedisConfig:
		return at("redis", s.world.RedisAddress(), map[string]any{"password_file": files["redis"]})
	case *connect.SentryConfig:
		return at("sentry", s.world.URL("sentry"), map[string]any{"organization": sandbox.SentryOrganization, "token_file": files["sentry"]})
	case *connect.StripeConfig:
		return at("stripe", s.world.URL("stripe"), map[string]any{"key_file": files["stripe"]})
	case *connect.VercelConfig:
		return at("vercel", s.world.URL("vercel"), map[string]any{"token_file": files["vercel"]})
	default:
		return nil, errNoStandIn
	}
}

// httpConnection is the service of feature flags where calls are signed, and the backend's own API elsewhere.
func (s *stage) httpConnection(config *connect.APIConfig, files map[string]string) map[string]any {
	system, secrets := "api", map[string]any{}
	c := map[string]any{"kind": "http", "insecure": true, "secrets": secrets}
	if _, signs := config.Secrets["signing"]; signs {
		system, c["token_file"] = "flags", files["flags"]
	}
	for name := range config.Secrets {
		file := files["api"]
		if name == "signing" {
			file = files["flags-signing"]
		}
		secrets[name] = map[string]any{"file": file}
	}
	c["endpoint"] = s.world.URL(system)
	return c
}
