package sandbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	webhookTimeout = 5 * time.Second  // before Speed, but at least a second
	retryFirst     = time.Second      // before Speed
	retryMost      = 10 * time.Minute // before Speed
	retryFor       = 48 * time.Hour   // before Speed
)

// webhooks delivers events, in order per incident, at least once.
type webhooks struct {
	cfg    Config
	ledger *ledger
	dice   *dice
	client *http.Client
	ctx    context.Context
	stop   context.CancelFunc

	mu      sync.Mutex
	hook    Webhook
	queues  map[string][]delivery // by incident; the first one is being delivered
	running sync.WaitGroup
	closed  bool
}

type delivery struct {
	id, incident, kind string
	body               []byte
}

func newWebhooks(cfg Config, l *ledger, d *dice) *webhooks {
	ctx, stop := context.WithCancel(context.Background())
	return &webhooks{
		cfg: cfg, ledger: l, dice: d, ctx: ctx, stop: stop, hook: cfg.Webhook, queues: map[string][]delivery{},
		client: &http.Client{Timeout: max(cfg.scaled(webhookTimeout), time.Second)},
	}
}

func (w *webhooks) set(hook Webhook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

func (w *webhooks) current() Webhook {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hook
}

func (w *webhooks) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.running.Wait()
}

// send queues an event behind the incident's earlier ones.
func (w *webhooks) send(incident, kind string, event object) {
	body, err := json.Marshal(event)
	if err != nil {
		w.ledger.add(Entry{System: "pagerduty", Verb: "webhook_failed", Resource: incident, By: "pagerduty", Detail: map[string]any{"error": err.Error()}})
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hook.URL == "" || w.closed {
		return
	}
	w.queues[incident] = append(w.queues[incident], delivery{id: w.dice.uuid(), incident: incident, kind: kind, body: body})
	if len(w.queues[incident]) == 1 {
		w.running.Go(func() { w.drain(incident) })
	}
}

func (w *webhooks) drain(incident string) {
	for {
		w.mu.Lock()
		d := w.queues[incident][0]
		w.mu.Unlock()
		w.deliver(d)
		w.mu.Lock()
		rest := w.queues[incident][1:]
		if len(rest) == 0 || w.ctx.Err() != nil {
			delete(w.queues, incident)
			w.mu.Unlock()
			return
		}
		w.queues[incident] = rest
		w.mu.Unlock()
	}
}

// deliver retries timeouts, 429 and 5xx with growing pauses, and drops the
// event on any other answer that is not a success.
func (w *webhooks) deliver(d delivery) {
	pause, deadline := w.cfg.scaled(retryFirst), time.Now().Add(w.cfg.scaled(retryFor))
	for attempt := 1; w.ctx.Err() == nil; attempt++ {
		status, err := w.post(d)
		verb := "webhook_delivered"
		switch again := err != nil || status == http.StatusTooManyRequests || status >= 500; {
		case again && time.Now().Before(deadline):
			verb = "webhook_retried"
		case again || status >= 300:
			verb = "webhook_dropped"
		}
		if w.ctx.Err() != nil {
			return
		}
		w.ledger.add(Entry{System: "pagerduty", Verb: verb, Resource: d.incident, By: "pagerduty", Detail: map[string]any{
			"event_type": d.kind, "webhook_id": d.id, "attempt": attempt, "status": status,
		}})
		if verb != "webhook_retried" || sleep(w.ctx, pause) != nil {
			return
		}
		pause = min(2*pause, w.cfg.scaled(retryMost))
	}
}

func (w *webhooks) post(d delivery) (int, error) {
	hook := w.current()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, hook.URL, bytes.NewReader(d.body))
	if err != nil {
		return 0, fmt.Errorf("making the webhook request: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(hook.Secret))
	_, _ = mac.Write(d.body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "PagerDuty-Webhook/V3.0")
	req.Header.Set("X-PagerDuty-Signature", "v1="+hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("X-Webhook-Id", d.id)
	req.Header.Set("X-Webhook-Subscription", "PSUB001")
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("posting the webhook: %w", err)
	}
	return resp.StatusCode, resp.Body.Close()
}
