package sandbox

import (
	"math"
	"slices"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
)

// segment is a stretch of time in which one revision was asked at one rate.
// Metrics are computed from segments; no request is ever stored.
type segment struct {
	revision   string
	from, to   time.Time // a zero to is still going on
	rpm        float64   // per wall-clock minute
	errorRatio float64
	p50, p95   time.Duration // under that load
	instances  float64
	active     float64 // of the instances, how many have a request
	cpu        float64 // share of an instance's CPU that is in use, 0 to 1
	memory     float64
}

// clip is the part of the segment in [from, to).
func (g segment) clip(from, to time.Time) (time.Time, time.Time, bool) {
	if g.from.After(from) {
		from = g.from
	}
	if !g.to.IsZero() && g.to.Before(to) {
		to = g.to
	}
	return from, to, from.Before(to)
}

// requests counts whole requests in [from, to), all of them and the failed
// ones, so that adjacent windows add up exactly.
func (g segment) requests(from, to time.Time) (total, failed int64) {
	from, to, some := g.clip(from, to)
	if !some {
		return 0, 0
	}
	upTo := func(t time.Time, rate float64) int64 { return int64(math.Floor(rate * t.Sub(g.from).Minutes())) }
	total = upTo(to, g.rpm) - upTo(from, g.rpm)
	failed = upTo(to, g.rpm*g.errorRatio) - upTo(from, g.rpm*g.errorRatio)
	return total, failed
}

// below is the share of requests answered within ms milliseconds: a log-normal
// distribution through p50 and p95.
func (g segment) below(ms float64) float64 {
	const z95 = 1.6448536269514722
	p50, p95 := float64(g.p50.Milliseconds()), float64(g.p95.Milliseconds())
	if ms <= 0 {
		return 0
	}
	sigma := max(math.Log(p95/p50)/z95, 1e-6)
	return 0.5 * math.Erfc(-(math.Log(ms/p50))/(sigma*math.Sqrt2))
}

// remeasure ends what was going on and starts what goes on from now.
func (s *runService) remeasure(at time.Time) {
	for i := range s.timeline {
		if s.timeline[i].to.IsZero() {
			s.timeline[i].to = at
		}
	}
	s.timeline = slices.DeleteFunc(s.timeline, func(g segment) bool { return !g.to.After(g.from) })
	for _, r := range s.ordered() {
		if s.serving[r.name] > 0 && s.load > 0 && r.health() != NeverReady {
			s.timeline = append(s.timeline, s.measure(r, at))
		}
	}
}

func (s *runService) measure(r *runRevision, at time.Time) segment {
	rpm := s.load * float64(s.serving[r.name]) / 100
	n := s.instances(r)
	errors := r.code.errorRatio
	if s.sick(r) {
		errors = max(errors, pick(r.code.health == Sick503, 0, 1.0))
	}
	slowdown := overload(rpm / (n * s.capacity))
	g := segment{
		revision: r.name, from: at, rpm: rpm, errorRatio: errors, instances: n,
		p50: time.Duration(float64(r.code.p50) * slowdown), p95: time.Duration(float64(r.code.p95) * slowdown),
	}
	return s.used(g)
}

// used adds how busy the instances are: each takes what it serves well before another one has to help.
func (s *runService) used(g segment) segment {
	g.active = min(g.instances, math.Ceil(g.rpm/s.capacity))
	g.cpu = min(1, g.rpm/(g.instances*s.capacity))
	g.memory = s.memory
	return g
}

// overload: up to four fifths of its capacity an instance is as fast as ever;
// beyond that requests queue.
func overload(utilisation float64) float64 {
	return min(20, 1+5*max(0, utilisation-0.8))
}

// instances the revision has of the service's, by its share of the traffic.
func (s *runService) instances(r *runRevision) float64 {
	share := float64(s.serving[r.name]) / 100
	if s.scaling.GetScalingMode() == runpb.ServiceScaling_MANUAL {
		return max(1, float64(s.scaling.GetManualInstanceCount())*share)
	}
	own := r.template.GetScaling()
	n := max(float64(max(s.autoInstances, s.scaling.GetMinInstanceCount()))*share, float64(own.GetMinInstanceCount()))
	if limit := s.scaling.GetMaxInstanceCount(); limit > 0 {
		n = min(n, float64(limit)*share)
	}
	if limit := own.GetMaxInstanceCount(); limit > 0 {
		n = min(n, float64(limit))
	}
	return max(1, n)
}
