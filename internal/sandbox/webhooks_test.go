package sandbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/PagerDuty/go-pagerduty"
	"github.com/PagerDuty/go-pagerduty/webhookv3"
	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

const secret = "a webhook secret of some length"

// receiver verifies every webhook with PagerDuty's own code and keeps it.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any
	ids    []string
	bad    int
	answer func(n int) int // by delivery, from 1
}

func receive(t *testing.T, answer func(n int) int) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if webhookv3.VerifySignature(req, secret) != nil {
			r.bad++
		}
		body, _ := io.ReadAll(req.Body)
		var e struct {
			Event map[string]any `json:"event"`
		}
		_ = json.Unmarshal(body, &e)
		r.events, r.ids = append(r.events, e.Event), append(r.ids, req.Header.Get("X-Webhook-Id"))
		w.WriteHeader(r.answer(len(r.events)))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) types() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for _, e := range r.events {
		out = append(out, e["event_type"].(string))
	}
	return out
}

func accepted(int) int { return http.StatusAccepted }

func TestWebhooksAreSignedAndShapedAsDocumented(t *testing.T) {
	t.Parallel()
	r := receive(t, accepted)
	f := start(t, sandbox.Config{Webhook: sandbox.Webhook{URL: r.URL, Secret: secret}})
	id := trigger(f)
	f.manage(pagerduty.ManageIncidentsOptions{ID: id, Status: "acknowledged"})
	_, err := pager(f).CreateIncidentNoteWithContext(f.ctx, id, pagerduty.IncidentNote{Content: "looking", User: pagerduty.APIObject{Summary: bot}})
	must(t, err)
	f.manage(pagerduty.ManageIncidentsOptions{ID: id, EscalationLevel: 2})
	must(t, f.HumanResolves(id))
	want := []string{"incident.triggered", "incident.acknowledged", "incident.annotated", "incident.escalated", "incident.resolved"}
	f.eventually(func() bool { return len(r.types()) == len(want) })
	if diff := cmp.Diff(want, r.types()); diff != "" || r.bad != 0 {
		t.Errorf("%d bad signatures; order per incident: %s", r.bad, diff)
	}
	agents := []string{}
	for _, e := range r.events {
		agent, _ := e["agent"].(map[string]any)
		name, _ := agent["id"].(string)
		agents = append(agents, name)
	}
	if diff := cmp.Diff([]string{"", "PBOT001", "PBOT001", "PBOT001", "PUSR001"}, agents); diff != "" {
		t.Error(diff)
	}
	for i, name := range want {
		if diff := cmp.Diff(documented(t, name), shape(r.events[i]["data"])); diff != "" {
			t.Errorf("%s differs from the documented shape: %s", name, diff)
		}
	}
}

// documented is the shape of a vendor's sample in testdata.
func documented(t *testing.T, name string) any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	must(t, err)
	var sample any
	must(t, json.Unmarshal(raw, &sample))
	return shape(sample.(map[string]any)["event"].(map[string]any)["data"])
}

// shape keeps the keys and forgets the values; lists and what may be null
// count as leaves.
func shape(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	out := map[string]any{}
	for k, e := range m {
		out[k] = shape(e)
		if k == "resolve_reason" {
			out[k] = nil
		}
	}
	return out
}

func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(int) int
		want   []string
	}{
		"5xx and 429 are retried": {func(n int) int { return []int{503, 429, 202}[min(n, 3)-1] }, []string{"webhook_retried", "webhook_retried", "webhook_delivered"}},
		"4xx is dropped":          {func(int) int { return 401 }, []string{"webhook_dropped"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receive(t, c.answer)
			f := start(t, sandbox.Config{})
			f.SetWebhook(sandbox.Webhook{URL: r.URL, Secret: secret})
			trigger(f)
			sent := func() []string {
				return slices.DeleteFunc(verbs(f.Ledger(), "pagerduty"), func(v string) bool { return !strings.HasPrefix(v, "webhook") })
			}
			f.eventually(func() bool { return len(sent()) >= len(c.want) })
			if diff := cmp.Diff(c.want, sent()); diff != "" {
				t.Error(diff)
			}
			if len(slices.Compact(slices.Clone(r.ids))) != 1 {
				t.Errorf("a redelivery keeps its id: %v", r.ids)
			}
		})
	}
}

func TestWrongSecretDoesNotVerify(t *testing.T) {
	t.Parallel()
	r := receive(t, accepted)
	f := start(t, sandbox.Config{Webhook: sandbox.Webhook{URL: r.URL, Secret: "another"}})
	trigger(f)
	f.eventually(func() bool { return len(r.types()) == 1 })
	if r.bad != 1 {
		t.Error("the signature does not depend on the secret")
	}
}
