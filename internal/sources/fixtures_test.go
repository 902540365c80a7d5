package sources

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

var update = flag.Bool("update", false, "write the golden files anew")

var received = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

const (
	testKey      = "a-test-key-of-at-least-24-bytes"
	testOtherKey = "another-test-key-that-is-long-enough"
	testPassword = "sixteen-bytes-or-more"
)

// fixture tells TestEverySource how to use a kind of source; a new source's test adds one.
type fixture struct {
	// configure sets the parameters so that secret alone proves a delivery.
	configure func(s Source, secret connect.Secret)
	// sign gives the request that proves body with the secret's content.
	sign func(content string, body []byte) Request
	// bodies are valid ones.
	bodies []string
	// ask, for a source that can be asked, lets it ask a stand-in at the endpoint, with the secret, and gives an alert to ask about.
	ask func(t *testing.T, s Source, endpoint string, secret connect.Secret) (connect.Set, alert.Alert)
}

var fixtures = map[string]fixture{}

func secretFile(t testing.TB, content string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return connect.Secret{File: path}
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// captured lists the bodies of a sender under testdata, without the golden files.
func captured(t testing.TB, sender string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("testdata", sender, "*.json"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no captured bodies of %s: %v", sender, err)
	}
	var bodies []string
	for _, path := range all {
		if !strings.HasSuffix(path, ".golden.json") {
			bodies = append(bodies, strings.TrimPrefix(path, "testdata/"))
		}
	}
	return bodies
}

// golden compares what was parsed from a captured body with the golden file beside it.
func golden(t *testing.T, name string, got any) {
	t.Helper()
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	path := filepath.Join("testdata", strings.TrimSuffix(name, ".json")+".golden.json")
	if *update {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s differs (-golden +got):\n%s", name, diff)
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("got error %v, want one with %q", err, part)
	}
}
