package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Paths, parameters and fields are those of github.com/stripe/openapi and docs.stripe.com/api; lists come newest first.

func newStripeSystem(s *stripeServer) *system {
	mux := http.NewServeMux()
	for name, h := range map[string]func(*http.Request) []object{
		"webhook_endpoints": s.listEndpoints, "events": s.listEvents, "payment_intents": s.listIntents, "charges": s.listCharges,
	} {
		mux.HandleFunc("GET /v1/"+name, s.serve("/v1/"+name, h))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		stripeRefusal(w, http.StatusNotFound, "", fmt.Sprintf("Unrecognized request URL (%s: %s).", r.Method, r.URL.Path))
	})
	system := newSystem("stripe", mux)
	system.faults.body = func(status int) string {
		return fmt.Sprintf(`{"error":{"type":%q,"message":"the sandbox was told to answer %d"}}`, pick(status == 429, "rate_limit_error", "api_error"), status)
	}
	return system
}

func stripeRefusal(w http.ResponseWriter, status int, param, message string) {
	body := object{"type": "invalid_request_error", "message": message}
	if param != "" {
		body["param"], body["code"] = param, "parameter_invalid"
	}
	writeJSON(w, status, object{"error": body})
}

func (s *stripeServer) serve(path string, h func(*http.Request) []object) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch key, basic, _ := r.BasicAuth(); {
		case r.Header.Get("Authorization") == "":
			stripeRefusal(w, http.StatusUnauthorized, "", "You did not provide an API key.")
			return
		case r.Header.Get("Authorization") != "Bearer "+StripeKey && (key != StripeKey || basic != ""):
			stripeRefusal(w, http.StatusUnauthorized, "", "Invalid API Key provided: "+maskedKey(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		stripePage(w, r, path, h(r))
	}
}

// maskedKey shows of a key what Stripe's refusals show of it.
func maskedKey(key string) string {
	if len(key) < 12 {
		return "****"
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// stripePage answers one page of a list that is whole, newest first.
func stripePage(w http.ResponseWriter, r *http.Request, path string, all []object) {
	limit := 10
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			stripeRefusal(w, http.StatusBadRequest, "limit", "Invalid integer: "+text)
			return
		}
		limit = n
	}
	if after := r.URL.Query().Get("starting_after"); after != "" {
		i := slices.IndexFunc(all, func(o object) bool { return o["id"] == after })
		if i < 0 {
			stripeRefusal(w, http.StatusBadRequest, "starting_after", "No such object: '"+after+"'")
			return
		}
		all = all[i+1:]
	}
	end := min(limit, len(all))
	writeJSON(w, http.StatusOK, object{"object": "list", "url": path, "has_more": end < len(all), "data": append([]object{}, all[:end]...)})
}

func (s *stripeServer) listEndpoints(*http.Request) []object {
	var out []object
	for _, e := range slices.Backward(s.endpoints) {
		out = append(out, object{
			"id": e.id, "object": "webhook_endpoint", "url": e.URL, "status": pick(e.Disabled, "disabled", "enabled"), "created": e.at.Unix(),
			"enabled_events": []string{"*"}, "livemode": false, "api_version": nil, "application": nil, "description": nil, "metadata": object{},
		})
	}
	return out
}

// since keeps what was created in the time asked about.
func since(r *http.Request, all []stripeObject) []stripeObject {
	from, err := strconv.ParseInt(r.URL.Query().Get("created[gte]"), 10, 64)
	if err != nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(o stripeObject) bool { return o.at.Before(time.Unix(from, 0)) })
}

func (s *stripeServer) listEvents(r *http.Request) []object {
	var out []object
	for _, e := range slices.Backward(since(r, s.events)) {
		if success := r.URL.Query().Get("delivery_success"); success == "false" && e.pending == 0 || success == "true" && e.pending > 0 {
			continue
		}
		out = append(out, object{
			"id": e.id, "object": "event", "type": e.kind, "created": e.at.Unix(), "pending_webhooks": e.pending, "livemode": false,
			"api_version": "2025-04-30.basil", "request": object{"id": nil, "idempotency_key": nil},
			"data": object{"object": object{"client_secret": "pi_secret_for_customers_alone", "receipt_email": "customer@example.com", "amount": 4900}},
		})
	}
	return out
}

func (s *stripeServer) listIntents(r *http.Request) []object {
	var out []object
	for _, p := range slices.Backward(since(r, s.payments)) {
		var failure any
		if p.code != "" {
			failure = object{"type": "card_error", "code": p.code, "message": "Your card has insufficient funds."}
		}
		out = append(out, object{
			"id": p.id, "object": "payment_intent", "status": p.kind, "created": p.at.Unix(), "amount": 4900, "currency": "eur", "livemode": false,
			"last_payment_error": failure, "client_secret": p.id + "_secret", "receipt_email": "customer@example.com", "metadata": object{},
		})
	}
	return out
}

// listCharges tells of the attempts: an intent without failure that has not succeeded was not tried.
func (s *stripeServer) listCharges(r *http.Request) []object {
	var out []object
	for _, p := range slices.Backward(since(r, s.payments)) {
		if p.code == "" && p.kind != "succeeded" {
			continue
		}
		var code any
		if p.code != "" {
			code = p.code
		}
		out = append(out, object{
			"id": "ch" + strings.TrimPrefix(p.id, "pi"), "object": "charge", "status": pick(p.code == "", "succeeded", "failed"), "created": p.at.Unix(),
			"failure_code": code, "amount": 4900, "currency": "eur", "payment_intent": p.id, "paid": p.code == "", "livemode": false,
		})
	}
	return out
}
