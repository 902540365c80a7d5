package logging

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "logging.clients",
		Doc:  "Asks a Cloud Run service's request log who sends the requests, and how many of them are refused as invalid, which tells an attack.",
		New:  func() executors.Probe { return &clients{} },
		Fact: ClientsFact{},
		Lag:  lag,
	})
}

// named is how many addresses and networks are told.
const named = 5

// clients counts requests by the address they came from.
type clients struct {
	// Window is how far back to look; default 10m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// Revision limits the question to one revision by its short name; serving is the one that serves now. Default: all.
	Revision string `yaml:"revision"`
	// Most is how many requests are read, the newest first; default 5000, at most 10000.
	Most int `yaml:"most"`
	// MinRequests is how many requests a share must rest on to be known; default 20.
	MinRequests int `yaml:"min_requests"`
}

// ClientsFact is what logging.clients finds. The addresses are those that Cloud Run saw: of requests that come through another front, such as
// a rewrite of the web host, it is that front's.
type ClientsFact struct {
	// N is how many requests are logged.
	N int64 `cel:"n"`
	// Distinct is how many addresses they came from.
	Distinct int64 `cel:"distinct"`
	// Top are the addresses with the most requests, the first before the others; at most five.
	Top []string `cel:"top"`
	// Counts are the requests of each address in Top.
	Counts map[string]any `cel:"counts"`
	// TopShare is the part of all requests that came from the first of Top, from 0 to 1. Unknown if too few are logged.
	TopShare float64 `cel:"top_share"`
	// TopValidationShare is the part of the requests of the first of Top that were answered 400 or 422, from 0 to 1. Unknown if too few are
	// logged.
	TopValidationShare float64 `cel:"top_validation_share"`
	// Networks are the networks (/24, or /64 of IPv6) with the most requests, the first before the others; at most five.
	Networks []string `cel:"networks"`
	// NetworkCounts are the requests of each network in Networks.
	NetworkCounts map[string]any `cel:"network_counts"`
	// NetworkShare is the part of all requests that came from the first of Networks, from 0 to 1. Unknown if too few are logged.
	NetworkShare float64 `cel:"network_share"`
	// ValidationShare is the part of all requests that were answered 400 or 422, from 0 to 1. Unknown if too few are logged.
	ValidationShare float64 `cel:"validation_share"`
	// ClientErrorShare is the part of all requests that were answered 400 to 499, from 0 to 1. Unknown if too few are logged.
	ClientErrorShare float64 `cel:"client_error_share"`
	// Hostile are the addresses that sent at least min_requests requests of which at least half were answered 400 or 422, those with the most
	// of these first; at most five.
	Hostile []string `cel:"hostile"`
	// Unattributed is how many requests came from no address on the internet that is logged.
	Unattributed int64 `cel:"unattributed"`
	// Covers is how far back what was read reaches: less than the window if there was more than could be read. Shares are of that time.
	Covers time.Duration `cel:"covers"`
	// AtLeast says that the counts are lower bounds.
	AtLeast bool `cel:"at_least"`
	// Latest is the time of the service's newest entry of any kind; unknown if there is none in the window.
	Latest time.Time `cel:"latest"`
	// Age is how old that is: how fresh the log is.
	Age time.Duration `cel:"age"`
}

// Offenders implements executors.OffenderFact: the hostile addresses, by the platform's own record of the connections.
func (f *ClientsFact) Offenders() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range f.Hostile {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return all
}

// Validate tells in plain words what is wrong with the parameters.
func (p *clients) Validate(t executors.Target) error {
	return checkRequests(t, p.Window, p.Revision, p.Most, p.MinRequests)
}

// LookBack is how far the answer reaches into the past: rules wait so long after an act.
func (p *clients) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// tally is what was seen of a client's requests.
type tally struct{ requests, invalid int64 }

// crowd is who sent requests.
type crowd struct {
	tally
	clientErrors, unattributed int64
	addresses                  map[netip.Addr]tally
	networks                   map[netip.Prefix]tally
}

func (c *crowd) add(e *loggingpb.LogEntry) {
	r := e.GetHttpRequest()
	one := tally{requests: 1}
	if status := r.GetStatus(); status == 400 || status == 422 {
		one.invalid = 1
	}
	if status := r.GetStatus(); status >= 400 && status < 500 {
		c.clientErrors++
	}
	c.tally = c.plus(one)
	a, ok := address(r.GetRemoteIp())
	if !ok {
		c.unattributed++
		return
	}
	c.addresses[a] = c.addresses[a].plus(one)
	n := network(a)
	c.networks[n] = c.networks[n].plus(one)
}

func (t tally) plus(o tally) tally {
	return tally{requests: t.requests + o.requests, invalid: t.invalid + o.invalid}
}

// address reads a client's address, which may have a port. Addresses that are nobody's on the internet are none.
func address(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = withPort.Addr()
	}
	a = a.Unmap().WithZone("")
	return a, a.IsGlobalUnicast() && !a.IsPrivate()
}

// network is the smallest network that is usually one customer's: blocks of IPv4 are given out in /24, and a line of IPv6 is a /64.
func network(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// most lists those with the most requests; of two the first by name.
func most[K interface {
	comparable
	fmt.Stringer
}](by map[K]tally) []K {
	all := make([]K, 0, len(by))
	for k := range by {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b K) int {
		return cmp.Or(cmp.Compare(by[b].requests, by[a].requests), cmp.Compare(a.String(), b.String()))
	})
	return all[:min(named, len(all))]
}

// hostile lists the clients whose requests are for the greater part refused as invalid, the most of these first; of two the first by name.
func (c *crowd) hostile(least int64) (names []string) {
	var all []netip.Addr
	for a, t := range c.addresses {
		if t.requests >= least && 2*t.invalid >= t.requests {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(c.addresses[b].invalid, c.addresses[a].invalid), a.Compare(b))
	})
	for _, a := range all[:min(named, len(all))] {
		names = append(names, a.String())
	}
	return names
}

// told gives names and counts as facts have them.
func told[K interface {
	comparable
	fmt.Stringer
}](keys []K, by map[K]tally) (names []string, counts map[string]any) {
	counts = map[string]any{}
	for _, k := range keys {
		names = append(names, k.String())
		counts[k.String()] = by[k].requests
	}
	return names, counts
}

// Ask implements executors.Probe.
func (p *clients) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	s, err := newScope(ctx, env, p.Window, p.Revision)
	if err != nil {
		return executors.Answer{}, err
	}
	c := crowd{addresses: map[netip.Addr]tally{}, networks: map[netip.Prefix]tally{}}
	x, fresh, err := s.requests(ctx, cmp.Or(p.Most, defaultRequests), c.add)
	if err != nil {
		return executors.Answer{}, err
	}
	return c.answer(s, x, fresh, int64(cmp.Or(p.MinRequests, defaultLeast))), nil
}

// shares are the fields that rest on enough requests, or are unknown.
var shares = []string{"top_share", "top_validation_share", "network_share", "validation_share", "client_error_share"}

func (c *crowd) answer(s scope, x extent, fresh freshness, least int64) executors.Answer {
	fact := c.fact()
	fact.Hostile = c.hostile(least)
	fact.Covers, fact.AtLeast, fact.Latest, fact.Age = x.covers(s), x.part != "" || fresh.stale, fresh.latest, fresh.age
	answer := executors.Answer{Fact: &fact, Unknown: fresh.unknown()}
	if why := few(c.requests, least, s); why != "" {
		answer.Unknown = append(answer.Unknown, shares...)
		answer.Summary = why + doubt(x, fresh)
		return answer
	}
	if len(fact.Top) == 0 {
		answer.Unknown = append(answer.Unknown, "top_share", "top_validation_share", "network_share")
		answer.Summary = fmt.Sprintf("none of %s of %s says where it came from%s", requests(c.requests, fact.AtLeast), s.service, doubt(x, fresh))
		return answer
	}
	answer.Summary = fmt.Sprintf("%s sent %s of %s of %s in the last %s, and %s %s; %s of all were refused as invalid (400 or 422), %s of the first one's%s",
		fact.Top[0], percent(fact.TopShare), requests(c.requests, fact.AtLeast), s.service, fact.Covers.Round(time.Second), fact.Networks[0],
		percent(fact.NetworkShare), percent(fact.ValidationShare), percent(fact.TopValidationShare), doubt(x, fresh))
	return answer
}

func (c *crowd) fact() ClientsFact {
	f := ClientsFact{
		N: c.requests, Distinct: int64(len(c.addresses)), Unattributed: c.unattributed,
		ValidationShare: share(c.invalid, c.requests), ClientErrorShare: share(c.clientErrors, c.requests),
	}
	addresses, networks := most(c.addresses), most(c.networks)
	f.Top, f.Counts = told(addresses, c.addresses)
	f.Networks, f.NetworkCounts = told(networks, c.networks)
	if len(addresses) > 0 {
		first := c.addresses[addresses[0]]
		f.TopShare, f.TopValidationShare = share(first.requests, c.requests), share(first.invalid, first.requests)
		f.NetworkShare = share(c.networks[networks[0]].requests, c.requests)
	}
	return f
}
