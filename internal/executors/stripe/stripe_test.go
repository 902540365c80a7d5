package stripe_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/stripe"
	"github.com/mixillo/remediator/internal/sandbox"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func world(t *testing.T) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Seed: 1})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

func at(t *testing.T, endpoint, key string) executors.Env {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(path, []byte(key), 0o600))
	client, err := connect.NewStripe(connect.StripeConfig{Endpoint: endpoint, Key: connect.Secret{File: path}, Insecure: true, Timeout: 5 * time.Second})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return executors.Env{Target: executors.Target{Name: "backend"}, Connections: connect.Set{"stripe": client}, Now: time.Now()}
}

func probe(t *testing.T, name, params string) executors.Probe {
	t.Helper()
	kind, ok := executors.LookupProbe(name)
	if !ok {
		t.Fatalf("%s is not registered", name)
	}
	p := kind.New()
	must(t, yaml.Unmarshal([]byte(params), p))
	return p
}

func ask[F any](t *testing.T, env executors.Env, name, params string) (*F, executors.Answer) {
	t.Helper()
	env.Now = time.Now()
	answer, err := probe(t, name, params).Ask(t.Context(), env)
	must(t, err)
	fact, ok := answer.Fact.(*F)
	if !ok {
		t.Fatalf("the fact is a %T", answer.Fact)
	}
	for _, secret := range []string{"client_secret", "customer@example.com", "4900"} {
		if strings.Contains(fmt.Sprintf("%+v %s", fact, answer.Summary), secret) {
			t.Errorf("%q is told: %+v", secret, fact)
		}
	}
	return fact, answer
}

func TestWebhooksThatFail(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.AddWebhookEndpoint(sandbox.StripeEndpoint{URL: "https://API.example.com/hooks/s3cretpath"})
	w.AddWebhookEndpoint(sandbox.StripeEndpoint{URL: "https://old.example.com/hooks", Disabled: true})
	w.Happen(sandbox.StripeEvents{Type: "charge.succeeded", Ago: 10 * time.Second})
	w.Happen(sandbox.StripeEvents{Type: "payment_intent.succeeded", Pending: 1, Ago: 5 * time.Second}) // under way
	w.Happen(sandbox.StripeEvents{Type: "payment_intent.succeeded", Pending: 1, Count: 130, Ago: 10 * time.Minute})
	w.Happen(sandbox.StripeEvents{Type: "invoice.paid", Pending: 2, Count: 2, Ago: 40 * time.Minute})
	w.Happen(sandbox.StripeEvents{Type: "invoice.paid", Pending: 1, Count: 500, Ago: 3 * time.Hour})
	env := at(t, w.URL("stripe"), sandbox.StripeKey)

	fact, answer := ask[stripe.WebhooksFact](t, env, "stripe.webhooks", "{}")
	if fact.Endpoints != 2 || fact.Enabled != 1 || fact.Disabled != 1 || len(answer.Unknown) != 0 {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
	if !cmp.Equal(fact.Hosts, []string{"api.example.com", "old.example.com"}) || !cmp.Equal(fact.DisabledHosts, []string{"old.example.com"}) {
		t.Errorf("hosts %v, disabled %v", fact.Hosts, fact.DisabledHosts)
	}
	if fact.Undelivered != 132 || fact.CommonestType != "payment_intent.succeeded" || fact.CommonestCount != 130 {
		t.Errorf("%+v", fact)
	}
	if fact.OldestAge < 40*time.Minute || fact.OldestAge > 41*time.Minute || fact.NewestEventAge > time.Minute {
		t.Errorf("the oldest is %s old, the newest event %s", fact.OldestAge, fact.NewestEventAge)
	}
	want := "Stripe: 1 of 2 webhook endpoints are enabled (disabled: old.example.com); 132 events of the last 1h0m0s are undelivered, the oldest for 40m"
	if !strings.HasPrefix(answer.Summary, want) {
		t.Errorf("summary: %s", answer.Summary)
	}
	if fact, _ := ask[stripe.WebhooksFact](t, env, "stripe.webhooks", "{host: old.example.com, grace: 1s}"); fact.Endpoints != 1 || fact.Enabled != 0 || fact.Undelivered != 133 {
		t.Errorf("at one host: %+v", fact)
	}
	_, answer = ask[stripe.WebhooksFact](t, env, "stripe.webhooks", "{host: gone.example.com}")
	if !strings.HasPrefix(answer.Summary, "Stripe: there is no webhook endpoint at gone.example.com") {
		t.Errorf("summary: %s", answer.Summary)
	}
	w.DeliverEvents()
	fact, answer = ask[stripe.WebhooksFact](t, env, "stripe.webhooks", "{}")
	if fact.Undelivered != 0 || fact.CommonestType != "" || !cmp.Equal(answer.Unknown, []string{"oldest", "oldest_age"}) {
		t.Errorf("delivered: %+v, unknown %v", fact, answer.Unknown)
	}
}

// TestWebhooksOfAnIdleAccount: without events nothing says how fresh the account is.
func TestWebhooksOfAnIdleAccount(t *testing.T) {
	t.Parallel()
	w := world(t)
	fact, answer := ask[stripe.WebhooksFact](t, at(t, w.URL("stripe"), sandbox.StripeKey), "stripe.webhooks", "{}")
	if fact.Endpoints != 0 || !cmp.Equal(answer.Unknown, []string{"oldest", "oldest_age", "newest_event", "newest_event_age"}) {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
}

func TestMoreUndeliveredThanAreRead(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.Happen(sandbox.StripeEvents{Type: "invoice.paid", Pending: 1, Count: 1001, Ago: 10 * time.Minute})
	fact, answer := ask[stripe.WebhooksFact](t, at(t, w.URL("stripe"), sandbox.StripeKey), "stripe.webhooks", "{}")
	if fact.Undelivered != 1000 || !fact.Oldest.IsZero() || !slices.Contains(answer.Unknown, "oldest") {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
	if !strings.Contains(answer.Summary, "at least 1000 events of the last 1h0m0s are undelivered, most of type invoice.paid") {
		t.Errorf("summary: %s", answer.Summary)
	}
}

func TestPaymentsThatFail(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.Pay(sandbox.StripePayments{Count: 170, Ago: 3 * time.Minute})
	w.Pay(sandbox.StripePayments{Status: "requires_payment_method", Code: "card_declined", Count: 20, Ago: 2 * time.Minute})
	w.Pay(sandbox.StripePayments{Status: "canceled", Code: "api_error; DROP", Count: 10, Ago: 2 * time.Minute})
	w.Pay(sandbox.StripePayments{Status: "requires_payment_method", Count: 7, Ago: time.Minute}) // only begun
	w.Pay(sandbox.StripePayments{Status: "canceled", Count: 3, Ago: time.Minute})                // given up
	w.Pay(sandbox.StripePayments{Status: "processing", Count: 2, Ago: time.Minute})
	w.Pay(sandbox.StripePayments{Status: "requires_payment_method", Code: "expired_card", Count: 400, Ago: time.Hour})
	env := at(t, w.URL("stripe"), sandbox.StripeKey)

	fact, answer := ask[stripe.PaymentsFact](t, env, "stripe.payments", "{}")
	if fact.Payments != 200 || fact.Failed != 30 || fact.Open != 12 || fact.FailureRatio != 0.15 || len(answer.Unknown) != 0 {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
	if !cmp.Equal(fact.ByCode, map[string]any{"card_declined": int64(20), "other": int64(10)}) || fact.CommonestCode != "card_declined" || fact.CommonestCount != 20 {
		t.Errorf("codes %v, %s %d", fact.ByCode, fact.CommonestCode, fact.CommonestCount)
	}
	if want := "Stripe: 30 of 200 payments begun in the last 15m0s failed (15.0%), most with card_declined (20)"; answer.Summary != want {
		t.Errorf("summary: %s", answer.Summary)
	}
	if fact, _ := ask[stripe.PaymentsFact](t, env, "stripe.payments", "{of: charges}"); fact.Payments != 200 || fact.Failed != 30 || fact.Open != 0 {
		t.Errorf("charges: %+v", fact)
	}
	env.Since = time.Now().Add(-150 * time.Second)
	if fact, _ := ask[stripe.PaymentsFact](t, env, "stripe.payments", "{}"); fact.Payments != 30 || fact.Failed != 30 {
		t.Errorf("after the act: %+v", fact)
	}
}

// TestFewPaymentsMakeNoRatio: one failure of one payment is no failure ratio of 1.
func TestFewPaymentsMakeNoRatio(t *testing.T) {
	t.Parallel()
	w := world(t)
	env := at(t, w.URL("stripe"), sandbox.StripeKey)
	fact, answer := ask[stripe.PaymentsFact](t, env, "stripe.payments", "{}")
	if fact.Payments != 0 || !cmp.Equal(answer.Unknown, []string{"failure_ratio", "newest", "newest_age"}) || !strings.Contains(answer.Summary, "no payment") {
		t.Errorf("none: %+v, unknown %v: %s", fact, answer.Unknown, answer.Summary)
	}
	w.Pay(sandbox.StripePayments{Status: "requires_payment_method", Code: "card_declined", Count: 9, Ago: time.Minute})
	fact, answer = ask[stripe.PaymentsFact](t, env, "stripe.payments", "{}")
	if fact.Failed != 9 || fact.FailureRatio != 0 || !cmp.Equal(answer.Unknown, []string{"failure_ratio"}) || strings.Contains(answer.Summary, "%") {
		t.Errorf("nine: %+v, unknown %v: %s", fact, answer.Unknown, answer.Summary)
	}
	if _, answer = ask[stripe.PaymentsFact](t, env, "stripe.payments", "{min_payments: 9}"); len(answer.Unknown) != 0 || !strings.Contains(answer.Summary, "100.0%") {
		t.Errorf("nine suffice: %v, %s", answer.Unknown, answer.Summary)
	}
}

// TestMorePaymentsThanAreRead: what is told is that of the newest, and since when is told too.
func TestMorePaymentsThanAreRead(t *testing.T) {
	t.Parallel()
	w := world(t)
	w.Pay(sandbox.StripePayments{Count: 600, Ago: 10 * time.Minute})
	w.Pay(sandbox.StripePayments{Status: "requires_payment_method", Code: "card_declined", Count: 500, Ago: 5 * time.Minute})
	fact, answer := ask[stripe.PaymentsFact](t, at(t, w.URL("stripe"), sandbox.StripeKey), "stripe.payments", "{}")
	if fact.Payments != 1000 || fact.Failed != 500 || time.Since(fact.Since) > 11*time.Minute {
		t.Errorf("%+v", fact)
	}
	if !strings.HasPrefix(answer.Summary, "Stripe: 500 of 1000 payments begun in the last 10m") {
		t.Errorf("summary: %s", answer.Summary)
	}
}

// TestAnswersThatAreNone: what cannot be read is an error, never an account where all is well.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	list := func(more, data string) string {
		return fmt.Sprintf(`{"object":"list","has_more":%s,"data":[%s]}`, more, data)
	}
	for name, body := range map[string]string{
		"null": "null", "no list": `{"data":[]}`, "no word of further pages": `{"object":"list","data":[]}`, "an empty page before others": list("true", ""),
		"without id": list("false", `{"created":1,"status":"succeeded"}`), "without time": list("false", `{"id":"pi_1","status":"succeeded"}`),
		"without status": list("false", `{"id":"pi_1","created":1}`), "an error that is none": `{"error":{"message":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/webhook_endpoints" {
					_, _ = io.WriteString(w, list("false", ""))
					return
				}
				_, _ = io.WriteString(w, body)
			}))
			t.Cleanup(server.Close)
			for _, kind := range []string{"stripe.payments", "stripe.webhooks"} {
				if answer, err := probe(t, kind, "{}").Ask(t.Context(), at(t, server.URL, sandbox.StripeKey)); err == nil {
					t.Errorf("%s: %+v", kind, answer)
				}
			}
		})
	}
}

// TestEndpointOfAnUnknownStatus is neither enabled nor disabled.
func TestEndpointOfAnUnknownStatus(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := ""
		if r.URL.Path == "/v1/webhook_endpoints" {
			data = `{"id":"we_1","created":1,"status":"paused","url":"::"}`
		}
		_, _ = io.WriteString(w, `{"object":"list","has_more":false,"data":[`+data+`]}`)
	}))
	t.Cleanup(server.Close)
	fact, answer := ask[stripe.WebhooksFact](t, at(t, server.URL, sandbox.StripeKey), "stripe.webhooks", "{}")
	if !slices.Contains(answer.Unknown, "enabled") || !slices.Contains(answer.Unknown, "disabled") || !cmp.Equal(fact.Hosts, []string{"unreadable"}) {
		t.Errorf("%+v, unknown %v", fact, answer.Unknown)
	}
}

// TestKeys: a key of the whole account is not even sent.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := world(t)
	for key, says := range map[string]string{"sk_live_wholeaccount": "no restricted key", "rk_live_wrongwrong": "401"} {
		_, err := probe(t, "stripe.payments", "{}").Ask(t.Context(), at(t, w.URL("stripe"), key))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, params string
		right        bool
	}{
		{"stripe.webhooks", "{}", true}, {"stripe.webhooks", "{host: 'api.example.com:8443', window: 72h, grace: 5m}", true},
		{"stripe.webhooks", "{host: 'https://api.example.com'}", false}, {"stripe.webhooks", "{window: 73h}", false}, {"stripe.webhooks", "{grace: 2h}", false},
		{"stripe.payments", "{of: charges, window: 5m, min_payments: 50}", true}, {"stripe.payments", "{of: refunds}", false},
		{"stripe.payments", "{window: 10s}", false}, {"stripe.payments", "{min_payments: -1}", false}, {"stripe.payments", "{min_payments: 1001}", false},
	} {
		p, ok := probe(t, tc.kind, tc.params).(interface {
			Validate(executors.Target) error
		})
		if !ok || (p.Validate(executors.Target{}) == nil) != tc.right {
			t.Errorf("%s %s: %v", tc.kind, tc.params, p.Validate(executors.Target{}))
		}
	}
}

// TestNothingOfBeforeTheActCounts: Stripe asks in whole seconds, so that the second in which the act fell is left out.
func TestNothingOfBeforeTheActCounts(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("created[gte]")
		_, _ = io.WriteString(w, `{"object":"list","has_more":false,"data":[]}`)
	}))
	t.Cleanup(server.Close)
	env := at(t, server.URL, sandbox.StripeKey)
	second := time.Now().Add(-time.Minute).Truncate(time.Second)
	for act, want := range map[time.Time]time.Time{second: second, second.Add(time.Millisecond): second.Add(time.Second)} {
		env.Since = act
		ask[stripe.PaymentsFact](t, env, "stripe.payments", "{}")
		if got := <-asked; got != fmt.Sprint(want.Unix()) {
			t.Errorf("an act at %s: asked from %s, want %d", act, got, want.Unix())
		}
	}
}
