package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// wire is one delivery as it goes over the wire.
type wire struct {
	source string
	header map[string]string
	body   []byte
}

// hostile is a delivery and the answer that it has to get.
type hostile struct {
	name   string
	wire   wire
	status int
	state  remediation.EventState // of the event that a 202 kept
}

// sign is PagerDuty's signature over a body.
func sign(body []byte, secret string) map[string]string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(body)
	return map[string]string{"X-PagerDuty-Signature": "v1=" + hex.EncodeToString(mac.Sum(nil))}
}

func bearer() map[string]string {
	return map[string]string{"Authorization": "Bearer " + demoBearerToken}
}

// pagerDutyBody is a delivery about an incident, whose details would match every rule's labels.
func pagerDutyBody() []byte {
	return []byte(`{"event":{"id":"01HOSTILE","event_type":"incident.triggered","resource_type":"incident","occurred_at":"` +
		time.Now().UTC().Format(time.RFC3339) + `","agent":null,"client":null,"data":{"id":"QFORGED","type":"incident","number":1,` +
		`"status":"triggered","incident_key":"k","created_at":"` + time.Now().UTC().Format(time.RFC3339) + `","title":"HealthCheckFailed","urgency":"high"}}}`)
}

func unauthenticated(fires []byte) []hostile {
	genuine := pagerDutyBody()
	altered := bytes.Replace(genuine, []byte("QFORGED"), []byte("QFORGEE"), 1)
	return []hostile{
		{"no signature", wire{"pagerduty", nil, genuine}, 401, ""},
		{"signed with another secret", wire{"pagerduty", sign(genuine, strings.Repeat("x", 32)), genuine}, 401, ""},
		{"signed with nothing", wire{"pagerduty", sign(genuine, ""), genuine}, 401, ""},
		{"altered after it was signed", wire{"pagerduty", sign(genuine, demoSigningSecret), altered}, 401, ""},
		{"truncated after it was signed", wire{"pagerduty", sign(genuine, demoSigningSecret), genuine[:len(genuine)/2]}, 401, ""},
		{"empty body without a signature", wire{"pagerduty", nil, nil}, 401, ""},
		{"no token", wire{"alertmanager", nil, fires}, 401, ""},
		{"wrong token", wire{"alertmanager", map[string]string{"Authorization": "Bearer " + strings.Repeat("x", 32)}, fires}, 401, ""},
		{"token of the wrong scheme", wire{"alertmanager", map[string]string{"Authorization": "Basic " + demoBearerToken}, fires}, 401, ""},
		{"unknown source", wire{"grafana", bearer(), fires}, 404, ""},
		{"source with a path", wire{"..%2f..%2fetc%2fpasswd", bearer(), fires}, 404, ""},
	}
}

// malformed deliveries come from a friend who proves it: they are kept, flagged, and lead to nothing.
func malformed(fires []byte) []hostile {
	var all []hostile
	for name, body := range map[string][]byte{
		"garbage":            {0, 1, 2, 0xff, 0xfe},
		"empty body":         nil,
		"not an object":      []byte(`[]`),
		"null":               []byte(`null`),
		"truncated JSON":     fires[:len(fires)-10],
		"two documents":      append(bytes.Clone(fires), fires...),
		"deep arrays":        bytes.Repeat([]byte("["), 500_000),
		"deep objects":       bytes.Repeat([]byte(`{"a":`), 150_000),
		"a key twice":        bytes.Replace(fires, []byte(`"status":"firing"`), []byte(`"status":"resolved","status":"firing"`), 1),
		"another version":    bytes.Replace(fires, []byte(`"version":"4"`), []byte(`"version":"1"`), 1),
		"no alerts":          []byte(`{"version":"4","groupKey":"g","status":"firing","alerts":[]}`),
		"labels of no text":  bytes.Replace(fires, []byte(`"critical"`), []byte(`{"$ne":1}`), 1),
		"a status by itself": bytes.Replace(fires, []byte(`"status":"firing"`), []byte(`"status":"on fire"`), 2),
	} {
		all = append(all, hostile{name, wire{"alertmanager", bearer(), body}, 202, remediation.EventInvalid})
		if name != "another version" && name != "no alerts" {
			all = append(all, hostile{name + ", signed", wire{"pagerduty", sign(body, demoSigningSecret), body}, 202, remediation.EventInvalid})
		}
	}
	return all
}

func tooMuch(fires []byte) []hostile {
	large := bytes.Repeat([]byte(" "), 1<<20+1)
	unknown := bytes.ReplaceAll(fires, []byte(backend), []byte("no-such-service"))
	return []hostile{
		{"too large", wire{"alertmanager", bearer(), large}, 413, ""},
		{"too large, unsigned", wire{"pagerduty", nil, large}, 401, ""},
		{"a service that is not declared", wire{"alertmanager", bearer(), unknown}, 202, remediation.EventMatched},
		{"text with selectors and templates", wire{"alertmanager", bearer(), bytes.ReplaceAll(fires, []byte(backend), []byte(`{{ .Target.Health }};$(id)`))},
			202, remediation.EventMatched},
	}
}

// TestHostileDeliveries: none of them makes a run, each that was answered with 202 has its event, and no other has one.
func TestHostileDeliveries(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{Name: backend}}})
	fires := firingBody(t, healthFailed, backend, time.Now())
	var all []hostile
	for _, some := range [][]hostile{unauthenticated(fires), malformed(fires), tooMuch(fires)} {
		all = append(all, some...)
	}
	kept := 0
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			if id := c.meets(t, h); id != "" {
				kept++
			}
		})
	}
	stored := 0
	for _, n := range h.events(t) {
		stored += n
	}
	want(t, "events stored", stored, kept)
	want(t, "runs", len(h.allRuns(t)), 0)
	want(t, "health of the server", statusOf(t.Context(), h.url+"/-/ready"), nethttp.StatusOK)
}

// meets sends it, judges the answer, and gives the id of the event that was kept.
func (c hostile) meets(t *testing.T, h *house) string {
	status, _, body := c.wire.send(t, h.url)
	want(t, "status", status, c.status)
	if status != nethttp.StatusAccepted {
		if strings.Contains(body, demoBearerToken) || strings.Contains(body, demoSigningSecret) {
			t.Errorf("the answer tells a secret: %s", body)
		}
		return ""
	}
	var kept struct {
		Event     string
		Runs      []string
		Duplicate bool
	}
	succeed(t, json.Unmarshal([]byte(body), &kept))
	event, err := (&api{app: h.app}).Event(t.Context(), kept.Event)
	succeed(t, err)
	want(t, "the event's state", event.Event.State, c.state)
	want(t, "runs", len(kept.Runs), 0)
	return kept.Event
}

func (w wire) send(t *testing.T, url string) (int, nethttp.Header, string) {
	t.Helper()
	req := newRequest(t, nethttp.MethodPost, url+"/v1/webhooks/"+w.source, bytes.NewReader(w.body))
	for name, value := range w.header {
		req.Header.Set(name, value)
	}
	return send(t, req)
}

// recorder stands before the house and keeps what PagerDuty sends.
func recorder(t *testing.T, h *house) (string, func() []wire) {
	t.Helper()
	var mu sync.Mutex
	var seen []wire
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		one := wire{"pagerduty", map[string]string{"X-PagerDuty-Signature": r.Header.Get("X-PagerDuty-Signature")}, body}
		mu.Lock()
		seen = append(seen, one)
		mu.Unlock()
		status, _, _ := one.send(t, h.url)
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []wire {
		mu.Lock()
		defer mu.Unlock()
		return append([]wire(nil), seen...)
	}
}

// TestReplayedDeliveries: genuine signed deliveries that somebody sends again are known, and nothing happens twice.
func TestReplayedDeliveries(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	url, seen := recorder(t, h)
	h.world.SetWebhook(sandbox.Webhook{URL: url, Secret: demoSigningSecret})
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	incident := h.alert(healthFailed, backend)
	h.run(t, backend, incident)
	h.await(t, "PagerDuty has told that it is resolved", func() bool { return h.posts("pagerduty", "webhook_delivered", incident) >= 4 })
	runs, events, changes := len(h.allRuns(t)), h.events(t), len(h.updates(backend))
	for range 3 {
		for _, one := range seen() {
			status, _, body := one.send(t, h.url)
			want(t, "status", status, nethttp.StatusAccepted)
			if !strings.Contains(body, `"duplicate":true`) {
				t.Errorf("a replay was not recognised: %s", body)
			}
		}
	}
	want(t, "runs", len(h.allRuns(t)), runs)
	want(t, "events", fmt.Sprint(h.events(t)), fmt.Sprint(events))
	want(t, "changes", len(h.updates(backend)), changes)
}

// TestStoreThatCannotKeepAnswers503: the sender keeps what we cannot.
func TestStoreThatCannotKeepAnswers503(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{Name: backend}}})
	h.stop(t)
	fires := firingBody(t, healthFailed, backend, time.Now())
	genuine := pagerDutyBody()
	for _, one := range []wire{{"alertmanager", bearer(), fires}, {"pagerduty", sign(genuine, demoSigningSecret), genuine}} {
		status, header, body := one.send(t, h.url)
		want(t, "status", status, nethttp.StatusServiceUnavailable)
		if after, err := strconv.Atoi(header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("Retry-After is %q", header.Get("Retry-After"))
		}
		if strings.Contains(body, "sql") || strings.Contains(body, h.dir) {
			t.Errorf("the answer tells strangers of the inside: %s", body)
		}
	}
}

// TestDeliveryRefusedWith503ComesAgain: a secret that cannot be read now proves nothing against the sender, who tries again.
func TestDeliveryRefusedWith503ComesAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	secret := filepath.Join(h.dir, "signing")
	succeed(t, os.Remove(secret))
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	incident := h.alert(healthFailed, backend)
	h.await(t, "PagerDuty tries again", func() bool { return h.posts("pagerduty", "webhook_retried", incident) > 1 })
	want(t, "dropped", h.posts("pagerduty", "webhook_dropped", incident), 0)
	succeed(t, os.WriteFile(secret, []byte(demoSigningSecret), 0o600))
	want(t, "outcome", h.run(t, backend, incident).Run.Outcome, remediation.Fixed)
}

// endless is a body that never ends by itself.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	e.left -= n
	return n, nil
}

const (
	floodBody   = 8 << 20 // bytes of one oversized body
	floodBodies = 50
	floodAtOnce = 10
)

// TestFloodHoldsLittleMemory sends hundreds of megabytes in bodies that say their length, that do not, and that are just small enough.
func TestFloodHoldsLittleMemory(t *testing.T) {
	t.Parallel()
	p := startServe(t, smallPlace(t))
	var senders sync.WaitGroup
	for range floodAtOnce {
		senders.Go(func() {
			for i := range floodBodies / floodAtOnce {
				p.flood(t, i)
			}
		})
	}
	senders.Wait()
	if most := p.peakMemory(t); most > mostMemory {
		t.Errorf("the server's memory grew to %d MB", most>>20)
	} else {
		t.Logf("the server's memory grew to %d MB", most>>20)
	}
	status, _, _ := send(t, p.alert(t, bytes.NewReader(firingBody(t, healthFailed, "api", time.Now()))))
	want(t, "status of a good delivery afterwards", status, nethttp.StatusAccepted)
}

// flood sends one oversized body without a length, one with, and several that are nearly too large. The server may hang up meanwhile.
func (p *daemon) flood(t *testing.T, i int) {
	chunked := p.alert(t, &endless{floodBody})
	measured := p.alert(t, &endless{floodBody})
	measured.ContentLength = floodBody
	large := p.alert(t, io.MultiReader(strings.NewReader(fmt.Sprintf(`{"n":%d,"x":"`, i)), &endless{1<<20 - 100}))
	for _, req := range []*nethttp.Request{chunked, measured, large} {
		resp, err := nethttp.DefaultTransport.RoundTrip(req)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if accepted := resp.StatusCode < 300; accepted && req != large {
			t.Errorf("an oversized body was answered with %d", resp.StatusCode)
		}
	}
}

// peakMemory is the greatest resident memory of the process so far, in bytes.
func (p *daemon) peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("this system does not tell the memory of a process: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if kilobytes, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kilobytes), " kB"))
			succeed(t, err)
			return n << 10
		}
	}
	t.Fatal("the process has no VmHWM")
	return 0
}
