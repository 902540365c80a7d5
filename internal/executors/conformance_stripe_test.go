package executors_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	_ "github.com/mixillo/remediator/internal/executors/stripe"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	questions["stripe.webhooks"] = question{stand: newStripeStand}
	questions["stripe.payments"] = question{stand: newStripeStand}
}

func newStripeStand(t *testing.T) stand {
	s := newReadStand(t)
	client, err := connect.NewStripe(connect.StripeConfig{Endpoint: s.URL("stripe"), Key: tokenFile(t, sandbox.StripeKey), Insecure: true})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	s.AddWebhookEndpoint(sandbox.StripeEndpoint{URL: "https://api.example.com/webhooks/stripe"})
	s.Pay(sandbox.StripePayments{Count: 12})
	s.env.Connections = connect.Set{"stripe": client}
	s.spoil = func(f sandbox.Fault) error { return s.Spoil("stripe", f) }
	return s
}
