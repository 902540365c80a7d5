package connect

import (
	"slices"
	"testing"
)

func TestKindsOpen(t *testing.T) {
	t.Parallel()
	secret := Secret{Env: "X"}
	configs := map[string]Config{
		"google_cloud": &GoogleConfig{Project: "p", Region: "r"},
		"pagerduty":    &PagerDutyConfig{Token: secret},
		"slack":        &SlackConfig{Token: secret},
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
