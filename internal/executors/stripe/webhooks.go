package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	webhookWindow = time.Hour
	// defaultGrace leaves out what is still under way: an event counts as undelivered from its first moment.
	defaultGrace = time.Minute
	mostHosts    = 20
	mostText     = 120 // runes
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "stripe.webhooks",
		Doc:  "Asks Stripe whether its webhook endpoints are enabled and which events of a window it could not deliver.",
		New:  func() executors.Probe { return &webhooks{} },
		Fact: WebhooksFact{},
	})
}

// webhooks asks about the account's endpoints and events.
type webhooks struct {
	// Host limits the question about endpoints to those of this host, such as api.example.com; default: all. Which endpoint an event did
	// not reach is not told by Stripe, so that undelivered events are always those of all endpoints.
	Host string `yaml:"host"`
	// Window is how far back undelivered events count; default 1h. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Grace is how old an event must be to count as undelivered; default 1m.
	Grace time.Duration `yaml:"grace"`
}

// WebhooksFact is what stripe.webhooks finds.
type WebhooksFact struct {
	// Endpoints is how many webhook endpoints there are, at the host where one is asked for.
	Endpoints int64 `cel:"endpoints"`
	// Enabled is how many of them Stripe delivers to.
	Enabled int64 `cel:"enabled"`
	// Disabled is how many of them Stripe does not deliver to: by hand, or because they failed for days.
	Disabled int64 `cel:"disabled"`
	// Hosts are the endpoints' hosts, sorted, at most 20.
	Hosts []string `cel:"hosts"`
	// DisabledHosts are those of disabled endpoints.
	DisabledHosts []string `cel:"disabled_hosts"`
	// Undelivered is how many events of the window did not reach all the endpoints they are for, among the newest 1000 such.
	Undelivered int64 `cel:"undelivered"`
	// Oldest is when the oldest of them was created; unknown when there is none, or more than were read.
	Oldest time.Time `cel:"oldest"`
	// OldestAge is the time since then.
	OldestAge time.Duration `cel:"oldest_age"`
	// CommonestType is the type of most of them, such as payment_intent.succeeded; "" when there is none.
	CommonestType string `cel:"commonest_type"`
	// CommonestCount is how many of them have that type.
	CommonestCount int64 `cel:"commonest_count"`
	// NewestEvent is when the newest event of any kind was created; unknown when there is none. It tells whether anything happens at all.
	NewestEvent time.Time `cel:"newest_event"`
	// NewestEventAge is the time since then.
	NewestEventAge time.Duration `cel:"newest_event_age"`
}

type endpoint struct {
	object
	Status string `json:"status"`
	URL    string `json:"url"`
}

// event leaves out the object that it tells of, which holds what is a customer's.
type event struct {
	object
	Type    string `json:"type"`
	Pending *int64 `json:"pending_webhooks"`
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

// Validate tells in plain words what is wrong with the parameters.
func (p *webhooks) Validate(executors.Target) error {
	switch {
	case p.Host != "" && !hostName.MatchString(p.Host):
		return errors.New("host must be the name of a host, without scheme and path")
	case p.Grace < 0 || p.Grace > time.Hour:
		return errors.New("grace must be between 0s and 1h")
	}
	return checkWindow(p.Window)
}

// LookBack is how far undelivered events reach into the past, in real time: rules wait so long after an act.
func (p *webhooks) LookBack() time.Duration {
	if p.Window == 0 {
		return webhookWindow
	}
	return p.Window
}

// Ask implements executors.Probe.
func (p *webhooks) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := &WebhooksFact{Hosts: []string{}, DisabledHosts: []string{}}
	unknown, err := p.endpoints(ctx, api, fact)
	if err != nil {
		return executors.Answer{}, err
	}
	from := begins(env, p.Window, webhookWindow)
	lacking, err := p.undelivered(ctx, api, env, from, fact)
	if err != nil {
		return executors.Answer{}, err
	}
	unknown = append(unknown, lacking...)
	newest, _, err := list[event](ctx, api, "events", url.Values{"limit": {"1"}}, 1)
	if err != nil {
		return executors.Answer{}, err
	}
	if len(newest) == 0 {
		unknown = append(unknown, "newest_event", "newest_event_age")
	} else {
		fact.NewestEvent = newest[0].made()
		fact.NewestEventAge = max(0, env.Now.Sub(fact.NewestEvent))
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(p.Host, env.Now.Sub(from))}, nil
}

// endpoints counts those of the host by their status, and gives what is unknown.
func (p *webhooks) endpoints(ctx context.Context, api *connect.Stripe, fact *WebhooksFact) (unknown []string, err error) {
	all, whole, err := list[endpoint](ctx, api, "webhook_endpoints", url.Values{"limit": {"100"}}, maxPages)
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, fmt.Errorf("stripe: listing webhook_endpoints: there are more than %d", most)
	}
	for _, one := range all {
		host := hostOf(one.URL)
		if p.Host != "" && !strings.EqualFold(host, p.Host) {
			continue
		}
		fact.Endpoints++
		fact.Hosts = include(fact.Hosts, host)
		switch one.Status {
		case "enabled":
			fact.Enabled++
		case "disabled":
			fact.Disabled++
			fact.DisabledHosts = include(fact.DisabledHosts, host)
		default:
			unknown = []string{"enabled", "disabled", "disabled_hosts"}
		}
	}
	return unknown, nil
}

// hostOf is an address without its path, which may hold a secret.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "unreadable"
	}
	return connect.Scrub(strings.ToLower(u.Host), mostText)
}

// include keeps a short sorted set.
func include(set []string, one string) []string {
	at, has := slices.BinarySearch(set, one)
	if has || len(set) == mostHosts {
		return set
	}
	return slices.Insert(set, at, one)
}

// undelivered counts the events that did not arrive, and gives what is unknown.
func (p *webhooks) undelivered(ctx context.Context, api *connect.Stripe, env executors.Env, from time.Time, fact *WebhooksFact) ([]string, error) {
	q := within(from)
	q.Set("delivery_success", "false")
	all, whole, err := list[event](ctx, api, "events", q, maxPages)
	if err != nil {
		return nil, err
	}
	before := env.Now.Add(-p.grace(env))
	types := map[string]int64{}
	for _, one := range all {
		if one.Pending == nil {
			return nil, errors.New("stripe: listing events: an event does not say whether it is delivered")
		}
		if *one.Pending > 0 && !one.made().After(before) {
			fact.Undelivered++
			fact.Oldest = one.made() // they come newest first
			types[connect.Scrub(one.Type, mostText)]++
		}
	}
	fact.CommonestType, fact.CommonestCount = commonest(types)
	if !whole || fact.Undelivered == 0 {
		fact.Oldest = time.Time{}
		return []string{"oldest", "oldest_age"}, nil
	}
	fact.OldestAge = max(0, env.Now.Sub(fact.Oldest))
	return nil, nil
}

func (p *webhooks) grace(env executors.Env) time.Duration {
	if p.Grace == 0 {
		return env.Scale(defaultGrace)
	}
	return p.Grace
}

func (f *WebhooksFact) summary(host string, asked time.Duration) string {
	var b strings.Builder
	b.WriteString("Stripe: ")
	switch {
	case f.Endpoints == 0 && host != "":
		fmt.Fprintf(&b, "there is no webhook endpoint at %s", host)
	case f.Endpoints == 0:
		b.WriteString("there is no webhook endpoint")
	default:
		fmt.Fprintf(&b, "%d of %d webhook endpoints are enabled", f.Enabled, f.Endpoints)
	}
	if len(f.DisabledHosts) > 0 {
		fmt.Fprintf(&b, " (disabled: %s)", strings.Join(f.DisabledHosts, ", "))
	}
	window := asked.Round(time.Second)
	switch {
	case f.Undelivered == 0:
		fmt.Fprintf(&b, "; no event of the last %s is undelivered", window)
	case f.Oldest.IsZero():
		fmt.Fprintf(&b, "; at least %d events of the last %s are undelivered, most of type %s", f.Undelivered, window, f.CommonestType)
	default:
		fmt.Fprintf(&b, "; %d events of the last %s are undelivered, the oldest for %s, most of type %s",
			f.Undelivered, window, f.OldestAge.Round(time.Second), f.CommonestType)
	}
	if !f.NewestEvent.IsZero() {
		fmt.Fprintf(&b, "; the newest event is %s old", f.NewestEventAge.Round(time.Second))
	}
	return b.String()
}
