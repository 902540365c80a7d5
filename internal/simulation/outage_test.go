package simulation

import (
	"slices"
	"time"
)

// drawOutages plans what befalls the town.
func (s *sim) drawOutages() (end time.Duration) {
	d := s.plot
	at := d.between(0, 30*time.Second)
	for id := range pick(d, 1, 1, 2, 2, 3, 4) {
		o := s.drawOutage(id)
		o.began = at
		s.outages = append(s.outages, o)
		s.plan(at, func() { s.strike(o) })
		if d.chance(120) {
			s.drawEcho(o, len(s.outages)+100)
		}
		end = max(end, at+pick(d, 6*time.Minute, 12*time.Minute))
		at += pick(d, 0, d.between(0, 3*time.Minute), d.between(0, 40*time.Minute))
	}
	return end
}

func (s *sim) drawOutage(id int) *outage {
	d := s.plot
	o := &outage{id: id, alert: pick(d, "Down", "Down", "Down", "Down", "Slow"), level: pick(d, "critical", "warning")}
	o.roads = pick(d, []string{"am"}, []string{"pd"}, []string{"am", "pd"})
	o.cause = pick(d, "deploy", "deploy", "load", "stuck", "dependency", "blip")
	switch o.cause {
	case "deploy":
		o.cures = []string{stable}
	case "load":
		o.cures = []string{wide}
	case "stuck":
		o.cures = []string{reset, stable}
	case "dependency":
		o.lasts = d.between(3*time.Minute, 12*time.Minute)
	case "blip":
		o.lasts = d.between(50*time.Second, 3*time.Minute)
	}
	for range pick(d, 1, 1, 1, 1, 1, 1, 2, 2, 5) {
		p := s.town[pick(d, names...)]
		if n := len(s.outages); n > 0 && d.chance(650) { // what was ill once falls ill again
			p = s.outages[n-1].places[0]
		}
		if !slices.Contains(o.places, p) {
			o.places = append(o.places, p)
		}
	}
	if d.chance(40) {
		o.label = pick(d, "ghost", "*", ".*", "api,web", "API")
	}
	o.leaves = d.chance(150)
	if o.lasts > 0 && d.chance(400) {
		o.returns = d.between(90*time.Second, 7*time.Minute)
	}
	return o
}

// drawEcho plans another alert of the same trouble: two monitorings look at one target, and nobody has joined what they tell.
func (s *sim) drawEcho(of *outage, id int) {
	d := s.plot
	o := &outage{id: id, cause: "echo", of: of, places: of.places[:1], began: of.began, alert: of.alert, level: of.level, label: of.label}
	o.roads = pick(d, []string{"am"}, []string{"pd"})
	s.plan(of.began+d.between(0, 3*time.Minute), func() { s.listen(o) })
	s.echoes = append(s.echoes, o)
}

// listen lets the monitoring of an outage begin to look.
func (s *sim) listen(o *outage) {
	for _, p := range o.places {
		o.watcher.signals = append(o.watcher.signals, &signal{outage: o, place: p})
	}
	o.watcher.every = pick(s.plot, time.Minute, 3*time.Minute)
	s.plan(s.clock()+s.plot.between(0, lookEvery), func() { s.watch(o) })
}

// strike lets an outage begin.
func (s *sim) strike(o *outage) {
	o.on = true
	for _, p := range o.places {
		if p.trouble != nil && p.trouble.on && p.trouble != o {
			s.end(p.trouble)
		}
		p.trouble = o
		switch {
		case o.cause == "deploy":
			p.deployed = append(p.deployed, s.clock())
			s.byHand(p, broken)
		case o.cured(p.base()):
			o.cures = nil // what would cure it is there already: nothing does
		}
		s.changed(p)
	}
	s.say("outage %d (%s) begins, cured by %v", o.id, o.cause, o.cures)
	if o.lasts > 0 {
		s.plan(s.clock()+o.lasts, func() {
			s.say("outage %d is over", o.id)
			s.end(o)
			s.comeAgain(o)
		})
	}
	if len(o.watcher.signals) == 0 {
		s.listen(o)
	}
}

// comeAgain lets an outage that has ended by itself begin anew: its alert fires again, under the same key.
func (s *sim) comeAgain(o *outage) {
	if o.returns == 0 {
		return
	}
	s.plan(s.clock()+o.returns, func() {
		if !s.still && o.places[0].trouble == o {
			o.returns = 0
			s.strike(o)
		}
	})
}

// end lets an outage end by itself.
func (s *sim) end(o *outage) {
	o.on = false
	for _, p := range o.places {
		s.changed(p)
	}
}
