package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// watcher is the monitoring of one outage: Alertmanager, with its own notifier to PagerDuty.
type watcher struct {
	signals  []*signal
	incident *incident
	repeat   time.Duration // when the firing is told again
	every    time.Duration
}

// signal is one alert: one place of one outage.
type signal struct {
	outage   *outage
	place    *place
	open     bool
	seen     int // looks in a row that found it ill, or well where it is open
	firing   int // how often it has begun
	startsAt time.Time
	episode  *episode // the newest
}

// episode is one firing of a signal, with what was heard of it.
type episode struct {
	signal   *signal
	number   int
	starts   time.Time
	began    time.Duration
	ended    time.Duration            // when its sender saw it end; 0 while it fires
	accepted []time.Duration          // when a delivery of its firing was taken in
	resolved time.Duration            // when a delivery of its end was first taken in; 0 never
	ends     map[string]time.Duration // the same, by the road on which it came
}

const lookEvery = 20 * time.Second

// service is what the label says.
func (sig *signal) service() string {
	if sig.outage.label != "" {
		return sig.outage.label
	}
	return sig.place.name
}

func (sig *signal) alert(starts time.Time) alert.Alert {
	o := sig.outage
	return alert.Alert{
		Source: "am", Status: alert.Firing, StartsAt: starts, SelfResolving: true,
		Labels:      map[string]string{"alertname": o.alert, "service": sig.service(), "instance": sig.place.name, "severity": o.level, "outage": fmt.Sprint(o.id)},
		Episode:     fmt.Sprintf("am-%d-%d-%s", o.id, sig.firing, sig.place.name),
		IncidentKey: o.key(),
	}
}

// standing is what a sender says of an alert when it is asked.
func (s *sim) standing(a alert.Alert) sources.Standing {
	if a.Source == "pd" {
		in := s.pager.byID(a.IncidentID)
		if in == nil || in.merged {
			return sources.Standing{} // nobody knows what became of the alert
		}
		return sources.Standing{Known: true, Firing: in.status != connect.StatusResolved, AcknowledgedBy: in.heldBy}
	}
	for _, o := range slices.Concat(s.outages, s.echoes) {
		for _, sig := range o.watcher.signals {
			if fmt.Sprint(o.id) == a.Labels["outage"] && sig.place.name == a.Labels["instance"] {
				return sources.Standing{Known: true, Firing: sig.open}
			}
		}
	}
	return sources.Standing{}
}

// key recurs with every firing of the outage's group.
func (o *outage) key() string { return fmt.Sprintf("key-%d", o.id) }

// watch looks at an outage's places for as long as it lasts, and tells of them.
func (s *sim) watch(o *outage) {
	w := &o.watcher
	changed := false
	var resolved []alert.Alert
	for _, sig := range w.signals {
		ill := sig.place.ill() && sig.place.trouble == o.trouble()
		if sig.open && ill && s.strikes(falseResolve) {
			ill, sig.seen = false, 1
		}
		if ill == sig.open {
			sig.seen = 0
			continue
		}
		if sig.seen++; sig.seen < 2 {
			continue
		}
		changed, sig.seen = true, 0
		if ill {
			s.begin(sig)
			continue
		}
		resolved = append(resolved, s.cease(sig))
	}
	if changed || w.anyOpen() && s.clock() >= w.repeat {
		w.repeat = s.clock() + w.every
		s.notify(o, resolved)
	}
	if o.trouble().on || w.anyOpen() || !s.still && o.trouble().returns > 0 {
		s.plan(s.clock()+lookEvery, func() { s.watch(o) })
	}
}

func (w *watcher) anyOpen() bool {
	return slices.ContainsFunc(w.signals, func(sig *signal) bool { return sig.open })
}

// begin is a signal that starts to fire.
func (s *sim) begin(sig *signal) {
	sig.open, sig.startsAt = true, s.wall().Add(-lookEvery)
	sig.firing++
	sig.episode = &episode{signal: sig, number: len(s.episodes), began: s.clock(), starts: sig.startsAt, ends: map[string]time.Duration{}}
	s.episodes = append(s.episodes, sig.episode)
}

// cease is one that ends.
func (s *sim) cease(sig *signal) alert.Alert {
	sig.open, sig.episode.ended = false, s.clock()
	a := sig.alert(sig.startsAt)
	a.Status, a.EndsAt = alert.Resolved, s.wall()
	return a
}

// notify tells all receivers of the group.
func (s *sim) notify(o *outage, resolved []alert.Alert) {
	w := &o.watcher
	d := sources.Delivery{OccurredAt: s.wall(), Alerts: resolved}
	var told []*signal
	for _, sig := range w.signals {
		if sig.open {
			d.Alerts = append(d.Alerts, sig.alert(sig.startsAt))
			told = append(told, sig)
		}
	}
	if slices.Contains(o.roads, "am") {
		s.send(&letter{source: "am", delivery: d, signals: slices.Clone(w.signals)})
	}
	switch {
	case len(told) > 0:
		w.incident = s.pager.trigger(o, o.key(), slices.Contains(o.roads, "pd"), told)
	case w.incident != nil && !o.leaves && w.incident.stranger == "":
		s.pager.resolve(w.incident, "")
	}
}

// letter is a delivery on its way.
type letter struct {
	source   string
	delivery sources.Delivery
	signals  []*signal
	body     []byte
	tries    int
	event    string // under which it was taken in
}

// send posts a letter, perhaps late, out of order or twice.
func (s *sim) send(l *letter) {
	body, err := json.Marshal(l.delivery)
	if err != nil {
		panic(err)
	}
	l.body = body
	wait := s.luck.between(0, 200*time.Millisecond)
	switch {
	case s.strikes(deliveredLate):
		wait += s.luck.between(time.Minute, 15*time.Minute)
	case s.strikes(deliveredOutOfOrder):
		wait += s.luck.between(time.Second, 90*time.Second)
	}
	s.plan(s.clock()+wait, func() { s.post(l) })
	if s.strikes(deliveredTwice) {
		s.plan(s.clock()+wait+s.luck.between(0, time.Minute), func() { s.post(l) })
	}
}

// post makes one attempt. A sender keeps what was not taken in.
func (s *sim) post(l *letter) {
	again := func(what string) {
		l.tries++
		s.say("the delivery %s is kept by its sender: %s", l.source, what)
		s.plan(s.clock()+s.luck.between(2*time.Second, 20*time.Second), func() { s.post(l) })
	}
	r := s.someReplica()
	if r == nil {
		again("nobody listens")
		return
	}
	life := r.life
	got, err := life.accept(l.source, l.body)
	if err != nil {
		again(err.Error())
		return
	}
	s.say("%s takes in %s from %s (duplicate %t, runs %d)", life.owner, got.Event, l.source, got.Duplicate, len(got.Runs))
	s.heard(l, got)
	if s.strikes(acceptReplyLost) {
		again("no answer")
	}
	s.hint(life, got)
}

// hint sets to work what a delivery has led to, unless the hint is lost: the sweep finds it all the same.
func (s *sim) hint(l *life, got remediation.Accepted) {
	if s.strikes(hintLost) {
		return
	}
	s.plan(s.clock()+time.Millisecond, func() {
		for _, h := range got.Runs {
			l.advance(h)
		}
		if len(got.Runs) == 0 && !got.Duplicate {
			l.match(got.Event)
		}
	})
}

// heard enters what was taken in into the ledger.
func (s *sim) heard(l *letter, got remediation.Accepted) {
	now := s.clock()
	s.holds(l.event == "" || l.delivery.DedupKey == "" || got.Event == l.event, "G2", "a delivery is taken in as %s, and was as %s", got.Event, l.event)
	if !got.Duplicate || l.event == "" {
		l.event = got.Event
	}
	for _, hold := range l.delivery.Holds {
		for _, h := range s.inHand {
			if !hold.Lifted && hold.ByID != robot && h.incident.id == hold.IncidentID && h.heard == 0 && s.sinceBeginning(hold.At) == h.from {
				h.heard = now
			}
		}
	}
	s.received = append(s.received, receipt{at: now, store: s.now(), letter: l, event: got.Event, duplicate: got.Duplicate})
	for _, a := range l.delivery.Alerts {
		for _, e := range s.episodesOf(l, a) {
			switch {
			case a.Merged:
			case a.Status == alert.Resolved:
				e.hearsEnd(roadOf(l.source, a), now)
			case a.Status == alert.Firing:
				e.accepted = append(e.accepted, now)
			}
		}
	}
}

// roadOf is what the ends of a firing are told apart by: PagerDuty's are of an incident, and a firing may be in one after the other.
func roadOf(source string, a alert.Alert) string {
	if source == "pd" {
		return source + " " + a.IncidentID
	}
	return source
}

// hearsEnd enters that the end was heard of.
func (e *episode) hearsEnd(road string, now time.Duration) {
	if e.resolved == 0 {
		e.resolved = now
	}
	if _, heard := e.ends[road]; !heard {
		e.ends[road] = now
	}
}

// episodesOf are the firings that one alert of a letter is about: PagerDuty speaks of an incident, the monitoring of one alert.
func (s *sim) episodesOf(l *letter, a alert.Alert) []*episode {
	var all []*episode
	for _, e := range s.episodes {
		same := l.source == "am" && e.starts.Equal(a.StartsAt) && e.signal.place.name == a.Labels["instance"]
		inIncident := l.source == "pd" && slices.Contains(l.signals, e.signal) && !e.starts.After(l.delivery.OccurredAt) &&
			(e.ended == 0 || e.ended >= s.sinceBeginning(l.delivery.OccurredAt)-time.Second)
		if (same || inIncident) && slices.Contains(l.signals, e.signal) {
			all = append(all, e)
		}
	}
	return all
}

// receipt is a delivery that was taken in with a 2xx.
type receipt struct {
	at        time.Duration
	store     time.Time
	letter    *letter
	event     string
	duplicate bool
}
