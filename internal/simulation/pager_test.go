package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sources"
)

// pager is PagerDuty: the incidents, and what was done to each.
type pager struct {
	s         *sim
	incidents []*incident
	down      bool
	events    int
}

// incident is one of PagerDuty's incidents.
type incident struct {
	id, key  string
	status   string
	outage   *outage
	opened   time.Time
	tells    bool // its webhooks are sent to us
	merged   bool // into another one, which nobody tells the end of
	signals  []*signal
	notes    []note
	log      []string        // what its subscribers, and those who were asked to help, were told
	acked    []time.Duration // by us
	paged    int             // how often people were called again
	stranger string          // the key of an alert of something else that PagerDuty has grouped into it, and that is open; "" for none
	pagedBy  string          // the message that did so last; "" once somebody has come
	heldBy   string          // the person who acknowledged it
	heldAt   time.Duration
	ended    []time.Duration // by us
}

type note struct {
	at   time.Duration
	text string
}

func (p *pager) open(key string) *incident {
	for _, in := range p.incidents {
		if in.key == key && in.status != connect.StatusResolved {
			return in
		}
	}
	return nil
}

func (p *pager) byID(id string) *incident {
	for _, in := range p.incidents {
		if in.id == id {
			return in
		}
	}
	return nil
}

// trigger is what a sender's own notifier does: it opens an incident, or adds to the open one.
func (p *pager) trigger(o *outage, key string, tells bool, signals []*signal) *incident {
	if in := p.open(key); in != nil {
		in.signals = signals
		return in
	}
	in := &incident{
		id: fmt.Sprintf("Q%d", len(p.incidents)), key: key, status: connect.StatusTriggered, outage: o, opened: p.s.wall(), tells: tells, signals: signals,
	}
	p.incidents = append(p.incidents, in)
	if o != nil && p.s.strikes(grouped) {
		in.stranger = "stranger-" + in.id
		p.s.plan(p.s.clock()+p.s.luck.between(time.Minute, 15*time.Minute), func() { p.settle(in) })
	}
	p.s.say("PagerDuty opens %s for %s", in.id, key)
	if strings.HasPrefix(key, stormPage) && p.s.has(pressRelease) && !p.s.still {
		p.s.plan(p.s.clock()+p.s.luck.between(20*time.Second, 3*time.Minute), p.s.release)
	}
	p.webhook(in, "incident.triggered", "", func(d *sources.Delivery) { d.Incomplete = true })
	if tells && o != nil && p.s.strikes(acknowledged) {
		p.s.plan(p.s.clock()+p.s.luck.between(0, 10*time.Second), func() { p.s.takeInHand(in, p.s.luck.between(20*time.Second, 8*time.Minute)) })
	}
	return in
}

// settle is the end of what was grouped into an incident, which ends with the last of its alerts.
func (p *pager) settle(in *incident) {
	grouped := in.stranger != ""
	in.stranger = ""
	if grouped && !in.outage.leaves && !slices.ContainsFunc(in.signals, func(sig *signal) bool { return sig.open }) {
		p.resolve(in, "")
	}
}

// resolve ends an incident; agent says who did it.
func (p *pager) resolve(in *incident, agent string) {
	if in.status == connect.StatusResolved {
		return
	}
	in.status, in.heldBy = connect.StatusResolved, ""
	p.s.say("%s is resolved by %q", in.id, agent)
	p.webhook(in, "incident.resolved", agent, func(d *sources.Delivery) {
		d.Alerts[0].Status, d.Alerts[0].EndsAt = alert.Resolved, d.OccurredAt
		d.Holds = []sources.Hold{{IncidentID: in.id, IncidentKey: in.key, At: d.OccurredAt, Lifted: true}}
	})
}

// acknowledge is a person who takes an incident in hand; release lets go of it.
func (p *pager) acknowledge(in *incident) {
	in.pagedBy = ""
	in.status, in.heldBy, in.heldAt = connect.StatusAcknowledged, "ann", p.s.clock()
	p.s.say("ann acknowledges %s", in.id)
	p.tellAcknowledged(in, "Ann", "ann")
}

func (p *pager) tellAcknowledged(in *incident, by, id string) {
	p.webhook(in, "incident.acknowledged", id, func(d *sources.Delivery) {
		d.Alerts, d.Holds = nil, []sources.Hold{{IncidentID: in.id, IncidentKey: in.key, By: by, ByID: id, At: d.OccurredAt}}
	})
}

func (p *pager) release(in *incident) {
	if in.heldBy == "" {
		return
	}
	in.status, in.heldBy, in.pagedBy = connect.StatusTriggered, "", ""
	p.s.say("the acknowledgement of %s ends", in.id)
	p.webhook(in, "incident.unacknowledged", "", func(d *sources.Delivery) {
		d.Alerts, d.Holds = nil, []sources.Hold{{IncidentID: in.id, IncidentKey: in.key, At: d.OccurredAt, Lifted: true}}
	})
}

// merge makes an incident a part of another one, which says nothing of anybody's health.
func (p *pager) merge(in *incident) {
	in.status, in.merged, in.heldBy = connect.StatusResolved, true, ""
	p.webhook(in, "incident.resolved", "somebody", func(d *sources.Delivery) {
		d.Alerts[0].Status, d.Alerts[0].EndsAt, d.Alerts[0].Merged = alert.Resolved, d.OccurredAt, true
	})
}

func (p *pager) webhook(in *incident, kind, agent string, fill func(*sources.Delivery)) {
	if !in.tells {
		return
	}
	p.events++
	d := sources.Delivery{
		DedupKey: fmt.Sprintf("event-%d", p.events), Type: kind, OccurredAt: p.s.wall(), Agent: agent,
		Alerts: []alert.Alert{{Source: "pd", Status: alert.Firing, StartsAt: in.opened, Episode: in.id, IncidentID: in.id, Labels: map[string]string{}}},
	}
	fill(&d)
	p.s.send(&letter{source: "pd", delivery: d, signals: in.signals})
}

// complete gives a delivery the alerts of its incident.
func (p *pager) complete(d sources.Delivery) (sources.Delivery, error) {
	in := p.byID(d.Alerts[0].IncidentID)
	if in == nil || len(in.signals) == 0 {
		return d, errors.New("the incident has no alerts yet")
	}
	stub := d.Alerts[0]
	d.Alerts, d.Incomplete = nil, false
	for _, sig := range in.signals {
		a := sig.alert(stub.StartsAt)
		a.Source, a.Episode, a.IncidentID, a.IncidentKey = "pd", in.id+"/"+sig.place.name, in.id, in.key
		a.SelfResolving = !in.outage.leaves || slices.Contains(in.outage.roads, "am")
		d.Alerts = append(d.Alerts, a)
	}
	return d, nil
}

// pagerPort is PagerDuty as one life of a replica reaches it.
type pagerPort struct{ *life }

// Close implements io.Closer.
func (*pagerPort) Close() error { return nil }

// call makes one call of its API.
func (p *pagerPort) call(ctx context.Context, what string, do func() error) error {
	p.enter(what)
	p.stay.reached++
	world := &port{p.life}
	var err error
	switch {
	case ctx.Err() != nil: // a client sends nothing for a caller who has given up
		err = ctx.Err()
	case p.s.pager.down || p.s.strikes(pagerFails):
		err = world.silence(ctx)
	case p.s.strikes(pagerLimits):
		err = &connect.RateLimited{System: "pagerduty", RetryAfter: 5 * time.Second, Err: errors.New("429")}
	default:
		err = do()
		if p.s.strikes(pagerReplyLost) {
			err = world.silence(ctx)
		}
	}
	p.leave(what, true)
	return err
}

// FindOpen finds the open incident of a key.
func (p *pagerPort) FindOpen(ctx context.Context, key string) (got connect.Incident, found bool, err error) {
	err = p.call(ctx, "find", func() error {
		if in := p.s.pager.open(key); in != nil {
			got, found = in.read(), true
		}
		return nil
	})
	return got, found, err
}

// read is the incident as PagerDuty shows it.
func (in *incident) read() connect.Incident {
	return connect.Incident{ID: in.id, Key: in.key, Status: in.status, CreatedAt: in.opened}
}

// FindAny finds the newest incident of a key, whether it is open or not.
func (p *pagerPort) FindAny(ctx context.Context, key string) (got connect.Incident, found bool, err error) {
	err = p.call(ctx, "find any", func() error {
		for _, in := range p.s.pager.incidents {
			if in.key == key {
				got, found = in.read(), true
			}
		}
		return nil
	})
	return got, found, err
}

// Incident reads one.
func (p *pagerPort) Incident(ctx context.Context, id string) (got connect.Incident, err error) {
	err = p.known(ctx, "incident", id, func(in *incident) error {
		got = in.read()
		return nil
	})
	return got, err
}

func (p *pagerPort) known(ctx context.Context, what, id string, do func(*incident) error) error {
	return p.call(ctx, what, func() error {
		in := p.s.pager.byID(id)
		if in == nil {
			return fmt.Errorf("incident %s: %w", id, connect.ErrHostRefused)
		}
		return do(in)
	})
}

// Alerts lists an incident's.
func (p *pagerPort) Alerts(ctx context.Context, id string) (all []connect.IncidentAlert, err error) {
	err = p.known(ctx, "alerts", id, func(in *incident) error {
		for _, sig := range in.signals {
			status := connect.StatusTriggered
			if !sig.open {
				status = connect.StatusResolved
			}
			all = append(all, connect.IncidentAlert{AlertKey: in.key, Status: status})
		}
		if in.stranger != "" {
			all = append(all, connect.IncidentAlert{AlertKey: in.stranger, Status: connect.StatusTriggered})
		}
		return nil
	})
	return all, err
}

// Trigger opens an incident.
func (p *pagerPort) Trigger(ctx context.Context, e connect.Event) error {
	return p.call(ctx, "trigger", func() error {
		p.s.pager.trigger(nil, e.DedupKey, false, nil)
		return nil
	})
}

// Acknowledge says that somebody is at it.
func (p *pagerPort) Acknowledge(ctx context.Context, id string) error {
	return p.known(ctx, "acknowledge", id, func(in *incident) error {
		in.acked = append(in.acked, p.s.clock())
		in.pagedBy = ""
		p.s.judgeAck(in)
		p.s.judgeOldWord(in, p.stay.telling)
		if in.status == connect.StatusTriggered {
			in.status = connect.StatusAcknowledged
			p.s.pager.tellAcknowledged(in, "Robot", robot)
		}
		return nil
	})
}

// Resolve ends it.
func (p *pagerPort) Resolve(ctx context.Context, id, _ string) error {
	return p.known(ctx, "resolve", id, func(in *incident) error {
		in.ended = append(in.ended, p.s.clock())
		p.s.judgeResolve(in)
		p.s.judgeOldWord(in, p.stay.telling)
		p.s.pager.resolve(in, robot)
		return nil
	})
}

// Escalate calls people.
func (p *pagerPort) Escalate(ctx context.Context, id string) error {
	return p.known(ctx, "escalate", id, func(in *incident) error {
		if in.status == connect.StatusResolved {
			return connect.ErrIncidentResolved
		}
		p.s.judgePage(in, p.stay.telling)
		in.paged++
		in.status = connect.StatusTriggered
		if in.heldBy != "" {
			in.heldBy = ""
			p.s.pager.webhook(in, "incident.escalated", robot, func(d *sources.Delivery) {
				d.Alerts, d.Holds = nil, []sources.Hold{{IncidentID: in.id, IncidentKey: in.key, At: d.OccurredAt, Lifted: true}}
			})
		}
		return nil
	})
}

// Note writes one.
func (p *pagerPort) Note(ctx context.Context, id, text string) error {
	return p.known(ctx, "note", id, func(in *incident) error {
		n := note{at: p.s.clock(), text: text}
		p.s.judgeNote(in, n)
		in.notes = append(in.notes, n)
		return nil
	})
}

// Notes reads them.
func (p *pagerPort) Notes(ctx context.Context, id string) (all []connect.Note, err error) {
	err = p.known(ctx, "notes", id, func(in *incident) error {
		for _, n := range in.notes {
			all = append(all, connect.Note{Content: n.text})
		}
		return nil
	})
	return all, err
}
