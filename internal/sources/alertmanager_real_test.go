package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// realAlertmanager is Debian's Alertmanager, with one rule of inhibition and nobody to notify.
type realAlertmanager struct {
	url string
}

const inhibiting = `
route: {receiver: nobody}
receivers: [{name: nobody}]
inhibit_rules:
  - {source_matchers: [alertname="PlatformDown"], target_matchers: [inhibitable="yes"]}
`

func startAlertmanager(t *testing.T) realAlertmanager {
	t.Helper()
	const program, defaults = "/usr/bin/prometheus-alertmanager", "/usr/share/prometheus/alertmanager/default.tmpl"
	for _, path := range []string{program, defaults} {
		if _, err := os.Stat(path); err != nil && os.Getenv("REQUIRE_ALL") != "" {
			t.Fatalf("%s is missing, and REQUIRE_ALL is set", path)
		} else if err != nil {
			t.Skipf("%s is missing: install the Debian package prometheus-alertmanager", path)
		}
	}
	file, address := filepath.Join(t.TempDir(), "alertmanager.yml"), freeAddress(t)
	if err := os.WriteFile(file, []byte(inhibiting), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+file, "--storage.path="+t.TempDir(),
		"--web.listen-address="+address, "--web.route-prefix=/am", "--cluster.listen-address=")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	am := realAlertmanager{url: "http://" + address + "/am"}
	until(t, "Alertmanager is ready", func() bool {
		resp, err := http.Get(am.url + "/-/ready")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return am
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// until waits for what takes another process a moment.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

// post sends something to the API and gives the answer.
func (am realAlertmanager) post(t *testing.T, path string, body any) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(am.url+path, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %d %s %v", path, resp.StatusCode, said, err)
	}
	return said
}

// fires reports an alert, or, with an end, that it is over. It gives it as the source would.
func (am realAlertmanager) fires(t *testing.T, labels map[string]string, since time.Time, end ...time.Time) alert.Alert {
	t.Helper()
	posted := map[string]any{"labels": labels, "startsAt": since}
	if len(end) > 0 {
		posted["endsAt"] = end[0]
	}
	am.post(t, "/api/v2/alerts", []any{posted})
	return alert.Alert{Status: alert.Firing, Labels: labels, StartsAt: since}
}

// silence silences what has the label and gives the silence's id.
func (am realAlertmanager) silence(t *testing.T, name, value, by string) string {
	t.Helper()
	said := am.post(t, "/api/v2/silences", map[string]any{
		"matchers": []any{map[string]any{"name": name, "value": value, "isRegex": false, "isEqual": true}},
		"startsAt": time.Now(), "endsAt": time.Now().Add(time.Hour), "createdBy": by, "comment": "looking",
	})
	var made struct {
		SilenceID string `json:"silenceID"`
	}
	if err := json.Unmarshal(said, &made); err != nil {
		t.Fatal(err)
	}
	return made.SilenceID
}

func (am realAlertmanager) unsilence(t *testing.T, id string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, am.url+"/api/v2/silence/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
}

// source is one that may ask this Alertmanager.
func (am realAlertmanager) source() *Alertmanager {
	a, _ := newAlertmanager("am").(*Alertmanager)
	a.URL, a.Insecure = am.url, true
	return a
}

func reread(t *testing.T, s Reread, of alert.Alert) Standing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := s.Reread(ctx, nil, of)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// becomes waits until the standing is as wanted: Alertmanager takes in what it is told in its own time.
func (am realAlertmanager) becomes(t *testing.T, of alert.Alert, want Standing) {
	t.Helper()
	s := am.source()
	var got Standing
	defer func() {
		if t.Failed() {
			t.Logf("last seen %+v, wanted %+v", got, want)
		}
	}()
	until(t, fmt.Sprintf("%v stands as wanted", of.Labels), func() bool {
		got = reread(t, s, of)
		return got == want
	})
}

var (
	firing = Standing{Known: true, Firing: true}
	gone   = Standing{Known: true, Detail: "Alertmanager does not list it any more"}
)

func TestRereadAsksTheRealAlertmanager(t *testing.T) {
	t.Parallel()
	am := startAlertmanager(t)
	since := time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	plain := map[string]string{"alertname": "Down", "service": "api"}
	am.becomes(t, alert.Alert{Labels: plain}, gone)
	t.Run("it fires until it ends", func(t *testing.T) { am.endsAndReturns(t, plain, since) })
	t.Run("one with more labels is another", func(t *testing.T) {
		am.becomes(t, am.fires(t, map[string]string{"alertname": "More", "service": "api", "pod": "a"}, since), firing)
		am.becomes(t, alert.Alert{Labels: map[string]string{"alertname": "More", "service": "api"}}, gone)
		am.becomes(t, alert.Alert{Labels: map[string]string{"alertname": "More", "service": "api", "pod": "b"}}, gone)
	})
	t.Run("a silence is a person's word", func(t *testing.T) { am.isSilenced(t, since) })
	t.Run("another alert holds it back", func(t *testing.T) {
		held := am.fires(t, map[string]string{"alertname": "Down", "inhibitable": "yes"}, since)
		am.becomes(t, held, firing)
		platform := map[string]string{"alertname": "PlatformDown"}
		am.fires(t, platform, since)
		am.becomes(t, held, Standing{Known: true, Detail: "another alert inhibits it in Alertmanager"})
		am.fires(t, platform, since, time.Now())
		am.becomes(t, held, firing)
	})
}

func (am realAlertmanager) endsAndReturns(t *testing.T, labels map[string]string, since time.Time) {
	first := am.fires(t, labels, since)
	am.becomes(t, first, firing)
	am.fires(t, labels, since, time.Now())
	am.becomes(t, first, gone)
	back := time.Now().Add(time.Second).UTC().Truncate(time.Millisecond)
	am.fires(t, labels, back)
	am.becomes(t, first, Standing{Known: true, Firing: true, Detail: "it fires anew since " + back.Format(time.RFC3339)})
}

func (am realAlertmanager) isSilenced(t *testing.T, since time.Time) {
	one := am.fires(t, map[string]string{"alertname": "Silent", "service": "api"}, since)
	first := am.silence(t, "alertname", "Silent", "ann@example.com")
	am.becomes(t, one, Standing{Known: true, Firing: true, AcknowledgedBy: "ann@example.com"})
	am.unsilence(t, first)
	am.becomes(t, one, firing)
	am.silence(t, "alertname", "Silent", " ")
	am.becomes(t, one, Standing{Known: true, Firing: true, AcknowledgedBy: somebody})
}

// TestRereadAsksForLabelsAsData: whatever a label says, it is asked for as it is and finds nothing else.
func TestRereadAsksForLabelsAsData(t *testing.T) {
	t.Parallel()
	am := startAlertmanager(t)
	since := time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	for i, text := range []string{
		`"`, `\`, `\"`, `\n`, "\n", "a\nb", `",service=~".*`, `~.*`, `.*`, `{}`, `,`, ` lead and trail `, "tab\tand\rreturn", "é ☃ 𝄞", `%22&filter=x`,
		"a\x00b", strings.Repeat("long ", 200),
	} {
		labels := map[string]string{"alertname": fmt.Sprintf("Data%d", i), "text": text}
		am.becomes(t, am.fires(t, labels, since), firing)
		am.becomes(t, alert.Alert{Labels: map[string]string{"alertname": labels["alertname"], "text": text + "x"}}, gone)
	}
	many := map[string]string{"alertname": "Many"}
	for i := range maxLabels - 1 {
		many[fmt.Sprintf("label_%d", i)] = strings.Repeat("v", 500)
	}
	am.becomes(t, am.fires(t, many, since), firing)
}
