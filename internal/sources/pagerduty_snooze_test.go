package sources

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sandbox"
)

// heard keeps the webhooks of a sandbox, by event type.
type heard struct {
	mu     sync.Mutex
	bodies map[string][]byte
}

func (h *heard) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var read pagerDutyBody
	_ = json.Unmarshal(body, &read)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bodies[read.Event.EventType] = body
}

// wait gives the holds of the next webhook of the type.
func (h *heard) wait(t *testing.T, eventType string) []Hold {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		h.mu.Lock()
		body := h.bodies[eventType]
		delete(h.bodies, eventType)
		h.mu.Unlock()
		if body != nil {
			d, err := pagerDuty(t).Parse(body, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return d.Holds
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("no %s came", eventType)
	return nil
}

func pagerDutyWorld(t *testing.T) (*sandbox.World, *heard, connect.Set) {
	t.Helper()
	h := &heard{bodies: map[string][]byte{}}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	w, err := sandbox.Start(sandbox.Config{Speed: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	w.SetWebhook(sandbox.Webhook{URL: srv.URL})
	pd, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: w.PagerDutyURL(), Insecure: true, From: "remediator-bot@example.com", Token: secretFile(t, sandbox.PagerDutyToken),
	})
	if err != nil {
		t.Fatal(err)
	}
	set := connect.Set{"pagerduty": pd}
	t.Cleanup(func() { _ = set.Close() })
	return w, h, set
}

// A person's snooze holds like an acknowledgement, by its webhook and when the incident is read, until it ends; ours holds nothing.
func TestASnoozeHolds(t *testing.T) {
	t.Parallel()
	for name, accountKey := range map[string]bool{"a user's token": false, "an account's key": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, h, set := pagerDutyWorld(t)
			w.SetAccountKey(accountKey)
			p := pagerDuty(t)
			id := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k"})
			heldBy := func(want string) {
				t.Helper()
				s, err := p.Reread(t.Context(), set, alert.Alert{IncidentID: id, IncidentKey: "k"})
				if err != nil || !s.Firing || s.AcknowledgedBy != want {
					t.Errorf("it stands as %+v, %v; want it held by %q", s, err, want)
				}
			}
			client, err := connect.Get[*connect.PagerDuty](set, "pagerduty")
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Snooze(t.Context(), id, time.Hour); err != nil {
				t.Fatal(err)
			}
			us, err := p.Self(t.Context(), set)
			if holds := h.wait(t, incidentAcknowledged); err != nil || len(holds) != 1 || holds[0].ByID != us {
				t.Errorf("our own snooze: %+v by %q, %v", holds, us, err)
			}
			heldBy("")
			if err := w.HumanSnoozes(id, time.Hour); err != nil {
				t.Fatal(err)
			}
			if holds := h.wait(t, incidentAcknowledged); len(holds) != 1 || holds[0].Lifted || holds[0].By != "Ann" || holds[0].ByID == us {
				t.Errorf("a person's snooze: %+v", holds)
			}
			heldBy("Ann")
			if err := w.SnoozeEnds(id); err != nil {
				t.Fatal(err)
			}
			if holds := h.wait(t, incidentUnacknowledged); len(holds) != 1 || !holds[0].Lifted {
				t.Errorf("the end of the snooze: %+v", holds)
			}
			heldBy("")
		})
	}
}

// Whom people share the robot's user with is said.
func TestSharedUser(t *testing.T) {
	t.Parallel()
	w, _, set := pagerDutyWorld(t)
	for kind, want := range map[string]string{"": "", "sms_contact_method": "remediator-bot@example.com can be reached by more than e-mail"} {
		w.SetPhone(kind)
		if why, err := pagerDuty(t).Shared(t.Context(), set); err != nil || why != want {
			t.Errorf("with %q: %q, %v; want %q", kind, why, err, want)
		}
	}
}
