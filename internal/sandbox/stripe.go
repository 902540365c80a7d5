package sandbox

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// StripeKey is the restricted key that may read the sandbox's Stripe account.
const StripeKey = "rk_test_sandbox"

// StripeEndpoint is a webhook endpoint.
type StripeEndpoint struct {
	URL      string `json:"url"`
	Disabled bool   `json:"disabled"`

	id string
	at time.Time
}

// StripeEvents are events of one type that happened together.
type StripeEvents struct {
	Type    string        `json:"type"`
	Pending int64         `json:"pending"` // how many endpoints each has not reached
	Count   int           `json:"count"`   // default 1
	Ago     time.Duration `json:"ago"`     // divided by Speed
}

// StripePayments are payments that were begun together and stand alike: one payment intent and, where it was tried, one charge each.
type StripePayments struct {
	Status string        `json:"status"` // of the payment intent; default succeeded
	Code   string        `json:"code"`   // of the failure; "" is none
	Count  int           `json:"count"`  // default 1
	Ago    time.Duration `json:"ago"`    // divided by Speed
}

// stripeObject is one event or payment. They are kept oldest first.
type stripeObject struct {
	id      string
	at      time.Time
	kind    string // an event's type or a payment's status
	code    string
	pending int64
}

// stripeServer is one account.
type stripeServer struct {
	ledger *ledger
	dice   *dice

	mu               sync.Mutex
	endpoints        []StripeEndpoint
	events, payments []stripeObject
}

func newStripeServer(l *ledger, d *dice) *stripeServer { return &stripeServer{ledger: l, dice: d} }

func (s *stripeServer) newID(prefix string) string {
	return prefix + "_" + s.dice.letters("0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz", 24)
}

// AddWebhookEndpoint makes a webhook endpoint. Adding one with a known address switches that one instead.
func (w *World) AddWebhookEndpoint(e StripeEndpoint) {
	w.stripe.mu.Lock()
	defer w.stripe.mu.Unlock()
	i := slices.IndexFunc(w.stripe.endpoints, func(known StripeEndpoint) bool { return known.URL == e.URL })
	if i < 0 {
		e.id, e.at = w.stripe.newID("we"), time.Now().UTC()
		w.stripe.endpoints = append(w.stripe.endpoints, e)
	} else {
		w.stripe.endpoints[i].Disabled = e.Disabled
	}
	w.ledger.add(Entry{System: "stripe", Verb: "endpoint_set", Resource: e.URL, By: Human, Detail: map[string]any{"disabled": e.Disabled}})
}

// Happen lets events happen.
func (w *World) Happen(e StripeEvents) {
	w.stripe.mu.Lock()
	defer w.stripe.mu.Unlock()
	at := time.Now().UTC().Add(-w.cfg.scaled(e.Ago))
	for range max(e.Count, 1) {
		w.stripe.events = put(w.stripe.events, stripeObject{id: w.stripe.newID("evt"), at: at, kind: e.Type, pending: e.Pending})
	}
	w.ledger.add(Entry{System: "stripe", Verb: "events_happened", Resource: e.Type, By: "stripe", Detail: map[string]any{"count": max(e.Count, 1), "pending": e.Pending}})
}

// DeliverEvents lets all pending events reach their endpoints.
func (w *World) DeliverEvents() {
	w.stripe.mu.Lock()
	defer w.stripe.mu.Unlock()
	n := 0
	for i := range w.stripe.events {
		if w.stripe.events[i].pending > 0 {
			w.stripe.events[i].pending = 0
			n++
		}
	}
	w.ledger.add(Entry{System: "stripe", Verb: "events_delivered", By: "stripe", Detail: map[string]any{"count": n}})
}

// Pay lets payments be made.
func (w *World) Pay(p StripePayments) {
	w.stripe.mu.Lock()
	defer w.stripe.mu.Unlock()
	at := time.Now().UTC().Add(-w.cfg.scaled(p.Ago))
	status := pick(p.Status == "", "succeeded", p.Status)
	for range max(p.Count, 1) {
		w.stripe.payments = put(w.stripe.payments, stripeObject{id: w.stripe.newID("pi"), at: at, kind: status, code: p.Code})
	}
	w.ledger.add(Entry{System: "stripe", Verb: "payments_made", Resource: status, By: "customers", Detail: map[string]any{"count": max(p.Count, 1), "code": p.Code}})
}

// put keeps the objects in the order of their times.
func put(all []stripeObject, one stripeObject) []stripeObject {
	i, _ := slices.BinarySearchFunc(all, one, func(a, b stripeObject) int {
		return pick(a.at.After(b.at), 1, -1)
	})
	return slices.Insert(all, i, one)
}

func stripeVerbs() map[string]verb {
	return map[string]verb{
		"add-webhook-endpoint": only(func(w *World, e StripeEndpoint) error {
			if e.URL == "" {
				return fmt.Errorf("a webhook endpoint needs a url")
			}
			w.AddWebhookEndpoint(e)
			return nil
		}),
		"happen":         quiet((*World).Happen),
		"deliver-events": quiet(func(w *World, _ struct{}) { w.DeliverEvents() }),
		"pay":            quiet((*World).Pay),
	}
}
