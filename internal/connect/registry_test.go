package connect

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestKindsOpen(t *testing.T) {
	t.Parallel()
	secret := Secret{Env: "X"}
	configs := map[string]Config{
		"google_cloud": &GoogleConfig{Project: "p", Region: "r"},
		"pagerduty":    &PagerDutyConfig{Token: secret},
		"slack":        &SlackConfig{Token: secret},
		"vercel":       &VercelConfig{Token: secret},
	}
	for name := range configs {
		if k, ok := Lookup(name); !ok || k.Doc == "" || k.New() == nil || !slices.Contains(Kinds(), name) {
			t.Errorf("kind %s: %v, %t", name, k, ok)
		}
	}
	set, err := OpenAll(t.Context(), configs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Get[*Google](set, "google_cloud"); err != nil {
		t.Error(err)
	}
	if _, err := Get[*PagerDuty](set, "pagerduty"); err != nil {
		t.Error(err)
	}
	if _, err := Get[*Slack](set, "slack"); err != nil {
		t.Error(err)
	}
	if _, err := Get[*Slack](set, "other"); err == nil {
		t.Error("an undeclared connection was found")
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	configs["slack"] = &SlackConfig{}
	if _, err := OpenAll(t.Context(), configs); err == nil {
		t.Error("a connection without a token was opened")
	}
}

// What Check refuses is what Open refuses, and Check reads no secret and changes nothing.
func TestCheck(t *testing.T) {
	t.Parallel()
	secret := Secret{File: "testdata/not-there"}
	tests := []struct {
		name, want string
		config     Config
	}{
		{"google", "", &GoogleConfig{Project: "p", Region: "r"}},
		{"google without a region", "region", &GoogleConfig{Project: "p"}},
		{"google in plaintext", "insecure: true needs an endpoint for Cloud Run", &GoogleConfig{Project: "p", Region: "r", Insecure: true}},
		{"google's logs in plaintext", "insecure: true needs an endpoint for Cloud Logging", &GoogleConfig{
			Project: "p", Region: "r", Insecure: true, RunEndpoint: "127.0.0.1:1", MonitoringEndpoint: "127.0.0.1:1",
		}},
		{"pagerduty", "", &PagerDutyConfig{Token: secret, From: "bot@example.com"}},
		{"pagerduty without a secret", "neither token nor routing_key", &PagerDutyConfig{}},
		{"pagerduty from nobody", "not an e-mail address", &PagerDutyConfig{Token: secret, From: "bot"}},
		{"pagerduty's events in plaintext", "events: endpoint http://e.example is plaintext", &PagerDutyConfig{Token: secret, EventsEndpoint: "http://e.example"}},
		{"slack", "", &SlackConfig{Token: secret}},
		{"slack without a token", "token is not set", &SlackConfig{}},
		{"slack in plaintext", "insecure: true", &SlackConfig{Token: secret, Endpoint: "http://s.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := fmt.Sprintf("%+v", tt.config)
			err := tt.config.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check gives %v, want %q", err, tt.want)
			}
			if after := fmt.Sprintf("%+v", tt.config); after != before {
				t.Errorf("Check made %s of %s", after, before)
			}
			client, openErr := tt.config.Open(t.Context())
			if fmt.Sprint(openErr) != fmt.Sprint(err) {
				t.Errorf("Open gives %v, Check %v", openErr, err)
			}
			if openErr == nil {
				_ = client.Close()
			}
		})
	}
}

func TestCheckHost(t *testing.T) {
	t.Parallel()
	for address, refused := range map[string]bool{
		"http://169.254.169.254/": true, "http://169.254.0.1:80/": true, "http://[fe80::1]/": true, "http://[fe80::1%25eth0]/": true,
		"http://metadata.google.internal/": true, "http://Metadata.Google.Internal./": true, "http://metadata/": true, "http://0.0.0.0/": true,
		"http://127.0.0.1/": false, "http://[::1]:8080/": false, "http://10.0.0.1/": false, "https://metadata.example.com/": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckHost(u); errors.Is(err, ErrHostRefused) != refused {
			t.Errorf("%s: %v, want refused = %t", address, err, refused)
		}
	}
}
