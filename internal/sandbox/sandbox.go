// Package sandbox is a small world for the demo, for tests and for a crash
// harness that keeps it in another process: Cloud Run, Cloud Monitoring and
// Cloud Logging over insecure gRPC, PagerDuty (REST, Events v2 and signed v3
// webhooks), Slack, and a backend whose /health really changes with the
// revision that serves. Real client libraries talk to it over loopback.
//
// Every change is one line of the ledger, written before the call that made it
// is answered, so that a test can say what happened from outside the program
// under test. All methods of World may be called concurrently.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Credentials the sandbox's servers accept. They guard nothing: they exist so
// that a client which forgets to authenticate is noticed.
const (
	PagerDutyToken      = "sandbox-pagerduty-token" //nolint:gosec // guards nothing
	PagerDutyRoutingKey = "5a9db0c5e1f24e6d8a0b7c3f19e2d486"
	SlackToken          = "xoxb-sandbox"         //nolint:gosec // guards nothing
	VercelToken         = "sandbox-vercel-token" //nolint:gosec // guards nothing
)

// Addresses are optional fixed listen addresses on 127.0.0.1; an empty one
// means any free port.
type Addresses struct {
	Google    string `json:"google,omitempty"`
	PagerDuty string `json:"pagerduty,omitempty"`
	Slack     string `json:"slack,omitempty"`
	Backend   string `json:"backend,omitempty"`
	Control   string `json:"control,omitempty"`
	// Systems are the other stand-ins by name.
	Systems map[string]string `json:"systems,omitempty"`
}

// Webhook is the PagerDuty v3 subscription: where events are sent and the key
// they are signed with. An empty URL sends nothing.
type Webhook struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

// Config says how the world starts. The zero value is usable.
type Config struct {
	Project string  // default "mixillo"
	Region  string  // default "europe-west1"
	Speed   float64 // durations are divided by it; default 1. Timestamps and request rates stay wall clock.
	Ledger  string  // file to append JSON lines to; "" keeps the ledger in memory only
	Caller  string  // who the API calls are attributed to in last_modifier and the ledger
	Listen  Addresses
	Webhook Webhook
	Seed    uint64 // all randomness comes from it
}

func (c Config) withDefaults() Config {
	if c.Project == "" {
		c.Project = "mixillo"
	}
	if c.Region == "" {
		c.Region = "europe-west1"
	}
	if c.Speed <= 0 {
		c.Speed = 1
	}
	if c.Caller == "" {
		c.Caller = "remediator@" + c.Project + ".iam.gserviceaccount.com"
	}
	return c
}

func (c Config) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.Speed)
}

// World is the running sandbox.
type World struct {
	cfg      Config
	ledger   *ledger
	platform *platform
	calls    *callFaults
	book     *callBook
	pager    *pagerDuty
	slack    *slackServer
	atlas    *atlas
	status   *statusPages
	compute  *compute
	vercel   *vercel
	flags    *flagServer
	api      *apiServer
	mongo    *mongoServer
	redis    *redisStandIn
	grpc     *grpc.Server
	servers  []*http.Server
	places   map[string]string
	systems  map[string]*system
	sentry   *sentryServer
	stripe   *stripeServer
	running  sync.WaitGroup
}

// Start opens the listeners and serves until Close.
func Start(cfg Config) (*World, error) {
	cfg = cfg.withDefaults()
	led, err := openLedger(cfg.Ledger)
	if err != nil {
		return nil, err
	}
	dice := newDice(cfg.Seed)
	w := &World{cfg: cfg, ledger: led, calls: &callFaults{}, book: &callBook{}, places: map[string]string{}, systems: map[string]*system{}}
	w.platform = newPlatform(cfg, led, dice)
	w.pager = newPagerDuty(cfg, led, dice)
	w.slack = newSlackServer(led)
	w.atlas = newAtlas(cfg, led)
	w.status = newStatusPages(led)
	w.compute, w.vercel = newCompute(cfg, led, dice), newVercel(cfg, led, dice)
	w.sentry, w.stripe = &sentryServer{ledger: led}, newStripeServer(led, dice)
	w.flags, w.api = newFlagServer(led, cfg.Caller), newAPIServer()
	w.mongo = newMongoServer(led, dice, w.book, &w.running)
	w.redis = newRedisStandIn(led, w.book, cfg.Caller)
	if err := w.serveAll(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) serveAll() error {
	if err := w.serveGoogle(w.cfg.Listen.Google); err != nil {
		return err
	}
	if err := w.serveSystems(w.atlas.system(), newSystem("status", w.status.handler()), w.compute.system, w.vercel.system,
		newSentrySystem(w.sentry), newStripeSystem(w.stripe),
		newSystem("flags", w.flags.handler()), newSystem("api", w.api.handler())); err != nil {
		return err
	}
	for _, s := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"pagerduty", w.cfg.Listen.PagerDuty, w.pager.handler()},
		{"slack", w.cfg.Listen.Slack, w.slack.handler()},
		{"backend", w.cfg.Listen.Backend, w.platform.backendHandler()},
		{"control", w.cfg.Listen.Control, w.controlHandler()},
	} {
		if err := w.serveHTTP(s.name, s.address, s.handler); err != nil {
			return err
		}
	}
	if err := w.serveRedis(w.cfg.Listen.Systems["redis"]); err != nil {
		return err
	}
	return w.serveMongo()
}

func (w *World) listen(name, address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the sandbox's %s: %w", name, err)
	}
	w.places[name] = l.Addr().String()
	return l, nil
}

func (w *World) serveGoogle(address string) error {
	l, err := w.listen("google", address)
	if err != nil {
		return err
	}
	w.grpc = grpc.NewServer(grpc.ChainUnaryInterceptor(w.book.intercept, w.calls.intercept))
	w.platform.register(w.grpc)
	w.running.Go(func() { _ = w.grpc.Serve(l) })
	return nil
}

func (w *World) serveHTTP(name, address string, h http.Handler) error {
	l, err := w.listen(name, address)
	if err != nil {
		return err
	}
	if name != "control" { // which nobody but tests calls
		h = w.book.hear(name, h)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	w.servers = append(w.servers, s)
	w.running.Go(func() { _ = s.Serve(l) })
	return nil
}

// Close stops the servers and pending webhook deliveries and closes the ledger.
func (w *World) Close() error {
	var errs []error
	w.pager.hooks.close()
	errs = append(errs, w.mongo.setDoor(MongoClosed))
	if w.grpc != nil {
		w.grpc.Stop()
	}
	for _, s := range w.servers {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
		cancel()
	}
	errs = append(errs, w.redis.close())
	w.running.Wait()
	return errors.Join(append(errs, w.ledger.close())...)
}

// GoogleEndpoint is the host:port of the insecure gRPC server.
func (w *World) GoogleEndpoint() string { return w.places["google"] }

// PagerDutyURL is the base of the REST API and of Events v2.
func (w *World) PagerDutyURL() string { return "http://" + w.places["pagerduty"] }

// SlackURL is the base of Slack's Web API, with its trailing slash.
func (w *World) SlackURL() string { return "http://" + w.places["slack"] + "/api/" }

// BackendURL is the address under which the service answers /health and /control.
func (w *World) BackendURL(service string) string {
	return "http://" + w.places["backend"] + "/" + service
}

// ControlURL is the base of the sandbox's own control API.
func (w *World) ControlURL() string { return "http://" + w.places["control"] }

// Ledger returns a copy of all entries so far.
func (w *World) Ledger() []Entry { return w.ledger.entries() }

// SetWebhook replaces the PagerDuty webhook subscription; events already
// queued go to the new address.
func (w *World) SetWebhook(hook Webhook) { w.pager.hooks.set(hook) }
